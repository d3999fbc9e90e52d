//! What a new cluster starts with beyond what the API server makes itself: the objects in manifests/cluster, made if they are not
//! there. What people change or delete later stays as they left it until the next start makes what is missing.

use crate::settings::Settings;
use client::Client;
use machinery::{Value, json, meta};
use std::time::Duration;

const CLUSTER: &[&str] = &[
    include_str!("../../../manifests/cluster/storage-class.yaml"),
    include_str!("../../../manifests/cluster/dns.yaml"),
    include_str!("../../../manifests/cluster/dns-role.yaml"),
    include_str!("../../../manifests/cluster/dns-role-binding.yaml"),
];

/// What machines need to join; nobody waits for it.
const JOINING: &str = include_str!("../../../manifests/cluster/node-bootstrap.yaml");

/// Creates the objects that are missing.
pub async fn ensure(client: &Client, settings: &Settings) -> Result<(), String> {
    let dns = settings.service_ip(10)?.to_string();
    for text in CLUSTER {
        create(client, &text.replace("$DNS_IP", &dns)).await?;
    }
    Ok(())
}

/// Creates the permissions of machines that join and the description of the cluster that they read; tries until it is done.
pub async fn ensure_joining(client: Client, settings: Settings, ca_pem: String) {
    let mut retry = client::retry::Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
    while let Err(e) = try_joining(&client, &settings, &ca_pem).await {
        tracing::warn!(error = e, "machines cannot join yet");
        tokio::time::sleep(retry.step()).await;
    }
}

async fn try_joining(client: &Client, settings: &Settings, ca_pem: &str) -> Result<(), String> {
    let text = JOINING
        .replace("$CLUSTER_CIDR", &settings.cluster_cidr)
        .replace("$SERVICE_CIDR", &settings.service_cidr)
        .replace("$CLUSTER_DOMAIN", &settings.cluster_domain);
    let all = futures::future::join_all(text.split("\n---\n").map(|t| create(client, t))).await;
    all.into_iter().collect::<Result<Vec<()>, String>>()?;
    cluster_info(client, settings, ca_pem).await.map_err(|e| format!("cluster-info: {e}"))
}

/// The public description: where the API server is and whom to trust, as kubeadm writes it. It follows the server's address.
async fn cluster_info(client: &Client, settings: &Settings, ca_pem: &str) -> Result<(), String> {
    use base64::Engine;
    let ca = base64::engine::general_purpose::STANDARD.encode(ca_pem);
    let cluster = json!({"name": "", "cluster": {"certificate-authority-data": ca, "server": settings.server_url()?}});
    let config = json!({"apiVersion": "v1", "kind": "Config", "clusters": [cluster], "contexts": [], "users": [],
        "current-context": "", "preferences": {}});
    let text = serde_saphyr::to_string(&config).map_err(|e| e.to_string())?;
    let path = "/api/v1/namespaces/kube-public/configmaps";
    let fresh = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cluster-info", "namespace": "kube-public"},
        "data": {"kubeconfig": text}});
    match client.post_path(path, &fresh).await {
        Err(e) if e.is_already_exists() => {}
        done => return done.map(drop).map_err(|e| e.to_string()),
    }
    let patch = client::Patch::Merge(json!({"data": {"kubeconfig": text}}));
    client.patch_path(&format!("{path}/cluster-info"), &patch).await.map(drop).map_err(|e| e.to_string())
}

async fn create(client: &Client, text: &str) -> Result<(), String> {
    let object: Value = serde_saphyr::from_str(text).map_err(|e| format!("built-in manifest: {e}"))?;
    let path = collection(&object).ok_or("built-in manifest of an unknown kind")?;
    let made = match client.get_path(&format!("{path}/{}", meta::name(&object))).await {
        Err(e) if e.is_not_found() => client.post_path(&path, &object).await,
        found => found,
    };
    match made {
        Ok(_) => Ok(()),
        Err(e) if e.is_already_exists() => Ok(()),
        Err(e) => Err(format!("built-in {} {}: {e}", meta::str_at(&object, &["kind"]), meta::name(&object))),
    }
}

fn collection(object: &Value) -> Option<String> {
    let namespace = meta::namespace(object);
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    Some(match meta::str_at(object, &["kind"]) {
        "StorageClass" => "/apis/storage.k8s.io/v1/storageclasses".to_owned(),
        "ClusterRole" => "/apis/rbac.authorization.k8s.io/v1/clusterroles".to_owned(),
        "ClusterRoleBinding" => "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings".to_owned(),
        "Service" => format!("/api/v1/namespaces/{namespace}/services"),
        "ConfigMap" => format!("/api/v1/namespaces/{namespace}/configmaps"),
        "ServiceAccount" => format!("/api/v1/namespaces/{namespace}/serviceaccounts"),
        "Role" => format!("{rbac}/namespaces/{namespace}/roles"),
        "RoleBinding" => format!("{rbac}/namespaces/{namespace}/rolebindings"),
        _ => return None,
    })
}
