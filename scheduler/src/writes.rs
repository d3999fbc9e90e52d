//! What the scheduler writes to the API: bindings, the PodScheduled condition, nominations.

use crate::framework::PreBind;
use crate::pod::PodInfo;
use client::{Client, Clock, DeleteOptions, Patch};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

/// Prepares and writes a binding. The server sets PodScheduled to True with it.
pub async fn bind(client: &Client, pod: &PodInfo, node: &str, prepare: Vec<Box<dyn PreBind>>) -> Result<(), String> {
    for p in prepare {
        p.run(client.clone()).await?;
    }
    let (namespace, name) = (pod.namespace(), pod.name());
    let binding = json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": name, "namespace": namespace, "uid": &*pod.uid},
        "target": {"kind": "Node", "name": node},
    });
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/binding");
    client.post_path(&path, &binding).await.map(drop).map_err(|e| e.to_string())
}

/// The patch that says why a pod is not scheduled and where it is nominated to; `None` where the pod says so already.
/// `nominated`: `None` leaves the nomination alone, an empty name withdraws it.
pub fn not_scheduled(pod: &Pod, reason: &str, message: &str, nominated: Option<&str>, clock: Clock) -> Option<Patch> {
    let status = pod.status.as_ref();
    let old = status.and_then(|s| s.conditions.as_ref()).and_then(|c| c.iter().find(|c| c.type_ == "PodScheduled"));
    let same =
        old.is_some_and(|c| c.status == "False" && c.reason.as_deref() == Some(reason) && c.message.as_deref() == Some(message));
    let mut patch = serde_json::Map::new();
    if !same {
        let since = match old.filter(|c| c.status == "False").and_then(|c| c.last_transition_time.clone()) {
            Some(t) => t,
            None => clock.time(),
        };
        let mut condition = json!({
            "type": "PodScheduled",
            "status": "False",
            "reason": reason,
            "message": message,
            "lastProbeTime": null,
            "lastTransitionTime": since,
        });
        if let Some(generation) = pod.metadata.generation {
            condition["observedGeneration"] = generation.into();
        }
        patch.insert("conditions".into(), Value::Array(vec![condition]));
    }
    let before = status.and_then(|s| s.nominated_node_name.as_deref()).unwrap_or("");
    if let Some(node) = nominated.filter(|n| *n != before) {
        patch.insert("nominatedNodeName".into(), if node.is_empty() { Value::Null } else { node.into() });
    }
    (!patch.is_empty()).then(|| Patch::Strategic(json!({"metadata": {"uid": pod.metadata.uid}, "status": patch})))
}

/// Marks a pod as disrupted by the scheduler and deletes it. One that is gone is fine.
pub async fn evict(client: &Client, victim: &PodInfo, scheduler: &str, clock: Clock) -> client::Result<()> {
    let (namespace, name) = (victim.namespace(), victim.name());
    let mut condition = json!({
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "PreemptionByScheduler",
        "message": format!("{scheduler}: preempting to accommodate a higher priority pod"),
        "lastProbeTime": null,
        "lastTransitionTime": clock.time(),
    });
    if let Some(generation) = victim.pod.metadata.generation {
        condition["observedGeneration"] = generation.into();
    }
    let patch = Patch::Strategic(json!({"metadata": {"uid": &*victim.uid}, "status": {"conditions": [condition]}}));
    let gone_is_fine = |r: client::Result<()>| match r {
        Err(e) if e.is_not_found() => Ok(()),
        other => other,
    };
    gone_is_fine(client.patch_status::<Pod>(namespace, name, &patch).await.map(drop))?;
    let options = DeleteOptions { uid: Some(victim.uid.to_string()), ..Default::default() };
    gone_is_fine(client.delete::<Pod>(namespace, name, &options).await)
}

/// Clears `status.nominatedNodeName`.
pub async fn withdraw_nomination(client: &Client, pod: &PodInfo) {
    let patch = Patch::Strategic(json!({"metadata": {"uid": &*pod.uid}, "status": {"nominatedNodeName": null}}));
    if let Err(e) = client.patch_status::<Pod>(pod.namespace(), pod.name(), &patch).await {
        tracing::debug!(namespace = pod.namespace(), pod = pod.name(), error = %e, "nomination not withdrawn");
    }
}
