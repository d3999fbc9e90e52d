//! One sync of one CronJob.

use super::missed::{most_recent, until_next};
use super::schedule::Schedule;
use super::{Controller, history, spec};
use crate::core::claim;
use crate::{Error, Result};
use client::object::controller_reference;
use client::{DeleteOptions, EventType, Object, reference_to};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use std::sync::Arc;

const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

pub fn is_active(c: &CronJob, uid: &str) -> bool {
    c.status.iter().flat_map(|s| s.active.iter().flatten()).any(|r| r.uid.as_deref() == Some(uid))
}

pub fn drop_active(c: &mut CronJob, uid: &str) {
    let status = c.status.get_or_insert_default();
    if let Some(active) = &mut status.active {
        active.retain(|r| r.uid.as_deref() != Some(uid));
        if active.is_empty() {
            status.active = None;
        }
    }
}

impl Controller {
    pub(super) fn event(&self, c: &CronJob, kind: EventType, reason: &str, message: String) {
        self.recorder.event(&reference_to(c), kind, reason, message);
    }

    pub(super) async fn sync(&self, key: &str) -> Result {
        let Some(cached) = self.crons.get_key(key) else { return Ok(()) };
        let mut c = CronJob::clone(&cached);
        let jobs = claim::controlled(&self.jobs, &c);
        let before = c.status.clone();
        let result = self.reconcile(&mut c, &jobs).await;
        self.cleanup(&mut c, &jobs).await;
        if c.status.clone().unwrap_or_default() != before.unwrap_or_default() {
            match self.ctx.client.update_status(&c).await {
                Err(e) if !e.is_not_found() => return Err(e.into()),
                _ => {}
            }
        }
        result
    }

    async fn reconcile(&self, c: &mut CronJob, jobs: &[Arc<Job>]) -> Result {
        self.note_jobs(c, jobs).await?;
        if c.is_terminating() {
            return Ok(());
        }
        let zone = match spec(c).time_zone.as_deref() {
            None => TimeZone::system(),
            Some(name) => match TimeZone::get(name) {
                Ok(z) => z,
                Err(e) => {
                    self.event(c, EventType::Warning, "UnknownTimeZone", format!("invalid timeZone: {name:?}: {e}"));
                    return Ok(());
                }
            },
        };
        if spec(c).suspend == Some(true) {
            return Ok(());
        }
        let text = &spec(c).schedule;
        if text.contains("TZ") {
            let message = format!(
                "CRON_TZ or TZ used in schedule {text:?} is not officially supported, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
            );
            self.event(c, EventType::Warning, "UnsupportedSchedule", message);
        }
        let schedule = match Schedule::parse(text, zone.clone()) {
            Ok(s) => s,
            Err(e) => {
                let message = format!("unparseable schedule: {text:?} : {e}");
                self.event(c, EventType::Warning, "UnparseableSchedule", message);
                return Ok(());
            }
        };
        let now = self.ctx.now();
        let due = match most_recent(c, now, &schedule, true) {
            Ok(d) => d,
            Err(e) => {
                self.event(c, EventType::Warning, "InvalidSchedule", format!("invalid schedule: {text} : {e}"));
                return Ok(());
            }
        };
        if let Some(at) = due.latest {
            if due.missed > 100 {
                let message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
                self.event(c, EventType::Warning, "TooManyMissedTimes", message.into());
            }
            self.start(c, at, now, &zone).await?;
        }
        if let Some(wait) = until_next(c, now, &schedule) {
            self.queue.add_after(c.key(), wait);
        }
        Ok(())
    }

