//! `pods/eviction`: a deletion that asks the pod's disruption budget first. Upstream: pkg/registry/core/pod/storage/eviction.go.

use crate::context::RequestCx;
use crate::http::body::{self, Body};
use crate::http::respond;
use crate::registry::options::{DeleteOptions, Kind, WriteOptions};
use crate::registry::{codec, delete, metadata};
use crate::resources::Entry;
use crate::server::Inner;
use http::{Response, StatusCode};
use machinery::{GroupVersionKind, Status, Value, json, labels, meta};
use std::sync::Arc;
use storage::{ListOptions, Preconditions, Scope, Update};

/// Pods whose disruption the budget's controller has not seen yet; more mean that it has fallen behind.
const MAX_DISRUPTED: usize = 2000;

pub async fn serve(server: &Arc<Inner>, cx: &RequestCx, pods: &Entry, request_body: Body) -> Result<Response<Body>, Status> {
    let accept = cx.accept_plain()?;
    let opts = WriteOptions::parse(cx, Kind::Create)?;
    let bytes = body::read(request_body).await?;
    let mut eviction = codec::decode(cx, &bytes, &GroupVersionKind::new("policy", "v1", "Eviction"), opts.validation)?;
    metadata::ensure_namespace(&mut eviction, true, &cx.info.namespace)?;
    let name = cx.info.path_name();
    if meta::name(&eviction) != name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    super::admit(server, cx, pods, &opts, &mut eviction).await?;
    let mut given = eviction.get("deleteOptions").cloned().unwrap_or_else(|| json!({}));
    if let Some(o) = given.as_object_mut() {
        o.remove("kind");
        if opts.dry_run {
            o.insert("dryRun".into(), json!(["All"]));
        }
    }
    let mut options = DeleteOptions::parse(&cx.query, &given)?;
    let pod = super::current(cx, pods).await?;
    let phase = meta::str_at(&pod, &["status", "phase"]);
    let finished = matches!(phase, "Succeeded" | "Failed") || meta::deletion_timestamp(&pod).is_some();
    if !finished && phase != "Pending" {
        let pin = spend_budget(server, cx, &pod, options.dry_run).await?;
        if pin && options.resource_version.is_none() {
            options.resource_version = Some(meta::resource_version(&pod).to_owned());
        }
    } else if phase == "Pending" && options.resource_version.is_none() {
        // It may start running meanwhile, and then the budget counts.
        options.resource_version = Some(meta::resource_version(&pod).to_owned());
    }
    if !options.dry_run {
        mark(cx, pods, &mut options).await?;
    }
    delete::delete_one(server, cx, pods, &cx.info.namespace, name, &options).await?;
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(respond::object(StatusCode::CREATED, accept, &status))
}

/// The condition that tells why the pod went.
async fn mark(cx: &RequestCx, pods: &Entry, options: &mut DeleteOptions) -> Result<(), Status> {
    let storage = pods.storage.as_ref().ok_or_else(|| Status::internal("pods are not kept"))?;
    let preconditions = Preconditions { uid: options.uid.clone(), resource_version: options.resource_version.clone() };
    let marked = storage
        .guaranteed_update(&cx.info.namespace, cx.info.path_name(), &preconditions, false, |old| async move {
            let mut pod = old.unwrap_or(Value::Null);
            super::set_condition(
                &mut pod,
                json!({"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
                    "message": "Eviction API: evicting", "lastProbeTime": null, "lastTransitionTime": metadata::now()}),
            );
            Ok(Update::from(pod))
        })
        .await?;
    if options.resource_version.is_some() {
        options.resource_version = Some(marked.revision().to_string());
    }
    Ok(())
}

