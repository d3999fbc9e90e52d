//! Eviction by NoExecute taints, after the time that tolerations grant (pkg/controller/tainteviction).

use super::{BY_NODE, index_pods_by_node, mark_disrupted};
use crate::core::error::ignore_not_found;
use crate::core::node;
use crate::core::pod;
use crate::manager::forever;
use crate::{Context, Result, synced};
use client::{DeleteOptions, EventType, Informer, InformerEvent, Object, Recorder, WorkQueue, reference_to};
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

struct Controller {
    ctx: Context,
    nodes: Arc<Informer<Node>>,
    pods: Arc<Informer<Pod>>,
    queue: WorkQueue<String>,
    /// Since when a pod's node has had taints that evict it in the end.
    since: Mutex<HashMap<String, Instant>>,
    recorder: Recorder,
}

fn evicting(n: &Node) -> Vec<Taint> {
    node::taints(n).iter().filter(|t| t.effect == "NoExecute").cloned().collect()
}

pub async fn run(ctx: Context) {
    let nodes = ctx.informers.of::<Node>();
    let pods = ctx.informers.of::<Pod>();
    index_pods_by_node(&pods);
    let queue = WorkQueue::new();
    let (q, all) = (queue.clone(), Arc::downgrade(&pods));
    nodes.add_handler(move |e| {
        let n = match e {
            InformerEvent::Added(n) if !evicting(n).is_empty() => n,
            InformerEvent::Updated { old, new } if evicting(old) != evicting(new) => new,
            _ => return,
        };
        all.upgrade().into_iter().flat_map(|p| p.by_index(BY_NODE, n.name())).for_each(|p| q.add(p.key()));
    });
    let q = queue.clone();
    pods.add_handler(move |e| match e {
        InformerEvent::Added(p) | InformerEvent::Deleted(p) => q.add(p.key()),
        InformerEvent::Updated { old, new } => {
            let tolerations = |p: &Pod| p.spec.as_ref().and_then(|s| s.tolerations.clone());
            if pod::node_name(old) != pod::node_name(new) || tolerations(old) != tolerations(new) {
                q.add(new.key());
            }
        }
    });
    synced!(nodes, pods);
    let recorder = ctx.recorder("taint-eviction-controller");
    let workers = ctx.config.concurrent_syncs;
    let c = Arc::new(Controller { ctx, nodes, pods, queue: queue.clone(), since: Mutex::default(), recorder });
    forever(queue.run("taint-eviction", workers, move |key: String| {
        let c = c.clone();
        async move { c.sync(&key).await }
    }))
    .await;
}

impl Controller {
    async fn sync(&self, key: &str) -> Result {
        let Some(p) = self.pods.get_key(key).filter(|p| !p.is_terminating() && !pod::is_terminal(p)) else {
            self.since.lock().remove(key);
            return Ok(());
        };
        let taints = self.nodes.get("", pod::node_name(&p)).map(|n| evicting(&n)).unwrap_or_default();
        let Some(grace) = grace(&p, &taints) else {
            // No taint, or tolerated for ever.
            if self.since.lock().remove(key).is_some() {
                let message = format!("Cancelling deletion of Pod {key}");
                self.recorder.event(&reference_to(&*p), EventType::Normal, "TaintManagerEviction", message);
            }
            return Ok(());
        };
        if !grace.is_zero() {
            let now = Instant::now();
            let due = *self.since.lock().entry(key.to_owned()).or_insert(now) + grace;
            if now < due {
                self.queue.add_after(key.to_owned(), due - now);
                return Ok(());
            }
        }
        let message = format!("Marking for deletion Pod {key}");
        self.recorder.event(&reference_to(&*p), EventType::Normal, "TaintManagerEviction", message);
        let why = "Taint manager: deleting due to NoExecute taint";
        mark_disrupted(&self.ctx.client, &p, "DeletionByTaintManager", why, self.ctx.clock.time(), false).await?;
        let options = DeleteOptions { uid: p.metadata.uid.clone(), ..Default::default() };
        ignore_not_found(self.ctx.client.delete::<Pod>(p.namespace(), p.name(), &options).await)?;
        self.since.lock().remove(key);
        Ok(())
    }
}

/// How long a pod may stay with these taints; `None` for ever.
fn grace(p: &Pod, taints: &[Taint]) -> Option<Duration> {
    let tolerations = p.spec.as_ref().and_then(|s| s.tolerations.as_deref()).unwrap_or_default();
    let mut least: Option<Duration> = None;
    for t in taints {
        let mut tolerating = tolerations.iter().filter(|tol| node::tolerates(tol, t)).peekable();
        if tolerating.peek().is_none() {
            return Some(Duration::ZERO);
        }
        for seconds in tolerating.filter_map(|t| t.toleration_seconds) {
            let d = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
            least = Some(least.map_or(d, |l| l.min(d)));
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn grace_by_tolerations() {
        let taints: Vec<Taint> =
            serde_json::from_value(json!([{"key": "a", "effect": "NoExecute"}, {"key": "b", "effect": "NoExecute"}]))
                .expect("taints");
        let both = json!([{"key": "a", "operator": "Exists", "tolerationSeconds": 300}, {"key": "b", "operator": "Exists", "tolerationSeconds": 10}]);
        for (name, tolerations, n, want) in [
            ("no taints", json!([]), 0, None),
            ("not tolerated", json!([{"key": "a", "operator": "Exists"}]), 2, Some(0)),
            ("tolerated for ever", json!([{"operator": "Exists"}]), 2, None),
            ("least of the times", both.clone(), 2, Some(10)),
            ("only taints that are there", both, 1, Some(300)),
        ] {
            let p = serde_json::from_value(json!({"metadata": {}, "spec": {"containers": [], "tolerations": tolerations}}))
                .expect("pod");
            assert_eq!(grace(&p, &taints[..n]), want.map(Duration::from_secs), "{name}");
        }
    }
}
