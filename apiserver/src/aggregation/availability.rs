//! Whether the servers behind APIServices answer: the condition `Available`. Checked when an APIService, its Service or endpoints
//! change, and (as upstream, since a network can fail without a change) every 30 seconds.
//! Upstream: kube-aggregator/pkg/controllers/status/remote.

use super::{Backend, GROUP, discovery};
use crate::registry::metadata;
use crate::server::Inner;
use futures::future::join_all;
use machinery::{Value, json, meta};
use std::sync::Arc;
use std::time::Duration;
use storage::{ListOptions, Preconditions, Scope, Update};

/// Between checks of a backend that answers.
const RESYNC: Duration = Duration::from_secs(30);
/// The first pause after a failed check; it doubles.
const FIRST_RETRY: Duration = Duration::from_millis(250);
/// An answer has this long.
const ANSWER: Duration = Duration::from_secs(5);

/// The condition's status, reason and message.
type Verdict = (&'static str, &'static str, String);

/// Checks all backends whenever there is reason to, until the server ends.
pub fn keep(server: Arc<Inner>) {
    let shutdown = server.shutdown.clone();
    tokio::spawn(async move {
        let work = async {
            let mut retry = FIRST_RETRY;
            loop {
                let backends = server.aggregation.all();
                let failing = join_all(backends.iter().map(|b| check(&server, b))).await.contains(&false);
                let pause = if failing { retry } else { RESYNC };
                retry = if failing { (retry * 2).min(RESYNC) } else { FIRST_RETRY };
                tokio::select! {
                    () = server.aggregation.changed.notified() => {}
                    () = tokio::time::sleep(pause), if !backends.is_empty() => {}
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = shutdown.cancelled() => {}
        }
    });
}

/// Checks one and writes what is found. False: it should be tried again soon.
async fn check(server: &Inner, backend: &Backend) -> bool {
    let verdict = judge(server, backend).await;
    let available = verdict.0 == "True";
    let retry = verdict.1 == "FailedDiscoveryCheck";
    if let Err(error) = write(server, &backend.name, &verdict).await {
        tracing::warn!(apiservice = backend.name, %error, "writing the availability");
        return false;
    }
    available || !retry
}

async fn judge(server: &Inner, backend: &Backend) -> Verdict {
    let (namespace, name, port) = (&backend.namespace, &backend.service, backend.port);
    let service = match server.get_object("", "services", namespace, name).await {
        Ok(s) => s,
        Err(s) if s.is_not_found() => {
            return ("False", "ServiceNotFound", format!("service/{name} in {namespace:?} is not present"));
        }
        Err(s) => {
            let why = format!("service/{name} in {namespace:?} cannot be checked due to: {s}");
            return ("Unknown", "ServiceAccessError", why);
        }
    };
    if meta::str_at(&service, &["spec", "type"]) == "ClusterIP" {
        let Some(chosen) = meta::list_at(&service, &["spec", "ports"]).iter().find(|p| p["port"] == port) else {
            let why = format!("service/{name} in {namespace:?} is not listening on port {port}");
            return ("False", "ServicePortError", why);
        };
        if let Err(v) = endpoints(server, namespace, name, meta::str_at(chosen, &["name"])).await {
            return v;
        }
    }
    let failed = |why: String| {
        let url = format!("https://{}{}", backend.peer.authority(), backend.root());
        ("False", "FailedDiscoveryCheck", format!("failing or missing response from {url}: {why}"))
    };
    match tokio::time::timeout(ANSWER, discovery::fetch(&server.outbound, backend)).await {
        Ok(Ok(resources)) => {
            server.aggregation.learned(&backend.name, resources);
            ("True", "Passed", "all checks passed".into())
        }
        Ok(Err(e)) => failed(e.to_string()),
        Err(_) => failed("context deadline exceeded".into()),
    }
}

async fn endpoints(server: &Inner, namespace: &str, service: &str, port_name: &str) -> Result<(), Verdict> {
    let unknown = |why: String| {
        ("Unknown", "EndpointsAccessError", format!("service/{service} in {namespace:?} cannot be checked due to: {why}"))
    };
    let entry = server.entry("discovery.k8s.io", "endpointslices").map_err(|s| unknown(s.message))?;
    let storage = entry.storage.as_ref().ok_or_else(|| unknown("endpoint slices are not kept".into()))?;
    let wanted = service.to_owned();
    let options = ListOptions {
        scope: Scope { namespace: Some(namespace.to_owned()), name: None },
        selector: Some(Arc::new(move |o| o.label("kubernetes.io/service-name") == Some(&wanted))),
        ..ListOptions::default()
    };
    let found = storage.list(options).await.map_err(|s| unknown(s.message))?.items;
    if found.is_empty() {
        let why = format!("cannot find endpointslices for service/{service} in {namespace:?}");
        return Err(("False", "EndpointsNotFound", why));
    }
    let ready = |e: &Value| meta::at(e, &["conditions", "ready"]).and_then(Value::as_bool).unwrap_or(true);
    let named = |p: &Value| meta::str_at(p, &["name"]) == port_name && p.get("port").is_some();
    let serves = |s: &Value| meta::list_at(s, &["endpoints"]).iter().any(ready) && meta::list_at(s, &["ports"]).iter().any(named);
    if found.iter().any(|o| serves(&o.value())) {
        return Ok(());
    }
    let why = format!("endpointslices for service/{service} in {namespace:?} have no addresses with port name {port_name:?}");
    Err(("False", "MissingEndpoints", why))
}

async fn write(server: &Inner, name: &str, (status, reason, message): &Verdict) -> Result<(), machinery::Status> {
    let entry = server.entry(GROUP, "apiservices")?;
    let Some(storage) = &entry.storage else { return Ok(()) };
    let same =
        |c: &Value| c["type"] == "Available" && c["status"] == *status && c["reason"] == *reason && c["message"] == **message;
    // Most checks find what the last one found.
    match storage.get("", name, "").await {
        Ok(o) if meta::list_at(&o.value(), &["status", "conditions"]).iter().any(same) => return Ok(()),
        Ok(_) => {}
        Err(s) if s.is_not_found() => return Ok(()),
        Err(s) => return Err(s),
    }
    let change = |old: Option<Value>| {
        let mut obj = old.unwrap_or(Value::Null);
        crate::subresources::set_condition(
            &mut obj,
            json!({"type": "Available", "status": status, "reason": reason, "message": message,
                "lastTransitionTime": metadata::now()}),
        );
        async move { Ok(Update::from(obj)) }
    };
    match storage.guaranteed_update("", name, &Preconditions::default(), false, change).await {
        Err(s) if !s.is_not_found() => Err(s),
        _ => Ok(()),
    }
}
