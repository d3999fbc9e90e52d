//! Eviction under node pressure: when a hard threshold is crossed, first unused images go (unless their collection is switched off), then one pod per round, ranked by usage
//! above requests, priority and size (upstream pkg/kubelet/eviction). Soft thresholds are not built.

use crate::admission::Rejection;
use crate::context::Context;
use crate::image_gc::ImageCollector;
use crate::node::status::{Pressure, Shortage};
use crate::pod::resources::{is_critical, pod_total};
use crate::pod::spec;
use crate::pod::worker::Handle;
use crate::runtime::{CONTAINER_NAME_LABEL, POD_UID_LABEL};
use client::{EventType, Object};
use k8s_openapi::api::core::v1::Pod;
use machinery::quantity::{Format, Quantity as Amount};
use std::collections::HashMap;
use std::sync::Arc;

/// Bytes each container uses, by name.
pub type Containers = Vec<(String, i64)>;

/// A pod that may have to go.
struct Candidate<T> {
    what: T,
    pod: Arc<Pod>,
    containers: Containers,
    used: i64,
}

/// Frees what the node is short of.
pub async fn relieve(ctx: &Context, pods: &[Handle], images: &mut ImageCollector) {
    let mut pressure = Pressure::measure(ctx);
    if pressure.disk.is_some() && ctx.config.kubelet.image_gc_high_threshold_percent < 100 {
        images.remove_all(ctx).await;
        pressure = Pressure::measure(ctx);
    }
    // One at a time: what the last one gives back comes first.
    let Some(shortage) = pressure.memory.or(pressure.disk).filter(|_| !pods.iter().any(Handle::is_being_evicted)) else { return };
    let usage = usage(ctx, shortage.resource).await;
    let candidates = pods.iter().filter(|h| h.is_active()).map(|h| {
        let pod = h.pod();
        let containers = usage.get(pod.uid()).cloned().unwrap_or_default();
        let mut used: i64 = containers.iter().map(|c| c.1).sum();
        if shortage.resource != "memory" {
            used += crate::volumes::usage::local(ctx, &pod);
        }
        Candidate { what: h, pod, containers, used }
    });
    let Some(victim) = rank(candidates.collect(), shortage.resource).into_iter().find(|c| !is_critical(&c.pod)) else {
        tracing::warn!(resource = shortage.resource, "node under pressure, and no pod to evict");
        return;
    };
    let message = message(&shortage, &victim.pod, &victim.containers);
    ctx.pod_event(&victim.pod, EventType::Warning, "Evicted", message.clone());
    victim.what.evict_for_pressure(&message);
}

/// Whether a new pod may come while the node is under pressure.
pub fn admit(ctx: &Context, pod: &Pod) -> Result<(), Rejection> {
    let pressure = Pressure::measure(ctx);
    if is_critical(pod) || (pressure.memory.is_none() && pressure.disk.is_none()) {
        return Ok(());
    }
    let tolerated = || {
        let mut all = spec::spec(pod).tolerations.iter().flatten();
        all.any(|t| t.operator.as_deref() == Some("Exists") && t.key.as_deref().is_none_or(|k| k == MEMORY_TAINT))
    };
    if pressure.disk.is_none() && (spec::qos_class(pod) != "BestEffort" || tolerated()) {
        return Ok(());
    }
    let names = [("DiskPressure", pressure.disk.is_some()), ("MemoryPressure", pressure.memory.is_some())];
    let list: Vec<&str> = names.iter().filter(|n| n.1).map(|n| n.0).collect();
    Err(Rejection::new("Evicted", format!("The node had condition: [{}]. ", list.join(" "))))
}

const MEMORY_TAINT: &str = "node.kubernetes.io/memory-pressure";

/// What containers use of memory or of disk beside the image, by the UIDs of their pods.
pub async fn usage(ctx: &Context, resource: &str) -> HashMap<String, Containers> {
    let mut all: HashMap<String, Containers> = HashMap::new();
    for s in ctx.runtime.container_stats().await.unwrap_or_default() {
        let Some(labels) = s.attributes.as_ref().map(|a| &a.labels) else { continue };
        let label = |k: &str| labels.get(k).cloned().unwrap_or_default();
        let bytes = match resource {
            "memory" => s.memory.as_ref().and_then(|m| m.working_set_bytes.as_ref()),
            _ => s.writable_layer.as_ref().and_then(|l| l.used_bytes.as_ref()),
        };
        let bytes = bytes.map_or(0, |v| i64::try_from(v.value).unwrap_or(i64::MAX));
        all.entry(label(POD_UID_LABEL)).or_default().push((label(CONTAINER_NAME_LABEL), bytes));
    }
    all
}

/// The first to go comes first: above its requests, of low priority, far above its requests.
fn rank<T>(mut all: Vec<Candidate<T>>, resource: &str) -> Vec<Candidate<T>> {
    all.sort_by_key(|c| {
        let over = c.used - pod_total(&c.pod, resource, false, |m| spec::amount(Some(m), resource));
        (over <= 0, spec::spec(&c.pod).priority.unwrap_or(0), std::cmp::Reverse(over))
    });
    all
}

fn message(shortage: &Shortage, pod: &Pod, usage: &Containers) -> String {
    let Shortage { resource, threshold, available } = shortage;
    let mut text = format!(
        "The node was low on resource: {resource}. Threshold quantity: {threshold}, available: {}. ",
        shortage.print(*available)
    );
    for (name, used) in usage {
        let Some(c) = spec::containers(pod).iter().chain(spec::init_containers(pod)).find(|c| c.name == *name) else { continue };
        let request = c.resources.as_ref().and_then(|r| r.requests.as_ref()?.get(*resource));
        if *used > request.map_or(0, |q| spec::quantity(q).value()) {
            let request = request.map_or("0", |q| q.0.as_str());
            let used = Amount::new(*used, Format::BinarySI);
            text += &format!("Container {name} was using {used}, request is {request}, has larger consumption of {resource}. ");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ranking_and_message() {
        let pod = |name: &str, priority: i32, request: &str, used: i64| {
            let pod = serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"priority": priority,
                "containers": [{"name": "c", "resources": {"requests": {"memory": request}}}]}}));
            Candidate { what: name.to_owned(), pod: Arc::new(pod.expect("pod")), containers: vec![("c".into(), used)], used }
        };
        let all = vec![
            pod("below", 0, "20Mi", 10 << 20),
            pod("important", 100, "1Mi", 90 << 20),
            pod("little over", 0, "1Mi", 2 << 20),
            pod("far over", 0, "1Mi", 10 << 20),
        ];
        let ranked = rank(all, "memory");
        let names: Vec<&str> = ranked.iter().map(|c| c.what.as_str()).collect();
        assert_eq!(names, ["far over", "little over", "important", "below"]);
        let shortage = Shortage { resource: "memory", threshold: "100Mi".into(), available: 5 << 10 };
        assert_eq!(
            message(&shortage, &ranked[0].pod, &ranked[0].containers),
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 5Ki. \
             Container c was using 10Mi, request is 1Mi, has larger consumption of memory. "
        );
    }
}
