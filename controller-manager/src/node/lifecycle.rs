//! Node health (pkg/controller/nodelifecycle): a node that stops renewing its lease and posting its status becomes Unknown, its pods
//! not ready, and taints say so. Instead of looking at every node every five seconds, each node has a timer that its heartbeats push on.

use super::{BY_NODE, index_pods_by_node, taints};
use crate::core::node::condition;
use crate::core::pod;
use crate::manager::forever;
use crate::{Context, Result, synced};
use client::{EventType, Informer, InformerEvent, ListOptions, Object, Patch, Recorder, WorkQueue, reference_to};
use jiff::SignedDuration;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition, ObjectReference, Pod};
use parking_lot::Mutex;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

struct Controller {
    ctx: Context,
    nodes: Arc<Informer<Node>>,
    pods: Arc<Informer<Pod>>,
    queue: WorkQueue<String>,
    /// The last sign of life of each node.
    seen: Arc<Mutex<HashMap<String, Instant>>>,
    /// When the last node was given an evicting taint.
    last_eviction: Mutex<Option<Instant>>,
    recorder: Recorder,
}

/// Events about nodes have the node's name for a UID, as upstream's do.
fn about(name: &str) -> ObjectReference {
    ObjectReference {
        kind: Some("Node".into()),
        name: Some(name.to_owned()),
        uid: Some(name.to_owned()),
        api_version: Some("v1".into()),
        ..Default::default()
    }
}

pub async fn run(ctx: Context) {
    let nodes = ctx.informers.of::<Node>();
    let leases = ctx.informers.with::<Lease>("kube-node-lease", ListOptions::default());
    let pods = ctx.informers.of::<Pod>();
    index_pods_by_node(&pods);
    let queue = WorkQueue::new();
    let recorder = ctx.recorder("node-controller");
    let seen: Arc<Mutex<HashMap<String, Instant>>> = Arc::default();
    let (q, s, r) = (queue.clone(), seen.clone(), recorder.clone());
    nodes.add_handler(move |e| {
        let name = match e {
            InformerEvent::Added(n) => {
                s.lock().insert(n.name().to_owned(), Instant::now());
                let m = format!("Node {0} event: Registered Node {0} in Controller", n.name());
                r.event(&about(n.name()), EventType::Normal, "RegisteredNode", m);
                n.name()
            }
            InformerEvent::Updated { old, new } => {
                // Our own writes (Unknown) are no sign of life.
                if old.status != new.status && condition(new, "Ready") != "Unknown" {
                    s.lock().insert(new.name().to_owned(), Instant::now());
                }
                new.name()
            }
            InformerEvent::Deleted(n) => {
                s.lock().remove(n.name());
                let m = format!("Node {0} event: Removing Node {0} from Controller", n.name());
                r.event(&about(n.name()), EventType::Normal, "RemovingNode", m);
                n.name()
            }
        };
        q.add(name.to_owned());
    });
    let s = seen.clone();
    leases.add_handler(move |e| {
        let InformerEvent::Updated { old, new } = e else { return };
        let renewed = |l: &Lease| l.spec.as_ref().and_then(|s| s.renew_time.clone());
        if renewed(old) != renewed(new) {
            s.lock().insert(new.name().to_owned(), Instant::now());
        }
    });
    synced!(nodes, leases, pods);
    let c = Arc::new(Controller { ctx, nodes, pods, queue: queue.clone(), seen, last_eviction: Mutex::new(None), recorder });
    forever(queue.run("node-lifecycle", 4, move |name: String| {
        let c = c.clone();
        async move { c.sync(&name).await }
    }))
    .await;
}

impl Controller {
    async fn sync(&self, name: &str) -> Result {
        let Some(cached) = self.nodes.get("", name) else { return Ok(()) };
        let mut node = Node::clone(&cached);
        let (deadline, reason, message) = self.deadline(&node);
        let now = Instant::now();
        if now < deadline {
            self.queue.add_after(name.to_owned(), deadline - now);
        } else if condition(&node, "Ready") != "Unknown" {
            node = self.mark_unknown(node, reason, message).await?;
        }
        if !matches!(condition(&node, "Ready"), "True" | "") {
            self.mark_pods(&node).await?;
        }
        self.taint(&node).await
    }

