//! Questions asked of pods.

use client::Object;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ObjectReference, Pod, PodCondition, PodSpec};
use std::time::Duration;

pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("")
}
pub fn node_name(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|s| s.node_name.as_deref()).unwrap_or("")
}
/// The reference of an endpoint to its pod.
pub fn target(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".into()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        ..Default::default()
    }
}
/// Succeeded or Failed.
pub fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}
/// Neither finished nor being deleted.
pub fn is_active(pod: &Pod) -> bool {
    !is_terminal(pod) && !pod.is_terminating()
}
/// Being deleted and not finished.
pub fn is_terminating(pod: &Pod) -> bool {
    !is_terminal(pod) && pod.is_terminating()
}
pub fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|c| c.type_ == kind)
}
pub fn ready_condition(pod: &Pod) -> Option<&PodCondition> {
    condition(pod, "Ready")
}
pub fn is_ready(pod: &Pod) -> bool {
    ready_condition(pod).is_some_and(|c| c.status == "True")
}

/// How long until a ready pod counts as available; zero if it does now, `None` if it is not ready.
pub fn until_available(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> Option<Duration> {
    let c = ready_condition(pod).filter(|c| c.status == "True")?;
    if min_ready_seconds == 0 {
        return Some(Duration::ZERO);
    }
    let since = c.last_transition_time.as_ref()?.0;
    let left = SignedDuration::from_secs(i64::from(min_ready_seconds)) - now.duration_since(since);
    Some(Duration::try_from(left).unwrap_or(Duration::ZERO))
}
/// Ready for at least `min_ready_seconds`.
pub fn is_available(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> bool {
    until_available(pod, min_ready_seconds, now) == Some(Duration::ZERO)
}
/// The soonest time a ready pod of these becomes available.
pub fn next_available<'a>(pods: impl IntoIterator<Item = &'a Pod>, min_ready_seconds: i32, now: Timestamp) -> Option<Duration> {
    pods.into_iter().filter_map(|p| until_available(p, min_ready_seconds, now)).filter(|d| !d.is_zero()).min()
}

/// Highest restart counts: of ordinary containers, of sidecars.
pub fn restarts(pod: &Pod) -> (i32, i32) {
    let Some(status) = &pod.status else { return (0, 0) };
    let regular = status.container_statuses.iter().flatten().map(|c| c.restart_count).max().unwrap_or(0);
    let is_sidecar = |name: &str| {
        let init = pod.spec.as_ref().and_then(|s| s.init_containers.as_ref());
        init.into_iter().flatten().any(|c| c.name == name && c.restart_policy.as_deref() == Some("Always"))
    };
    let sidecar = status
        .init_container_statuses
        .iter()
        .flatten()
        .filter(|c| is_sidecar(&c.name))
        .map(|c| c.restart_count)
        .max()
        .unwrap_or(0);
    (regular, sidecar)
}

/// Adds a condition or changes the one of its type; the transition time stays if the status does. True if anything changed.
pub fn set_condition(pod: &mut Pod, mut new: PodCondition) -> bool {
    let conditions = pod.status.get_or_insert_default().conditions.get_or_insert_default();
    let Some(old) = conditions.iter_mut().find(|c| c.type_ == new.type_) else {
        conditions.push(new);
        return true;
    };
    if old.status == new.status {
        new.last_transition_time = old.last_transition_time.clone();
    }
    if *old == new {
        return false;
    }
    *old = new;
    true
}

/// Claims of PersistentVolumes that a pod mounts, by claim name; generic ephemeral volumes included.
pub fn claim_names(pod: &Pod) -> Vec<String> {
    let volumes = pod.spec.as_ref().and_then(|s: &PodSpec| s.volumes.as_ref());
    volumes
        .into_iter()
        .flatten()
        .filter_map(|v| {
            v.persistent_volume_claim
                .as_ref()
                .map(|c| c.claim_name.clone())
                .or_else(|| v.ephemeral.as_ref().map(|_| format!("{}-{}", pod.name(), v.name)))
        })
        .collect()
}
