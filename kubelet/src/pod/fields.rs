//! The downward API: values of a pod's fields and of a container's resources.

use super::spec::{quantity, spec, status};
use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;

/// `metadata.*`, `spec.*` and `status.*` paths; `None` for a path that does not exist.
pub fn field(pod: &Pod, path: &str, pod_ips: &[String], host_ips: &[String]) -> Option<String> {
    if let Some((map, key)) = path.split_once('[') {
        let key = key.strip_suffix(']')?.trim_matches(['\'', '"']);
        let m = match map {
            "metadata.annotations" => &pod.metadata.annotations,
            "metadata.labels" => &pod.metadata.labels,
            _ => return None,
        };
        return Some(m.as_ref().and_then(|m| m.get(key)).cloned().unwrap_or_default());
    }
    let m = &pod.metadata;
    let s = spec(pod);
    Some(match path {
        "metadata.name" => m.name.clone().unwrap_or_default(),
        "metadata.namespace" => m.namespace.clone().unwrap_or_default(),
        "metadata.uid" => m.uid.clone().unwrap_or_default(),
        "metadata.annotations" => lines(m.annotations.as_ref()),
        "metadata.labels" => lines(m.labels.as_ref()),
        "spec.nodeName" => s.node_name.clone().unwrap_or_default(),
        "spec.serviceAccountName" => s.service_account_name.clone().unwrap_or_default(),
        "spec.restartPolicy" => s.restart_policy.clone().unwrap_or_default(),
        "status.phase" => status(pod).phase.clone().unwrap_or_default(),
        "status.hostIP" => host_ips.first().cloned().unwrap_or_default(),
        "status.hostIPs" => host_ips.join(","),
        "status.podIP" => pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => pod_ips.join(","),
        _ => return None,
    })
}

/// A map as upstream's FormatMap writes it: `key="value"` lines, sorted, with Go's quoting.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> = map.into_iter().flatten().map(|(k, v)| format!("{k}={}", machinery::quote::quote(v))).collect();
    lines.join("\n")
}

/// What stands for a limit that a container has not: the pod's own, or else what the node has to give.
pub fn default_limits(pod: &Pod, allocatable: BTreeMap<String, Quantity>) -> BTreeMap<String, Quantity> {
    let own = spec(pod).resources.as_ref().and_then(|r| r.limits.clone());
    allocatable.into_iter().chain(own.unwrap_or_default()).collect()
}

/// `limits.cpu`, `requests.memory`, … in units of the divisor, rounded up. Without a limit the default counts.
pub fn resource(c: &Container, select: &ResourceFieldSelector, defaults: &BTreeMap<String, Quantity>) -> Result<String, String> {
    let unknown = || format!("Unsupported container resource : {}", select.resource);
    let (kind, name) = select.resource.split_once('.').ok_or_else(unknown)?;
    let limits = c.resources.as_ref().and_then(|r| r.limits.as_ref());
    let requests = c.resources.as_ref().and_then(|r| r.requests.as_ref());
    let value = match kind {
        "limits" => limits.and_then(|m| m.get(name)).or_else(|| defaults.get(name)),
        "requests" => requests.and_then(|m| m.get(name)).or_else(|| limits.and_then(|m| m.get(name))),
        _ => return Err(unknown()),
    };
    let Some(value) = value.map(quantity) else { return Ok("0".into()) };
    let divisor = select.divisor.as_ref().map(quantity).filter(|d| !d.is_zero());
    let (value, divisor) = if name == "cpu" {
        (value.milli_value(), divisor.map_or(1000, |d| d.milli_value()))
    } else {
        (value.value(), divisor.map_or(1, |d| d.value()))
    };
    Ok(if divisor <= 0 { value.to_string() } else { (value + divisor - 1).div_euclid(divisor).to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn resources() {
        let c: Container = serde_json::from_value(
            json!({"name": "c", "resources": {"limits": {"cpu": "1250m", "memory": "64Mi"}, "requests": {"cpu": "250m"}}}),
        )
        .expect("container");
        let pod: Pod =
            serde_json::from_value(json!({"spec": {"containers": [], "resources": {"limits": {"hugepages-2Mi": "4Mi"}}}}))
                .expect("pod");
        let given = [("ephemeral-storage", "10Gi"), ("hugepages-2Mi", "1Gi")];
        let node = default_limits(&pod, given.map(|(k, v)| (k.to_owned(), Quantity(v.into()))).into());
        for (resource, divisor, want) in [
            ("limits.cpu", "1", "2"),
            ("limits.cpu", "1m", "1250"),
            ("requests.cpu", "1m", "250"),
            ("limits.memory", "1Mi", "64"),
            ("limits.memory", "0", "67108864"),
            ("requests.memory", "0", "67108864"),
            ("limits.ephemeral-storage", "1Gi", "10"),
            ("requests.ephemeral-storage", "1", "0"),
            ("limits.hugepages-2Mi", "1Mi", "4"),
        ] {
            let select = ResourceFieldSelector {
                container_name: None,
                divisor: Some(Quantity(divisor.into())),
                resource: resource.into(),
            };
            assert_eq!(super::resource(&c, &select, &node).as_deref(), Ok(want), "{resource} {divisor}");
        }
    }
}
