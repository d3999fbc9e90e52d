//! Claims stay while a pod uses them, volumes while a claim does (pkg/controller/volume/{pvc,pv}protection).

use super::index_pods_by_claim;
use crate::core::error::ignore_not_found;
use crate::core::pod;
use crate::manager::forever;
use crate::{Context, Result, synced};
use client::{InformerEvent, ListOptions, Object, WorkQueue};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};

const CLAIM: &str = "kubernetes.io/pvc-protection";
const VOLUME: &str = "kubernetes.io/pv-protection";

/// Adds or removes a finalizer on a copy; `None` if it is right already.
pub(crate) fn with_finalizer<K: Object>(obj: &K, finalizer: &str, wanted: bool) -> Option<K> {
    let has = obj.meta().finalizers.iter().flatten().any(|f| f == finalizer);
    if has == wanted {
        return None;
    }
    let mut new = obj.clone();
    let list = k8s_openapi::Metadata::metadata_mut(&mut new).finalizers.get_or_insert_default();
    if wanted {
        list.push(finalizer.to_owned())
    } else {
        list.retain(|f| f != finalizer)
    }
    Some(new)
}

/// A pod that mounts the claim, or will.
fn uses(p: &Pod, claim: &str) -> bool {
    !pod::is_terminal(p) && !pod::node_name(p).is_empty() && pod::claim_names(p).iter().any(|c| c == claim)
}

pub async fn run_claims(ctx: Context) {
    let claims = ctx.informers.of::<PersistentVolumeClaim>();
    let pods = ctx.informers.of::<Pod>();
    index_pods_by_claim(&pods);
    let queue = WorkQueue::new();
    let q = queue.clone();
    claims.add_handler(move |e| {
        if let InformerEvent::Added(c) | InformerEvent::Updated { new: c, .. } = e {
            q.add(c.key());
        }
    });
    let q = queue.clone();
    pods.add_handler(move |e| {
        let p = match e {
            InformerEvent::Deleted(p) => p,
            InformerEvent::Updated { old, new } if pod::is_terminal(new) && !pod::is_terminal(old) => new,
            _ => return,
        };
        for c in pod::claim_names(p) {
            q.add(client::key_of(p.namespace(), &c));
        }
    });
    synced!(claims, pods);
    forever(queue.run("pvc-protection", 1, move |key: String| {
        let (ctx, claims, pods) = (ctx.clone(), claims.clone(), pods.clone());
        async move {
            let Some(c) = claims.get_key(&key) else { return Result::Ok(()) };
            if c.is_terminating() {
                if pods.by_index("claim", &key).iter().any(|p| uses(p, c.name())) {
                    return Ok(());
                }
                // The cache may lag behind a pod scheduled just now.
                let live = ctx.client.list::<Pod>(c.namespace(), &ListOptions::default()).await?;
                if live.items.iter().any(|p| uses(p, c.name())) {
                    return Ok(());
                }
            }
            if let Some(new) = with_finalizer(&*c, CLAIM, !c.is_terminating()) {
                ignore_not_found(ctx.client.update(&new).await)?;
            }
            Ok(())
        }
    }))
    .await;
}

pub async fn run_volumes(ctx: Context) {
    let volumes = ctx.informers.of::<PersistentVolume>();
    let queue = WorkQueue::new();
    let q = queue.clone();
    volumes.add_handler(move |e| {
        if let InformerEvent::Added(v) | InformerEvent::Updated { new: v, .. } = e {
            q.add(v.name().to_owned());
        }
    });
    synced!(volumes);
    forever(queue.run("pv-protection", 1, move |name: String| {
        let (ctx, volumes) = (ctx.clone(), volumes.clone());
        async move {
            let Some(v) = volumes.get("", &name) else { return Result::Ok(()) };
            let bound = v.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Bound");
            if v.is_terminating() && bound {
                return Ok(());
            }
            if let Some(new) = with_finalizer(&*v, VOLUME, !v.is_terminating()) {
                ignore_not_found(ctx.client.update(&new).await)?;
            }
            Ok(())
        }
    }))
    .await;
}
