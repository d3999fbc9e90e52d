//! Counting finished pods once: first into `uncountedTerminatedPods`, then the finalizer goes, then into the counters.

use super::conditions::{self, ensure, final_of};
use super::indexes::index_of;
use super::policy::{self, Verdict};
use super::sync::{Round, is_failed};
use super::{Controller, has_finalizer, is_indexed, spec};
use crate::Result;
use crate::core::pod;
use client::{EventType, Object, reference_to};
use futures::future::join_all;
use k8s_openapi::api::batch::v1::{Job, JobStatus, UncountedTerminatedPods};
use k8s_openapi::api::core::v1::Pod;
use std::collections::HashSet;
use std::sync::Arc;

const MAX_UNCOUNTED: usize = 500;

impl Controller {
    pub(super) async fn track(&self, key: &str, r: &mut Round, mut flush: bool) -> Result {
        let tracked: Vec<Arc<Pod>> = {
            let finalized = self.finalized.lock();
            r.pods.iter().filter(|p| has_finalizer(p) && !finalized.contains(p.uid())).cloned().collect()
        };
        let mut with_finalizer: HashSet<String> = tracked.iter().map(|p| p.uid().to_owned()).collect();
        flush |= settle(r.job.status.get_or_insert_default(), &with_finalizer);
        let (free, reached_max, added) = self.collect(r, &tracked);
        flush |= added;
        flush |= note_indexes(r);
        flush |= self.note_target(r);
        if flush {
            r.job = self.write_status(&r.job).await?;
            flush = false;
        }
        let removed = self.free(&free).await;
        let failed = removed.iter().any(|(_, ok)| !ok);
        for (uid, _) in removed.iter().filter(|(_, ok)| *ok) {
            with_finalizer.remove(uid);
        }
        flush |= settle(r.job.status.get_or_insert_default(), &with_finalizer);
        let over = !failed && !reached_max && self.enact(r);
        if flush || over {
            self.write_status(&r.job).await?;
        }
        if over {
            self.announce(r);
            self.finished.lock().insert(r.job.uid().to_owned());
        }
        if failed {
            return Err(crate::Error::other(format!("removing tracking finalizers of pods of job {key}")));
        }
        Ok(())
    }

    /// A pod that was counted and lost its finalizer since would look to an older status as if it never ran, and run again.
    async fn write_status(&self, job: &Job) -> Result<Job> {
        let job = self.ctx.client.update_status(job).await?;
        self.written.note(&job);
        Ok(job)
    }

    /// Pods whose outcome is final go into `uncounted`. Returns them, whether there are more, and whether any was added.
    fn collect(&self, r: &mut Round, tracked: &[Arc<Pod>]) -> (Vec<Arc<Pod>>, bool, bool) {
        let indexed = is_indexed(&r.job);
        let completions = spec(&r.job).completions.unwrap_or(0);
        let over = r.finished.is_some();
        let failing = r.finished.as_ref().is_some_and(|c| c.type_ != "SuccessCriteriaMet");
        let mut uncounted = r.job.status.as_ref().and_then(|s| s.uncounted_terminated_pods.clone()).unwrap_or_default();
        let (mut free, mut added, mut new_indexes, mut reached) = (Vec::new(), false, 0, false);
        for p in tracked {
            let failed = is_failed(p, &r.job);
            let succeeded = pod::phase(p) == "Succeeded";
            if !(r.job.is_terminating() || over || succeeded || failed) {
                continue;
            }
            let waits = index_of(p).and_then(|i| r.delayed.get(&i)).is_some_and(|d| d.uid() == p.uid());
            if waits && !r.job.is_terminating() && !over && !succeeded {
                continue;
            }
            free.push(p.clone());
            let index = index_of(p).filter(|i| *i < completions);
            if succeeded && !r.uncounted_failed.contains(p.uid()) {
                if indexed {
                    if let Some(i) = index.filter(|i| !r.prev_succeeded.has(*i)) {
                        r.succeeded_indexes.0.insert(i);
                        new_indexes += 1;
                        added = true;
                    }
                } else if !r.uncounted_succeeded.contains(p.uid()) {
                    uncounted.succeeded.get_or_insert_default().push(p.uid().to_owned());
                    added = true;
                }
            } else if (failed || failing) && !r.uncounted_failed.contains(p.uid()) && (!indexed || index.is_some()) {
                let policy = spec(&r.job).pod_failure_policy.as_ref();
                if policy::of_failure(policy, p) != Verdict::Ignore {
                    uncounted.failed.get_or_insert_default().push(p.uid().to_owned());
                    added = true;
                }
            }
            let total = uncounted.succeeded.as_ref().map_or(0, Vec::len) + uncounted.failed.as_ref().map_or(0, Vec::len);
            if new_indexes + total >= MAX_UNCOUNTED {
                reached = true;
                break;
            }
        }
        r.job.status.get_or_insert_default().uncounted_terminated_pods = Some(uncounted);
        (free, reached, added)
    }

