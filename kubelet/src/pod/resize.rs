//! In-place resize: CPU and memory of running containers follow what the pod was given, without a restart unless the container's
//! resizePolicy asks for one (upstream kuberuntime doPodResizeAction). Whether a pod is given what its spec asks for is decided in
//! `allocation`; the pod's conditions PodResizePending and PodResizeInProgress tell.

use super::actions::KillReason;
use super::allocation::Verdict;
use super::worker::Worker;
use super::{container, kill, spec, status};
use crate::context::Context;
use client::{EventType, Object};
use cri::v1 as api;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;

/// What the pod's conditions say of its resize.
#[derive(Clone, Debug, Default)]
pub struct Resizing {
    /// It was not given what it asks for.
    pub pending: Option<Progress>,
    /// It was, and its containers do not all have it yet.
    pub in_progress: Option<Progress>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub reason: &'static str,
    pub message: String,
    pub generation: Option<i64>,
}

/// A running container that has other resources than it should.
struct Change {
    of: api::ContainerStatus,
    container: Container,
    have: api::LinuxContainerResources,
    want: api::LinuxContainerResources,
}

impl Change {
    /// The container's policy asks for a restart.
    fn restarts(&self) -> bool {
        let (have, want) = (&self.have, &self.want);
        let cpu = have.cpu_shares != want.cpu_shares || have.cpu_quota.max(0) != want.cpu_quota.max(0);
        let memory = have.memory_limit_in_bytes != want.memory_limit_in_bytes;
        restarts(&self.container, cpu, "cpu") || restarts(&self.container, memory, "memory")
    }
    /// The new memory limit, if it is a smaller one.
    fn smaller_memory(&self) -> Option<i64> {
        let (have, want) = (self.have.memory_limit_in_bytes, self.want.memory_limit_in_bytes);
        (want > 0 && (have <= 0 || want < have)).then_some(want)
    }
}

impl Worker {
    /// The pod as it is to run: with the resources that its spec asks for, if the node has them, else with what it had.
    pub(super) fn allocate(&mut self, pod: &Arc<Pod>) -> Arc<Pod> {
        let ctx = self.ctx.clone();
        let (runs, verdict) = ctx.allocations.decide(pod, |given| ctx.fits(pod, given));
        let (reason, event, message) = match verdict {
            Verdict::Unchanged => {
                self.resizing.pending = None;
                return runs;
            }
            Verdict::Given => {
                let generation = pod.metadata.generation;
                self.resizing = Resizing { pending: None, in_progress: Some(Progress { generation, ..Default::default() }) };
                ctx.pod_event(pod, EventType::Normal, "ResizeStarted", summary(pod, "Pod resize started", ""));
                ctx.room_made();
                return runs;
            }
            Verdict::Infeasible(m) => ("Infeasible", "ResizeInfeasible", m),
            Verdict::Deferred(m) => ("Deferred", "ResizeDeferred", m),
        };
        let generation = pod.metadata.generation;
        let pending = Progress { reason, message, generation };
        if self.resizing.pending.as_ref().is_none_or(|p| (p.reason, p.generation) != (reason, generation)) {
            let text = summary(pod, &format!("Pod resize {reason}"), &pending.message);
            ctx.pod_event(pod, EventType::Warning, event, text);
        }
        self.resizing.pending = Some(pending);
        runs
    }

    /// Brings running containers to what the pod was given.
    pub(super) async fn resize(&mut self, pod: &Pod) {
        let changes = self.changes(pod);
        if changes.is_empty() {
            if self.resizing.in_progress.take().is_some() {
                self.ctx.pod_event(pod, EventType::Normal, "ResizeCompleted", summary(pod, "Pod resize completed", ""));
            }
            return;
        }
        let generation = pod.metadata.generation;
        self.resizing.in_progress.get_or_insert(Progress { generation, ..Default::default() });
        if let Err(e) = self.change_all(pod, &changes).await {
            tracing::warn!(pod = pod.name(), uid = pod.uid(), error = e, "pod not resized");
            let failed = Progress { reason: "Error", message: e, generation };
            if self.resizing.in_progress.as_ref() != Some(&failed) {
                self.ctx.pod_event(pod, EventType::Warning, "ResizeError", summary(pod, "Pod resize error", &failed.message));
            }
            self.resizing.in_progress = Some(failed);
            self.failed = true;
        } else if !changes.iter().any(Change::restarts) {
            self.resizing.in_progress = None;
            self.ctx.pod_event(pod, EventType::Normal, "ResizeCompleted", summary(pod, "Pod resize completed", ""));
        } else {
            self.wake(); // to see the restarted containers run
        }
    }

