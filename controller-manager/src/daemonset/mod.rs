//! DaemonSets: a pod on every node that fits (pkg/controller/daemon).

mod history;
mod manage;
mod placement;
mod rolling;
mod status;

use crate::core::claim::{self, Claim};
use crate::core::error::unless_namespace_ends;
use crate::core::expectations::Expectations;
use crate::core::follow::{Followed, PodOwner, with_revisions};
use crate::core::pod;
use crate::core::pod_control::PodControl;
use crate::core::selectors;
use crate::manager::forever;
use crate::{Context, Result, synced};
use client::{EventType, Informer, InformerEvent, Object, WorkQueue, reference_to};
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, DaemonSetSpec};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use machinery::labels::Selector;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

pub const HASH: &str = "controller-revision-hash";

struct Controller {
    ctx: Context,
    sets: Arc<Informer<DaemonSet>>,
    pods: Arc<Informer<Pod>>,
    nodes: Arc<Informer<Node>>,
    revisions: Arc<Informer<ControllerRevision>>,
    queue: WorkQueue<String>,
    expectations: Arc<Expectations>,
    control: PodControl,
    /// Failed pods deleted per set generation and node: how often, when last.
    failures: Mutex<HashMap<String, (u32, tokio::time::Instant)>>,
}

/// Pods by the node they run on or wait for; oldest first.
type ByNode = BTreeMap<String, Vec<Arc<Pod>>>;

impl PodOwner for DaemonSet {
    fn pod_selector(&self) -> Option<Selector> {
        selectors::from_label_selector(self.spec.as_ref().map(|s| &s.selector)).ok()
    }
}

pub(crate) fn spec(ds: &DaemonSet) -> &DaemonSetSpec {
    static NONE: std::sync::LazyLock<DaemonSetSpec> = std::sync::LazyLock::new(DaemonSetSpec::default);
    ds.spec.as_ref().unwrap_or(&NONE)
}
pub(crate) fn min_ready(ds: &DaemonSet) -> i32 {
    spec(ds).min_ready_seconds.unwrap_or(0)
}

pub async fn run(ctx: Context) {
    let Followed { owners: sets, pods, revisions, queue, expectations } = with_revisions::<DaemonSet>(&ctx);
    let nodes = ctx.informers.of::<Node>();
    let (q, all) = (queue.clone(), sets.clone());
    nodes.add_handler(move |e| {
        for ds in all.list() {
            let concerned = match &e {
                InformerEvent::Added(n) => placement::should_run(&ds, n).0,
                InformerEvent::Updated { old, new } => placement::should_run(&ds, old) != placement::should_run(&ds, new),
                InformerEvent::Deleted(_) => true,
            };
            if concerned {
                q.add(ds.key());
            }
        }
    });
    synced!(sets, pods, nodes, revisions);
    let control = PodControl::new(&ctx, &ctx.recorder("daemonset-controller"));
    let workers = ctx.config.concurrent_syncs.min(2);
    let c = Arc::new(Controller {
        ctx,
        sets,
        pods,
        nodes,
        revisions,
        queue: queue.clone(),
        expectations,
        control,
        failures: Mutex::default(),
    });
    forever(queue.run("daemonset", workers, move |key: String| {
        let c = c.clone();
        async move { unless_namespace_ends(c.sync(&key).await) }
    }))
    .await;
}

impl Controller {
    async fn sync(&self, key: &str) -> Result {
        let Some(ds) = self.sets.get_key(key) else {
            self.expectations.forget(key);
            return Ok(());
        };
        if spec(&ds).selector == LabelSelector::default() {
            let message = "This daemon set is selecting all pods. A non-empty selector is required.";
            self.control.recorder.event(&reference_to(&*ds), EventType::Warning, "SelectingAll", message);
            return Ok(());
        }
        let Some(selector) = ds.pod_selector().filter(|_| !ds.is_terminating()) else { return Ok(()) };
        let history = self.history(&ds, &selector).await?;
        let hash = history.hash.clone();
        if !self.expectations.satisfied(key) {
            return self.update_status(&ds, &selector, &hash, false).await;
        }
        let result = self.update(&ds, &selector, &hash, &history).await;
        let status = self.update_status(&ds, &selector, &hash, true).await;
        result.and(status)
    }

    async fn update(&self, ds: &Arc<DaemonSet>, selector: &Selector, hash: &str, history: &history::History) -> Result {
        let by_node = self.by_node(ds, selector, false).await?;
        self.manage(ds, &by_node, hash).await?;
        // A rollout goes on only once creations and deletions have been seen.
        if self.expectations.satisfied(&ds.key()) {
            let kind = spec(ds).update_strategy.as_ref().and_then(|u| u.type_.as_deref()).unwrap_or("RollingUpdate");
            if kind == "RollingUpdate" {
                let by_node = self.by_node(ds, selector, false).await?;
                self.roll(ds, by_node, hash).await?;
            }
        }
        self.cleanup_history(ds, selector, history).await
    }

    /// The set's pods by node.
    async fn by_node(&self, ds: &DaemonSet, selector: &Selector, include_deleted_terminal: bool) -> Result<ByNode> {
        let candidates = claim::candidates(&self.pods, ds);
        let owned = Claim::new(&self.ctx.client, ds, selector).run(candidates, |_| true).await?;
        let mut map = ByNode::new();
        for p in owned {
            if !include_deleted_terminal && pod::is_terminal(&p) && p.is_terminating() {
                continue;
            }
            if let Some(node) = placement::target_node(&p) {
                map.entry(node).or_default().push(p);
            }
        }
        for pods in map.values_mut() {
            let created = |p: &Pod| p.metadata.creation_timestamp.as_ref().map(|t| t.0);
            pods.sort_by(|a, b| {
                let unscheduled = |p: &Pod| pod::node_name(p).is_empty();
                unscheduled(a).cmp(&unscheduled(b)).then(created(a).cmp(&created(b))).then_with(|| a.name().cmp(b.name()))
            });
        }
        Ok(map)
    }
}
