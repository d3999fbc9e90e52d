//! Finished Jobs go after `ttlSecondsAfterFinished` (pkg/controller/ttlafterfinished).

use super::{is_finished, spec};
use crate::manager::forever;
use crate::{Context, Result, synced};
use client::{DeleteOptions, InformerEvent, Object, WorkQueue};
use jiff::SignedDuration;
use k8s_openapi::api::batch::v1::Job;
use std::time::Duration;

pub async fn run(ctx: Context) {
    let jobs = ctx.informers.of::<Job>();
    let queue = WorkQueue::new();
    let q = queue.clone();
    jobs.add_handler(move |e| {
        if let InformerEvent::Added(j) | InformerEvent::Updated { new: j, .. } = e
            && left(j, jiff::Timestamp::MAX).is_some()
        {
            q.add(j.key());
        }
    });
    synced!(jobs);
    let q = queue.clone();
    forever(queue.run("ttl-after-finished", 1, move |key: String| {
        let (ctx, jobs, q) = (ctx.clone(), jobs.clone(), q.clone());
        async move {
            let Some(job) = jobs.get_key(&key) else { return Result::Ok(()) };
            match left(&job, ctx.now()) {
                None => return Ok(()),
                Some(wait) if !wait.is_zero() => {
                    q.add_after(key, wait);
                    return Ok(());
                }
                Some(_) => {}
            }
            // The cache may be old: the TTL may have been raised.
            let fresh: Job = match ctx.client.get(job.namespace(), job.name()).await {
                Ok(j) => j,
                Err(e) if e.is_not_found() => return Ok(()),
                Err(e) => return Err(e.into()),
            };
            if fresh.uid() != job.uid() || left(&fresh, ctx.now()).is_none_or(|w| !w.is_zero()) {
                return Ok(());
            }
            let options =
                DeleteOptions { propagation_policy: Some("Foreground"), uid: fresh.metadata.uid.clone(), ..Default::default() };
            crate::core::error::ignore_not_found(ctx.client.delete::<Job>(fresh.namespace(), fresh.name(), &options).await)?;
            Ok(())
        }
    }))
    .await;
}

/// How long a finished Job with a TTL still has; `None` if it has no end.
fn left(job: &Job, now: jiff::Timestamp) -> Option<Duration> {
    let ttl = spec(job).ttl_seconds_after_finished?;
    if !is_finished(job) || job.is_terminating() {
        return None;
    }
    let finished = job
        .status
        .as_ref()?
        .conditions
        .as_ref()?
        .iter()
        .find(|c| (c.type_ == "Complete" || c.type_ == "Failed") && c.status == "True")?;
    let at = finished.last_transition_time.as_ref()?.0;
    let left = SignedDuration::from_secs(i64::from(ttl)) - now.duration_since(at);
    Some(Duration::try_from(left).unwrap_or(Duration::ZERO))
}