    /// When the node counts as silent, and what is said of it then.
    fn deadline(&self, node: &Node) -> (Instant, &'static str, &'static str) {
        let seen = self.seen.lock().get(node.name()).copied().unwrap_or_else(Instant::now);
        if condition(node, "Ready").is_empty() {
            let created = node.metadata.creation_timestamp.as_ref().map_or(self.ctx.now(), |t| t.0);
            let grace = SignedDuration::try_from(self.ctx.config.node_startup_grace_period).unwrap_or(SignedDuration::ZERO);
            let left = grace - self.ctx.now().duration_since(created);
            let at = Instant::now() + Duration::try_from(left).unwrap_or(Duration::ZERO);
            return (at, "NodeStatusNeverUpdated", "Kubelet never posted node status.");
        }
        (seen + self.ctx.config.node_monitor_grace_period, "NodeStatusUnknown", "Kubelet stopped posting node status.")
    }

    async fn mark_unknown(&self, mut node: Node, reason: &str, message: &str) -> Result<Node> {
        let was_ready = condition(&node, "Ready") == "True";
        let now = self.ctx.clock.time();
        let created = node.metadata.creation_timestamp.clone();
        let conditions = node.status.get_or_insert_default().conditions.get_or_insert_default();
        for kind in ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"] {
            match conditions.iter_mut().find(|c| c.type_ == kind) {
                Some(c) if c.status == "Unknown" => {}
                Some(c) => {
                    c.status = "Unknown".into();
                    c.reason = Some(reason.to_owned());
                    c.message = Some(message.to_owned());
                    c.last_transition_time = Some(now.clone());
                }
                None => conditions.push(NodeCondition {
                    type_: kind.into(),
                    status: "Unknown".into(),
                    reason: Some("NodeStatusNeverUpdated".into()),
                    message: Some("Kubelet never posted node status.".into()),
                    last_heartbeat_time: created.clone(),
                    last_transition_time: Some(now.clone()),
                }),
            }
        }
        let node = self.ctx.client.update_status(&node).await?;
        if was_ready {
            let m = format!("Node {} status is now: NodeNotReady", node.name());
            self.recorder.event(&about(node.name()), EventType::Normal, "NodeNotReady", m);
        }
        Ok(node)
    }

    /// Pods of a node that is not ready are not ready either.
    async fn mark_pods(&self, node: &Node) -> Result {
        for p in self.pods.by_index(BY_NODE, node.name()) {
            if !pod::is_ready(&p) {
                continue;
            }
            let c = json!({"type": "Ready", "status": "False", "lastTransitionTime": self.ctx.clock.time()});
            let patch = Patch::Strategic(json!({"metadata": {"uid": p.uid()}, "status": {"conditions": [c]}}));
            match self.ctx.client.patch_status::<Pod>(p.namespace(), p.name(), &patch).await {
                Ok(_) => {
                    self.recorder.event(&reference_to(&*p), EventType::Warning, "NodeNotReady", "Node is not ready");
                }
                Err(e) if e.is_not_found() || e.is_conflict() => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Where no node is ready, it is the controller that is cut off: nothing is evicted.
    fn all_silent(&self) -> bool {
        self.nodes.list().iter().all(|n| condition(n, "Ready") != "True")
    }

    async fn taint(&self, node: &Node) -> Result {
        let mut evict = taints::evicting(node).is_some() && !self.all_silent();
        let tainted = taints::evicting(node)
            .is_some_and(|key| crate::core::node::taints(node).iter().any(|t| t.key == key && t.effect == "NoExecute"));
        if evict && !tainted {
            // `--node-eviction-rate`: one node at a time.
            let gap = Duration::from_secs_f32(1.0 / self.ctx.config.node_eviction_rate.max(0.001));
            let mut last = self.last_eviction.lock();
            match last.map(|t| t.elapsed()).filter(|e| *e < gap) {
                Some(e) => {
                    evict = false;
                    self.queue.add_after(node.name().to_owned(), gap - e);
                }
                None => *last = Some(Instant::now()),
            }
        }
        let Some(wanted) = taints::wanted(node, evict, &self.ctx.clock.time()) else { return Ok(()) };
        let spec = json!({"taints": if wanted.is_empty() { json!(null) } else { json!(wanted) }});
        let patch = Patch::Merge(json!({"metadata": {"resourceVersion": node.resource_version()}, "spec": spec}));
        match self.ctx.client.patch::<Node>("", node.name(), &patch).await {
            Err(e) if !e.is_not_found() => return Err(e.into()),
            _ => {}
        }
        if evict {
            return Ok(());
        }
        // The first node back ends a full disruption for the others.
        if condition(node, "Ready") == "True" {
            self.nodes.list().iter().filter(|n| taints::evicting(n).is_some()).for_each(|n| self.queue.add(n.name().to_owned()));
        }
        Ok(())
    }
}
