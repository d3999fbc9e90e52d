//! Starting and stopping a Job's pods.

use super::indexes::{INDEX, Indexes, index_of};
use super::policy::{self, Verdict};
use super::sync::{Round, is_failed, only_replace_failed};
use super::{Controller, FINALIZER, has_finalizer, is_indexed, is_suspended, spec};
use crate::Result;
use crate::core::pod_control::{about, from_template};
use crate::core::{batch, pod, pod_ranking};
use client::Object;
use client::object::controller_reference;
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector, Pod};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

const MAX_PER_SYNC: usize = 500;
const FIRST_DELAY: Duration = Duration::from_secs(10);
const MAX_DELAY: Duration = Duration::from_secs(600);
const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
const IGNORED: &str = "batch.kubernetes.io/job-index-ignored-failure-count";

/// Failures in a row since the last success.
#[derive(Clone, Default)]
pub struct Backoff {
    failures: u32,
    last: Option<Timestamp>,
    counted: BTreeSet<String>,
}

fn delay(failures: u32) -> Duration {
    if failures == 0 { Duration::ZERO } else { (FIRST_DELAY * 2u32.saturating_pow((failures - 1).min(10))).min(MAX_DELAY) }
}

/// When a pod ended: its last container's end, else its deletion.
fn finish_time(p: &Pod, now: Timestamp) -> Timestamp {
    let statuses = p.status.iter().flat_map(|s| s.container_statuses.iter().flatten());
    let ends = statuses.filter_map(|c| c.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref()).map(|t| t.0);
    ends.max().or(p.metadata.deletion_timestamp.as_ref().map(|t| t.0)).unwrap_or(now).min(now)
}

fn remaining(failures: u32, last: Timestamp, now: Timestamp) -> Duration {
    let Ok(d) = SignedDuration::try_from(delay(failures)) else { return Duration::ZERO };
    Duration::try_from(d - now.duration_since(last)).unwrap_or(Duration::ZERO)
}

fn number(p: &Pod, annotation: &str) -> u32 {
    p.annotation(annotation).and_then(|s| s.parse().ok()).unwrap_or(0)
}

impl Controller {
    pub(super) fn note_failures(&self, key: &str, r: &Round) {
        let now = self.ctx.now();
        let mut map = self.backoff.lock();
        let b = map.entry(key.to_owned()).or_default();
        let succeeded = self.new_succeeded(r).iter().map(|p| finish_time(p, now)).max();
        let mut failed: Vec<(Timestamp, &str)> = self.new_failed(r).iter().map(|p| (finish_time(p, now), p.uid())).collect();
        failed.sort_unstable();
        if succeeded.is_some() && b.last <= succeeded {
            b.failures = 0;
        }
        for (at, uid) in failed {
            if succeeded.is_none_or(|s| at > s) && b.counted.insert(uid.to_owned()) {
                b.failures += 1;
                b.last = b.last.max(Some(at));
            }
        }
    }

    /// Failed indexes, and the last failure of each index that may be tried again.
    pub(super) fn failed_indexes(&self, r: &mut Round, limit: i32, completions: i32, previous: &str) {
        let mut failed = Indexes::parse(previous, completions);
        let policy = spec(&r.job).pod_failure_policy.clone();
        for p in r.pods.iter().filter(|p| is_failed(p, &r.job) && has_finalizer(p)) {
            let Some(i) = index_of(p).filter(|i| *i < completions) else { continue };
            let verdict = policy::of_failure(policy.as_ref(), p);
            let over = number(p, FAILURES) >= u32::try_from(limit).unwrap_or(0);
            if verdict == Verdict::FailIndex || (verdict == Verdict::Count && over) {
                failed.0.insert(i);
            }
        }
        let active: BTreeSet<i32> = r.active.iter().filter_map(|p| index_of(p)).collect();
        for p in r.pods.iter().filter(|p| is_failed(p, &r.job) && has_finalizer(p)) {
            let Some(i) = index_of(p).filter(|i| *i < completions) else { continue };
            if failed.has(i) || r.succeeded_indexes.has(i) || active.contains(&i) {
                continue;
            }
            let total = |p: &Pod| number(p, FAILURES) + number(p, IGNORED);
            if r.delayed.get(&i).is_none_or(|o| total(p) > total(o)) {
                r.delayed.insert(i, p.clone());
            }
        }
        r.failed_indexes = Some(failed);
    }

