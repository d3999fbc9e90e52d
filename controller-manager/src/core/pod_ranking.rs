//! Which pods go first when there are too many (pkg/controller ActivePodsWithRanks).

use super::pod;
use client::Object;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use std::cmp::Ordering;
use std::sync::Arc;

fn deletion_cost(pod: &Pod) -> i32 {
    pod.annotation("controller.kubernetes.io/pod-deletion-cost").and_then(|s| s.parse().ok()).unwrap_or(0)
}

fn phase_order(pod: &Pod) -> u8 {
    match pod::phase(pod) {
        "Unknown" => 1,
        "Running" => 2,
        _ => 0,
    }
}

/// Younger first, by powers of two of age, so that equal ages do not always doom the same pod.
fn by_age(a: Option<Timestamp>, b: Option<Timestamp>, now: Timestamp, tie: Ordering) -> Option<Ordering> {
    if a == b {
        return None;
    }
    let (Some(a), Some(b)) = (a, b) else { return Some(if a.is_none() { Ordering::Less } else { Ordering::Greater }) };
    let rank = |t: Timestamp| {
        let age = now.duration_since(t).as_nanos();
        if age > 0 { i64::from(age.ilog2()) } else { -1 }
    };
    Some(rank(a).cmp(&rank(b)).then(tie))
}

/// Orders two pods; the one to delete first is `Less`. `rank` is the number of related pods on the pod's node.
pub fn compare(a: &Pod, b: &Pod, rank: (usize, usize), now: Timestamp) -> Ordering {
    let created = |p: &Pod| p.metadata.creation_timestamp.as_ref().map(|t| t.0);
    let ready_at = |p: &Pod| pod::ready_condition(p).and_then(|c| c.last_transition_time.as_ref()).map(|t| t.0);
    let by_uid = a.uid().cmp(b.uid());
    let scheduled = |p: &Pod| !pod::node_name(p).is_empty();
    scheduled(a)
        .cmp(&scheduled(b))
        .then(phase_order(a).cmp(&phase_order(b)))
        .then(pod::is_ready(a).cmp(&pod::is_ready(b)))
        .then(deletion_cost(a).cmp(&deletion_cost(b)))
        .then(rank.1.cmp(&rank.0))
        .then_with(|| {
            if pod::is_ready(a) && pod::is_ready(b) {
                by_age(ready_at(a), ready_at(b), now, by_uid).unwrap_or(Ordering::Equal)
            } else {
                Ordering::Equal
            }
        })
        .then_with(|| pod::restarts(b).cmp(&pod::restarts(a)))
        .then_with(|| by_age(created(a), created(b), now, by_uid).unwrap_or(Ordering::Equal))
}

/// The `count` pods to delete: `related` are the active pods of the owner's siblings, for spreading.
pub fn pods_to_delete(pods: &[Arc<Pod>], related: &[Arc<Pod>], count: usize, now: Timestamp) -> Vec<Arc<Pod>> {
    if count >= pods.len() {
        return pods.to_vec();
    }
    let on_node = |p: &Pod| {
        let node = pod::node_name(p);
        if node.is_empty() { 0 } else { related.iter().filter(|r| pod::is_active(r) && pod::node_name(r) == node).count() }
    };
    let mut ranked: Vec<(usize, &Arc<Pod>)> = pods.iter().map(|p| (on_node(p), p)).collect();
    ranked.sort_by(|a, b| compare(a.1, b.1, (a.0, b.0), now));
    ranked.into_iter().take(count).map(|(_, p)| p.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, node: &str, phase: &str, ready: Option<&str>, cost: &str, restarts: i32, created: &str) -> Arc<Pod> {
        let conditions = ready.map_or(json!([]), |t| json!([{"type": "Ready", "status": "True", "lastTransitionTime": t}]));
        let v = json!({"metadata": {"name": name, "uid": name, "creationTimestamp": created,
                "annotations": {"controller.kubernetes.io/pod-deletion-cost": cost}},
            "spec": {"nodeName": node, "containers": []},
            "status": {"phase": phase, "conditions": conditions, "containerStatuses": [
                {"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": restarts}]}});
        Arc::new(serde_json::from_value(v).expect("pod"))
    }

    #[test]
    fn ranking_follows_upstream() {
        let (old, mid, new) = ("2026-01-01T00:00:00Z", "2026-01-01T06:00:00Z", "2026-01-01T11:59:00Z");
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().expect("time");
        for (name, doomed, kept) in [
            (
                "unassigned before assigned",
                pod("a", "", "Pending", None, "0", 0, old),
                pod("b", "n", "Pending", None, "0", 0, new),
            ),
            ("pending before running", pod("a", "n", "Pending", None, "0", 0, old), pod("b", "n", "Running", None, "0", 0, old)),
            (
                "not ready before ready",
                pod("a", "n", "Running", None, "9", 0, old),
                pod("b", "n", "Running", Some(old), "0", 0, old),
            ),
            (
                "lower cost first",
                pod("a", "n", "Running", Some(old), "-1", 0, old),
                pod("b", "n", "Running", Some(new), "0", 9, new),
            ),
            (
                "shorter ready first",
                pod("a", "n", "Running", Some(new), "0", 0, old),
                pod("b", "n", "Running", Some(old), "0", 9, old),
            ),
            (
                "more restarts first",
                pod("a", "n", "Running", Some(old), "0", 3, old),
                pod("b", "n", "Running", Some(old), "0", 1, new),
            ),
            ("younger first", pod("a", "n", "Running", Some(old), "0", 0, new), pod("b", "n", "Running", Some(old), "0", 0, mid)),
        ] {
            assert_eq!(compare(&doomed, &kept, (0, 0), now), Ordering::Less, "{name}");
            assert_eq!(compare(&kept, &doomed, (0, 0), now), Ordering::Greater, "{name} reversed");
        }
        let pods = [pod("a", "n1", "Running", Some(old), "0", 0, old), pod("b", "n2", "Running", Some(old), "0", 0, old)];
        let related = [pods[0].clone(), pods[1].clone(), pod("c", "n2", "Running", Some(old), "0", 0, old)];
        assert_eq!(pods_to_delete(&pods, &related, 1, now)[0].name(), "b", "from the node with more related pods");
    }
}
