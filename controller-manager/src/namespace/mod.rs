//! Namespaces on their way out: delete everything in them, then let them go (pkg/controller/namespace).

mod conditions;
mod content;

use crate::core::discovery::Discovery;
use crate::manager::forever;
use crate::{Context, Error, Result, synced};
use client::{InformerEvent, Object, WorkQueue};
use k8s_openapi::api::core::v1::{Namespace, NamespaceStatus, Pod};
use std::sync::Arc;
use std::time::Duration;

const FINALIZER: &str = "kubernetes";
/// API servers may not know at once that the namespace is closed and still let objects in. Upstream waits 5 s for servers that lag;
/// content is counted again before the namespace goes, so a shorter wait is enough.
const SETTLE: Duration = Duration::from_millis(500);

pub async fn run(ctx: Context) {
    let namespaces = ctx.informers.of::<Namespace>();
    let pods = ctx.informers.of::<Pod>();
    let queue = WorkQueue::new();
    let q = queue.clone();
    namespaces.add_handler(move |e| {
        if let InformerEvent::Added(n) | InformerEvent::Updated { new: n, .. } = e
            && n.is_terminating()
        {
            q.add_after(n.name().to_owned(), SETTLE);
        }
    });
    // Pods go when their containers have stopped: the last one's end is what a terminating namespace mostly waits for.
    let (q, p, n) = (queue.clone(), Arc::downgrade(&pods), namespaces.clone());
    pods.add_handler(move |e| {
        let InformerEvent::Deleted(pod) = e else { return };
        let last = p.upgrade().is_some_and(|p| p.list_namespace(pod.namespace()).is_empty());
        if last && n.get("", pod.namespace()).is_some_and(|n| n.is_terminating()) {
            q.add(pod.namespace().to_owned());
        }
    });
    synced!(namespaces, pods);
    let q = queue.clone();
    forever(queue.run("namespace", ctx.config.concurrent_syncs, move |name: String| {
        let (ctx, namespaces, q) = (ctx.clone(), namespaces.clone(), q.clone());
        async move {
            let Some(ns) = namespaces.get("", &name) else { return Result::Ok(()) };
            if !ns.is_terminating() {
                return Ok(());
            }
            match finalize_content(&ctx, &name).await? {
                0 => Ok(()),
                estimate => {
                    q.add_after(name, Duration::from_secs(estimate / 2 + 1));
                    Ok(())
                }
            }
        }
    }))
    .await;
}

/// One pass over a terminating namespace. Returns how many seconds its content may still need; 0 when it is done with.
async fn finalize_content(ctx: &Context, name: &str) -> Result<u64> {
    let mut ns = match ctx.client.get::<Namespace>("", name).await {
        Ok(ns) if ns.is_terminating() => ns,
        Ok(_) => return Ok(0),
        Err(e) if e.is_not_found() => return Ok(0),
        Err(e) => return Err(e.into()),
    };
    if ns.status.as_ref().and_then(|s| s.phase.as_deref()) != Some("Terminating") {
        ns.status = Some(NamespaceStatus { phase: Some("Terminating".into()), ..ns.status.unwrap_or_default() });
        ns = ctx.client.update_status(&ns).await?;
    }
    let has_finalizer =
        |ns: &Namespace| ns.spec.as_ref().and_then(|s| s.finalizers.as_ref()).is_some_and(|f| f.iter().any(|f| f == FINALIZER));
    if !has_finalizer(&ns) {
        return Ok(0);
    }
    let discovery = Discovery::read(&ctx.client).await;
    let outcome = content::delete_all(ctx, &ns, discovery).await;
    let mut status = ns.status.clone().unwrap_or_default();
    if conditions::update(&mut status, &outcome, ctx.clock.time()) {
        ns.status = Some(status);
        ns = match ctx.client.update_status(&ns).await {
            Ok(ns) => ns,
            Err(e) if e.is_not_found() => return Ok(0),
            Err(e) => return Err(e.into()),
        };
    }
    if let Some(e) = outcome.errors.first() {
        return Err(Error::other(format!("deletion of namespace {name} failed: {e}")));
    }
    if outcome.estimate > 0 || !outcome.remaining.is_empty() {
        return Ok(outcome.estimate.max(1));
    }
    if let Some(finalizers) = ns.spec.as_mut().and_then(|s| s.finalizers.as_mut()) {
        finalizers.retain(|f| f != FINALIZER);
    }
    match ctx.client.update_subresource(&ns, "finalize").await {
        Ok(_) => Ok(0),
        Err(e) if e.is_not_found() => Ok(0),
        Err(e) => Err(e.into()),
    }
}
