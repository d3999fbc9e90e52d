//! Resource requests and limits as the kernel takes them (upstream pkg/kubelet/cm/helpers_linux.go, qos/policy.go).

use super::spec::{amount, is_static, milli_cpu, qos_class, spec};
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;

/// Whether the node has to keep the pod whatever happens (upstream IsCriticalPod).
pub fn is_critical(pod: &Pod) -> bool {
    is_static(pod) || super::spec::is_mirror(pod) || spec(pod).priority.is_some_and(|p| p >= SYSTEM_CRITICAL)
}

pub const CPU_PERIOD: i64 = 100_000;
const MIN_SHARES: i64 = 2;
const MAX_SHARES: i64 = 262_144;
const MIN_QUOTA: i64 = 1000;
/// A pod of this priority and above is critical to the node.
const SYSTEM_CRITICAL: i32 = 2_000_000_000;

/// `cpu.shares` for a request in thousandths of a core.
pub fn cpu_shares(milli: i64) -> i64 {
    if milli == 0 { MIN_SHARES } else { (milli * 1024 / 1000).clamp(MIN_SHARES, MAX_SHARES) }
}

/// `cpu.cfs_quota_us` for a limit; 0 is none.
pub fn cpu_quota(milli: i64) -> i64 {
    if milli == 0 { 0 } else { (milli * CPU_PERIOD / 1000).max(MIN_QUOTA) }
}

fn part(c: &Container, limits: bool) -> Option<&BTreeMap<String, Quantity>> {
    let r = c.resources.as_ref()?;
    if limits { r.limits.as_ref() } else { r.requests.as_ref() }
}

/// The CPU shares of a container: by its request, else its limit.
pub fn container_shares(c: &Container) -> i64 {
    let request = milli_cpu(part(c, false)).or_else(|| milli_cpu(part(c, true)));
    cpu_shares(request.unwrap_or(0))
}

pub fn container_quota(c: &Container) -> i64 {
    cpu_quota(milli_cpu(part(c, true)).unwrap_or(0))
}

pub fn container_memory_limit(c: &Container) -> i64 {
    amount(part(c, true), "memory").unwrap_or(0)
}

/// What the OOM killer is told about a container (upstream GetContainerOOMScoreAdjust).
pub fn oom_score_adj(pod: &Pod, c: &Container, memory_capacity: i64) -> i64 {
    const GUARANTEED: i64 = -997;
    if is_critical(pod) {
        return GUARANTEED;
    }
    match qos_class(pod) {
        "Guaranteed" => GUARANTEED,
        "BestEffort" => 1000,
        _ => {
            let request = amount(part(c, false), "memory").unwrap_or(0);
            let adj = 1000 - 1000 * request / memory_capacity.max(1);
            if adj < 1000 + GUARANTEED {
                1000 + GUARANTEED
            } else if adj == 1000 {
                999
            } else {
                adj
            }
        }
    }
}

/// Requests or limits of a whole pod in one resource: containers together, or the largest init container with the sidecars before
/// it, plus overhead (k8s.io/component-helpers/resource). `value` reads one container's share.
pub fn pod_total(pod: &Pod, name: &str, limits: bool, value: impl Fn(&BTreeMap<String, Quantity>) -> Option<i64>) -> i64 {
    let s = spec(pod);
    if let Some(r) = &s.resources {
        let own = if limits { r.limits.as_ref() } else { r.requests.as_ref() };
        if let Some(v) = own.filter(|m| m.contains_key(name)).and_then(&value) {
            return v + s.overhead.as_ref().and_then(&value).unwrap_or(0);
        }
    }
    let of = |c: &Container| part(c, limits).and_then(&value).unwrap_or(0);
    let mut total: i64 = s.containers.iter().map(of).sum();
    let mut sidecars = 0;
    let mut peak = 0;
    for c in s.init_containers.iter().flatten() {
        if super::spec::is_sidecar(c) {
            sidecars += of(c);
            peak = peak.max(sidecars);
        } else {
            peak = peak.max(sidecars + of(c));
        }
    }
    total += sidecars;
    total.max(peak) + s.overhead.as_ref().and_then(&value).unwrap_or(0)
}

/// Limits of a pod's cgroup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodLimits {
    pub cpu_shares: i64,
    /// `None`: some container has no limit.
    pub cpu_quota: Option<i64>,
    pub memory: Option<i64>,
}

pub fn pod_limits(pod: &Pod) -> PodLimits {
    let s = spec(pod);
    let all_limit = |name: &str| {
        let pod_level = s.resources.as_ref().and_then(|r| r.limits.as_ref()).is_some_and(|m| m.contains_key(name));
        let mut all = s.containers.iter().chain(s.init_containers.iter().flatten());
        pod_level || all.all(|c| amount(part(c, true), name).is_some_and(|v| v > 0))
    };
    let milli = |m: &BTreeMap<String, Quantity>| milli_cpu(Some(m));
    let bytes = |m: &BTreeMap<String, Quantity>| amount(Some(m), "memory");
    let shares = if qos_class(pod) == "BestEffort" { MIN_SHARES } else { cpu_shares(pod_total(pod, "cpu", false, milli)) };
    PodLimits {
        cpu_shares: shares,
        cpu_quota: all_limit("cpu").then(|| cpu_quota(pod_total(pod, "cpu", true, milli))),
        memory: all_limit("memory").then(|| pod_total(pod, "memory", true, bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn limits() {
        let both = |c: &str, m: &str| json!({"requests": {"cpu": c, "memory": m}, "limits": {"cpu": c, "memory": m}});
        for (name, spec, want) in [
            ("best effort", json!({"containers": [{"name": "a"}]}), (2, None, None)),
            (
                "guaranteed",
                json!({"containers": [{"name": "a", "resources": both("100m", "64Mi")}, {"name": "b", "resources": both("1", "1Gi")}]}),
                (1126, Some(110_000), Some((64 << 20) + (1 << 30))),
            ),
            (
                "one without limits",
                json!({"containers": [{"name": "a", "resources": both("100m", "64Mi")}, {"name": "b"}]}),
                (102, None, None),
            ),
            (
                "big init container",
                json!({"containers": [{"name": "a", "resources": both("100m", "64Mi")}],
                    "initContainers": [{"name": "i", "resources": both("2", "1Mi")}]}),
                (2048, Some(200_000), Some(64 << 20)),
            ),
        ] {
            let pod: Pod = serde_json::from_value(json!({"spec": spec})).expect("pod");
            let l = pod_limits(&pod);
            assert_eq!((l.cpu_shares, l.cpu_quota, l.memory), want, "{name}");
        }
    }
}
