//! The Service `kubernetes` in `default`, its Endpoints and EndpointSlice: pods find the API server by them; and the ServiceCIDR.
//! Put back when somebody deletes or changes them. Upstream: pkg/controlplane/controller/kubernetesservice and reconcilers.

use super::put;
use crate::registry::store_new;
use crate::server::Inner;
use machinery::{Status, Value, json, meta};
use std::sync::Arc;
use storage::{Scope, WatchEvent, WatchOptions};

const NAMESPACE: &str = "default";
const NAME: &str = "kubernetes";
const LABELS: [(&str, &str); 2] = [("component", "apiserver"), ("provider", "kubernetes")];

/// The first address of the service range.
fn cluster_ip(server: &Inner) -> Option<String> {
    server.config.service_cluster_ip_range.first()?.hosts().next().map(|ip| ip.to_string())
}

/// The ServiceCIDR that tells the configured ranges. Upstream: pkg/controlplane/controller/defaultservicecidr.
async fn service_cidr(server: &Arc<Inner>) -> Result<(), Status> {
    let ranges: Vec<String> = server.config.service_cluster_ip_range.iter().map(ToString::to_string).collect();
    let ready = json!({"type": "Ready", "status": "True", "reason": "", "message": "Kubernetes default Service CIDR is ready",
        "lastTransitionTime": crate::registry::metadata::now()});
    let cidr = json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": NAME},
        "spec": {"cidrs": ranges}, "status": {"conditions": [ready]}});
    if store_new(server, "networking.k8s.io", "servicecidrs", cidr.clone()).await? {
        return Ok(());
    }
    // Without the condition nothing is given out of it.
    let entry = server.entry("networking.k8s.io", "servicecidrs")?;
    let storage = entry.storage.as_ref().ok_or_else(|| Status::internal("nothing is kept of this resource"))?;
    let done = storage
        .guaranteed_update("", NAME, &storage::Preconditions::default(), false, |old| {
            let mut new = old.unwrap_or(Value::Null);
            let judged = meta::list_at(&new, &["status", "conditions"]).iter().any(|c| meta::str_at(c, &["type"]) == "Ready");
            if !judged && meta::deletion_timestamp(&new).is_none() && new["spec"]["cidrs"] == cidr["spec"]["cidrs"] {
                new["status"] = cidr["status"].clone();
            }
            async move { Ok(storage::Update::from(new)) }
        })
        .await;
    match done {
        Err(s) if !s.is_not_found() => Err(s),
        _ => Ok(()),
    }
}

/// Brings the objects to what they should be.
pub async fn reconcile(server: &Arc<Inner>) -> Result<(), Status> {
    service_cidr(server).await?;
    let Some(ip) = cluster_ip(server) else { return Ok(()) };
    let labels: machinery::Map<String, Value> = LABELS.iter().map(|(k, v)| ((*k).to_owned(), Value::from(*v))).collect();
    let port = server.config.secure_port;
    let svc = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": labels},
        "spec": {"clusterIP": ip, "type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}]}});
    store_new(server, "", "services", svc).await?;

    let address = server.config.advertise_address;
    let endpoints = json!({"apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": [{"ip": address.to_string()}], "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}]});
    put(server, "", "endpoints", endpoints, &["subsets"]).await?;
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": family,
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": {"kubernetes.io/service-name": NAME}},
        "endpoints": [{"addresses": [address.to_string()], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}]});
    put(server, "discovery.k8s.io", "endpointslices", slice, &["endpoints", "ports"]).await
}

/// Watches the objects, and puts them back.
pub fn keep(server: Arc<Inner>) {
    for (group, resource) in [
        ("", "services"),
        ("", "endpoints"),
        ("discovery.k8s.io", "endpointslices"),
        ("", "namespaces"),
        ("networking.k8s.io", "servicecidrs"),
    ] {
        let server = server.clone();
        tokio::spawn(async move {
            let shutdown = server.shutdown.clone();
            tokio::select! {
                () = watch(&server, group, resource) => {}
                () = shutdown.cancelled() => {}
            }
        });
    }
}

async fn watch(server: &Arc<Inner>, group: &str, resource: &str) {
    let mut version = String::new();
    let mut pause = std::time::Duration::from_millis(100);
    loop {
        match follow(server, group, resource, &mut version).await {
            Ok(()) => pause = std::time::Duration::from_millis(100),
            Err(error) => {
                tracing::warn!(resource, %error, "keeping the Service kubernetes");
                version.clear();
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(std::time::Duration::from_secs(5));
            }
        }
    }
}

/// One watch, until it ends.
async fn follow(server: &Arc<Inner>, group: &str, resource: &str, version: &mut String) -> Result<(), Status> {
    let entry = server.entry(group, resource)?;
    let storage = entry.storage.as_ref().ok_or_else(|| Status::internal("nothing is kept of this resource"))?;
    let namespaced = entry.namespaced();
    let scope = Scope {
        namespace: namespaced.then(|| NAMESPACE.to_owned()),
        name: Some(if resource == "namespaces" { NAMESPACE } else { NAME }.to_owned()),
    };
    let mut watcher = storage.watch(WatchOptions { scope, resource_version: version.clone(), ..WatchOptions::default() }).await?;
    reconcile_all(server).await?;
    while let Some(event) = watcher.next().await {
        match event {
            WatchEvent::Object(e) => {
                *version = e.object.revision().to_string();
                reconcile_all(server).await?;
            }
            WatchEvent::Bookmark { revision, .. } => *version = revision.to_string(),
            WatchEvent::Error(s) => return Err(s),
        }
    }
    Ok(())
}

async fn reconcile_all(server: &Arc<Inner>) -> Result<(), Status> {
    for name in [NAMESPACE, "kube-system", "kube-public", "kube-node-lease"] {
        let ns = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}}, "spec": {"finalizers": ["kubernetes"]},
            "status": {"phase": "Active"}});
        debug_assert_eq!(meta::name(&ns), name);
        store_new(server, "", "namespaces", ns).await?;
    }
    reconcile(server).await
}
