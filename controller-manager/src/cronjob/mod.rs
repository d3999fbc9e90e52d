//! CronJobs: Jobs by the clock (pkg/controller/cronjob).

mod history;
mod missed;
mod schedule;
mod sync;

use crate::core::claim::{self, CONTROLLER_INDEX};
use crate::core::error::unless_namespace_ends;
use crate::core::follow::resolve;
use crate::manager::forever;
use crate::{Context, synced};
use client::{Informer, InformerEvent, Object, Recorder, WorkQueue};
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, Job};
use std::sync::Arc;

struct Controller {
    ctx: Context,
    crons: Arc<Informer<CronJob>>,
    jobs: Arc<Informer<Job>>,
    queue: WorkQueue<String>,
    recorder: Recorder,
}

pub(crate) fn spec(c: &CronJob) -> &CronJobSpec {
    &c.spec
}

pub async fn run(ctx: Context) {
    let crons = ctx.informers.of::<CronJob>();
    let jobs = ctx.informers.of::<Job>();
    jobs.add_index(CONTROLLER_INDEX, claim::controller_index::<Job>);
    let queue = WorkQueue::new();
    let q = queue.clone();
    crons.add_handler(move |e| match e {
        InformerEvent::Added(c) | InformerEvent::Updated { new: c, .. } | InformerEvent::Deleted(c) => q.add(c.key()),
    });
    let (q, all) = (queue.clone(), crons.clone());
    jobs.add_handler(move |e| {
        let owner = |j: &Job| {
            if let Some(c) = j.controller().and_then(|r| resolve(&all, j.namespace(), r)) {
                q.add(c.key());
            }
        };
        match e {
            InformerEvent::Added(j) | InformerEvent::Deleted(j) => owner(j),
            InformerEvent::Updated { old, new } => {
                if old.controller() != new.controller() {
                    owner(old);
                }
                owner(new);
            }
        }
    });
    synced!(crons, jobs);
    let recorder = ctx.recorder("cronjob-controller");
    let workers = ctx.config.concurrent_syncs;
    let c = Arc::new(Controller { ctx, crons, jobs, queue: queue.clone(), recorder });
    forever(queue.run("cronjob", workers, move |key: String| {
        let c = c.clone();
        async move { unless_namespace_ends(c.sync(&key).await) }
    }))
    .await;
}