    /// The running containers that differ from what they should have.
    fn changes(&mut self, pod: &Pod) -> Vec<Change> {
        let running: Vec<api::ContainerStatus> =
            self.record.containers.iter().filter(|s| s.state() == api::ContainerState::ContainerRunning).cloned().collect();
        self.given.retain(|id, _| running.iter().any(|s| s.id == *id));
        self.actuated.retain(|id, _| running.iter().any(|s| s.id == *id));
        let mut changes = Vec::new();
        for s in running {
            let Some(container) = spec::find_container(pod, spec::container_name(&s)) else { continue };
            let want = container::linux_resources(&self.ctx, pod, &container);
            let have = self.given.get(&s.id).cloned().or_else(|| s.resources.as_ref().and_then(|r| r.linux.clone()));
            match have.filter(|h| differs(h, &want)) {
                Some(have) => changes.push(Change { of: s, container, have, want }),
                None => {
                    self.given.insert(s.id.clone(), want);
                    self.actuated.insert(s.id, container.resources.unwrap_or_default());
                }
            }
        }
        changes
    }

    async fn change_all(&mut self, pod: &Pod, changes: &[Change]) -> Result<(), String> {
        check_memory(&self.ctx, changes).await?;
        if let Err(e) = self.ctx.cgroups.apply_pod(pod) {
            tracing::debug!(pod = pod.name(), error = %e, "pod cgroup not resized yet"); // shrinks after its containers
        }
        for Change { of: s, container: c, want, .. } in changes.iter().filter(|c| !c.restarts()) {
            self.ctx.runtime.update_resources(&s.id, want.clone()).await.map_err(|e| e.to_string())?;
            self.given.insert(s.id.clone(), want.clone());
            self.actuated.insert(s.id.clone(), c.resources.clone().unwrap_or_default());
        }
        for Change { of: s, container: c, .. } in changes.iter().filter(|c| c.restarts()) {
            let message = format!("Container {} resize requires restart", c.name);
            let ips = status::pod_ips(&self.ctx, pod, &self.record);
            let order = kill::Order { message: &message, reason: KillReason::Other, grace_override: None, ips: &ips };
            kill::container(&self.ctx, pod, s, order, async {}).await.map_err(|e| e.to_string())?;
            self.reread(&s.id).await;
        }
        self.ctx.cgroups.apply_pod(pod).map_err(|e| format!("failed to resize the pod's cgroup: {e}"))
    }
}

/// A container that uses more memory than its new limit would be killed: refused.
async fn check_memory(ctx: &Context, changes: &[Change]) -> Result<(), String> {
    let smaller: HashMap<&str, (&str, i64)> = changes
        .iter()
        .filter(|c| !c.restarts())
        .filter_map(|c| Some((c.of.id.as_str(), (c.container.name.as_str(), c.smaller_memory()?))))
        .collect();
    if smaller.is_empty() {
        return Ok(());
    }
    let stats = ctx.runtime.container_stats().await.map_err(|e| format!("cannot decrease memory limits: {e}"))?;
    let mut errors = Vec::new();
    for s in &stats {
        let Some((name, limit)) = smaller.get(s.attributes.as_ref().map_or("", |a| a.id.as_str())) else { continue };
        match s.memory.as_ref().and_then(|m| m.usage_bytes.as_ref().or(m.working_set_bytes.as_ref())) {
            None => errors.push(format!("missing container {name:?} memory usage")),
            Some(used) if i128::from(used.value) >= i128::from(*limit) => errors.push(format!(
                "attempting to set container {name:?} memory limit ({limit}) below current usage ({})",
                used.value
            )),
            Some(_) => {}
        }
    }
    match errors.len() {
        0 => Ok(()),
        1 => Err(format!("cannot decrease memory limits: {}", errors[0])),
        _ => Err(format!("cannot decrease memory limits: [{}]", errors.join(", "))),
    }
}

