//! Registration of the node, and keeping its status.

use super::machine::arch;
use super::status;
use crate::context::Context;
use client::{EventType, Object, Patch};
use k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

fn labels(ctx: &Context) -> BTreeMap<String, String> {
    let mut l = ctx.config.node_labels.clone();
    l.insert("kubernetes.io/hostname".into(), ctx.config.node_name.clone());
    for (key, value) in [("os", "linux"), ("arch", arch())] {
        l.insert(format!("kubernetes.io/{key}"), value.into());
        l.insert(format!("beta.kubernetes.io/{key}"), value.into());
    }
    l
}

/// Registers the node, with its first status, and keeps the status: on every `changed`, when something differs, and every five
/// minutes. The first Ready needs no round besides creation and one patch.
pub async fn run(ctx: Arc<Context>, changed: Arc<Notify>) {
    let mut delay = Duration::from_millis(100);
    let mut node = loop {
        match register(&ctx).await {
            Ok(n) => break n,
            Err(e) => {
                tracing::warn!(error = %e, "node not registered");
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(Duration::from_secs(7));
            }
        }
    };
    ctx.event(&ctx.node_reference(), EventType::Normal, "Starting", "Starting kubelet.");
    let mut reported = tokio::time::Instant::now();
    let mut first = true;
    loop {
        let mut old = node.status.clone().unwrap_or_default();
        if let Some(seen) = ctx.node.get("", &ctx.config.node_name).as_ref().and_then(|n| n.status.as_ref()) {
            status::adopt_extended(&mut old, seen);
        }
        let new = status::make(&ctx, &old).await;
        let due = reported.elapsed() >= ctx.config.kubelet.node_status_report_frequency;
        let ready = is_ready(&new);
        if first || due || differs(&old, &new) {
            match patch(&ctx, &old, &new).await {
                Ok(n) => {
                    if ready != is_ready(&old) || first {
                        let reason = if ready { "NodeReady" } else { "NodeNotReady" };
                        let message = format!("Node {} status is now: {reason}", ctx.config.node_name);
                        ctx.event(&ctx.node_reference(), EventType::Normal, reason, message);
                    }
                    node = n;
                    reported = tokio::time::Instant::now();
                    first = false;
                }
                Err(e) if e.is_not_found() => {
                    if let Ok(n) = register(&ctx).await {
                        node = n;
                        continue;
                    }
                }
                Err(e) => tracing::warn!(error = %e, "node status not written"),
            }
        }
        // A runtime or network that is not ready is asked again soon; else every ten seconds, as upstream.
        let wait = if ready && !first { Duration::from_secs(10) } else { Duration::from_millis(200) };
        let _ = tokio::time::timeout(wait, changed.notified()).await;
    }
}

fn is_ready(s: &NodeStatus) -> bool {
    s.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Whether two statuses differ in more than their heartbeats.
fn differs(a: &NodeStatus, b: &NodeStatus) -> bool {
    let strip = |s: &NodeStatus| {
        let mut s = s.clone();
        s.conditions.iter_mut().flatten().for_each(|c| c.last_heartbeat_time = None);
        s
    };
    strip(a) != strip(b)
}

/// The node as it will be once it is registered: what pods are checked against until then.
pub fn unregistered(ctx: &Context) -> Node {
    let metadata = ObjectMeta { name: Some(ctx.config.node_name.clone()), labels: Some(labels(ctx)), ..Default::default() };
    let taints = ctx.config.kubelet.register_with_taints.clone();
    Node { metadata, spec: Some(NodeSpec { taints: Some(taints), ..Default::default() }), status: None }
}

async fn register(ctx: &Context) -> client::Result<Node> {
    let name = &ctx.config.node_name;
    if !ctx.config.kubelet.register_node {
        return ctx.client.get("", name).await;
    }
    let taints = ctx.config.kubelet.register_with_taints.clone();
    let provider = ctx.config.kubelet.provider_id.clone();
    let annotations = BTreeMap::from([("volumes.kubernetes.io/controller-managed-attach-detach".to_owned(), "true".to_owned())]);
    let fresh = Node {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            labels: Some(labels(ctx)),
            annotations: ctx.config.kubelet.enable_controller_attach_detach.then_some(annotations),
            ..Default::default()
        },
        spec: Some(NodeSpec {
            taints: (!taints.is_empty()).then_some(taints),
            provider_id: (!provider.is_empty()).then_some(provider),
            ..Default::default()
        }),
        status: Some(status::make(ctx, &NodeStatus::default()).await),
    };
    match ctx.client.create("", &fresh).await {
        Err(e) if e.is_already_exists() => {}
        done => return done,
    }
    let node: Node = ctx.client.get("", name).await?;
    let missing = labels(ctx).into_iter().any(|(k, v)| node.label(&k) != Some(&v));
    if !missing {
        return Ok(node);
    }
    ctx.client.patch("", name, &Patch::Merge(json!({"metadata": {"labels": labels(ctx)}}))).await
}

/// Patches what the kubelet owns of the status.
async fn patch(ctx: &Context, old: &NodeStatus, new: &NodeStatus) -> client::Result<Node> {
    let (a, b) = (serde_json::to_value(old).unwrap_or_default(), serde_json::to_value(new).unwrap_or_default());
    let mut body = serde_json::Map::new();
    for key in ["capacity", "allocatable", "addresses", "daemonEndpoints", "nodeInfo", "images", "conditions"] {
        if a.get(key) != b.get(key) {
            let mut value = b.get(key).cloned().unwrap_or(Value::Null);
            if key == "addresses"
                && a.get(key).is_some()
                && let Some(list) = value.as_array_mut()
            {
                list.push(json!({"$patch": "replace"})); // addresses merge by type, of which there may be two
            }
            if matches!(key, "capacity" | "allocatable")
                && let (Some(had), Some(has)) = (a.get(key).and_then(Value::as_object), value.as_object_mut())
            {
                for gone in had.keys() {
                    has.entry(gone).or_insert(Value::Null);
                }
            }
            body.insert(key.to_owned(), value);
        }
    }
    let patch = Patch::Strategic(json!({"status": body}));
    ctx.client.patch_status("", &ctx.config.node_name, &patch).await
}
