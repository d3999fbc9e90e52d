//! Names of other objects in a pod's spec: what a node may read on its behalf, and what admission forbids.

use machinery::Value;
use machinery::meta::{at, list_at, str_at};

const VOLUME_SECRETS: [&[&str]; 9] = [
    &["secret", "secretName"],
    &["azureFile", "secretName"],
    &["cephfs", "secretRef", "name"],
    &["flexVolume", "secretRef", "name"],
    &["rbd", "secretRef", "name"],
    &["scaleIO", "secretRef", "name"],
    &["iscsi", "secretRef", "name"],
    &["storageos", "secretRef", "name"],
    &["csi", "nodePublishSecretRef", "name"],
];

/// All containers: init, main and ephemeral.
pub fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(|l| list_at(pod, &["spec", l]))
}

/// Secrets that the pod uses, in any way.
pub fn secrets(pod: &Value) -> Vec<&str> {
    let mut out: Vec<&str> = list_at(pod, &["spec", "imagePullSecrets"]).iter().map(|s| str_at(s, &["name"])).collect();
    for c in containers(pod) {
        out.extend(list_at(c, &["env"]).iter().map(|e| str_at(e, &["valueFrom", "secretKeyRef", "name"])));
        out.extend(list_at(c, &["envFrom"]).iter().map(|e| str_at(e, &["secretRef", "name"])));
    }
    for v in list_at(pod, &["spec", "volumes"]) {
        out.extend(VOLUME_SECRETS.iter().map(|p| str_at(v, p)));
        out.extend(list_at(v, &["projected", "sources"]).iter().map(|s| str_at(s, &["secret", "name"])));
    }
    out.retain(|s| !s.is_empty());
    out
}

/// ConfigMaps that the pod uses, in any way.
pub fn config_maps(pod: &Value) -> Vec<&str> {
    let mut out = Vec::new();
    for c in containers(pod) {
        out.extend(list_at(c, &["env"]).iter().map(|e| str_at(e, &["valueFrom", "configMapKeyRef", "name"])));
        out.extend(list_at(c, &["envFrom"]).iter().map(|e| str_at(e, &["configMapRef", "name"])));
    }
    for v in list_at(pod, &["spec", "volumes"]) {
        out.push(str_at(v, &["configMap", "name"]));
        out.extend(list_at(v, &["projected", "sources"]).iter().map(|s| str_at(s, &["configMap", "name"])));
    }
    out.retain(|s| !s.is_empty());
    out
}

/// What kind of API object the pod refers to, if any: a pod that a node makes must refer to none (pkg/api/pod.HasAPIObjectReference).
pub fn api_object(pod: &Value) -> Option<&'static str> {
    if !str_at(pod, &["spec", "serviceAccountName"]).is_empty() {
        return Some("serviceaccounts");
    }
    if !secrets(pod).is_empty() {
        return Some("secrets");
    }
    let config_map = containers(pod).any(|c| {
        list_at(c, &["env"]).iter().any(|e| at(e, &["valueFrom", "configMapKeyRef"]).is_some())
            || list_at(c, &["envFrom"]).iter().any(|e| at(e, &["configMapRef"]).is_some())
    });
    if config_map {
        return Some("configmaps");
    }
    for v in list_at(pod, &["spec", "volumes"]) {
        if at(v, &["configMap"]).is_some() {
            return Some("configmaps");
        }
        if at(v, &["persistentVolumeClaim"]).is_some() || at(v, &["ephemeral"]).is_some() {
            return Some("persistentvolumeclaims");
        }
        for s in list_at(v, &["projected", "sources"]) {
            for (field, resource) in [
                ("serviceAccountToken", "serviceaccounts"),
                ("configMap", "configmaps"),
                ("clusterTrustBundle", "clustertrustbundles"),
                ("podCertificate", "podcertificates"),
            ] {
                if at(s, &[field]).is_some() {
                    return Some(resource);
                }
            }
        }
    }
    if !list_at(pod, &["spec", "resourceClaims"]).is_empty() {
        return Some("resourceclaims");
    }
    None
}
