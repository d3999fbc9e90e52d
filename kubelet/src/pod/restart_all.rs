//! `RestartAllContainers`: a container's exit code makes the whole pod start anew in its sandbox, init containers first. All its
//! containers are removed, and the next look at the pod starts them as if they had never run (KEP-5532).

use super::spec;
use super::worker::Worker;
use crate::context::Context;
use crate::runtime::PodRecord;
use client::{EventType, Object};
use cri::v1::{ContainerState, ContainerStatus};
use k8s_openapi::api::core::v1::{self as core, Container, Pod, PodStatus};

/// The condition that is true while containers are being removed.
pub const CONDITION: &str = "AllContainersRestarting";
/// Why a removed container waits, and how it ended.
pub const REASON: &str = "RestartingAllContainers";
const MESSAGE: &str = "The container is removed because RestartAllContainers in place";

fn all(pod: &Pod) -> impl Iterator<Item = &Container> {
    spec::containers(pod).iter().chain(spec::init_containers(pod))
}

/// Whether the pod has a rule that may ask for it.
pub fn possible(pod: &Pod) -> bool {
    all(pod).flat_map(|c| c.restart_policy_rules.iter().flatten()).any(|r| r.action == "RestartAllContainers")
}

fn asks(c: &Container, exit_code: i32) -> bool {
    spec::matching_rule(c, exit_code).is_some_and(|r| r.action == "RestartAllContainers")
}

/// Whether containers are being removed by the status of before.
pub fn begun(old: &PodStatus) -> bool {
    old.conditions.iter().flatten().any(|c| c.type_ == CONDITION && c.status == "True")
}

/// Whether it goes on, or a container has asked for it.
pub fn wanted(pod: &Pod, record: &PodRecord, old: &PodStatus) -> bool {
    if !possible(pod) {
        return false;
    }
    let exited = |c: &Container| {
        let s = spec::newest(record, &c.name).filter(|s| s.state() == ContainerState::ContainerExited)?;
        Some(s.exit_code)
    };
    let told = |c: &Container| {
        let mut statuses = old.init_container_statuses.iter().chain(&old.container_statuses).flatten();
        statuses.find(|s| s.name == c.name)?.state.as_ref()?.terminated.as_ref().map(|t| t.exit_code)
    };
    begun(old) || all(pod).any(|c| exited(c).into_iter().chain(told(c)).any(|code| asks(c, code)))
}

/// Whether the runtime still has any of the containers.
pub fn any_left(pod: &Pod, record: &PodRecord) -> bool {
    all(pod).any(|c| spec::newest(record, &c.name).is_some())
}

/// The status of a container that was removed, from the one it had; `None` if it waits for something else.
pub fn removed(c: &Container, old: &core::ContainerStatus) -> Option<core::ContainerStatus> {
    match old.state.as_ref().map(|s| &s.waiting) {
        Some(Some(w)) if w.reason.as_deref() == Some(REASON) => return Some(old.clone()),
        None | Some(Some(_)) => return None,
        Some(None) => {}
    }
    let waiting = core::ContainerStateWaiting { reason: Some(REASON.into()), message: Some(MESSAGE.into()) };
    let ended = core::ContainerStateTerminated {
        reason: Some(REASON.into()),
        message: Some(MESSAGE.into()),
        exit_code: 137,
        ..Default::default()
    };
    Some(core::ContainerStatus {
        name: c.name.clone(),
        image: c.image.clone().unwrap_or_default(),
        state: Some(core::ContainerState { waiting: Some(waiting), ..Default::default() }),
        last_state: Some(core::ContainerState { terminated: Some(ended), ..Default::default() }),
        restart_count: old.restart_count + 1,
        ..Default::default()
    })
}

/// Whether a container ended because it was removed: not for good, whatever its policy says.
pub fn ended_by_it(state: Option<&core::ContainerState>) -> bool {
    state.and_then(|s| s.terminated.as_ref()).and_then(|t| t.reason.as_deref()) == Some(REASON)
}

/// What is to be removed, in order: those that asked for it last, since they say why; regular containers before init containers.
fn order<'a>(pod: &'a Pod, record: &'a PodRecord) -> Vec<&'a ContainerStatus> {
    let (mut sources, mut others) = (Vec::new(), Vec::new());
    for c in all(pod) {
        for s in record.containers.iter().filter(|s| spec::container_name(s) == c.name) {
            let source = s.state() == ContainerState::ContainerExited && asks(c, s.exit_code);
            if source { sources.push(s) } else { others.push(s) }
        }
    }
    others.extend(sources);
    others
}

impl Worker {
    /// Ends and removes the pod's containers, without grace. Their logs stay.
    pub(super) async fn remove_containers(&mut self, pod: &Pod) -> bool {
        let ctx = self.ctx.clone();
        let all: Vec<ContainerStatus> = order(pod, &self.record).into_iter().cloned().collect();
        for s in all {
            if let Err(e) = remove(&ctx, pod, &s).await {
                tracing::warn!(pod = pod.name(), container = s.id, error = %e, "container not removed for the restart of all");
                return false;
            }
            self.record.containers.retain(|c| c.id != s.id);
        }
        self.failures.clear();
        true
    }
}

