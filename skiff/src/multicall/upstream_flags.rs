//! Upstream's flags that have nothing to act on here: command lines that work with stock components work unchanged, as long as what
//! they ask for is what they get. A flag that only tunes (rates, concurrency, caches) is taken and has no effect; one that chooses
//! behaviour is taken with the behaviour there is, and refused otherwise. All other flags are parsed by their components.

use std::ffi::OsString;

/// Flags of one component that are taken here, before the command line is parsed.
struct Table {
    /// `--name` or `--name=BOOL`: no effect.
    switches: &'static [&'static str],
    /// `--name=VALUE` or `--name VALUE`: no effect.
    values: &'static [&'static str],
    /// Only these values; the others are not built.
    only: &'static [(&'static str, &'static [&'static str])],
}

const COMMON: Table = Table {
    switches: &["contention-profiling"],
    values: &[
        "kube-api-burst",
        "kube-api-content-type",
        "kube-api-qps",
        "log-flush-frequency",
        "log-json-info-buffer-size",
        "log-text-info-buffer-size",
        "vmodule",
        "show-hidden-metrics-for-version",
        "disabled-metrics",
        "allow-metric-labels",
        "allow-metric-labels-manifest",
        "http2-max-streams-per-connection",
    ],
    only: &[
        ("logging-format", &["text"]),
        ("feature-gates", &[""]),
        ("profiling", &["false"]),
        ("log-json-split-stream", &["false"]),
        ("log-text-split-stream", &["false"]),
        ("disable-http2-serving", &["false"]),
    ],
};

/// Their own ports tell health to anybody and nothing else, so nobody has to be told from another there.
const DELEGATED: Table = Table {
    switches: &["authentication-skip-lookup", "authentication-tolerate-lookup-failure"],
    values: &[
        "authentication-kubeconfig",
        "authentication-token-webhook-cache-ttl",
        "authorization-kubeconfig",
        "authorization-always-allow-paths",
        "authorization-webhook-cache-authorized-ttl",
        "authorization-webhook-cache-unauthorized-ttl",
        "client-ca-file",
        "requestheader-allowed-names",
        "requestheader-client-ca-file",
        "requestheader-extra-headers-prefix",
        "requestheader-group-headers",
        "requestheader-uid-headers",
        "requestheader-username-headers",
    ],
    only: &[("leader-elect-resource-lock", &["leases"])],
};

const API_SERVER: Table = Table {
    switches: &[],
    values: &[
        "delete-collection-workers",
        "etcd-count-metric-poll-period",
        "etcd-db-metric-poll-interval",
        "etcd-healthcheck-timeout",
        "etcd-readycheck-timeout",
        "goaway-chance",
        "kubelet-timeout",
        "lease-reuse-duration-seconds",
        "livez-grace-period",
        "max-mutating-requests-inflight",
        "max-requests-inflight",
        "shutdown-delay-duration",
        "storage-initialization-timeout",
        "watch-cache-sizes",
    ],
    only: &[
        ("enable-bootstrap-token-auth", &["", "true"]),
        ("enable-garbage-collector", &["", "true"]),
        ("enable-logs-handler", &["false"]),
        ("enable-aggregator-routing", &["", "true"]),
        ("requestheader-extra-headers-prefix", &["X-Remote-Extra-", "x-remote-extra-"]),
        ("requestheader-group-headers", &["X-Remote-Group", "x-remote-group"]),
        ("requestheader-username-headers", &["X-Remote-User", "x-remote-user"]),
        ("requestheader-uid-headers", &["X-Remote-Uid", "x-remote-uid"]),
        ("service-account-lookup", &["", "true"]),
        ("watch-cache", &["", "true"]),
        ("storage-backend", &["", "etcd3"]),
        ("storage-media-type", &["", "application/json"]),
        ("endpoint-reconciler-type", &["lease"]),
    ],
};

const CONTROLLER_MANAGER: Table = Table {
    switches: &[],
    values: &[
        "cluster-name",
        "concurrent-cron-job-syncs",
        "concurrent-daemonset-syncs",
        "concurrent-deployment-syncs",
        "concurrent-endpoint-syncs",
        "concurrent-ephemeralvolume-syncs",
        "concurrent-gc-syncs",
        "concurrent-horizontal-pod-autoscaler-syncs",
        "concurrent-job-syncs",
        "concurrent-namespace-syncs",
        "concurrent-rc-syncs",
        "concurrent-replicaset-syncs",
        "concurrent-resource-quota-syncs",
        "concurrent-service-endpoint-syncs",
        "concurrent-service-syncs",
        "concurrent-serviceaccount-token-syncs",
        "concurrent-statefulset-syncs",
        "concurrent-ttl-after-finished-syncs",
        "concurrent-validating-admission-policy-status-syncs",
        "controller-shutdown-timeout",
        "controller-start-interval",
        "min-resync-period",
        "namespace-sync-period",
        "pvclaimbinder-sync-period",
        "resource-quota-sync-period",
        "service-account-private-key-file",
    ],
    only: &[
        ("enable-garbage-collector", &["", "true"]),
        ("cloud-provider", &[""]),
        ("configure-cloud-routes", &["false"]),
        ("cidr-allocator-type", &["RangeAllocator"]),
    ],
};

const PROXY: Table = Table {
    switches: &["bind-address-hard-fail", "iptables-localhost-nodeports", "ipvs-strict-arp"],
    values: &[
        "config-sync-period",
        "bind-address",
        "iptables-masquerade-bit",
        "iptables-min-sync-period",
        "iptables-sync-period",
        "ipvs-min-sync-period",
        "ipvs-scheduler",
        "ipvs-sync-period",
        "oom-score-adj",
        "conntrack-max-per-core",
        "conntrack-min",
    ],
    only: &[("masquerade-all", &["false"]), ("detect-local-mode", &["ClusterCIDR"])],
};

