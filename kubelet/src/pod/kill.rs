//! Ending containers: events, preStop hooks, grace periods, the order of sidecars (upstream killContainer, killPodWithSyncResult).

use super::actions::KillReason;
use super::{hooks, spec, status};
use crate::context::Context;
use crate::runtime::{PodRecord, RuntimeError};
use client::EventType;
use cri::v1::{ContainerState, ContainerStatus};
use k8s_openapi::api::core::v1::{Container, Pod};
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// A container gets this long at least.
const MINIMUM_GRACE: i64 = 2;

fn grace(pod: &Pod, c: &Container, reason: KillReason) -> i64 {
    let probe = match reason {
        KillReason::Startup => c.startup_probe.as_ref(),
        KillReason::Liveness => c.liveness_probe.as_ref(),
        KillReason::Other => None,
    };
    let own = probe.and_then(|p| p.termination_grace_period_seconds);
    match pod.metadata.deletion_grace_period_seconds {
        Some(g) => g,
        None => own.unwrap_or_else(|| spec::grace_period(pod)),
    }
}

/// How a container is to end.
pub struct Order<'a> {
    /// Of the Killing event; empty for the usual one.
    pub message: &'a str,
    pub reason: KillReason,
    /// Seconds, in place of what pod and probes say.
    pub grace_override: Option<i64>,
    /// The pod's addresses, for its hooks.
    pub ips: &'a [String],
}

/// Ends one container. `turn` is awaited, within the grace period, before it is told to stop.
pub async fn container(
    ctx: &Context,
    pod: &Pod,
    s: &ContainerStatus,
    order: Order<'_>,
    turn: impl Future<Output = ()>,
) -> Result<(), RuntimeError> {
    let Order { message, reason, grace_override, ips } = order;
    let name = spec::container_name(s).to_owned();
    let c = spec::find_container(pod, &name).unwrap_or_else(|| Container { name: name.clone(), ..Default::default() });
    let mut left = grace_override.unwrap_or_else(|| grace(pod, &c, reason));
    let text = if message.is_empty() { format!("Stopping container {name}") } else { message.to_owned() };
    ctx.container_event(pod, &c, EventType::Normal, "Killing", text);
    if let Some(hook) = c.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref()).filter(|_| left > 0) {
        let began = Instant::now();
        let limit = Duration::from_secs(u64::try_from(left).unwrap_or(0));
        let ip = ips.first().map(String::as_str).unwrap_or("");
        match tokio::time::timeout(limit, hooks::run(ctx, pod, &c, &s.id, ip, hook)).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => {
                tracing::info!(pod = pod.metadata.name, container = name, error = e, "preStop hook failed");
                ctx.container_event(pod, &c, EventType::Warning, "FailedPreStopHook", "PreStopHook failed");
            }
            Err(_) => tracing::info!(pod = pod.metadata.name, container = name, "preStop hook cut off by the grace period"),
        }
        left -= i64::try_from(began.elapsed().as_secs()).unwrap_or(0);
    }
    if left > 0 {
        let began = Instant::now();
        let _ = tokio::time::timeout(Duration::from_secs(u64::try_from(left).unwrap_or(0)), turn).await;
        left -= i64::try_from(began.elapsed().as_secs()).unwrap_or(0);
    }
    match ctx.runtime.stop_container(&s.id, left.max(MINIMUM_GRACE)).await {
        Err(e) if !e.is_not_found() => Err(e),
        _ => Ok(()),
    }
}

/// Ends everything of a pod: regular containers together, then sidecars from last to first, then its sandboxes.
pub async fn pod(ctx: &Context, pod: &Pod, record: &PodRecord, grace_override: Option<i64>) -> Result<(), RuntimeError> {
    let ips = status::pod_ips(ctx, pod, record);
    let live = |s: &&ContainerStatus| matches!(s.state(), ContainerState::ContainerRunning | ContainerState::ContainerUnknown);
    let running: Vec<&ContainerStatus> = record.containers.iter().filter(live).collect();
    // Whoever holds a container's sender has not ended yet; a sidecar waits for those it serves.
    let mut ended: HashMap<String, watch::Receiver<()>> = HashMap::new();
    let mut senders: HashMap<String, watch::Sender<()>> = HashMap::new();
    for s in &running {
        let (tx, rx) = watch::channel(());
        ended.insert(s.id.clone(), rx);
        senders.insert(s.id.clone(), tx);
    }
    let sidecar_index = |s: &ContainerStatus| {
        let name = spec::container_name(s);
        spec::init_containers(pod).iter().position(|c| c.name == name && spec::is_sidecar(c))
    };
    let kills = running.iter().map(|s| {
        let done = senders.remove(&s.id);
        let before: Vec<watch::Receiver<()>> = match sidecar_index(s) {
            None => Vec::new(),
            Some(i) => {
                let earlier = |o: &&&ContainerStatus| o.id != s.id && sidecar_index(o).is_none_or(|j| j > i);
                running.iter().filter(earlier).filter_map(|o| ended.get(&o.id).cloned()).collect()
            }
        };
        let ips = &ips;
        async move {
            let turn = async {
                for mut b in before {
                    while b.changed().await.is_ok() {} // until its sender is dropped
                }
            };
            let result = {
                let order = Order { message: "", reason: KillReason::Other, grace_override, ips };
                container(ctx, pod, s, order, turn).await
            };
            drop(done);
            result
        }
    });
    let results = futures::future::join_all(kills).await;
    let stops = record.sandboxes.iter().map(|s| ctx.runtime.stop_sandbox(&s.id));
    let stopped = futures::future::join_all(stops).await;
    for r in results.into_iter().chain(stopped) {
        match r {
            Err(e) if !e.is_not_found() => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

/// Removes what the runtime still has of a pod; true once nothing is left. What is just being started cannot be removed yet.
pub async fn remove(ctx: &Context, record: &PodRecord) -> bool {
    let containers = futures::future::join_all(record.containers.iter().map(|c| ctx.runtime.remove_container(&c.id))).await;
    let sandboxes = futures::future::join_all(record.sandboxes.iter().map(|s| ctx.runtime.remove_sandbox(&s.id))).await;
    let mut all = true;
    for e in containers.into_iter().chain(sandboxes).filter_map(Result::err).filter(|e| !e.is_not_found()) {
        tracing::warn!(error = %e, "remains of a pod not removed");
        all = false;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn remains() {
        let runtime = std::sync::Arc::new(crate::testing::FakeRuntime::default());
        let ctx = crate::testing::context(runtime.clone());
        let container = |id: &str| ContainerStatus { id: id.into(), ..Default::default() };
        let record = PodRecord { sandboxes: Vec::new(), containers: vec![container("a"), container("b")] };
        assert!(remove(&ctx, &record).await, "all gone already");
        runtime.starting.lock().push("b".into());
        assert!(!remove(&ctx, &record).await, "one is just being started");
    }
}
