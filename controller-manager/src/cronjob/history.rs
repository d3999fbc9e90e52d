//! History limits: the oldest finished jobs go.

use super::{Controller, spec};
use client::Object;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use std::sync::Arc;

/// `Complete` or `Failed`.
pub fn finished(j: &Job) -> Option<&str> {
    let all = j.status.as_ref()?.conditions.as_ref()?;
    all.iter().find(|c| (c.type_ == "Complete" || c.type_ == "Failed") && c.status == "True").map(|c| c.type_.as_str())
}

impl Controller {
    pub(super) async fn cleanup(&self, c: &mut CronJob, jobs: &[Arc<Job>]) {
        let limits = [("Complete", spec(c).successful_jobs_history_limit), ("Failed", spec(c).failed_jobs_history_limit)];
        for (kind, limit) in limits {
            let Some(limit) = limit.and_then(|n| usize::try_from(n).ok()) else { continue };
            let mut list: Vec<&Arc<Job>> = jobs.iter().filter(|j| finished(j) == Some(kind) && !j.is_terminating()).collect();
            let start = |j: &Job| j.status.as_ref().and_then(|s| s.start_time.as_ref()).map(|t| t.0);
            list.sort_by(|a, b| {
                let missing = |j: &Job| start(j).is_none();
                missing(a).cmp(&missing(b)).then(start(a).cmp(&start(b))).then_with(|| a.name().cmp(b.name()))
            });
            for j in list.iter().take(list.len().saturating_sub(limit)) {
                self.delete_job(c, j).await;
            }
        }
    }
}
