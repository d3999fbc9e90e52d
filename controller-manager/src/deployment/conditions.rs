//! Deployment conditions: Progressing, Available, ReplicaFailure.

use super::{Controller, spec};
use crate::Result;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub const PROGRESSING: &str = "Progressing";
pub const AVAILABLE: &str = "Available";
pub const REPLICA_FAILURE: &str = "ReplicaFailure";
pub const TIMED_OUT: &str = "ProgressDeadlineExceeded";
pub const NEW_AVAILABLE: &str = "NewReplicaSetAvailable";

pub fn new(kind: &str, status: &str, reason: &str, message: String, now: Time) -> DeploymentCondition {
    DeploymentCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_update_time: Some(now.clone()),
        last_transition_time: Some(now),
    }
}

pub fn get<'a>(status: &'a DeploymentStatus, kind: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.as_ref()?.iter().find(|c| c.type_ == kind)
}

pub fn remove(status: &mut DeploymentStatus, kind: &str) {
    if let Some(c) = &mut status.conditions {
        c.retain(|c| c.type_ != kind);
        if c.is_empty() {
            status.conditions = None;
        }
    }
}

/// Sets a condition unless status and reason are as before; the transition time stays with the status.
pub fn set(status: &mut DeploymentStatus, mut condition: DeploymentCondition) {
    if let Some(old) = get(status, &condition.type_) {
        if old.status == condition.status && old.reason == condition.reason {
            return;
        }
        if old.status == condition.status {
            condition.last_transition_time = old.last_transition_time.clone();
        }
    }
    remove(status, &condition.type_.clone());
    status.conditions.get_or_insert_default().push(condition);
}

/// The deadline in seconds, unless there is none.
pub fn deadline(d: &Deployment) -> Option<i64> {
    spec(d).progress_deadline_seconds.filter(|s| *s != i32::MAX).map(i64::from)
}

impl Controller {
    /// A pause or its end is noted, so that the deadline counts anew afterwards.
    pub(super) async fn check_paused(&self, d: &mut Deployment) -> Result {
        if deadline(d).is_none() {
            return Ok(());
        }
        let current = d.status.as_ref().and_then(|s| get(s, PROGRESSING)).and_then(|c| c.reason.as_deref());
        if current == Some(TIMED_OUT) {
            return Ok(());
        }
        let noted = current == Some("DeploymentPaused");
        let (reason, message) = match (spec(d).paused == Some(true), noted) {
            (true, false) => ("DeploymentPaused", "Deployment is paused"),
            (false, true) => ("DeploymentResumed", "Deployment is resumed"),
            _ => return Ok(()),
        };
        let condition = new(PROGRESSING, "Unknown", reason, message.to_owned(), self.ctx.clock.time());
        set(d.status.get_or_insert_default(), condition);
        self.write_status(d).await
    }
}
