//! What a new cluster starts with, and what is put back when it goes missing: system namespaces, priority classes, default RBAC,
//! the `kubernetes` Service and its endpoints. Upstream: pkg/controlplane.

mod flow_control;
mod kubernetes_service;
mod policy;

use crate::registry::store_new;
use crate::server::Inner;
use machinery::{Status, Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Makes what must be there before the first client; then keeps the `kubernetes` Service for as long as the server runs.
pub async fn run(server: &Arc<Inner>) -> Result<(), Status> {
    for name in ["kube-system", "kube-public", "kube-node-lease", "default"] {
        let ns = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}}, "spec": {"finalizers": ["kubernetes"]},
            "status": {"phase": "Active"}});
        store_new(server, "", "namespaces", ns).await?;
    }
    for (name, value, what) in [
        ("system-node-critical", 2_000_001_000, "Used for system critical pods that must not be moved from their current node."),
        (
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
    ] {
        let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
            "value": value, "description": what, "preemptionPolicy": "PreemptLowerPriority"});
        store_new(server, "scheduling.k8s.io", "priorityclasses", class).await?;
    }
    policy::reconcile(server).await?;
    flow_control::reconcile(server).await?;
    authentication_config(server).await?;
    token_tracking(server).await?;
    kubernetes_service::reconcile(server).await?;
    server.health.bootstrapped.store(true, Ordering::Relaxed);
    kubernetes_service::keep(server.clone());
    Ok(())
}

/// Keeps the flow schemas' conditions true, and the mandatory objects there, for as long as the server runs.
pub fn keep_flow_control(server: Arc<Inner>) {
    tokio::spawn(async move {
        let shutdown = server.shutdown.clone();
        let work = async {
            loop {
                server.flow_control.changed.notified().await;
                let done = match flow_control::reconcile(&server).await {
                    Ok(()) => flow_control::conditions(&server).await,
                    Err(e) => Err(e),
                };
                if let Err(error) = done {
                    tracing::warn!(%error, "keeping flow schemas and priority levels");
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                    server.flow_control.changed.notify_one();
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = shutdown.cancelled() => {}
        }
    });
}

/// Since when the use of secret-based tokens is tracked; the controller that cleans up unused ones asks.
async fn token_tracking(server: &Arc<Inner>) -> Result<(), Status> {
    let today = crate::registry::metadata::now().split('T').next().unwrap_or("").to_owned();
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "kube-apiserver-legacy-service-account-token-tracking", "namespace": "kube-system"},
        "data": {"since": today}});
    store_new(server, "", "configmaps", map).await.map(|_| ())
}

/// How extension API servers verify clients that this server vouches for.
async fn authentication_config(server: &Arc<Inner>) -> Result<(), Status> {
    let config = &server.config;
    let mut data = machinery::Map::new();
    if let Ok(ca) = std::fs::read_to_string(config.file(&config.client_ca_file, "ca.crt")) {
        data.insert("client-ca-file".into(), ca.into());
    }
    if let Ok(ca) = std::fs::read_to_string(config.file(&config.requestheader_client_ca_file, "front-proxy-ca.crt")) {
        let names = Value::from(config.requestheader_allowed_names.clone()).to_string();
        data.insert("requestheader-client-ca-file".into(), ca.into());
        for (k, v) in [
            ("requestheader-allowed-names", names.as_str()),
            ("requestheader-extra-headers-prefix", r#"["X-Remote-Extra-"]"#),
            ("requestheader-group-headers", r#"["X-Remote-Group"]"#),
            ("requestheader-uid-headers", r#"["X-Remote-Uid"]"#),
            ("requestheader-username-headers", r#"["X-Remote-User"]"#),
        ] {
            data.insert(k.into(), v.into());
        }
    }
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"}, "data": data});
    put(server, "", "configmaps", map, &["data"]).await
}

/// Creates an object of the server's own, or sets the given top-level fields of the one there is.
pub(crate) async fn put(server: &Arc<Inner>, group: &str, resource: &str, obj: Value, fields: &[&str]) -> Result<(), Status> {
    use machinery::meta;
    if store_new(server, group, resource, obj.clone()).await? {
        return Ok(());
    }
    let entry = server.entry(group, resource)?;
    let storage = entry.storage.as_ref().ok_or_else(|| Status::internal("nothing is kept of this resource"))?;
    let (namespace, name) = (meta::namespace(&obj), meta::name(&obj));
    let result = storage
        .guaranteed_update(namespace, name, &storage::Preconditions::default(), false, |old| {
            let mut new = old.unwrap_or(Value::Null);
            for f in fields {
                if let Some(v) = obj.get(*f) {
                    new[*f] = v.clone();
                }
            }
            async move { Ok(storage::Update::from(new)) }
        })
        .await;
    match result {
        Ok(_) => Ok(()),
        // Deleted in between: the watch that called us sees that, too.
        Err(s) if s.is_not_found() => Ok(()),
        Err(s) => Err(s),
    }
}