    /// (ready pods deleted, pods deleted, first error).
    pub(super) async fn delete_active(&self, r: &Round) -> (i32, i32, Result) {
        self.delete_pods(r, &r.active, false).await
    }

    async fn delete_pods(&self, r: &Round, pods: &[Arc<Pod>], free: bool) -> (i32, i32, Result) {
        let (key, reference) = (r.job.key(), about(&r.job));
        let results = join_all(pods.iter().map(|p| async {
            let result = async {
                if free && has_finalizer(p) {
                    // Not to be counted: removed by choice.
                    self.remove_finalizer(p).await?;
                }
                self.control.delete(p.namespace(), p.name(), &reference).await
            }
            .await;
            if result.is_err() {
                self.expectations.deletion_observed(&key, &p.key());
            }
            match result {
                Err(e) if !e.is_not_found() => Err(e),
                _ => Ok(i32::from(pod::is_ready(p))),
            }
        }))
        .await;
        let (mut ready, mut deleted, mut error) = (0, 0, Ok(()));
        for result in results {
            match result {
                Ok(n) => {
                    ready += n;
                    deleted += 1;
                }
                Err(e) => error = Err(e),
            }
        }
        (ready, deleted, error)
    }

    async fn stop(&self, key: &str, r: &mut Round, pods: Vec<Arc<Pod>>) -> (i32, Result) {
        self.expectations.expect(key, 0, pods.iter().map(|p| p.key()));
        let (ready, deleted, result) = self.delete_pods(r, &pods, true).await;
        r.terminating += deleted;
        r.ready -= ready;
        (i32::try_from(r.active.len()).unwrap_or(i32::MAX) - deleted, result)
    }

    /// Brings the number of pods to what is wanted. Returns how many are active then.
    pub(super) async fn manage(&self, key: &str, r: &mut Round) -> (i32, Result) {
        let active = i32::try_from(r.active.len()).unwrap_or(i32::MAX);
        let s = spec(&r.job).clone();
        if is_suspended(&r.job) {
            let all = self.for_removal(r, r.active.len());
            return self.stop(key, r, all).await;
        }
        let parallelism = s.parallelism.unwrap_or(1);
        let wanted = match s.completions {
            None if r.succeeded > 0 => active,
            None => parallelism,
            Some(n) => (n - r.succeeded).min(parallelism).max(0),
        };
        let mut doomed = self.for_removal(r, usize::try_from(active - wanted).unwrap_or(0));
        if !doomed.is_empty() {
            doomed.truncate(MAX_PER_SYNC);
            return self.stop(key, r, doomed).await;
        }
        let terminating = if only_replace_failed(&r.job) { r.terminating } else { 0 };
        let Some(missing) = usize::try_from(wanted - terminating - active).ok().filter(|n| *n > 0) else {
            return (active, Ok(()));
        };
        let now = self.ctx.now();
        if s.backoff_limit_per_index.is_none() {
            let b = self.backoff.lock().get(key).cloned().unwrap_or_default();
            let wait = b.last.map_or(Duration::ZERO, |last| remaining(b.failures, last, now));
            if !wait.is_zero() {
                self.queue.add_after(key.to_owned(), wait);
                return (active, Ok(()));
            }
        }
        let missing = missing.min(MAX_PER_SYNC);
        let indexes: Option<Vec<i32>> = is_indexed(&r.job).then(|| self.next_indexes(key, r, missing, now));
        let count = indexes.as_ref().map_or(missing, Vec::len);
        if count == 0 {
            return (active, Ok(()));
        }
        self.expectations.expect(key, count, []);
        let (created, result) = self.create(r, count, indexes.as_deref()).await;
        for _ in created..count {
            self.expectations.creation_observed(key);
        }
        (active + i32::try_from(created).unwrap_or(i32::MAX), result)
    }

