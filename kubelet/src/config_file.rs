//! Reading a `KubeletConfiguration` file as upstream does: zero values mean defaults, unknown fields are errors. Of the fields that
//! nothing here acts on, those that only tune are taken, and the others are refused unless they ask for what there is anyway.

use crate::config::{ConfigError, KubeletConfiguration};
use machinery::component_config::{self, is_unset};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::path::Path;

/// Fields of [`KubeletConfiguration`].
const ACTED_ON: &[&str] = &[
    "address",
    "allowedUnsafeSysctls",
    "authentication",
    "authorization",
    "cgroupDriver",
    "cgroupRoot",
    "cgroupsPerQOS",
    "clusterDNS",
    "clusterDomain",
    "containerLogMaxFiles",
    "containerLogMaxSize",
    "containerRuntimeEndpoint",
    "cpuCFSQuota",
    "enableControllerAttachDetach",
    "enableDebuggingHandlers",
    "enableSystemLogHandler",
    "evictionHard",
    "failSwapOn",
    "healthzBindAddress",
    "healthzPort",
    "imageGCHighThresholdPercent",
    "imageGCLowThresholdPercent",
    "imageMinimumGCAge",
    "imageServiceEndpoint",
    "kubeReserved",
    "maxPods",
    "nodeLeaseDurationSeconds",
    "nodeStatusReportFrequency",
    "podLogsDir",
    "podPidsLimit",
    "port",
    "providerID",
    "registerNode",
    "registerWithTaints",
    "resolvConf",
    "rotateCertificates",
    "serializeImagePulls",
    "serverTLSBootstrap",
    "staticPodPath",
    "streamingConnectionIdleTimeout",
    "syncFrequency",
    "systemReserved",
    "tlsCertFile",
    "tlsPrivateKeyFile",
];

/// Rates, periods and limits of mechanisms that are other ones here, and what concerns the process itself.
const TUNING: &[&str] = &[
    "configMapAndSecretChangeDetectionStrategy",
    "containerLogMaxWorkers",
    "containerLogMonitorInterval",
    "contentType",
    "cpuManagerReconcilePeriod",
    "enableContentionProfiling",
    "enableDebugFlagsHandler",
    "enableProfilingHandler",
    "eventBurst",
    "eventRecordQPS",
    "evictionPressureTransitionPeriod",
    "failCgroupV1",
    "fileCheckFrequency",
    "hairpinMode",
    "httpCheckFrequency",
    "iptablesDropBit",
    "iptablesMasqueradeBit",
    "kernelMemcgNotification",
    "kubeAPIBurst",
    "kubeAPIQPS",
    "kubeletCgroups",
    "logging",
    "makeIPTablesUtilChains",
    "maxOpenFiles",
    "maxParallelImagePulls",
    "nodeStatusMaxImages",
    "nodeStatusUpdateFrequency",
    "oomScoreAdj",
    "podCIDR",
    "registryBurst",
    "registryPullQPS",
    "runtimeRequestTimeout",
    "showHiddenMetricsForVersion",
    "systemCgroups",
    "volumePluginDir",
    "volumeStatsAggPeriod",
];

/// What there is of mechanisms that are not built otherwise.
const ONLY: &[(&str, &str)] = &[
    ("cpuCFSQuotaPeriod", "100ms"),
    ("cpuManagerPolicy", "none"),
    ("enableServer", "true"),
    ("imagePullCredentialsVerificationPolicy", "NeverVerify"),
    ("localStorageCapacityIsolation", "true"),
    ("memoryManagerPolicy", "None"),
    ("memoryReservationPolicy", "None"),
    ("memoryThrottlingFactor", "0.9"),
    ("topologyManagerPolicy", "none"),
    ("topologyManagerScope", "container"),
];

/// Numbers that are no pointers upstream: 0 is the default.
const ZERO_IS_DEFAULT: &[&str] = &["maxPods", "nodeLeaseDurationSeconds", "port"];

/// Takes out what stands for a default.
fn prune(fields: &mut Map<String, Value>) {
    fields.retain(|name, v| match v {
        Value::Null => false,
        Value::String(s) => !s.is_empty() && s != "0s",
        Value::Number(n) => n.as_f64() != Some(0.0) || !ZERO_IS_DEFAULT.contains(&name.as_str()),
        Value::Object(inner) => {
            prune(inner);
            true
        }
        _ => true,
    });
}

