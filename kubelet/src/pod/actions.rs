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

#[cfg(test)]
mod tests {
    use super::super::container::{HASH, container_hash};
    use super::*;
    use cri::v1 as api;
    use serde_json::json;

    fn record(pod: &Pod, sandbox_ready: bool, containers: &[(&str, ContainerState, i32)]) -> PodRecord {
        let state = if sandbox_ready { api::PodSandboxState::SandboxReady } else { api::PodSandboxState::SandboxNotready };
        let sandbox = api::PodSandboxStatus {
            id: "s".into(),
            state: state as i32,
            metadata: Some(Default::default()),
            network: Some(api::PodSandboxNetworkStatus { ip: "10.0.0.1".into(), ..Default::default() }),
            ..Default::default()
        };
        let containers = containers.iter().map(|(name, state, exit_code)| {
            let hash = spec::find_container(pod, name).map(|c| container_hash(&c)).unwrap_or_default();
            ContainerStatus {
                id: format!("id-{name}"),
                metadata: Some(api::ContainerMetadata { name: (*name).into(), attempt: 0 }),
                state: *state as i32,
                exit_code: *exit_code,
                annotations: [(HASH.to_owned(), hash)].into(),
                ..Default::default()
            }
        });
        PodRecord { sandboxes: vec![sandbox], containers: containers.collect() }
    }

    /// Case, restart policy, sandbox ready, containers there, probe that failed; wanted: kill pod, new sandbox, init, regular, killed.
    type Case<'a> = (
        &'a str,
        &'a str,
        bool,
        &'a [(&'a str, ContainerState, i32)],
        Option<(&'a str, ProbeKind)>,
        (bool, bool, &'a [usize], &'a [usize], usize),
    );

    #[test]
    fn plans() {
        use ContainerState::{ContainerExited as Exited, ContainerRunning as Running};
        let all = [("side", Running, 0), ("init", Exited, 0), ("a", Running, 0), ("b", Running, 0)];
        let cases: &[Case<'_>] = &[
            ("nothing yet: first init container", "Always", true, &[], None, (false, false, &[0], &[], 0)),
            ("init done: sidecar", "Always", true, &[("init", Exited, 0)], None, (false, false, &[1], &[], 0)),
            ("init failed", "Always", true, &[("init", Exited, 1)], None, (false, false, &[0], &[], 0)),
            ("init failed for good", "Never", true, &[("init", Exited, 1)], None, (true, false, &[], &[], 0)),
            ("initialized", "Always", true, &all[..2], None, (false, false, &[], &[0, 1], 0)),
            ("all run", "Always", true, &all, None, (false, false, &[], &[], 0)),
            ("one ended", "OnFailure", true, &[all[0], all[1], ("a", Exited, 1), all[3]], None, (false, false, &[], &[0], 0)),
            ("all over", "Never", true, &[all[0], all[1], ("a", Exited, 0), ("b", Exited, 1)], None, (true, false, &[], &[], 0)),
            ("liveness", "Always", true, &all, Some(("id-a", ProbeKind::Liveness)), (false, false, &[], &[0], 1)),
            ("liveness, never restarted", "Never", true, &all, Some(("id-a", ProbeKind::Liveness)), (false, false, &[], &[], 1)),
            ("sandbox died", "Always", false, &all, None, (true, true, &[0], &[], 0)),
            ("sandbox died, never restarted", "Never", false, &all, None, (true, false, &[], &[], 0)),
        ];
        for (name, policy, ready, there, failed, want) in cases {
            let pod: Pod = serde_json::from_value(json!({"spec": {"restartPolicy": policy,
                "initContainers": [{"name": "init"}, {"name": "side", "restartPolicy": "Always"}],
                "containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]}}))
            .expect("pod");
            let probes = Results::default();
            if let Some((id, kind)) = failed {
                probes.set(id, *kind, Verdict::Failure);
            }
            let got = compute(&pod, &record(&pod, *ready, there), &probes);
            let got = (got.kill_pod, got.create_sandbox, &got.init_to_start[..], &got.containers_to_start[..], got.to_kill.len());
            assert_eq!(got, *want, "{name}");
        }
    }
}
