//! The status of a Deployment and whether its rollout moves.

use super::conditions::{self, AVAILABLE, NEW_AVAILABLE, PROGRESSING, REPLICA_FAILURE, TIMED_OUT};
use super::{Controller, Sets, arithmetic, replicas};
use crate::Result;
use client::Object;
use jiff::SignedDuration;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use std::time::Duration;

fn nonzero(n: i32) -> Option<i32> {
    (n != 0).then_some(n)
}

/// All replicas are new and available.
pub fn complete(d: &Deployment, s: &DeploymentStatus) -> bool {
    let all = |n: Option<i32>| n.unwrap_or(0) == replicas(d);
    all(s.updated_replicas)
        && all(s.replicas)
        && all(s.available_replicas)
        && s.observed_generation.unwrap_or(0) >= d.metadata.generation.unwrap_or(0)
}

/// More new pods, fewer old ones, or more of them ready than before.
fn progressing(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let n = |v: Option<i32>| v.unwrap_or(0);
    let outdated = |s: &DeploymentStatus| n(s.replicas) - n(s.updated_replicas);
    n(new.updated_replicas) > n(old.updated_replicas)
        || outdated(new) < outdated(old)
        || n(new.ready_replicas) > n(old.ready_replicas)
        || n(new.available_replicas) > n(old.available_replicas)
}

/// `None` if a set that was synced does not report its terminating pods.
fn terminating<'a>(sets: impl Iterator<Item = &'a ReplicaSet>) -> Option<i32> {
    let mut sum = 0;
    for rs in sets {
        let s = rs.status.clone().unwrap_or_default();
        match s.terminating_replicas {
            Some(n) => sum += n,
            None if s.observed_generation.unwrap_or(0) == 0 => {}
            None => return None,
        }
    }
    Some(sum)
}

impl Controller {
    fn calculate(&self, d: &Deployment, sets: &Sets) -> DeploymentStatus {
        let old = d.status.clone().unwrap_or_default();
        let available: i32 = sets.all().map(arithmetic::available).sum();
        let unavailable = (arithmetic::sum(sets.all()) - available).max(0);
        let ready: i32 = sets.all().filter_map(|rs| rs.status.as_ref()?.ready_replicas).sum();
        let mut s = DeploymentStatus {
            observed_generation: d.metadata.generation,
            replicas: nonzero(sets.all().map(arithmetic::actual).sum()),
            updated_replicas: nonzero(sets.new.iter().map(arithmetic::actual).sum()),
            ready_replicas: nonzero(ready),
            available_replicas: nonzero(available),
            unavailable_replicas: nonzero(unavailable),
            terminating_replicas: terminating(sets.all()),
            collision_count: old.collision_count,
            conditions: old.conditions,
        };
        let now = self.ctx.clock.time();
        let c = if available >= replicas(d) - arithmetic::max_unavailable(d) {
            let message = "Deployment has minimum availability.";
            conditions::new(AVAILABLE, "True", "MinimumReplicasAvailable", message.into(), now)
        } else {
            let message = "Deployment does not have minimum availability.";
            conditions::new(AVAILABLE, "False", "MinimumReplicasUnavailable", message.into(), now)
        };
        conditions::set(&mut s, c);
        s
    }

    pub(super) async fn update_status_only(&self, d: &Deployment, sets: &Sets) -> Result {
        self.write_if_changed(d, self.calculate(d, sets)).await.map(|_| ())
    }

    async fn write_if_changed(&self, d: &Deployment, status: DeploymentStatus) -> Result<bool> {
        if d.status.as_ref() == Some(&status) {
            return Ok(false);
        }
        let new = Deployment { status: Some(status), ..d.clone() };
        self.ctx.client.update_status(&new).await?;
        Ok(true)
    }

