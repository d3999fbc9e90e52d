//! Nodes: their health, the taints that tell of it, eviction by taints, their pod address ranges, and pods that outlive them.

pub mod eviction;
pub mod ipam;
pub mod lifecycle;
pub mod pod_gc;
mod taints;

use crate::core::pod;
use client::{Client, Object, Patch};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

/// The index of pods by node name.
const BY_NODE: &str = "node";

fn index_pods_by_node(pods: &client::Informer<Pod>) {
    pods.add_index(BY_NODE, |p: &Pod| Some(pod::node_name(p).to_owned()).filter(|n| !n.is_empty()).into_iter().collect());
}

/// Notes on a pod why it is about to be deleted; with `fail`, that it will not run any more.
async fn mark_disrupted(client: &Client, p: &Pod, reason: &str, message: &str, now: Time, fail: bool) -> client::Result<()> {
    let condition =
        json!({"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message, "lastTransitionTime": now});
    let mut status = json!({"conditions": [condition]});
    if fail && !pod::is_terminal(p) {
        status["phase"] = "Failed".into();
    }
    let patch = Patch::Strategic(json!({"metadata": {"uid": p.uid()}, "status": status}));
    crate::core::error::ignore_not_found(client.patch_status::<Pod>(p.namespace(), p.name(), &patch).await)
}
