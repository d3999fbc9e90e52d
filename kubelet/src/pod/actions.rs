//! What one sync of a pod has to do: a function of its spec, the runtime's record and the probes' verdicts
//! (upstream kuberuntime_manager.go, computePodActions).

use super::container::container_hash;
use super::spec;
use crate::probes::{ProbeKind, Results, Verdict};
use crate::runtime::PodRecord;
use cri::v1::{ContainerState, ContainerStatus};
use k8s_openapi::api::core::v1::{Container, Pod};

/// Why a running container has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillReason {
    Startup,
    Liveness,
    /// Its definition changed, its state is unknown, or the pod ends.
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kill {
    pub id: String,
    pub name: String,
    pub message: String,
    pub reason: KillReason,
}

/// The plan of one sync. Indexes are into the pod's lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actions {
    /// End every container and the sandbox, first of all.
    pub kill_pod: bool,
    pub create_sandbox: bool,
    pub sandbox_id: String,
    pub attempt: u32,
    pub init_to_start: Vec<usize>,
    pub containers_to_start: Vec<usize>,
    pub ephemeral_to_start: Vec<usize>,
    pub to_kill: Vec<Kill>,
}

/// Plans a sync. Resizes are applied apart.
pub fn compute(pod: &Pod, record: &PodRecord, probes: &Results) -> Actions {
    let (create, attempt, sandbox_id) = spec::sandbox_changed(pod, record);
    let mut a = Actions { kill_pod: create, create_sandbox: create, sandbox_id, attempt, ..Default::default() };
    if create {
        plan_new_sandbox(pod, record, &mut a);
        return a;
    }
    for (i, (c, _)) in spec::ephemeral_containers(pod).iter().enumerate() {
        if spec::newest(record, &c.name).is_none() {
            a.ephemeral_to_start.push(i);
        }
    }
    let initialized = plan_init(pod, record, probes, &mut a);
    if a.kill_pod || !initialized {
        return a;
    }
    let mut kept = 0;
    for (i, c) in spec::containers(pod).iter().enumerate() {
        let Some(s) = spec::newest(record, &c.name).filter(|s| s.state() == ContainerState::ContainerRunning) else {
            if spec::should_start(pod, c, record) {
                a.containers_to_start.push(i);
                if let Some(s) = spec::newest(record, &c.name).filter(|s| s.state() == ContainerState::ContainerUnknown) {
                    a.to_kill.push(unknown(s, &c.name, "Container"));
                }
            }
            continue;
        };
        let policy = c.restart_policy.as_deref().unwrap_or(spec::restart_policy(pod));
        let (mut message, reason, restart) = if changed(c, s) {
            (format!("Container {} definition changed", c.name), KillReason::Other, true)
        } else if probes.get(&s.id, ProbeKind::Liveness) == Some(Verdict::Failure) {
            (format!("Container {} failed liveness probe", c.name), KillReason::Liveness, policy != "Never")
        } else if probes.get(&s.id, ProbeKind::Startup) == Some(Verdict::Failure) {
            (format!("Container {} failed startup probe", c.name), KillReason::Startup, policy != "Never")
        } else {
            kept += 1;
            continue;
        };
        if restart {
            message.push_str(", will be restarted");
            a.containers_to_start.push(i);
        }
        a.to_kill.push(Kill { id: s.id.clone(), name: c.name.clone(), message, reason });
    }
    if kept == 0 && a.containers_to_start.is_empty() {
        a.kill_pod = true;
        a.init_to_start.clear();
    }
    a
}

fn plan_new_sandbox(pod: &Pod, record: &PodRecord, a: &mut Actions) {
    if spec::restart_policy(pod) == "Never" && a.attempt != 0 && !record.containers.is_empty() {
        a.create_sandbox = false; // it ran once: no second time
        return;
    }
    let done = |c: &Container| {
        spec::newest(record, &c.name).is_some_and(|s| s.state() == ContainerState::ContainerExited && s.exit_code == 0)
    };
    let start: Vec<usize> = spec::containers(pod)
        .iter()
        .enumerate()
        .filter(|(_, c)| !(c.restart_policy.as_deref().unwrap_or(spec::restart_policy(pod)) == "OnFailure" && done(c)))
        .map(|(i, _)| i)
        .collect();
    if start.is_empty() && spec::any_regular_created(pod, record) {
        a.create_sandbox = false;
        return;
    }
    if spec::init_containers(pod).is_empty() { a.containers_to_start = start } else { a.init_to_start = vec![0] }
}