    /// The status in a rollout: with the Progressing condition and its deadline.
    pub(super) async fn update_rollout_status(&self, d: &Deployment, sets: &Sets) -> Result {
        let old = d.status.clone().unwrap_or_default();
        let mut s = self.calculate(d, sets);
        let current = conditions::get(&old, PROGRESSING).cloned();
        if conditions::deadline(d).is_none() {
            conditions::remove(&mut s, PROGRESSING);
        } else {
            let done =
                s.replicas == s.updated_replicas && current.as_ref().is_some_and(|c| c.reason.as_deref() == Some(NEW_AVAILABLE));
            if !done {
                self.note_progress(d, sets, &old, &mut s, current.as_ref());
            }
        }
        match replica_failure(sets) {
            Some(c) => conditions::set(&mut s, c),
            None => conditions::remove(&mut s, REPLICA_FAILURE),
        }
        if !self.write_if_changed(d, s.clone()).await? {
            self.requeue_for_deadline(d, &s);
        }
        Ok(())
    }

    fn note_progress(
        &self,
        d: &Deployment,
        sets: &Sets,
        old: &DeploymentStatus,
        s: &mut DeploymentStatus,
        current: Option<&DeploymentCondition>,
    ) {
        let about = match &sets.new {
            Some(rs) => format!("ReplicaSet {:?}", rs.name()),
            None => format!("Deployment {:?}", d.name()),
        };
        let now = self.ctx.clock.time();
        if complete(d, s) {
            let message = format!("{about} has successfully progressed.");
            conditions::set(s, conditions::new(PROGRESSING, "True", NEW_AVAILABLE, message, now));
        } else if progressing(old, s) {
            let message = format!("{about} is progressing.");
            let mut c = conditions::new(PROGRESSING, "True", "ReplicaSetUpdated", message, now);
            if let Some(cur) = current {
                if cur.status == "True" {
                    c.last_transition_time = cur.last_transition_time.clone();
                }
                // Taken out first, so that the update time moves though status and reason may not.
                conditions::remove(s, PROGRESSING);
            }
            conditions::set(s, c);
        } else if self.timed_out(d, s) {
            let message = format!("{about} has timed out progressing.");
            conditions::set(s, conditions::new(PROGRESSING, "False", TIMED_OUT, message, now));
        }
    }

    fn timed_out(&self, d: &Deployment, s: &DeploymentStatus) -> bool {
        let (Some(deadline), Some(c)) = (conditions::deadline(d), conditions::get(s, PROGRESSING)) else { return false };
        match c.reason.as_deref() {
            Some(NEW_AVAILABLE) => false,
            Some(TIMED_OUT) => true,
            _ => c
                .last_update_time
                .as_ref()
                .is_some_and(|t| self.ctx.now().duration_since(t.0) > SignedDuration::from_secs(deadline)),
        }
    }

    /// Comes back when the deadline will have passed.
    fn requeue_for_deadline(&self, d: &Deployment, s: &DeploymentStatus) {
        let current = d.status.as_ref().and_then(|s| conditions::get(s, PROGRESSING));
        let (Some(deadline), Some(c)) = (conditions::deadline(d), current) else { return };
        if complete(d, s) || c.reason.as_deref() == Some(TIMED_OUT) {
            return;
        }
        let Some(since) = &c.last_update_time else { return };
        let left = SignedDuration::from_secs(deadline) - self.ctx.now().duration_since(since.0);
        let left = Duration::try_from(left).unwrap_or(Duration::ZERO);
        self.queue.add_after(d.key(), left + Duration::from_secs(1));
    }
}

/// A failure of the new set, else of any.
fn replica_failure(sets: &Sets) -> Option<DeploymentCondition> {
    let of = |rs: &ReplicaSet| rs.status.as_ref()?.conditions.as_ref()?.iter().find(|c| c.type_ == REPLICA_FAILURE).cloned();
    let c = sets.new.as_ref().and_then(of).or_else(|| sets.all().find_map(of))?;
    Some(DeploymentCondition {
        type_: c.type_,
        status: c.status,
        reason: c.reason,
        message: c.message,
        last_update_time: c.last_transition_time.clone(),
        last_transition_time: c.last_transition_time,
    })
}
