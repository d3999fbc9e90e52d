//! One manifest to the pod that it stands for on this node (upstream pkg/kubelet/config/common.go).

use super::defaults;
use crate::pod::spec::CONFIG_SOURCE;
use k8s_openapi::api::core::v1::{Pod, PodSpec, Toleration, Volume};
use machinery::validation::{dns1123_label, dns1123_subdomain};
use std::path::Path;

/// The hash of a pod's manifest; its UID too.
pub const CONFIG_HASH: &str = "kubernetes.io/config.hash";
const CONFIG_SEEN: &str = "kubernetes.io/config.seen";

/// FNV-1a of 128 bits, upstream's hash here.
fn fnv128a(parts: &[&[u8]]) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    parts.iter().copied().flatten().fold(OFFSET, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME))
}

/// The pod of a manifest, YAML or JSON, as this node runs it.
pub fn parse(text: &str, path: &Path, node_name: &str, seen: jiff::Timestamp) -> Result<Pod, String> {
    let value: serde_json::Value = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
    if value["apiVersion"] != "v1" || value["kind"] != "Pod" {
        return Err(format!("{}, {} is not v1, Pod", value["apiVersion"], value["kind"]));
    }
    let content = value.to_string();
    let mut pod: Pod = serde_json::from_value(value).map_err(|e| e.to_string())?;
    let name = pod.metadata.name.take().unwrap_or_default();
    if name.is_empty() {
        return Err("invalid pod: name is needed for the pod".into());
    }
    let uid = pod.metadata.uid.clone().filter(|u| !u.is_empty()).unwrap_or_else(|| {
        let source = format!("host:{node_name}file:{}", path.display());
        format!("{:032x}", fnv128a(&[content.as_bytes(), source.as_bytes()]))
    });
    pod.metadata.name = Some(format!("{name}-{}", node_name.to_lowercase()));
    pod.metadata.namespace.get_or_insert_with(|| "default".into());
    pod.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(seen));
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(CONFIG_HASH.into(), uid.clone());
    annotations.insert(CONFIG_SOURCE.into(), "file".into());
    annotations.insert(CONFIG_SEEN.into(), seen.to_string());
    pod.metadata.uid = Some(uid);
    let spec = pod.spec.as_mut().ok_or("invalid pod: spec: Required value")?;
    validate(&pod.metadata.name, spec)?;
    spec.node_name = Some(node_name.to_owned());
    // Problems of the node do not evict what is bound to it for good.
    let stay = Toleration { operator: Some("Exists".into()), effect: Some("NoExecute".into()), ..Default::default() };
    let tolerations = spec.tolerations.get_or_insert_default();
    if !tolerations.contains(&stay) {
        tolerations.push(stay);
    }
    defaults::set(spec);
    let status = pod.status.get_or_insert_default();
    status.phase = Some("Pending".into());
    Ok(pod)
}

/// What would keep the pod from running, or let a file reach what only the API server may give out. The mirror passes the whole
/// validation of the API server.
fn validate(name: &Option<String>, spec: &PodSpec) -> Result<(), String> {
    let name = name.as_deref().unwrap_or("");
    if !dns1123_subdomain(name).is_empty() {
        return Err(format!("invalid pod: metadata.name: Invalid value: {name:?}: a lowercase RFC 1123 subdomain is needed"));
    }
    if spec.containers.is_empty() {
        return Err("invalid pod: spec.containers: Required value".into());
    }
    let mut names = std::collections::HashSet::new();
    for c in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
        if !dns1123_label(&c.name).is_empty() || !names.insert(c.name.as_str()) {
            return Err(format!("invalid pod: a container's name {:?} is no DNS label, or comes twice", c.name));
        }
        if c.image.as_deref().unwrap_or("").trim().is_empty() {
            return Err(format!("invalid pod: container {:?} has no image", c.name));
        }
    }
    match reference(spec) {
        Some(what) => Err(format!("static pods may not reference {what}")),
        None => Ok(()),
    }
}

