//! Limits of local storage: a pod that has outgrown the size of an emptyDir, or the ephemeral-storage limit of its containers
//! together or of one of them, is evicted (upstream localStorageEviction). Only pods with such limits are measured.

use crate::context::Context;
use crate::eviction::{Containers, usage};
use crate::pod::resources::is_critical;
use crate::pod::spec;
use crate::pod::worker::Handle;
use crate::volumes::usage::{exceeded, local, used};
use client::{EventType, Object};
use k8s_openapi::api::core::v1::{Container, Pod};

const RESOURCE: &str = "ephemeral-storage";

/// Evicts the pods that are above a limit.
pub async fn enforce(ctx: &Context, pods: &[Handle]) {
    let active: Vec<&Handle> = pods.iter().filter(|h| h.is_active() && !h.is_being_evicted()).collect();
    let limited = active.iter().any(|h| limits(&h.pod()).next().is_some());
    let layers = if limited { usage(ctx, RESOURCE).await } else { Default::default() };
    for h in active {
        let pod = h.pod();
        let above = || {
            limits(&pod).next()?;
            let mut containers = layers.get(pod.uid()).cloned().unwrap_or_default();
            let layers: i64 = containers.iter().map(|c| c.1).sum();
            for (name, bytes) in &mut containers {
                let logs = used(&ctx.pod_log_dir(&pod).join(name));
                *bytes = bytes.saturating_add(i64::try_from(logs).unwrap_or(i64::MAX));
            }
            above(&pod, layers.saturating_add(local(ctx, &pod)), &containers)
        };
        if let Some(message) = exceeded(ctx, &pod).or_else(above).filter(|_| !is_critical(&pod)) {
            ctx.pod_event(&pod, EventType::Warning, "Evicted", message.clone());
            h.evict("Evicted", &message, 1);
        }
    }
}

/// Containers with a limit, and the limit.
fn limits(pod: &Pod) -> impl Iterator<Item = (&Container, i64)> {
    let limit = |c: &Container| spec::amount(c.resources.as_ref()?.limits.as_ref(), RESOURCE).filter(|l| *l > 0);
    spec::containers(pod).iter().filter_map(move |c| Some((c, limit(c)?)))
}

/// The eviction message of a pod that uses `total` bytes, of which its containers' own.
fn above(pod: &Pod, total: i64, containers: &Containers) -> Option<String> {
    use machinery::quantity::{Format, Quantity as Amount};
    let all: i64 = limits(pod).map(|(_, l)| l).sum();
    if total > all {
        let all = Amount::new(all, Format::BinarySI);
        return Some(format!("Pod ephemeral local storage usage exceeds the total limit of containers {all}. "));
    }
    limits(pod).find(|(c, limit)| containers.iter().any(|(name, used)| *name == c.name && used > limit)).map(|(c, _)| {
        let limit = c.resources.as_ref().and_then(|r| r.limits.as_ref()?.get(RESOURCE)).map_or("", |q| q.0.as_str());
        format!("Container {} exceeded its local ephemeral storage limit {limit:?}. ", c.name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn messages() {
        let c = |name: &str, limit: &str| json!({"name": name, "resources": {"limits": {"ephemeral-storage": limit}}});
        let pod: Pod = serde_json::from_value(json!({"spec": {"containers": [c("a", "5Mi"), c("b", "10Mi"), {"name": "free"}]}}))
            .expect("pod");
        const MI: i64 = 1 << 20;
        let whole = "Pod ephemeral local storage usage exceeds the total limit of containers 15Mi. ";
        let one = "Container a exceeded its local ephemeral storage limit \"5Mi\". ";
        for (name, total, a, free, want) in [
            ("below", 15 * MI, 5 * MI, 0, None),
            ("the pod", 15 * MI + 1, 0, 0, Some(whole)),
            ("a container", 7 * MI, 5 * MI + 1, 0, Some(one)),
            ("a container without a limit", 15 * MI, 0, 15 * MI, None),
        ] {
            let used = vec![("a".to_owned(), a), ("free".to_owned(), free)];
            assert_eq!(above(&pod, total, &used).as_deref(), want, "{name}");
        }
    }
}
