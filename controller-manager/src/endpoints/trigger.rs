//! When the change happened that an update of endpoints reports (endpointslice/util TriggerTimeTracker): measured, not guessed, so
//! that programming latency can be told from it.

use crate::core::pod;
use client::Object;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service};
use std::collections::HashMap;
use std::sync::Arc;

#[derive(Default)]
pub struct Tracker {
    seen: HashMap<String, Seen>,
}

#[derive(Default)]
struct Seen {
    service: Option<Timestamp>,
    pods: HashMap<String, Timestamp>,
}

impl Tracker {
    /// The earliest change since the last call for this Service, as RFC 3339.
    pub fn compute(&mut self, service: &Service, pods: &[Arc<Pod>]) -> Option<String> {
        let created = service.metadata.creation_timestamp.as_ref().map(|t| t.0);
        let times: HashMap<String, Timestamp> = pods
            .iter()
            .filter_map(|p| {
                let t = pod::ready_condition(p).and_then(|c| c.last_transition_time.as_ref());
                let t = t.or(p.metadata.creation_timestamp.as_ref())?;
                Some((p.name().to_owned(), t.0))
            })
            .collect();
        let first = !self.seen.contains_key(&service.key());
        let old = self.seen.entry(service.key()).or_default();
        let mut changes: Vec<Timestamp> =
            times.iter().filter(|(name, t)| old.pods.get(*name).is_none_or(|o| *t > o)).map(|(_, t)| *t).collect();
        if first || created > old.service {
            changes.extend(created);
        }
        *old = Seen { service: created, pods: times };
        changes.into_iter().min().map(|t| t.to_string())
    }
    pub fn forget(&mut self, key: &str) {
        self.seen.remove(key);
    }
}