/// The first object of the API that the pod needs.
fn reference(spec: &PodSpec) -> Option<&'static str> {
    if spec.service_account_name.as_ref().or(spec.service_account.as_ref()).is_some_and(|s| !s.is_empty()) {
        return Some("serviceaccounts");
    }
    if !spec.image_pull_secrets.as_deref().unwrap_or_default().is_empty() {
        return Some("secrets");
    }
    if !spec.resource_claims.as_deref().unwrap_or_default().is_empty() {
        return Some("resourceclaims");
    }
    for c in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
        let from = c.env_from.iter().flatten();
        let sources = c.env.iter().flatten().filter_map(|e| e.value_from.as_ref());
        if from.clone().any(|e| e.secret_ref.is_some()) || sources.clone().any(|s| s.secret_key_ref.is_some()) {
            return Some("secrets");
        }
        if from.into_iter().any(|e| e.config_map_ref.is_some()) || sources.into_iter().any(|s| s.config_map_key_ref.is_some()) {
            return Some("configmaps");
        }
    }
    spec.volumes.iter().flatten().find_map(volume_reference)
}

fn volume_reference(v: &Volume) -> Option<&'static str> {
    let projected = || v.projected.iter().flat_map(|p| p.sources.iter().flatten());
    if v.secret.is_some() || projected().any(|s| s.secret.is_some()) {
        Some("secrets")
    } else if v.config_map.is_some() || projected().any(|s| s.config_map.is_some()) {
        Some("configmaps")
    } else if projected().any(|s| s.service_account_token.is_some()) {
        Some("serviceaccounts")
    } else if projected().any(|s| s.cluster_trust_bundle.is_some()) {
        Some("clustertrustbundles")
    } else if v.persistent_volume_claim.is_some() || v.ephemeral.is_some() {
        Some("persistentvolumeclaims")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: &str) -> Result<Pod, String> {
        let text = format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\nspec: {spec}\n");
        parse(&text, Path::new("/m/web.yaml"), "Node-1", jiff::Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn hash() {
        assert_eq!(format!("{:032x}", fnv128a(&[b"a"])), "d228cb696f1a8caf78912b704e4a8964");
    }

    #[test]
    fn a_manifest_and_its_node() {
        let a = pod("{containers: [{name: c, image: i}]}").expect("a pod");
        let uid = a.metadata.uid.clone().unwrap_or_default();
        assert_eq!((a.metadata.name.as_deref(), a.metadata.namespace.as_deref()), (Some("web-node-1"), Some("default")));
        let annotations = a.metadata.annotations.clone().unwrap_or_default();
        assert_eq!((annotations[CONFIG_HASH].as_str(), annotations[CONFIG_SOURCE].as_str()), (uid.as_str(), "file"));
        let spec = a.spec.unwrap_or_default();
        assert_eq!(spec.node_name.as_deref(), Some("Node-1"));
        assert_eq!(spec.tolerations.map(|t| t.len()), Some(1));
        assert_eq!(spec.containers[0].image_pull_policy.as_deref(), Some("Always"), "no tag is latest");
        let same = pod("{containers: [{name: c, image: i}]}").expect("a pod");
        let other = pod("{containers: [{name: c, image: i2}]}").expect("a pod");
        assert_eq!(same.metadata.uid, Some(uid.clone()));
        assert_ne!(other.metadata.uid, Some(uid), "another content is another pod");
    }

    #[test]
    fn what_a_file_may_not_have() {
        for (name, spec, want) in [
            ("no containers", "{containers: []}", "spec.containers: Required value"),
            ("a name twice", "{containers: [{name: c, image: i}, {name: c, image: i}]}", "comes twice"),
            ("no image", "{containers: [{name: c}]}", "no image"),
            ("an account", "{serviceAccountName: a, containers: [{name: c, image: i}]}", "may not reference serviceaccounts"),
            (
                "a secret",
                "{containers: [{name: c, image: i, envFrom: [{secretRef: {name: s}}]}]}",
                "static pods may not reference secrets",
            ),
            (
                "a config map",
                "{containers: [{name: c, image: i}], volumes: [{name: v, configMap: {name: m}}]}",
                "static pods may not reference configmaps",
            ),
        ] {
            let error = pod(spec).expect_err(name);
            assert!(error.contains(want), "{name}: {error}");
        }
        assert!(parse("apiVersion: v1\nkind: Service\n", Path::new("/m"), "n", jiff::Timestamp::UNIX_EPOCH).is_err());
    }
}