    /// The target condition goes into the status before the final one.
    fn note_target(&self, r: &mut Round) -> bool {
        let Some(c) = r.finished.clone() else { return false };
        let (wanted, last) = match c.type_.as_str() {
            "FailureTarget" => (true, "Failed"),
            "SuccessCriteriaMet" => (conditions::get(&r.job, "SuccessCriteriaMet").is_none(), "Complete"),
            _ => return false,
        };
        if wanted {
            r.job.status.get_or_insert_default().conditions.get_or_insert_default().push(c.clone());
        }
        r.finished = Some(final_of(&c, last, self.ctx.now()));
        wanted
    }

    /// Removes finalizers; says of each UID whether that worked.
    async fn free(&self, pods: &[Arc<Pod>]) -> Vec<(String, bool)> {
        self.finalized.lock().extend(pods.iter().map(|p| p.uid().to_owned()));
        join_all(pods.iter().map(|p| async {
            let ok = self.remove_finalizer(p).await.is_ok();
            if !ok {
                self.finalized.lock().remove(p.uid());
            }
            // The informer may have shown it before we noted it.
            if self.pods.get(p.namespace(), p.name()).is_none_or(|seen| seen.uid() != p.uid() || !has_finalizer(&seen)) {
                self.finalized.lock().remove(p.uid());
            }
            (p.uid().to_owned(), ok)
        }))
        .await
    }

    /// The final condition, once nothing is left to count and no pod still terminates.
    fn enact(&self, r: &mut Round) -> bool {
        let Some(c) = r.finished.clone() else { return false };
        let status = r.job.status.get_or_insert_default();
        let uncounted = status.uncounted_terminated_pods.as_ref();
        let left = uncounted.is_some_and(|u| {
            u.succeeded.as_ref().is_some_and(|v| !v.is_empty()) || u.failed.as_ref().is_some_and(|v| !v.is_empty())
        });
        if left || r.terminating > 0 {
            return false;
        }
        if c.type_ == "Complete" {
            status.completion_time.clone_from(&c.last_transition_time);
        }
        ensure(status.conditions.get_or_insert_default(), c);
        true
    }

    fn announce(&self, r: &Round) {
        let Some(c) = &r.finished else { return };
        let about = reference_to(&r.job);
        let event = |kind, reason: &str, message: &str| self.control.recorder.event(&about, kind, reason, message);
        if c.type_ != "Complete" {
            return event(EventType::Warning, c.reason.as_deref().unwrap_or(""), c.message.as_deref().unwrap_or(""));
        }
        let succeeded = r.job.status.as_ref().and_then(|s| s.succeeded).unwrap_or(0);
        if spec(&r.job).completions.is_some_and(|n| succeeded > n) {
            let message = "Too many succeeded pods running after completion count reached";
            event(EventType::Warning, "TooManySucceededPods", message);
        }
        event(EventType::Normal, "Completed", "Job completed");
    }
}

/// Moves uncounted pods without finalizer into the counters; true if any moved.
fn settle(status: &mut JobStatus, with_finalizer: &HashSet<String>) -> bool {
    let UncountedTerminatedPods { succeeded, failed } = status.uncounted_terminated_pods.take().unwrap_or_default();
    let mut moved = false;
    let mut pass = |list: Option<Vec<String>>, counter: &mut Option<i32>| {
        let (keep, gone): (Vec<_>, Vec<_>) = list.into_iter().flatten().partition(|u| with_finalizer.contains(u));
        if !gone.is_empty() {
            moved = true;
            *counter = Some(counter.unwrap_or(0) + i32::try_from(gone.len()).unwrap_or(i32::MAX));
        }
        (!keep.is_empty()).then_some(keep)
    };
    let succeeded = pass(succeeded, &mut status.succeeded);
    let failed = pass(failed, &mut status.failed);
    status.uncounted_terminated_pods = Some(UncountedTerminatedPods { succeeded, failed });
    moved
}

/// Indexes into the status; true if they changed.
fn note_indexes(r: &mut Round) -> bool {
    if !is_indexed(&r.job) {
        return false;
    }
    let job: &mut Job = &mut r.job;
    let status = job.status.get_or_insert_default();
    let completed = Some(r.succeeded_indexes.to_string()).filter(|s| !s.is_empty());
    let failed = r.failed_indexes.as_ref().map(ToString::to_string);
    let changed = status.completed_indexes != completed || status.failed_indexes != failed;
    let total = r.succeeded_indexes.len();
    status.succeeded = (total != 0).then_some(total);
    status.completed_indexes = completed;
    status.failed_indexes = failed;
    changed
}