fn ready(pod: &Value) -> bool {
    meta::list_at(pod, &["status", "conditions"]).iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// Takes one disruption from the pod's budget, if it has one. True: the pod must still be as it is now when it is deleted.
async fn spend_budget(server: &Arc<Inner>, cx: &RequestCx, pod: &Value, dry_run: bool) -> Result<bool, Status> {
    let entry = server.entry("policy", "poddisruptionbudgets")?;
    let storage = entry.storage.as_ref().ok_or_else(|| Status::internal("budgets are not kept"))?;
    let scope = Scope { namespace: Some(cx.info.namespace.clone()), name: None };
    let all = storage.list(ListOptions { scope, ..ListOptions::default() }).await?;
    let pod_labels = meta::labels(pod);
    let mut budgets: Vec<Value> = all.items.iter().map(|o| o.value()).collect();
    budgets.retain(|b| labels::Selector::from_label_selector(b.pointer("/spec/selector")).is_ok_and(|s| s.matches(pod_labels)));
    let budget = match budgets.as_slice() {
        [] => return Ok(false),
        [one] => one,
        _ => {
            return Err(Status::new(
                500,
                "",
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ));
        }
    };
    if !ready(pod) {
        let n = |f: &str| meta::i64_at(budget, &["status", f]).unwrap_or(0);
        let always = meta::str_at(budget, &["spec", "unhealthyPodEvictionPolicy"]) == "AlwaysAllow";
        if always || n("currentHealthy") >= n("desiredHealthy") && n("desiredHealthy") > 0 {
            return Ok(true);
        }
    }
    let pod_name = meta::name(pod);
    if dry_run {
        return decrement(budget.clone(), pod_name).map(|_| false);
    }
    storage
        .guaranteed_update(&cx.info.namespace, meta::name(budget), &Preconditions::default(), false, |old| async move {
            decrement(old.unwrap_or(Value::Null), pod_name).map(Update::from)
        })
        .await?;
    Ok(false)
}

fn refused(cause: String) -> Status {
    let mut s = Status::too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.", 0);
    s.details.remove("retryAfterSeconds");
    s.details.insert("causes".into(), json!([{"reason": "DisruptionBudget", "message": cause}]));
    s
}

/// Upstream's checkAndDecrement.
fn decrement(mut pdb: Value, pod: &str) -> Result<Value, Status> {
    let name = meta::name(&pdb).to_owned();
    let n = |v: &Value, f: &str| meta::i64_at(v, &["status", f]).unwrap_or(0);
    if n(&pdb, "observedGeneration") < meta::i64_at(&pdb, &["metadata", "generation"]).unwrap_or(0) {
        let mut s = refused(format!("The disruption budget {name} is still being processed by the server."));
        s.details.insert("retryAfterSeconds".into(), 10.into());
        return Err(s);
    }
    let gr = machinery::GroupResource::new("policy", "poddisruptionbudgets");
    let allowed = n(&pdb, "disruptionsAllowed");
    if allowed < 0 {
        return Err(Status::forbidden(&gr, &name, "pdb disruptions allowed is negative"));
    }
    if meta::map_at(&pdb, &["status", "disruptedPods"]).len() > MAX_DISRUPTED {
        return Err(Status::forbidden(
            &gr,
            &name,
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
        ));
    }
    if allowed == 0 {
        let reason = meta::list_at(&pdb, &["status", "conditions"])
            .iter()
            .find(|c| c["type"] == "DisruptionAllowed" && c["status"] == "False" && c["reason"] == "SyncFailed")
            .map(|c| {
                format!(
                    "The disruption budget {name} does not allow evicting pods currently because it failed sync: {}",
                    c["message"].as_str().unwrap_or("")
                )
            });
        return Err(refused(reason.unwrap_or_else(|| {
            format!(
                "The disruption budget {name} needs {} healthy pods and has {} currently",
                n(&pdb, "desiredHealthy"),
                n(&pdb, "currentHealthy")
            )
        })));
    }
    let left = allowed - 1;
    meta::set(&mut pdb, &["status", "disruptionsAllowed"], left.into());
    if left == 0 {
        super::set_condition(
            &mut pdb,
            json!({"type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods", "message": "",
                "lastTransitionTime": metadata::now()}),
        );
    }
    meta::entry(&mut pdb, &["status", "disruptedPods"]).insert(pod.to_owned(), metadata::now().into());
    Ok(pdb)
}
