//! One sync of one Job.

use super::conditions::{self, ensure, final_of};
use super::indexes::{Indexes, index_of};
use super::policy::{self, Verdict};
use super::{Controller, FINALIZER, has_finalizer, is_finished, is_indexed, is_managed_elsewhere, is_suspended, spec};
use crate::Result;
use crate::core::claim::{self, Claim};
use crate::core::error::unless_namespace_ends;
use crate::core::follow::PodOwner;
use crate::core::pod;
use client::{EventType, Object, reference_to};
use jiff::SignedDuration;
use k8s_openapi::api::batch::v1::{Job, JobCondition, UncountedTerminatedPods};
use k8s_openapi::api::core::v1::Pod;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// The state of one sync.
pub struct Round {
    pub job: Job,
    pub pods: Vec<Arc<Pod>>,
    pub active: Vec<Arc<Pod>>,
    pub ready: i32,
    pub terminating: i32,
    pub succeeded: i32,
    pub failed: i32,
    pub uncounted_succeeded: HashSet<String>,
    pub uncounted_failed: HashSet<String>,
    /// As the status had them.
    pub prev_succeeded: Indexes,
    pub succeeded_indexes: Indexes,
    /// Only with a back-off limit per index.
    pub failed_indexes: Option<Indexes>,
    /// The last failed pod of each index, kept until its replacement may start.
    pub delayed: BTreeMap<i32, Arc<Pod>>,
    pub finished: Option<JobCondition>,
}

/// Pods being deleted are no failure until they have ended.
pub fn only_replace_failed(j: &Job) -> bool {
    spec(j).pod_replacement_policy.as_deref() == Some("Failed") || spec(j).pod_failure_policy.is_some()
}

pub fn is_failed(p: &Pod, j: &Job) -> bool {
    pod::phase(p) == "Failed" || (!only_replace_failed(j) && p.is_terminating() && pod::phase(p) != "Succeeded")
}

fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

impl Controller {
    pub(super) async fn sync(&self, key: &str) -> Result {
        let Some(shared) = self.jobs.get_key(key) else {
            self.expectations.forget(key);
            self.backoff.lock().remove(key);
            return Ok(());
        };
        if is_managed_elsewhere(&shared) {
            return Ok(());
        }
        if is_finished(&shared) {
            self.backoff.lock().remove(key);
            self.finished.lock().remove(shared.uid());
            return Ok(());
        }
        if self.finished.lock().contains(shared.uid()) || self.written.is_newer_than(&*shared) {
            return Ok(());
        }
        if spec(&shared).completion_mode.as_deref().is_some_and(|m| m != "Indexed" && m != "NonIndexed") {
            let message = "Skipped Job sync because completion mode is unknown";
            self.control.recorder.event(&reference_to(&*shared), EventType::Warning, "UnknownCompletionMode", message);
            return Ok(());
        }
        let mut job = Job::clone(&shared);
        let satisfied = self.expectations.satisfied(key);
        let Some(selector) = job.pod_selector() else { return Ok(()) };
        let candidates = claim::candidates(&self.pods, &job);
        let pods = Claim::new(&self.ctx.client, &job, &selector).with_finalizer(FINALIZER).run(candidates, |_| true).await?;
        let status = job.status.get_or_insert_default();
        status.uncounted_terminated_pods.get_or_insert_default();
        if status.start_time.is_none() && !is_suspended(&shared) {
            status.start_time = Some(self.ctx.clock.time());
        }
        let mut r = self.round(job, pods);
        self.note_failures(key, &r);
        self.decide(key, &mut r);

        let mut active = count(r.active.len());
        let mut managed = Ok(());
        let mut changed = false;
        if r.finished.is_some() {
            let (ready, deleted, result) = self.delete_active(&r).await;
            if deleted != active || !satisfied {
                // Not finished while pods may run.
                r.finished = None;
            }
            active -= deleted;
            r.terminating += deleted;
            r.ready -= ready;
            managed = result;
        } else {
            let may_manage = satisfied && !r.job.is_terminating();
            if may_manage {
                (active, managed) = self.manage(key, &mut r).await;
            }
            let complete = match spec(&r.job).completions {
                None => r.succeeded > 0 && active == 0,
                Some(n) => r.succeeded >= n && active == 0,
            };
            if complete {
                r.finished = Some(conditions::new(
                    "SuccessCriteriaMet",
                    "True",
                    "CompletionsReached",
                    "Reached expected number of succeeded pods",
                    self.ctx.now(),
                ));
            } else if may_manage {
                changed = self.note_suspension(&mut r.job);
            }
        }
        let status = r.job.status.get_or_insert_default();
        changed |= status.active.unwrap_or(0) != active;
        changed |= status.ready != Some(r.ready) || status.terminating != Some(r.terminating);
        status.active = (active != 0).then_some(active);
        status.ready = Some(r.ready);
        status.terminating = Some(r.terminating);
        self.track(key, &mut r, changed).await?;
        unless_namespace_ends(managed)
    }