/// The message of a resize's events: what was wanted, as JSON.
fn summary(pod: &Pod, what: &str, error: &str) -> String {
    #[derive(Serialize)]
    struct Item<'a> {
        name: &'a str,
        resources: ResourceRequirements,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Summary<'a> {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        init_containers: Vec<Item<'a>>,
        containers: Vec<Item<'a>>,
        generation: i64,
        #[serde(skip_serializing_if = "str::is_empty")]
        error: &'a str,
    }
    fn items(list: &[Container]) -> Vec<Item<'_>> {
        list.iter().map(|c| Item { name: &c.name, resources: c.resources.clone().unwrap_or_default() }).collect()
    }
    let summary = Summary {
        init_containers: items(spec::init_containers(pod)),
        containers: items(spec::containers(pod)),
        generation: pod.metadata.generation.unwrap_or(0),
        error,
    };
    serde_json::to_string(&summary).map_or_else(|_| what.to_owned(), |json| format!("{what}: {json}"))
}

fn restarts(c: &Container, changed: bool, resource: &str) -> bool {
    let policy = c.resize_policy.iter().flatten().find(|p| p.resource_name == resource);
    changed && policy.is_some_and(|p| p.restart_policy == "RestartContainer")
}

/// Whether what a resize may change is different.
fn differs(a: &api::LinuxContainerResources, b: &api::LinuxContainerResources) -> bool {
    // Runtimes report no quota as 0 or -1.
    let quota = |r: &api::LinuxContainerResources| r.cpu_quota.max(0);
    let memory = |r: &api::LinuxContainerResources| r.memory_limit_in_bytes.max(0);
    a.cpu_shares != b.cpu_shares || quota(a) != quota(b) || memory(a) != memory(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences() {
        let r = |shares, quota, memory| api::LinuxContainerResources {
            cpu_shares: shares,
            cpu_quota: quota,
            memory_limit_in_bytes: memory,
            ..Default::default()
        };
        for (name, a, b, want) in [
            ("same", r(2, 0, 0), r(2, 0, 0), false),
            ("no quota", r(2, -1, 0), r(2, 0, 0), false),
            ("shares", r(2, 0, 0), r(4, 0, 0), true),
            ("memory", r(2, 0, 1), r(2, 0, 2), true),
        ] {
            assert_eq!(differs(&a, &b), want, "{name}");
        }
    }

    #[tokio::test]
    async fn memory_in_use() {
        let runtime = Arc::new(crate::testing::FakeRuntime::default());
        let used = api::MemoryUsage { usage_bytes: Some(api::UInt64Value { value: 100 }), ..Default::default() };
        let attributes = Some(api::ContainerAttributes { id: "1".into(), ..Default::default() });
        runtime.stats.lock().push(api::ContainerStats { attributes, memory: Some(used), ..Default::default() });
        let ctx = crate::testing::context(runtime);
        let below =
            "cannot decrease memory limits: attempting to set container \"c\" memory limit (50) below current usage (100)";
        for (name, have, want, restarts, refused) in [
            ("grows", 60, 70, false, ""),
            ("shrinks above what is used", 300, 200, false, ""),
            ("shrinks below", 200, 50, false, below),
            ("a limit where there was none", 0, 50, false, below),
            ("a restart frees it", 200, 50, true, ""),
        ] {
            let of = |m| api::LinuxContainerResources { memory_limit_in_bytes: m, ..Default::default() };
            let policy = if restarts { "RestartContainer" } else { "NotRequired" };
            let change = Change {
                of: api::ContainerStatus { id: "1".into(), ..Default::default() },
                container: serde_json::from_value(serde_json::json!({"name": "c",
                    "resizePolicy": [{"resourceName": "memory", "restartPolicy": policy}]}))
                .expect("container"),
                have: of(have),
                want: of(want),
            };
            assert_eq!(check_memory(&ctx, &[change]).await.err().unwrap_or_default(), refused, "{name}");
        }
    }
}