/// Reads a configuration file, YAML or JSON.
pub fn load(path: &Path) -> Result<KubeletConfiguration, ConfigError> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: name.clone(), source })?;
    parse(&text).map_err(|message| ConfigError::Parse { path: name, message })
}

fn parse(text: &str) -> Result<KubeletConfiguration, String> {
    let value: Value = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
    let mut fields = component_config::fields(value, &["kubelet.config.k8s.io/v1beta1"], "KubeletConfiguration")?;
    prune(&mut fields);
    for (name, v) in &fields {
        if ACTED_ON.contains(&name.as_str()) || TUNING.contains(&name.as_str()) || is_unset(v) {
            continue;
        }
        let text = v.as_str().map_or_else(|| v.to_string(), str::to_owned);
        match ONLY.iter().find(|(n, _)| n == name) {
            Some((_, only)) if text == *only => {}
            Some((_, only)) => return Err(format!("{name}: {text} is not supported; there is {only}")),
            None => return Err(format!("{name}: {text} is not supported")),
        }
    }
    let c = KubeletConfiguration::deserialize(Value::Object(fields)).map_err(|e| e.to_string())?;
    c.check().map_err(|e| e.to_string())?;
    Ok(c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const HEADING: &str = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";

    #[test]
    fn file() {
        let c = parse(&format!(
            "{HEADING}clusterDNS: [10.96.0.10]\ncgroupRoot: /x\nsyncFrequency: 1m30s\nfailCgroupV1: false\n\
             authentication: {{x509: {{clientCAFile: /ca}}, anonymous: {{enabled: false}}}}\n"
        ))
        .expect("parses");
        assert_eq!((c.cluster_dns[0].as_str(), c.cgroup_root.as_str(), c.port), ("10.96.0.10", "/x", 10250));
        assert_eq!(c.authentication.x509.client_ca_file, "/ca");
        assert!(c.authentication.webhook.enabled);
        assert_eq!(c.sync_frequency, Duration::from_secs(90));
    }

    #[test]
    fn zeros_are_defaults() {
        let kubeadm = "authentication: {anonymous: {enabled: false}, webhook: {cacheTTL: 0s, enabled: true}}\n\
                       authorization: {mode: Webhook, webhook: {cacheAuthorizedTTL: 0s}}\ncontainerRuntimeEndpoint: ''\n\
                       cpuManagerReconcilePeriod: 0s\ncrashLoopBackOff: {}\nevictionPressureTransitionPeriod: 0s\n\
                       healthzBindAddress: 127.0.0.1\nhealthzPort: 10248\nimageMaximumGCAge: 0s\nimageMinimumGCAge: 0s\n\
                       logging: {flushFrequency: 0, options: {json: {infoBufferSize: '0'}}, verbosity: 0}\nmemorySwap: {}\n\
                       nodeStatusReportFrequency: 0s\nrotateCertificates: true\nruntimeRequestTimeout: 0s\nshutdownGracePeriod: 0s\n\
                       staticPodPath: /etc/kubernetes/manifests\nstreamingConnectionIdleTimeout: 0s\nsyncFrequency: 0s\nport: 0\n";
        let c = parse(&format!("{HEADING}{kubeadm}")).expect("what kubeadm writes");
        assert_eq!((c.sync_frequency, c.port, c.rotate_certificates), (Duration::from_secs(60), 10250, true));
        assert_eq!(c.container_runtime_endpoint, "unix:///run/containerd/containerd.sock");
        assert_eq!(c.static_pod_path, "/etc/kubernetes/manifests");
        assert_eq!(parse(&format!("{HEADING}healthzPort: 0\n")).map(|c| c.healthz_port), Ok(0), "none is asked for");
    }

    #[test]
    fn what_is_not_built_is_refused() {
        for (text, want) in [
            ("imageGCLowThresholdPercent: 90", "must be less than"),
            ("cgroupDriver: systemd", "not supported: use cgroupfs"),
            ("cpuManagerPolicy: static", "cpuManagerPolicy: static is not supported; there is none"),
            ("featureGates: {A: true}", "featureGates: {\"A\":true} is not supported"),
            ("readOnlyPort: 10255", "readOnlyPort: 10255 is not supported"),
            ("nonsense: 1", "nonsense: 1 is not supported"),
        ] {
            let error = parse(&format!("{HEADING}{text}\n")).expect_err(text);
            assert!(error.contains(want), "{text}: {error}");
        }
    }
}