    fn round(&self, job: Job, pods: Vec<Arc<Pod>>) -> Round {
        let active: Vec<Arc<Pod>> = pods.iter().filter(|p| pod::is_active(p)).cloned().collect();
        let status = job.status.clone().unwrap_or_default();
        let UncountedTerminatedPods { succeeded, failed } = status.uncounted_terminated_pods.unwrap_or_default();
        let mut r = Round {
            ready: count(active.iter().filter(|p| pod::is_ready(p)).count()),
            terminating: count(pods.iter().filter(|p| pod::is_terminating(p)).count()),
            uncounted_succeeded: succeeded.into_iter().flatten().collect(),
            uncounted_failed: failed.into_iter().flatten().collect(),
            succeeded: 0,
            failed: 0,
            prev_succeeded: Indexes::default(),
            succeeded_indexes: Indexes::default(),
            failed_indexes: None,
            delayed: BTreeMap::new(),
            finished: None,
            job,
            pods,
            active,
        };
        let new_failed = self.new_failed(&r);
        let policy = spec(&r.job).pod_failure_policy.as_ref();
        let counted = new_failed.iter().filter(|p| policy::of_failure(policy, p) != Verdict::Ignore).count();
        r.succeeded = status.succeeded.unwrap_or(0) + count(self.new_succeeded(&r).len()) + count(r.uncounted_succeeded.len());
        r.failed = status.failed.unwrap_or(0) + count(counted) + count(r.uncounted_failed.len());
        r
    }

