//! The annotations that carry a rollout's memory: revisions and sizes (deployment/util).

use super::arithmetic::max_surge;
use super::replicas;
use client::Object;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

pub const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
pub const ROLLBACK_TO: &str = "deprecated.deployment.rollback.to";
/// Longest revision history kept.
const HISTORY_CHARS: usize = 2000;

/// Not copied between a Deployment and its sets.
pub fn is_own(key: &str) -> bool {
    [LAST_APPLIED, REVISION, HISTORY, DESIRED, MAX, ROLLBACK_TO].contains(&key)
}

fn number(rs: &ReplicaSet, key: &str) -> Option<i32> {
    rs.annotation(key)?.parse().ok().filter(|n| *n >= 0)
}
pub fn desired(rs: &ReplicaSet) -> Option<i32> {
    number(rs, DESIRED)
}
pub fn max(rs: &ReplicaSet) -> Option<i32> {
    number(rs, MAX)
}

/// The revision of a set; 0 where none is noted, `None` where it is unreadable.
pub fn revision<K: Object>(obj: &K) -> Option<i64> {
    obj.annotation(REVISION).map_or(Some(0), |s| s.parse().ok())
}

/// Notes the sizes a set was scaled for; true if that changed anything.
pub fn set_sizes(rs: &mut ReplicaSet, d: &Deployment) -> bool {
    let annotations = rs.metadata.annotations.get_or_insert_default();
    let mut changed = false;
    for (k, v) in [(DESIRED, replicas(d)), (MAX, replicas(d) + max_surge(d))] {
        let v = v.to_string();
        if annotations.get(k) != Some(&v) {
            annotations.insert(k.to_owned(), v);
            changed = true;
        }
    }
    changed
}

/// Brings the new set's annotations up to date: the Deployment's own, and a revision no less than `revision`. True if changed.
pub fn update_new_set(d: &Deployment, rs: &mut ReplicaSet, revision: i64) -> bool {
    let annotations = rs.metadata.annotations.get_or_insert_default();
    let mut changed = false;
    for (k, v) in d.metadata.annotations.iter().flatten().filter(|(k, _)| !is_own(k)) {
        if annotations.get(k) != Some(v) {
            annotations.insert(k.clone(), v.clone());
            changed = true;
        }
    }
    let old = annotations.get(REVISION).cloned();
    let number = match old.as_deref() {
        None | Some("") => 0,
        Some(s) => match s.parse::<i64>() {
            Ok(n) => n,
            Err(_) => return false,
        },
    };
    if number >= revision {
        return changed;
    }
    annotations.insert(REVISION.to_owned(), revision.to_string());
    if let Some(old) = old {
        // Rolled back to: its former numbers are history.
        remember(annotations, &old);
    }
    true
}

fn remember(annotations: &mut std::collections::BTreeMap<String, String>, old: &str) {
    let history = annotations.get(HISTORY).cloned().unwrap_or_default();
    if history.is_empty() {
        annotations.insert(HISTORY.to_owned(), old.to_owned());
        return;
    }
    let mut parts: Vec<&str> = history.split(',').collect();
    while !parts.is_empty() && parts.iter().map(|p| p.len() + 1).sum::<usize>() + old.len() > HISTORY_CHARS {
        parts.remove(0);
    }
    parts.push(old);
    annotations.insert(HISTORY.to_owned(), parts.join(","));
}
