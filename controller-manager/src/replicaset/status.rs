//! Counting pods into a status.

use super::kinds::{Replicated, Status};
use crate::Error;
use crate::core::pod;
use client::Object;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSetCondition;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::sync::Arc;

const REPLICA_FAILURE: &str = "ReplicaFailure";

/// The status after a sync that found these pods and ended with `failure`.
pub fn calculate<K: Replicated>(
    owner: &K,
    active: &[Arc<Pod>],
    terminating: usize,
    failure: Option<&Error>,
    now: Timestamp,
    time: Time,
) -> Status {
    let mut status = owner.status();
    let template = owner.template().metadata.and_then(|m| m.labels).unwrap_or_default();
    let count = |f: &dyn Fn(&Pod) -> bool| i32::try_from(active.iter().filter(|p| f(p)).count()).unwrap_or(i32::MAX);
    status.replicas = count(&|_| true);
    status.fully_labeled = count(&|p| template.iter().all(|(k, v)| p.label(k) == Some(v)));
    status.ready = count(&pod::is_ready);
    status.available = count(&|p| pod::is_available(p, owner.min_ready_seconds(), now));
    status.terminating = K::COUNTS_TERMINATING.then(|| i32::try_from(terminating).unwrap_or(i32::MAX));
    let failing = status.conditions.iter().any(|c| c.type_ == REPLICA_FAILURE);
    match failure {
        Some(e) if !failing => {
            let reason = match status.replicas.cmp(&owner.replicas()) {
                std::cmp::Ordering::Less => "FailedCreate",
                std::cmp::Ordering::Greater => "FailedDelete",
                std::cmp::Ordering::Equal => "",
            };
            status.conditions.push(ReplicaSetCondition {
                type_: REPLICA_FAILURE.into(),
                status: "True".into(),
                reason: Some(reason.into()),
                message: Some(e.to_string()),
                last_transition_time: Some(time),
            });
        }
        None if failing => status.conditions.retain(|c| c.type_ != REPLICA_FAILURE),
        _ => {}
    }
    status
}