    /// Tracked pods of a valid index that no count knows.
    fn uncounted<'a>(&self, r: &'a Round, known: &HashSet<String>, is: impl Fn(&Pod) -> bool) -> Vec<&'a Arc<Pod>> {
        let finalized = self.finalized.lock();
        let completions = spec(&r.job).completions.unwrap_or(0);
        let valid = |p: &Pod| !is_indexed(&r.job) || index_of(p).is_some_and(|i| i < completions);
        let pods = r.pods.iter().filter(|p| has_finalizer(p) && !known.contains(p.uid()) && !finalized.contains(p.uid()));
        pods.filter(|p| valid(p) && is(p)).collect()
    }
    pub(super) fn new_succeeded<'a>(&self, r: &'a Round) -> Vec<&'a Arc<Pod>> {
        self.uncounted(r, &r.uncounted_succeeded, |p| pod::phase(p) == "Succeeded")
    }
    pub(super) fn new_failed<'a>(&self, r: &'a Round) -> Vec<&'a Arc<Pod>> {
        self.uncounted(r, &r.uncounted_failed, |p| is_failed(p, &r.job))
    }

    /// Whether the Job is over, and why.
    fn decide(&self, key: &str, r: &mut Round) {
        let now = self.ctx.now();
        let failing = |reason: &str, message: &str| Some(conditions::new("FailureTarget", "True", reason, message, now));
        let s = spec(&r.job).clone();
        r.finished = conditions::get(&r.job, "SuccessCriteriaMet").cloned();
        if r.finished.is_none() {
            let fail_job = r.pods.iter().filter(|p| is_failed(p, &r.job)).find_map(|p| {
                match policy::of_failure(s.pod_failure_policy.as_ref(), p) {
                    Verdict::FailJob(message) => Some(message),
                    _ => None,
                }
            });
            r.finished = match conditions::get(&r.job, "FailureTarget") {
                Some(target) => Some(final_of(target, "Failed", now)),
                None => fail_job.and_then(|m| failing("PodFailurePolicy", &m)),
            };
        }
        if r.finished.is_none() {
            let limit = s.backoff_limit.unwrap_or(6);
            if r.failed > limit || past_limit_by_restarts(&r.job, &r.pods, limit) {
                r.finished = failing("BackoffLimitExceeded", "Job has reached the specified backoff limit");
            } else if let (Some(deadline), Some(start), false) =
                (s.active_deadline_seconds, r.job.status.as_ref().and_then(|s| s.start_time.as_ref()), is_suspended(&r.job))
            {
                let left = SignedDuration::from_secs(deadline) - now.duration_since(start.0);
                match Duration::try_from(left) {
                    Ok(left) if !left.is_zero() => self.queue.add_after(key.to_owned(), left),
                    _ => r.finished = failing("DeadlineExceeded", "Job was active longer than specified deadline"),
                }
            }
        }
        if is_indexed(&r.job) {
            self.decide_indexed(r, &s, now);
        }
    }

    fn decide_indexed(&self, r: &mut Round, s: &k8s_openapi::api::batch::v1::JobSpec, now: jiff::Timestamp) {
        let failing = |reason: &str, message: &str| Some(conditions::new("FailureTarget", "True", reason, message, now));
        let completions = s.completions.unwrap_or(0);
        let status = r.job.status.clone().unwrap_or_default();
        r.prev_succeeded = Indexes::parse(status.completed_indexes.as_deref().unwrap_or(""), completions);
        r.succeeded_indexes = r.prev_succeeded.clone();
        let done = r.pods.iter().filter(|p| pod::phase(p) == "Succeeded" && has_finalizer(p));
        r.succeeded_indexes.0.extend(done.filter_map(|p| index_of(p)).filter(|i| *i < completions));
        r.succeeded = r.succeeded_indexes.len();
        if let Some(limit) = s.backoff_limit_per_index {
            self.failed_indexes(r, limit, completions, status.failed_indexes.as_deref().unwrap_or(""));
            let failed = r.failed_indexes.as_ref().map_or(0, Indexes::len);
            if r.finished.is_none() {
                if s.max_failed_indexes.is_some_and(|m| failed > m) {
                    let message = "Job has exceeded the specified maximal number of failed indexes";
                    r.finished = failing("MaxFailedIndexesExceeded", message);
                } else if failed > 0 && failed + r.succeeded_indexes.len() >= completions {
                    r.finished = failing("FailedIndexes", "Job has failed indexes");
                }
            }
        }
        if r.finished.is_none()
            && let Some(message) = policy::success(s.success_policy.as_ref(), completions, &r.succeeded_indexes)
        {
            r.finished = Some(conditions::new("SuccessCriteriaMet", "True", "SuccessPolicy", &message, now));
        }
    }

    fn note_suspension(&self, job: &mut Job) -> bool {
        let suspended = is_suspended(job);
        let (state, reason, message, event) = if suspended {
            ("True", "JobSuspended", "Job suspended", "Suspended")
        } else {
            ("False", "JobResumed", "Job resumed", "Resumed")
        };
        let condition = conditions::new("Suspended", state, reason, message, self.ctx.now());
        let about = reference_to(job);
        let status = job.status.get_or_insert_default();
        if !ensure(status.conditions.get_or_insert_default(), condition) {
            return false;
        }
        self.control.recorder.event(&about, EventType::Normal, event, message);
        status.start_time = (!suspended).then(|| self.ctx.clock.time());
        true
    }
}

/// With restartPolicy OnFailure, restarts count.
fn past_limit_by_restarts(job: &Job, pods: &[Arc<Pod>], limit: i32) -> bool {
    let policy = spec(job).template.spec.as_ref().and_then(|s| s.restart_policy.as_deref());
    if policy != Some("OnFailure") {
        return false;
    }
    let restarts: i32 = pods
        .iter()
        .filter(|p| matches!(pod::phase(p), "Running" | "Pending"))
        .filter_map(|p| p.status.as_ref())
        .flat_map(|s| s.init_container_statuses.iter().flatten().chain(s.container_statuses.iter().flatten()))
        .map(|c| c.restart_count)
        .sum();
    if limit == 0 { restarts > 0 } else { restarts >= limit }
}
