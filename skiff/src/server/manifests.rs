//! What a new cluster starts with beyond what the API server makes itself: the objects in manifests/cluster, made if they are not
//! there. What people change or delete later stays as they left it until the next start makes what is missing.

use crate::settings::Settings;
use client::Client;
use machinery::{Value, meta};

const CLUSTER: &[&str] = &[
    include_str!("../../../manifests/cluster/storage-class.yaml"),
    include_str!("../../../manifests/cluster/dns.yaml"),
    include_str!("../../../manifests/cluster/dns-role.yaml"),
    include_str!("../../../manifests/cluster/dns-role-binding.yaml"),
];

/// Creates the objects that are missing.
pub async fn ensure(client: &Client, settings: &Settings) -> Result<(), String> {
    let dns = settings.service_ip(10)?.to_string();
    for text in CLUSTER {
        let text = text.replace("$DNS_IP", &dns);
        let object: Value = serde_saphyr::from_str(&text).map_err(|e| format!("built-in manifest: {e}"))?;
        let path = collection(&object).ok_or("built-in manifest of an unknown kind")?;
        let made = match client.get_path(&format!("{path}/{}", meta::name(&object))).await {
            Err(e) if e.is_not_found() => client.post_path(&path, &object).await,
            found => found,
        };
        match made {
            Ok(_) => {}
            Err(e) if e.is_already_exists() => {}
            Err(e) => return Err(format!("built-in {} {}: {e}", meta::str_at(&object, &["kind"]), meta::name(&object))),
        }
    }
    Ok(())
}

fn collection(object: &Value) -> Option<String> {
    let namespace = meta::namespace(object);
    Some(match meta::str_at(object, &["kind"]) {
        "StorageClass" => "/apis/storage.k8s.io/v1/storageclasses".to_owned(),
        "ClusterRole" => "/apis/rbac.authorization.k8s.io/v1/clusterroles".to_owned(),
        "ClusterRoleBinding" => "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings".to_owned(),
        "Service" => format!("/api/v1/namespaces/{namespace}/services"),
        _ => return None,
    })
}
