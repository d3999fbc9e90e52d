//! Jobs: pods that run to completion, each counted exactly once (pkg/controller/job).
//!
//! A pod carries a finalizer until its outcome is in the Job's status; outcomes pass through `uncountedTerminatedPods`, so that neither
//! a crash nor a lagging cache counts one twice or not at all.

mod conditions;
mod indexes;
mod manage;
mod policy;
mod sync;
mod tracking;
pub mod ttl;

use crate::core::claim;
use crate::core::consistency::Written;
use crate::core::expectations::Expectations;
use crate::core::follow::{PodOwner, follow_owners, follow_pods, resolve};
use crate::core::pod_control::PodControl;
use crate::core::selectors;
use crate::manager::forever;
use crate::{Context, synced};
use client::{Informer, InformerEvent, Object, Patch, WorkQueue};
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::Pod;
use machinery::labels::Selector;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

pub const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
const CONTROLLER: &str = "kubernetes.io/job-controller";

struct Controller {
    ctx: Context,
    jobs: Arc<Informer<Job>>,
    pods: Arc<Informer<Pod>>,
    queue: WorkQueue<String>,
    expectations: Arc<Expectations>,
    control: PodControl,
    /// UIDs of pods whose finalizer was removed and whose informer does not show it yet.
    finalized: Arc<Mutex<HashSet<String>>>,
    /// UIDs of jobs whose final status was written.
    finished: Mutex<HashSet<String>>,
    backoff: Mutex<HashMap<String, manage::Backoff>>,
    /// Statuses that were written.
    written: Arc<Written>,
}

impl PodOwner for Job {
    fn pod_selector(&self) -> Option<Selector> {
        let s = self.spec.as_ref()?.selector.as_ref()?;
        selectors::from_label_selector(Some(s)).ok()
    }
}

pub(crate) fn spec(j: &Job) -> &JobSpec {
    static NONE: std::sync::LazyLock<JobSpec> = std::sync::LazyLock::new(JobSpec::default);
    j.spec.as_ref().unwrap_or(&NONE)
}
pub(crate) fn is_indexed(j: &Job) -> bool {
    spec(j).completion_mode.as_deref() == Some("Indexed")
}
pub(crate) fn is_suspended(j: &Job) -> bool {
    spec(j).suspend == Some(true)
}
pub(crate) fn is_managed_elsewhere(j: &Job) -> bool {
    spec(j).managed_by.as_deref().is_some_and(|m| m != CONTROLLER)
}
pub fn has_finalizer(p: &Pod) -> bool {
    p.metadata.finalizers.iter().flatten().any(|f| f == FINALIZER)
}
/// Complete or Failed.
pub fn is_finished(j: &Job) -> bool {
    conditions::get(j, "Complete").or(conditions::get(j, "Failed")).is_some()
}

pub async fn run(ctx: Context) {
    let jobs = ctx.informers.of::<Job>();
    let pods = ctx.informers.of::<Pod>();
    claim::index_pods(&pods);
    let queue = WorkQueue::new();
    let expectations = Arc::new(Expectations::default());
    let finalized: Arc<Mutex<HashSet<String>>> = Arc::default();
    follow_owners(&jobs, &queue, &expectations);
    let seen = finalized.clone();
    let orphans = WorkQueue::<String>::new();
    let (o, j) = (orphans.clone(), jobs.clone());
    pods.add_handler(move |e| match e {
        InformerEvent::Added(p) | InformerEvent::Updated { new: p, .. } => {
            if !has_finalizer(p) {
                seen.lock().remove(p.uid());
            } else if p.controller().is_none_or(|r| r.kind == "Job" && resolve(&j, p.namespace(), r).is_none()) {
                o.add(p.key());
            }
        }
        InformerEvent::Deleted(p) => drop(seen.lock().remove(p.uid())),
    });
    follow_pods(&pods, &jobs, &queue, &expectations);
    let written: Arc<Written> = Arc::default();
    let (o, p, w) = (orphans.clone(), Arc::downgrade(&pods), written.clone());
    jobs.add_handler(move |e| {
        let InformerEvent::Deleted(j) = e else { return };
        w.forget(j.uid());
        let all = p.upgrade().map(|p| p.by_index(claim::CONTROLLER_INDEX, j.uid())).unwrap_or_default();
        all.iter().filter(|p| has_finalizer(p)).for_each(|p| o.add(p.key()));
    });
    synced!(jobs, pods);
    let control = PodControl::new(&ctx, &ctx.recorder("job-controller"));
    let workers = ctx.config.concurrent_syncs;
    let c = Arc::new(Controller {
        ctx,
        jobs,
        pods,
        queue: queue.clone(),
        expectations,
        control,
        finalized,
        finished: Mutex::default(),
        backoff: Mutex::default(),
        written,
    });
    let s = c.clone();
    let mut tasks = queue.run("job", workers, move |key: String| {
        let c = s.clone();
        async move { c.sync(&key).await }
    });
    tasks.spawn(forever(orphans.run("job-orphan-pod", 1, move |key: String| {
        let c = c.clone();
        async move { c.free_orphan(&key).await }
    })));
    forever(tasks).await;
}

impl Controller {
    /// A pod whose Job is gone must not keep the finalizer.
    async fn free_orphan(&self, key: &str) -> crate::Result {
        let Some(p) = self.pods.get_key(key).filter(|p| has_finalizer(p)) else { return Ok(()) };
        let owner = p.controller();
        if owner.is_some_and(|r| r.kind != "Job" || resolve(&self.jobs, p.namespace(), r).is_some()) {
            return Ok(());
        }
        self.remove_finalizer(&p).await
    }

    async fn remove_finalizer(&self, p: &Pod) -> crate::Result {
        let patch = Patch::Strategic(
            serde_json::json!({"metadata": {"uid": p.uid(), "$deleteFromPrimitiveList/finalizers": [FINALIZER]}}),
        );
        match self.ctx.client.patch::<Pod>(p.namespace(), p.name(), &patch).await {
            Err(e) if !e.is_not_found() => Err(e.into()),
            _ => Ok(()),
        }
    }
}