const KUBELET: Table = Table {
    switches: &["make-iptables-util-chains", "kernel-memcg-notification"],
    values: &[
        "event-burst",
        "event-qps",
        "file-check-frequency",
        "housekeeping-interval",
        "global-housekeeping-interval",
        "hairpin-mode",
        "kubelet-cgroups",
        "max-open-files",
        "node-status-max-images",
        "oom-score-adj",
        "registry-burst",
        "registry-qps",
        "runtime-cgroups",
        "runtime-request-timeout",
        "volume-plugin-dir",
        "volume-stats-agg-period",
    ],
    only: &[
        ("enable-server", &["", "true"]),
        ("cgroups-per-qos", &["", "true"]),
        ("fail-cgroupv1", &["false"]),
        ("cpu-manager-policy", &["none"]),
        ("memory-manager-policy", &["None", "none"]),
        ("topology-manager-policy", &["none"]),
        ("cloud-provider", &[""]),
        ("read-only-port", &["0"]),
    ],
};

fn tables(component: &str) -> &'static [&'static Table] {
    match component {
        "kube-apiserver" => &[&COMMON, &API_SERVER],
        "kube-controller-manager" => &[&COMMON, &DELEGATED, &CONTROLLER_MANAGER],
        "kube-scheduler" => &[&COMMON, &DELEGATED],
        "kube-proxy" => &[&COMMON, &PROXY],
        "kubelet" => &[&COMMON, &KUBELET],
        _ => &[],
    }
}

/// A component's command line without the flags that are taken here; an error for what is not built.
pub fn take(component: &str, args: impl Iterator<Item = OsString>) -> Result<Vec<OsString>, String> {
    let tables = tables(component);
    let mut left = Vec::new();
    let mut args = args.peekable();
    while let Some(arg) = args.next() {
        let Some(flag) = arg.to_str().and_then(|a| a.strip_prefix("--")) else {
            left.push(arg);
            continue;
        };
        let (name, value) = flag.split_once('=').map_or((flag, None), |(n, v)| (n, Some(v.to_owned())));
        // Upstream reads both spellings.
        let name = name.replace('_', "-");
        if tables.iter().any(|t| t.switches.contains(&name.as_str())) {
            continue;
        }
        if tables.iter().any(|t| t.values.contains(&name.as_str())) {
            if value.is_none() {
                args.next();
            }
            continue;
        }
        if let Some((_, allowed)) = tables.iter().flat_map(|t| t.only).find(|(n, _)| *n == name) {
            // What may stand alone is a switch; the others take the next word.
            let switch = allowed.contains(&"true") || allowed.contains(&"false");
            let value = match value {
                Some(v) => v,
                None if switch => "true".into(),
                None => args.next().and_then(|v| v.into_string().ok()).unwrap_or_default(),
            };
            let value = if switch { spelled_out(value) } else { value };
            if !allowed.contains(&value.as_str()) {
                let known: Vec<_> = allowed.iter().filter(|v| !v.is_empty()).map(|v| format!("--{name}={v}")).collect();
                let hint = if known.is_empty() { String::new() } else { format!("; there is {}", known.join(", ")) };
                return Err(format!("{component}: --{name}={value} is not built{hint}"));
            }
            continue;
        }
        left.push(match value {
            Some(v) => format!("--{name}={v}").into(),
            None => format!("--{name}").into(),
        });
    }
    Ok(left)
}

/// A truth as Go's flags take it, by its usual name.
fn spelled_out(value: String) -> String {
    match value.as_str() {
        "1" | "t" | "T" | "TRUE" | "True" => "true".into(),
        "0" | "f" | "F" | "FALSE" | "False" => "false".into(),
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_of_stock_components() {
        for (name, component, line, want) in [
            ("a value of its own", "kube-scheduler", "--kube-api-qps 50 --kubeconfig k", Ok("--kubeconfig k")),
            ("a value with =", "kube-scheduler", "--kube-api-qps=50 --kubeconfig=k", Ok("--kubeconfig=k")),
            ("a switch takes no word", "kubelet", "--make-iptables-util-chains --config c", Ok("--config c")),
            ("underscores", "kube-proxy", "--oom_score_adj=0 --cluster_cidr=10.0.0.0/8", Ok("--cluster-cidr=10.0.0.0/8")),
            ("the built one", "kube-apiserver", "--service-account-lookup --storage-backend etcd3 --v=2", Ok("--v=2")),
            (
                "another one",
                "kube-apiserver",
                "--service-account-lookup=false",
                Err("kube-apiserver: --service-account-lookup=false is not built; there is --service-account-lookup=true"),
            ),
            ("short words for truth", "kube-scheduler", "--profiling=0 --leader-elect=f", Ok("--leader-elect=f")),
            (
                "a port that is not served",
                "kube-controller-manager",
                "--profiling",
                Err("kube-controller-manager: --profiling=true is not built; there is --profiling=false"),
            ),
            ("a gate", "kubelet", "--feature-gates=A=true", Err("kubelet: --feature-gates=A=true is not built")),
            ("unknown flags are not ours to judge", "kube-proxy", "--nonsense", Ok("--nonsense")),
        ] {
            let left = take(component, line.split(' ').map(OsString::from));
            let left = left.map(|l| l.iter().filter_map(|a| a.to_str()).collect::<Vec<_>>().join(" "));
            assert_eq!(left, want.map(str::to_owned).map_err(str::to_owned), "{name}");
        }
    }
}
