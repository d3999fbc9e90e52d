//! In-place resize: CPU and memory of running containers follow the pod's spec, without a restart unless the container's
//! resizePolicy asks for one (upstream kuberuntime doPodResizeAction). Every resize that the API server lets through is made at once;
//! `Deferred` and `Infeasible` are not told apart here.

use super::actions::KillReason;
use super::worker::Worker;
use super::{container, kill, spec, status};
use client::Object;
use cri::v1 as api;
use k8s_openapi::api::core::v1::{Container, Pod};

impl Worker {
    /// Brings running containers to what the spec says.
    pub(super) async fn resize(&mut self, pod: &Pod) {
        let running: Vec<api::ContainerStatus> =
            self.record.containers.iter().filter(|s| s.state() == api::ContainerState::ContainerRunning).cloned().collect();
        self.given.retain(|id, _| running.iter().any(|s| s.id == *id));
        for s in &running {
            let Some(c) = spec::find_container(pod, spec::container_name(s)) else { continue };
            let want = container::linux_resources(&self.ctx, pod, &c);
            let have = self.given.get(&s.id).cloned().or_else(|| s.resources.as_ref().and_then(|r| r.linux.clone()));
            let Some(have) = have.filter(|h| differs(h, &want)) else {
                self.given.insert(s.id.clone(), want);
                continue;
            };
            if let Err(e) = self.ctx.cgroups.apply_pod(pod) {
                tracing::debug!(pod = pod.name(), error = %e, "pod cgroup not resized yet"); // shrinks after its containers
            }
            let restart = restarts(&c, have.cpu_shares != want.cpu_shares || have.cpu_quota != want.cpu_quota, "cpu")
                || restarts(&c, have.memory_limit_in_bytes != want.memory_limit_in_bytes, "memory");
            let done = if restart {
                let message = format!("Container {} resize requires restart", c.name);
                let ips = status::pod_ips(&self.ctx, pod, &self.record);
                {
                    let order = kill::Order { message: &message, reason: KillReason::Other, grace_override: None, ips: &ips };
                    kill::container(&self.ctx, pod, s, order, async {}).await
                }
            } else {
                self.ctx.runtime.update_resources(&s.id, want.clone()).await
            };
            match done {
                Ok(()) => {
                    self.given.insert(s.id.clone(), want);
                    if restart {
                        self.reread(&s.id).await;
                    }
                }
                Err(e) => {
                    tracing::warn!(pod = pod.name(), container = c.name, error = %e, "container not resized");
                    self.failed = true;
                }
            }
            if let Err(e) = self.ctx.cgroups.apply_pod(pod) {
                tracing::warn!(pod = pod.name(), error = %e, "pod cgroup not resized");
                self.failed = true;
            }
        }
    }
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
}