    /// Brings the list of active jobs up to date.
    async fn note_jobs(&self, c: &mut CronJob, jobs: &[Arc<Job>]) -> Result {
        for j in jobs {
            let listed = is_active(c, j.uid());
            let Some(condition) = history::finished(j) else {
                if !listed && !j.is_terminating() {
                    // Our own status may not have arrived yet.
                    let fresh: CronJob = self.ctx.client.get(c.namespace(), c.name()).await?;
                    if is_active(&fresh, j.uid()) {
                        c.status = fresh.status;
                        c.metadata.resource_version = fresh.metadata.resource_version;
                        continue;
                    }
                    let message = format!("Saw a job that the controller did not create or forgot: {}", j.name());
                    self.event(c, EventType::Warning, "UnexpectedJob", message);
                }
                continue;
            };
            if listed {
                drop_active(c, j.uid());
                let message = format!("Saw completed job: {}, condition: {condition}", j.name());
                self.event(c, EventType::Normal, "SawCompletedJob", message);
            }
            if condition == "Complete" {
                let done = j.status.as_ref().and_then(|s| s.completion_time.clone());
                let status = c.status.get_or_insert_default();
                if done.is_some() && done > status.last_successful_time {
                    status.last_successful_time = done;
                }
            }
        }
        let active = c.status.as_ref().and_then(|s| s.active.clone()).unwrap_or_default();
        for r in active.iter().filter(|r| jobs.iter().all(|j| Some(j.uid()) != r.uid.as_deref())) {
            let name = r.name.as_deref().unwrap_or("");
            match self.ctx.client.get::<Job>(c.namespace(), name).await {
                Ok(_) => {}
                Err(e) if e.is_not_found() => {
                    self.event(c, EventType::Normal, "MissingJob", format!("Active job went missing: {name}"));
                    drop_active(c, r.uid.as_deref().unwrap_or(""));
                }
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    async fn start(&self, c: &mut CronJob, at: Timestamp, now: Timestamp, zone: &TimeZone) -> Result {
        let s = spec(c).clone();
        if let Some(d) = s.starting_deadline_seconds
            && now.duration_since(at) > SignedDuration::from_secs(d)
        {
            let when = jiff::fmt::strtime::format("%a, %d %b %Y %H:%M:%S +0000", &at.to_zoned(TimeZone::UTC));
            let message = format!("Missed scheduled time to start a job: {}", when.unwrap_or_default());
            self.event(c, EventType::Warning, "MissSchedule", message);
            return Ok(());
        }
        let status = c.status.clone().unwrap_or_default();
        let active = status.active.unwrap_or_default();
        let name = format!("{}-{}", c.name(), at.as_second() / 60);
        let done = status.last_schedule_time.is_some_and(|t| t.0 == at);
        if done || active.iter().any(|r| r.name.as_ref() == Some(&name)) {
            return Ok(());
        }
        match s.concurrency_policy.as_deref() {
            Some("Forbid") if !active.is_empty() => {
                let message = "Not starting job because prior execution is running and concurrency policy is Forbid";
                self.event(c, EventType::Normal, "JobAlreadyActive", message.into());
                return Ok(());
            }
            Some("Replace") => {
                for r in &active {
                    let job = r.name.as_deref().unwrap_or("");
                    let job: Job = self.ctx.client.get(c.namespace(), job).await.inspect_err(|e| {
                        self.event(c, EventType::Warning, "FailedGet", format!("Get job: {e}"));
                    })?;
                    if !self.delete_job(c, &job).await {
                        return Err(Error::other(format!("could not replace job {}", job.key())));
                    }
                }
            }
            _ => {}
        }
        let template = s.job_template;
        let meta = template.metadata.unwrap_or_default();
        let mut annotations = meta.annotations.unwrap_or_default();
        let local = jiff::fmt::strtime::format("%Y-%m-%dT%H:%M:%S%:z", &at.to_zoned(zone.clone())).unwrap_or_default();
        let utc = local.ends_with("+00:00");
        annotations.insert(SCHEDULED.into(), if utc { at.to_string() } else { local });
        let job = Job {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: c.metadata.namespace.clone(),
                labels: meta.labels,
                annotations: Some(annotations),
                owner_references: Some(vec![controller_reference(c)]),
                ..Default::default()
            },
            spec: template.spec,
            status: None,
        };
        let created = match self.ctx.client.create(c.namespace(), &job).await {
            Ok(created) => {
                self.event(c, EventType::Normal, "SuccessfulCreate", format!("Created job {}", created.name()));
                created
            }
            Err(e) if e.is_already_exists() => {
                let existing: Job = self.ctx.client.get(c.namespace(), job.name()).await?;
                if existing.controller().is_none_or(|r| r.uid != c.uid()) || is_active(c, existing.uid()) {
                    return Ok(());
                }
                existing
            }
            Err(e) => {
                if !e.is_namespace_terminating() {
                    self.event(c, EventType::Warning, "FailedCreate", format!("Error creating job: {e}"));
                }
                return Err(e.into());
            }
        };
        let status = c.status.get_or_insert_default();
        status.active.get_or_insert_default().push(reference_to(&created));
        status.last_schedule_time = Some(Time(at));
        Ok(())
    }

    /// Deletes a job and its pods; false if that failed.
    pub(super) async fn delete_job(&self, c: &mut CronJob, job: &Job) -> bool {
        let options = DeleteOptions { propagation_policy: Some("Background"), ..Default::default() };
        match self.ctx.client.delete::<Job>(job.namespace(), job.name(), &options).await {
            Err(e) if !e.is_not_found() => {
                self.event(c, EventType::Warning, "FailedDelete", format!("Deleted job: {e}"));
                false
            }
            _ => {
                drop_active(c, job.uid());
                self.event(c, EventType::Normal, "SuccessfulDelete", format!("Deleted job {}", job.name()));
                true
            }
        }
    }
}
