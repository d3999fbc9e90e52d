//! Mirror pods: what the API shows of static pods. They are made as soon as there is an API, come back when somebody deletes them, and
//! go with their pods (upstream pkg/kubelet/pod/mirror_client.go).

use super::manifest::CONFIG_HASH;
use super::name_of;
use crate::context::Context;
use crate::pod::spec::CONFIG_MIRROR;
use client::{DeleteOptions, Object};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use std::sync::Arc;
use std::time::Duration;

fn annotation<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

/// Whether the mirror shows this very pod.
pub fn is_mirror_of(mirror: &Pod, pod: &Pod) -> bool {
    annotation(mirror, CONFIG_MIRROR) == annotation(pod, CONFIG_HASH)
}

/// What the API is told of a static pod: NodeRestriction wants the node as its owner.
fn mirror(pod: &Pod, node: &Node) -> Pod {
    let m = &pod.metadata;
    let mut annotations = m.annotations.clone().unwrap_or_default();
    annotations.insert(CONFIG_MIRROR.into(), annotation(pod, CONFIG_HASH).unwrap_or("").into());
    let owner = OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: node.name().to_owned(),
        uid: node.uid().to_owned(),
        controller: Some(true),
        ..Default::default()
    };
    let metadata = ObjectMeta {
        name: m.name.clone(),
        namespace: m.namespace.clone(),
        labels: m.labels.clone(),
        annotations: Some(annotations),
        owner_references: Some(vec![owner]),
        ..Default::default()
    };
    Pod { metadata, spec: pod.spec.clone(), status: None }
}

/// Keeps the mirrors as the pods are, for as long as it is polled.
pub async fn run(ctx: Arc<Context>) {
    let mut retry = client::retry::Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    loop {
        if reconcile(&ctx).await {
            retry.reset();
            ctx.static_pods.changed.notified().await;
        } else {
            let _ = tokio::time::timeout(retry.step(), ctx.static_pods.changed.notified()).await;
        }
    }
}

/// One pass; false if something is left to do that nobody will tell of.
async fn reconcile(ctx: &Context) -> bool {
    let (shown, mirrors) = ctx.static_pods.snapshot();
    let mut done = true;
    for (name, m) in &mirrors {
        let stale = shown.get(name).is_none_or(|pod| m.metadata.deletion_timestamp.is_some() || !is_mirror_of(m, pod));
        if stale {
            done &= delete(ctx, m).await;
        }
    }
    for (name, pod) in &shown {
        // One that was just deleted is made again once the API has told of its end.
        if !mirrors.contains_key(name) {
            done &= create(ctx, pod).await;
        }
    }
    done
}

async fn delete(ctx: &Context, mirror: &Pod) -> bool {
    let (namespace, name) = name_of(mirror);
    let options = DeleteOptions { grace_period_seconds: Some(0), uid: Some(mirror.uid().to_owned()), ..Default::default() };
    match ctx.client.delete::<Pod>(&namespace, &name, &options).await {
        Ok(()) => true,
        Err(e) if e.is_not_found() || e.is_conflict() => true,
        Err(e) => {
            tracing::warn!(namespace, pod = name, error = %e, "mirror pod not deleted");
            false
        }
    }
}

async fn create(ctx: &Context, pod: &Pod) -> bool {
    let Ok(node) = ctx.client.get::<Node>("", &ctx.config.node_name).await else { return false };
    if node.metadata.deletion_timestamp.is_some() {
        return false;
    }
    let (namespace, name) = name_of(pod);
    match ctx.client.create(&namespace, &mirror(pod, &node)).await {
        Ok(made) => {
            ctx.static_pods.mirrored((namespace, name), Some(Arc::new(made)));
            true
        }
        Err(e) if e.is_already_exists() => false,
        Err(e) => {
            tracing::warn!(namespace, pod = name, error = %e, "mirror pod not created");
            false
        }
    }
}
