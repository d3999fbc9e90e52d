//! StatefulSets: pods with names, order and storage of their own (pkg/controller/statefulset).

mod claims;
mod identity;
mod revisions;
mod status;
mod update;

use crate::core::claim::{self, Claim};
use crate::core::error::unless_namespace_ends;
use crate::core::follow::{Followed, PodOwner, with_revisions};
use crate::core::{pod, selectors};
use crate::manager::forever;
use crate::{Context, Result, synced};
use client::{EventType, Informer, InformerEvent, Object, Recorder, WorkQueue, reference_to};
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet, StatefulSetSpec};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use machinery::labels::Selector;
use std::sync::Arc;
use std::time::Duration;

struct Controller {
    ctx: Context,
    sets: Arc<Informer<StatefulSet>>,
    pods: Arc<Informer<Pod>>,
    claims: Arc<Informer<PersistentVolumeClaim>>,
    revisions: Arc<Informer<ControllerRevision>>,
    queue: WorkQueue<String>,
    recorder: Recorder,
}

impl PodOwner for StatefulSet {
    fn pod_selector(&self) -> Option<Selector> {
        selectors::from_label_selector(self.spec.as_ref().map(|s| &s.selector)).ok()
    }
}

pub(crate) fn spec(s: &StatefulSet) -> &StatefulSetSpec {
    static NONE: std::sync::LazyLock<StatefulSetSpec> = std::sync::LazyLock::new(StatefulSetSpec::default);
    s.spec.as_ref().unwrap_or(&NONE)
}
pub(crate) fn replicas(s: &StatefulSet) -> i32 {
    spec(s).replicas.unwrap_or(1)
}
pub(crate) fn min_ready(s: &StatefulSet) -> i32 {
    spec(s).min_ready_seconds.unwrap_or(0)
}

pub async fn run(ctx: Context) {
    let Followed { owners: sets, pods, revisions, queue, .. } = with_revisions::<StatefulSet>(&ctx);
    let claims = ctx.informers.of::<PersistentVolumeClaim>();
    // A claim that is gone at last lets its pod be made.
    let (q, all) = (queue.clone(), sets.clone());
    claims.add_handler(move |e| {
        let InformerEvent::Deleted(c) = e else { return };
        for s in all.list_namespace(c.namespace()) {
            if claims::could_be_of(&s, c.name()) {
                q.add(s.key());
            }
        }
    });
    synced!(sets, pods, claims, revisions);
    let recorder = ctx.recorder("statefulset-controller");
    let workers = ctx.config.concurrent_syncs;
    let c = Arc::new(Controller { ctx, sets, pods, claims, revisions, queue: queue.clone(), recorder });
    forever(queue.run("statefulset", workers, move |key: String| {
        let c = c.clone();
        async move { unless_namespace_ends(c.sync(&key).await) }
    }))
    .await;
}

impl Controller {
    async fn sync(&self, key: &str) -> Result {
        let Some(set) = self.sets.get_key(key) else { return Ok(()) };
        let Some(selector) = set.pod_selector() else { return Ok(()) };
        let revisions = crate::core::history::list(&self.ctx, &self.revisions, &*set, &selector).await?;
        let candidates = claim::candidates(&self.pods, &*set);
        let pods = Claim::new(&self.ctx.client, &*set, &selector).run(candidates, |p: &Pod| identity::is_member(&set, p)).await?;
        let status = self.update(&set, pods.clone(), revisions).await?;
        let seconds = min_ready(&set);
        if seconds > 0 && status.available_replicas.unwrap_or(0) != status.ready_replicas.unwrap_or(0) {
            let next = pod::next_available(pods.iter().map(|p| &**p), seconds, self.ctx.now());
            let fallback = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
            self.queue.add_after(key.to_owned(), next.unwrap_or(fallback));
        }
        Ok(())
    }

    /// The event of an operation on a pod.
    fn record<T>(&self, set: &StatefulSet, verb: &str, pod: &str, result: &Result<T>) {
        let what = format!("{verb} Pod {pod} in StatefulSet {}", set.name());
        let (kind, reason, message) = match result {
            Ok(_) => (EventType::Normal, format!("Successful{verb}"), format!("{what} successful")),
            Err(e) => (EventType::Warning, format!("Failed{verb}"), format!("{what} failed error: {e}")),
        };
        self.recorder.event(&reference_to(set), kind, &reason, message);
    }
}
