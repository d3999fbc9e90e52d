//! The node's heartbeat: its Lease in kube-node-lease, renewed every quarter of its duration.

use crate::context::Context;
use client::{Error, Object};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use std::sync::Arc;
use std::time::Duration;

const NAMESPACE: &str = "kube-node-lease";

/// Renews for ever.
pub async fn run(ctx: Arc<Context>) {
    let seconds = ctx.config.kubelet.node_lease_duration_seconds;
    let every = Duration::from_secs(u64::try_from(seconds).unwrap_or(40)) / 4;
    let mut held: Option<Lease> = None;
    loop {
        match renew(&ctx, held.take(), seconds).await {
            Ok(lease) => held = Some(lease),
            Err(e) => {
                tracing::warn!(error = %e, "node lease not renewed");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        }
        tokio::time::sleep(every).await;
    }
}

async fn renew(ctx: &Context, held: Option<Lease>, seconds: i32) -> Result<Lease, Error> {
    let name = &ctx.config.node_name;
    let lease = match held {
        Some(l) => Some(l),
        None => match ctx.client.get::<Lease>(NAMESPACE, name).await {
            Ok(l) => Some(l),
            Err(e) if e.is_not_found() => None,
            Err(e) => return Err(e),
        },
    };
    let spec = LeaseSpec {
        holder_identity: Some(name.clone()),
        lease_duration_seconds: Some(seconds),
        renew_time: Some(ctx.clock.micro_time()),
        ..Default::default()
    };
    match lease {
        Some(mut l) => {
            l.spec = Some(spec);
            if l.metadata.owner_references.as_ref().is_none_or(Vec::is_empty) {
                l.metadata.owner_references = owner(ctx);
            }
            ctx.client.update(&l).await
        }
        None => {
            let metadata = ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(NAMESPACE.into()),
                owner_references: owner(ctx),
                ..Default::default()
            };
            ctx.client.create(NAMESPACE, &Lease { metadata, spec: Some(spec) }).await
        }
    }
}

/// The node, once it is known: the lease goes with it.
fn owner(ctx: &Context) -> Option<Vec<OwnerReference>> {
    let node: Arc<Node> = ctx.node.get("", &ctx.config.node_name)?;
    Some(vec![OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: node.name().to_owned(),
        uid: node.uid().to_owned(),
        ..Default::default()
    }])
}