    /// The lowest indexes that neither succeeded, failed nor run, and whose back-off is over.
    fn next_indexes(&self, key: &str, r: &Round, count: usize, now: Timestamp) -> Vec<i32> {
        let active: BTreeSet<i32> = r.active.iter().filter_map(|p| index_of(p)).collect();
        let replaced_later = only_replace_failed(&r.job);
        let going: BTreeSet<i32> =
            r.pods.iter().filter(|p| replaced_later && pod::is_terminating(p)).filter_map(|p| index_of(p)).collect();
        let free = |i: &i32| {
            !active.contains(i)
                && !going.contains(i)
                && !r.succeeded_indexes.has(*i)
                && r.failed_indexes.as_ref().is_none_or(|f| !f.has(*i))
        };
        let pending: Vec<i32> = (0..spec(&r.job).completions.unwrap_or(0)).filter(free).take(count).collect();
        let wait = |i: &i32| {
            let last = r.delayed.get(i)?;
            let w = remaining(number(last, FAILURES) + number(last, IGNORED) + 1, finish_time(last, now), now);
            (!w.is_zero()).then_some(w)
        };
        let now_ready: Vec<i32> = pending.iter().copied().filter(|i| wait(i).is_none()).collect();
        if now_ready.is_empty()
            && let Some(w) = pending.iter().filter_map(wait).min()
        {
            self.queue.add_after(key.to_owned(), w);
        }
        now_ready
    }

    /// At least `least` active pods to stop; of an Indexed Job also those with a double or invalid index.
    fn for_removal(&self, r: &Round, least: usize) -> Vec<Arc<Pod>> {
        let now = self.ctx.now();
        let mut ranked = r.active.clone();
        ranked.sort_by(|a, b| pod_ranking::compare(a, b, (0, 0), now));
        if !is_indexed(&r.job) {
            ranked.truncate(least);
            return ranked;
        }
        let completions = spec(&r.job).completions.unwrap_or(0);
        let mut seen = BTreeSet::new();
        // The best pod of each index stays: they are ranked worst first.
        let (mut keep, mut remove) = (Vec::new(), Vec::new());
        for p in ranked.into_iter().rev() {
            let valid = index_of(&p).is_some_and(|i| i < completions && seen.insert(i));
            if valid { keep.push(p) } else { remove.push(p) }
        }
        while remove.len() < least {
            let Some(p) = keep.pop() else { break };
            remove.push(p);
        }
        remove
    }

    async fn create(&self, r: &Round, count: usize, indexes: Option<&[i32]>) -> (usize, Result) {
        let job = &r.job;
        let mut base = from_template(&spec(job).template, job.name(), job.namespace(), controller_reference(job));
        let finalizers = base.metadata.finalizers.get_or_insert_default();
        if !finalizers.iter().any(|f| f == FINALIZER) {
            finalizers.push(FINALIZER.to_owned());
        }
        let reference = about(job);
        batch::slow_start(count, |n| {
            let mut p = base.clone();
            if let Some(i) = indexes.and_then(|l| l.get(n)) {
                index_pod(&mut p, job.name(), *i);
                if spec(job).backoff_limit_per_index.is_some() {
                    note_attempts(&mut p, r, *i);
                }
            }
            let (control, reference) = (&self.control, &reference);
            async move { control.create(&p, reference).await.map(drop) }
        })
        .await
    }
}

fn index_pod(p: &mut Pod, job: &str, i: i32) {
    p.metadata.annotations.get_or_insert_default().insert(INDEX.into(), i.to_string());
    p.metadata.labels.get_or_insert_default().insert(INDEX.into(), i.to_string());
    p.metadata.generate_name = Some(format!("{job}-{i}-"));
    let spec = p.spec.get_or_insert_default();
    spec.hostname = Some(format!("{job}-{i}"));
    for c in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        let env = c.env.get_or_insert_default();
        if env.iter().any(|e| e.name == "JOB_COMPLETION_INDEX") {
            continue;
        }
        env.push(EnvVar {
            name: "JOB_COMPLETION_INDEX".into(),
            value: None,
            value_from: Some(EnvVarSource {
                field_ref: Some(ObjectFieldSelector { api_version: None, field_path: format!("metadata.labels['{INDEX}']") }),
                ..Default::default()
            }),
        });
    }
}

/// How often the index failed before, so that the next failure can be judged by the pod alone.
fn note_attempts(p: &mut Pod, r: &Round, i: i32) {
    let (mut failures, mut ignored) = (0, 0);
    if let Some(last) = r.delayed.get(&i) {
        (failures, ignored) = (number(last, FAILURES), number(last, IGNORED));
        if policy::of_failure(spec(&r.job).pod_failure_policy.as_ref(), last) == Verdict::Ignore {
            ignored += 1;
        } else {
            failures += 1;
        }
    }
    let annotations = p.metadata.annotations.get_or_insert_default();
    annotations.insert(FAILURES.into(), failures.to_string());
    if ignored > 0 {
        annotations.insert(IGNORED.into(), ignored.to_string());
    }
}
