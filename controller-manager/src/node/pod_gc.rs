//! Pods that nobody else will remove (pkg/controller/podgc): of nodes that are gone, never scheduled and being deleted, finished beyond
//! the threshold.

use super::{BY_NODE, index_pods_by_node, mark_disrupted};
use crate::core::error::ignore_not_found;
use crate::core::pod;
use crate::manager::forever;
use crate::{Context, Result, synced};
use client::{DeleteOptions, Informer, InformerEvent, Object, WorkQueue};
use k8s_openapi::api::core::v1::{Node, Pod};
use std::sync::Arc;
use std::time::Duration;

/// A node may be made anew under its name at once.
const QUARANTINE: Duration = Duration::from_secs(40);
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Node(String),
    Pod(String),
    Finished,
}

struct Controller {
    ctx: Context,
    nodes: Arc<Informer<Node>>,
    pods: Arc<Informer<Pod>>,
}

pub async fn run(ctx: Context) {
    let nodes = ctx.informers.of::<Node>();
    let pods = ctx.informers.of::<Pod>();
    index_pods_by_node(&pods);
    let queue = WorkQueue::new();
    let q = queue.clone();
    nodes.add_handler(move |e| match e {
        InformerEvent::Deleted(n) => q.add_after(Key::Node(n.name().to_owned()), QUARANTINE),
        InformerEvent::Updated { new, .. } if is_out_of_service(new) => q.add(Key::Node(new.name().to_owned())),
        _ => {}
    });
    let (q, known, threshold) = (queue.clone(), nodes.clone(), ctx.config.terminated_pod_gc_threshold);
    let finished = std::sync::atomic::AtomicUsize::new(0);
    pods.add_handler(move |e| {
        let (old, new) = match &e {
            InformerEvent::Added(p) => (None, Some(*p)),
            InformerEvent::Updated { old, new } => (Some(*old), Some(*new)),
            InformerEvent::Deleted(p) => (Some(*p), None),
        };
        let count = |p: Option<&Arc<Pod>>| usize::from(p.is_some_and(|p| pod::is_terminal(p)));
        let order = std::sync::atomic::Ordering::Relaxed;
        let all = finished.fetch_add(count(new), order) + count(new);
        let all = all.saturating_sub(count(old));
        finished.store(all, order);
        if threshold > 0 && all > threshold {
            q.add_after(Key::Finished, Duration::from_secs(1));
        }
        let Some(p) = new else { return };
        let node = pod::node_name(p);
        if node.is_empty() && p.is_terminating() {
            q.add(Key::Pod(p.key()));
        } else if !node.is_empty() && known.has_synced() && known.get("", node).is_none() {
            q.add_after(Key::Node(node.to_owned()), QUARANTINE);
        }
    });
    synced!(nodes, pods);
    for p in pods.list() {
        let node = pod::node_name(&p);
        if !node.is_empty() && nodes.get("", node).is_none() {
            queue.add_after(Key::Node(node.to_owned()), QUARANTINE);
        }
    }
    let c = Arc::new(Controller { ctx, nodes, pods });
    forever(queue.run("pod-garbage-collector", 1, move |key: Key| {
        let c = c.clone();
        async move { c.sync(key).await }
    }))
    .await;
}

/// Declared dead by its administrator: its pods may be removed though it does not answer.
fn is_out_of_service(n: &Node) -> bool {
    let ready = crate::core::node::condition(n, "Ready") == "True";
    !ready && crate::core::node::taints(n).iter().any(|t| t.key == OUT_OF_SERVICE)
}

impl Controller {
    async fn sync(&self, key: Key) -> Result {
        match key {
            Key::Pod(key) => match self.pods.get_key(&key) {
                Some(p) if p.is_terminating() && pod::node_name(&p).is_empty() => self.remove(&p, None).await,
                _ => Ok(()),
            },
            Key::Node(name) => self.sync_node(&name).await,
            Key::Finished => self.trim().await,
        }
    }

    async fn sync_node(&self, name: &str) -> Result {
        if let Some(n) = self.nodes.get("", name) {
            if is_out_of_service(&n) {
                for p in self.pods.by_index(BY_NODE, name).iter().filter(|p| pod::is_terminating(p)) {
                    self.remove(p, Some("PodGC: node is out of service")).await?;
                }
            }
            return Ok(());
        }
        // Only the server knows for sure.
        match self.ctx.client.get::<Node>("", name).await {
            Ok(_) => return Ok(()),
            Err(e) if e.is_not_found() => {}
            Err(e) => return Err(e.into()),
        }
        for p in self.pods.by_index(BY_NODE, name) {
            self.remove(&p, Some("PodGC: node no longer exists")).await?;
        }
        Ok(())
    }

    /// Oldest finished pods first, down to the threshold.
    async fn trim(&self) -> Result {
        let mut finished: Vec<Arc<Pod>> = self.pods.list();
        finished.retain(|p| pod::is_terminal(p) && !p.is_terminating());
        let excess = finished.len().saturating_sub(self.ctx.config.terminated_pod_gc_threshold);
        let created = |p: &Pod| p.metadata.creation_timestamp.as_ref().map(|t| t.0);
        finished.sort_by(|a, b| created(a).cmp(&created(b)).then_with(|| a.name().cmp(b.name())));
        for p in finished.iter().take(excess) {
            self.remove(p, None).await?;
        }
        Ok(())
    }

    async fn remove(&self, p: &Pod, why: Option<&str>) -> Result {
        if let Some(why) = why {
            mark_disrupted(&self.ctx.client, p, "DeletionByPodGC", why, self.ctx.clock.time(), true).await?;
        } else if !pod::is_terminal(p) {
            let patch =
                client::Patch::Strategic(serde_json::json!({"metadata": {"uid": p.uid()}, "status": {"phase": "Failed"}}));
            ignore_not_found(self.ctx.client.patch_status::<Pod>(p.namespace(), p.name(), &patch).await)?;
        }
        let options = DeleteOptions { grace_period_seconds: Some(0), uid: p.metadata.uid.clone(), ..Default::default() };
        Ok(ignore_not_found(self.ctx.client.delete::<Pod>(p.namespace(), p.name(), &options).await)?)
    }
}