async fn remove(ctx: &Context, pod: &Pod, s: &ContainerStatus) -> Result<(), crate::runtime::RuntimeError> {
    let gone = |r: Result<(), crate::runtime::RuntimeError>| match r {
        Err(e) if !e.is_not_found() => Err(e),
        _ => Ok(()),
    };
    if s.state() != ContainerState::ContainerExited {
        if let Some(c) = spec::find_container(pod, spec::container_name(s)) {
            ctx.container_event(pod, &c, EventType::Normal, "Killing", "killing".to_owned());
        }
        gone(ctx.runtime.stop_container(&s.id, 0).await)?;
    }
    gone(ctx.runtime.remove_container(&s.id).await)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::container::RESTART_COUNT;
    use crate::pod::status::{Inputs, generate};
    use cri::v1 as api;
    use serde_json::json;

    fn pod() -> Pod {
        let rule = |action: &str, code: i32| json!({"action": action, "exitCodes": {"operator": "In", "values": [code]}});
        serde_json::from_value(json!({"spec": {"restartPolicy": "Never",
            "initContainers": [{"name": "init", "image": "i"}],
            "containers": [{"name": "source", "image": "i", "restartPolicy": "Never",
                            "restartPolicyRules": [rule("RestartAllContainers", 42), rule("Restart", 43)]},
                           {"name": "other", "image": "i"}]}}))
        .expect("pod")
    }

    fn record(containers: &[(&str, ContainerState, i32, u32)]) -> PodRecord {
        let status = |(name, state, exit_code, restarts): &(&str, ContainerState, i32, u32)| ContainerStatus {
            id: format!("{name}-{restarts}"),
            metadata: Some(api::ContainerMetadata { name: (*name).into(), attempt: *restarts }),
            state: *state as i32,
            exit_code: *exit_code,
            started_at: 1,
            annotations: [(RESTART_COUNT.to_owned(), restarts.to_string())].into(),
            ..Default::default()
        };
        PodRecord { sandboxes: Vec::new(), containers: containers.iter().map(status).collect() }
    }

    /// Restarts and reason of the wait of each container.
    fn seen(s: &PodStatus) -> Vec<(i32, String)> {
        let reason = |s: &core::ContainerStatus| s.state.as_ref()?.waiting.as_ref()?.reason.clone();
        let all = s.init_container_statuses.iter().chain(&s.container_statuses).flatten();
        all.map(|s| (s.restart_count, reason(s).unwrap_or_default())).collect()
    }

    #[tokio::test]
    async fn goes_round_once() {
        use ContainerState::{ContainerExited as Exited, ContainerRunning as Running};
        let ctx = crate::testing::context(Default::default());
        let pod = pod();
        let waits = || (1, REASON.to_owned());
        let steps = [
            ("running", record(&[("init", Exited, 0, 0), ("source", Running, 0, 0), ("other", Running, 0, 0)]), false, None),
            ("it asks", record(&[("init", Exited, 0, 0), ("source", Exited, 42, 0), ("other", Exited, 0, 0)]), true, None),
            ("some are left", record(&[("source", Exited, 42, 0)]), true, None),
            ("all are gone", record(&[]), false, Some(vec![waits(), waits(), waits()])),
            (
                "the first is back",
                record(&[("init", Running, 0, 1)]),
                false,
                Some(vec![(1, String::new()), (1, "PodInitializing".into()), (1, "PodInitializing".into())]),
            ),
            (
                "all are back",
                record(&[("init", Exited, 0, 1), ("source", Running, 0, 1), ("other", Running, 0, 1)]),
                false,
                Some(vec![(1, String::new()), (1, String::new()), (1, String::new())]),
            ),
        ];
        let mut old = PodStatus::default();
        for (name, record, restarting, want) in steps {
            let none = Default::default();
            let inputs = Inputs {
                pod: &pod,
                record: &record,
                old: &old,
                failures: &none,
                actuated: &Default::default(),
                resizing: &Default::default(),
                terminal: false,
                evict: None,
            };
            let new = generate(&ctx, &inputs);
            assert_eq!(begun(&new), restarting, "{name}");
            assert_ne!(new.phase.as_deref(), Some("Failed"), "{name}");
            assert_ne!(new.phase.as_deref(), Some("Succeeded"), "{name}");
            let initialized = new.conditions.iter().flatten().find(|c| c.type_ == "Initialized");
            assert!(initialized.is_some_and(|c| c.status == "True"), "{name}: initialized");
            if let Some(want) = want {
                assert_eq!(seen(&new), want, "{name}");
            }
            old = new;
        }
        let last = old.container_statuses.iter().flatten().map(|s| ended_by_it(s.last_state.as_ref()));
        assert_eq!(last.collect::<Vec<_>>(), [true, true], "how they ended");
    }

    #[test]
    fn rules() {
        let pod = pod();
        let [source, other] = spec::containers(&pod) else { panic!("two containers") };
        for (name, c, code, restarts, everything) in [
            ("all", source, 42, true, true),
            ("itself", source, 43, true, false),
            ("no rule: its policy", source, 1, false, false),
            ("no rules", other, 42, false, false),
        ] {
            assert_eq!((spec::restarts_after(&pod, c, code), asks(c, code)), (restarts, everything), "{name}");
        }
        let record =
            record(&[("source", ContainerState::ContainerExited, 42, 0), ("init", ContainerState::ContainerExited, 0, 0)]);
        let order: Vec<_> = order(&pod, &record).into_iter().map(spec::container_name).collect();
        assert_eq!(order, ["init", "source"], "who asked goes last");
    }
}