fn changed(c: &Container, s: &ContainerStatus) -> bool {
    s.annotations.get(super::container::HASH).is_some_and(|h| *h != container_hash(c))
}

fn unknown(s: &ContainerStatus, name: &str, what: &str) -> Kill {
    let message = format!("{what} is in \"unknown\" state, try killing it before restart");
    Kill { id: s.id.clone(), name: name.to_owned(), message, reason: KillReason::Other }
}

/// Plans init containers, last to first; true once the pod is initialized.
fn plan_init(pod: &Pod, record: &PodRecord, probes: &Results, a: &mut Actions) -> bool {
    let init = spec::init_containers(pod);
    if init.is_empty() {
        return true;
    }
    let mut initialized = spec::containers(pod).iter().any(|c| {
        spec::newest(record, &c.name)
            .is_some_and(|s| matches!(s.state(), ContainerState::ContainerRunning | ContainerState::ContainerCreated))
    });
    let mut previously = initialized;
    let last = init.len() - 1;
    for (i, c) in init.iter().enumerate().rev() {
        let sidecar = spec::is_sidecar(c);
        let Some(s) = spec::newest(record, &c.name) else {
            if previously && sidecar {
                a.init_to_start.push(i);
            }
            continue;
        };
        if previously && !sidecar {
            continue;
        }
        let kill = |a: &mut Actions, message: String, reason| {
            a.to_kill.push(Kill { id: s.id.clone(), name: c.name.clone(), message, reason });
            a.init_to_start.push(i);
        };
        match s.state() {
            ContainerState::ContainerCreated => a.init_to_start.push(i),
            ContainerState::ContainerRunning if !sidecar => {}
            ContainerState::ContainerRunning => {
                let startup = probes.get(&s.id, ProbeKind::Startup);
                if c.startup_probe.is_some() && startup != Some(Verdict::Success) {
                    if startup == Some(Verdict::Failure) {
                        kill(a, format!("Init container {} failed startup probe", c.name), KillReason::Startup);
                    }
                } else {
                    if i == last {
                        initialized = true;
                    } else if !previously {
                        a.init_to_start.push(i + 1);
                    }
                    if changed(c, s) {
                        kill(a, format!("Init container {} definition changed", c.name), KillReason::Other);
                    } else if c.liveness_probe.is_some() && probes.get(&s.id, ProbeKind::Liveness) == Some(Verdict::Failure) {
                        kill(a, format!("Init container {} failed liveness probe", c.name), KillReason::Liveness);
                    }
                }
            }
            ContainerState::ContainerExited if sidecar => a.init_to_start.push(i),
            ContainerState::ContainerExited if s.exit_code != 0 => {
                if !spec::restarts_after(pod, c, s.exit_code) {
                    a.kill_pod = true;
                    a.init_to_start.clear();
                    return false;
                }
                a.init_to_start.push(i);
            }
            ContainerState::ContainerExited => {
                if i == last {
                    initialized = true;
                } else {
                    a.init_to_start.push(i + 1);
                }
            }
            ContainerState::ContainerUnknown => {
                if !sidecar && c.restart_policy.as_deref().unwrap_or(spec::restart_policy(pod)) == "Never" {
                    a.kill_pod = true;
                    a.init_to_start.clear();
                    return false;
                }
                a.to_kill.push(unknown(s, &c.name, "Init container"));
                a.init_to_start.push(i);
            }
        }
        previously = true;
    }
    if !previously {
        a.init_to_start.push(0);
    }
    a.init_to_start.reverse();
    initialized
}
