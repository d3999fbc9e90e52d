//! The two kinds behind one trait: same behaviour, different structs.

use crate::core::follow::PodOwner;
use crate::core::selectors;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{
    PodTemplateSpec, ReplicationController, ReplicationControllerCondition, ReplicationControllerStatus,
};
use machinery::labels::Selector;

/// The status of either kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    pub replicas: i32,
    pub fully_labeled: i32,
    pub ready: i32,
    pub available: i32,
    /// Only ReplicaSets report it.
    pub terminating: Option<i32>,
    pub observed_generation: i64,
    pub conditions: Vec<ReplicaSetCondition>,
}

pub trait Replicated: PodOwner {
    /// ReplicaSets count terminating pods.
    const COUNTS_TERMINATING: bool;
    fn replicas(&self) -> i32;
    fn min_ready_seconds(&self) -> i32;
    fn template(&self) -> PodTemplateSpec;
    fn status(&self) -> Status;
    fn set_status(&mut self, status: Status);
}

/// `None` for a zero: Go's omitempty.
fn nonzero<T: Default + PartialEq>(v: T) -> Option<T> {
    (v != T::default()).then_some(v)
}

impl PodOwner for ReplicaSet {
    fn pod_selector(&self) -> Option<Selector> {
        selectors::from_label_selector(self.spec.as_ref().map(|s| &s.selector)).ok()
    }
}

impl Replicated for ReplicaSet {
    const COUNTS_TERMINATING: bool = true;
    fn replicas(&self) -> i32 {
        self.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
    }
    fn min_ready_seconds(&self) -> i32 {
        self.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or(0)
    }
    fn template(&self) -> PodTemplateSpec {
        self.spec.as_ref().and_then(|s| s.template.clone()).unwrap_or_default()
    }
    fn status(&self) -> Status {
        let s = self.status.clone().unwrap_or_default();
        Status {
            replicas: s.replicas,
            fully_labeled: s.fully_labeled_replicas.unwrap_or(0),
            ready: s.ready_replicas.unwrap_or(0),
            available: s.available_replicas.unwrap_or(0),
            terminating: s.terminating_replicas,
            observed_generation: s.observed_generation.unwrap_or(0),
            conditions: s.conditions.unwrap_or_default(),
        }
    }
    fn set_status(&mut self, s: Status) {
        self.status = Some(ReplicaSetStatus {
            replicas: s.replicas,
            fully_labeled_replicas: nonzero(s.fully_labeled),
            ready_replicas: nonzero(s.ready),
            available_replicas: nonzero(s.available),
            terminating_replicas: s.terminating,
            observed_generation: nonzero(s.observed_generation),
            conditions: (!s.conditions.is_empty()).then_some(s.conditions),
        });
    }
}

impl PodOwner for ReplicationController {
    fn pod_selector(&self) -> Option<Selector> {
        let map = self.spec.as_ref()?.selector.as_ref().filter(|m| !m.is_empty())?;
        Some(selectors::from_map(Some(map)))
    }
}

impl Replicated for ReplicationController {
    const COUNTS_TERMINATING: bool = false;
    fn replicas(&self) -> i32 {
        self.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
    }
    fn min_ready_seconds(&self) -> i32 {
        self.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or(0)
    }
    fn template(&self) -> PodTemplateSpec {
        self.spec.as_ref().and_then(|s| s.template.clone()).unwrap_or_default()
    }
    fn status(&self) -> Status {
        let s = self.status.clone().unwrap_or_default();
        let conditions = s.conditions.unwrap_or_default().into_iter().map(|c| ReplicaSetCondition {
            type_: c.type_,
            status: c.status,
            reason: c.reason,
            message: c.message,
            last_transition_time: c.last_transition_time,
        });
        Status {
            replicas: s.replicas,
            fully_labeled: s.fully_labeled_replicas.unwrap_or(0),
            ready: s.ready_replicas.unwrap_or(0),
            available: s.available_replicas.unwrap_or(0),
            terminating: None,
            observed_generation: s.observed_generation.unwrap_or(0),
            conditions: conditions.collect(),
        }
    }
    fn set_status(&mut self, s: Status) {
        let conditions: Vec<_> = s
            .conditions
            .into_iter()
            .map(|c| ReplicationControllerCondition {
                type_: c.type_,
                status: c.status,
                reason: c.reason,
                message: c.message,
                last_transition_time: c.last_transition_time,
            })
            .collect();
        self.status = Some(ReplicationControllerStatus {
            replicas: s.replicas,
            fully_labeled_replicas: nonzero(s.fully_labeled),
            ready_replicas: nonzero(s.ready),
            available_replicas: nonzero(s.available),
            observed_generation: nonzero(s.observed_generation),
            conditions: (!conditions.is_empty()).then_some(conditions),
        });
    }
}
