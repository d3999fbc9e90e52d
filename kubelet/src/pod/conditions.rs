//! A pod's phase and conditions (upstream getPhase, status/generate.go).

use super::status::Inputs;
use super::{restart_all, spec};
use crate::context::Context;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodCondition, PodStatus};

/// Conditions that the kubelet owns; others are left as they are.
pub const OWNED: [&str; 8] = [
    "PodScheduled",
    "Ready",
    "Initialized",
    "ContainersReady",
    "PodReadyToStartContainers",
    "PodResizePending",
    "PodResizeInProgress",
    restart_all::CONDITION,
];

/// The phase that container statuses amount to.
pub fn phase(pod: &Pod, statuses: &[&ContainerStatus], terminal: bool, started: bool) -> &'static str {
    let find = |c: &Container| statuses.iter().find(|s| s.name == c.name);
    let exit = |s: Option<&k8s_openapi::api::core::v1::ContainerState>| s?.terminated.as_ref().map(|t| t.exit_code);
    let (mut pending_init, mut failed_init) = (0, 0);
    let (mut pending_sidecar, mut unknown, mut running, mut waiting, mut stopped, mut succeeded, mut final_) =
        (0, 0, 0, 0, 0, 0, 0);
    for c in spec::init_containers(pod) {
        let Some(s) = find(c) else {
            if spec::is_sidecar(c) {
                unknown += 1
            } else {
                pending_init += 1
            }
            continue;
        };
        let state = s.state.as_ref();
        let is_running = state.is_some_and(|s| s.running.is_some());
        let is_waiting = state.is_some_and(|s| s.waiting.is_some());
        if spec::is_sidecar(c) {
            if is_running {
                pending_sidecar += i32::from(s.started != Some(true));
                running += 1;
            } else if exit(state).is_none() && (!is_waiting || exit(s.last_state.as_ref()).is_none()) {
                pending_sidecar += 1;
                if is_waiting { waiting += 1 } else { unknown += 1 }
            }
            continue;
        }
        match exit(state).or_else(|| exit(s.last_state.as_ref()).filter(|_| is_waiting)) {
            Some(code) if !is_running => {
                let again = spec::restarts_after(pod, c, code) || restart_all::ended_by_it(s.last_state.as_ref());
                failed_init += i32::from(code != 0 && !again);
            }
            _ => pending_init += 1,
        }
    }
    for c in spec::containers(pod) {
        let Some(s) = find(c) else {
            unknown += 1;
            continue;
        };
        let state = s.state.as_ref();
        if state.is_some_and(|s| s.running.is_some()) {
            running += 1;
        } else if let Some(code) = exit(state) {
            stopped += 1;
            final_ += i32::from(!spec::restarts_after(pod, c, code));
            succeeded += i32::from(code == 0);
        } else if state.is_some_and(|s| s.waiting.is_some()) {
            match exit(s.last_state.as_ref()) {
                Some(code) => {
                    stopped += 1;
                    let again = spec::restarts_after(pod, c, code) || restart_all::ended_by_it(s.last_state.as_ref());
                    final_ += i32::from(!again);
                }
                None => waiting += 1,
            }
        } else {
            unknown += 1;
        }
    }
    let ended = || if stopped == succeeded { "Succeeded" } else { "Failed" };
    if failed_init > 0 {
        "Failed"
    } else if pending_init > 0 || (pending_sidecar > 0 && !started) || waiting > 0 {
        "Pending"
    } else if running > 0 && unknown == 0 {
        "Running"
    } else if running == 0 && stopped > 0 && unknown == 0 {
        if terminal && !spec::is_static(pod) {
            ended()
        } else if stopped != final_ {
            "Running"
        } else {
            ended()
        }
    } else {
        "Pending"
    }
}

/// Every condition of the pod: those of others as they are, and the kubelet's own with their transition times.
pub fn all(ctx: &Context, i: &Inputs<'_>, status: &PodStatus) -> Vec<PodCondition> {
    let phase = status.phase.as_deref().unwrap_or("");
    let old = i.old.conditions.as_deref().unwrap_or_default();
    let api = spec::status(i.pod).conditions.as_deref().unwrap_or_default();
    let mut out: Vec<PodCondition> = api.iter().filter(|c| !OWNED.contains(&c.type_.as_str())).cloned().collect();
    if let Some(d) = old.iter().find(|c| c.type_ == "DisruptionTarget")
        && !out.iter().any(|c| c.type_ == d.type_)
    {
        out.push(d.clone());
    }
    let statuses: Vec<&ContainerStatus> =
        status.init_container_statuses.iter().chain(&status.container_statuses).flatten().collect();
    let (needs_sandbox, _, _) = spec::sandbox_changed(i.pod, i.record);
    let containers_ready = containers_ready(i.pod, &statuses, phase);
    let ready = ready(i.pod, &out, &containers_ready);
    let was_initialized = old.iter().any(|c| c.type_ == "Initialized" && c.status == "True");
    let initialized = match initialized(i.pod, &statuses, phase) {
        // Once and for all, even if init containers run again.
        part if !part.ok && was_initialized => Part::of(true),
        part => part,
    };
    let parts = [
        ("PodReadyToStartContainers", Part::of(!needs_sandbox)),
        ("Initialized", initialized),
        ("Ready", ready),
        ("ContainersReady", containers_ready),
        ("PodScheduled", Part::of(true)),
    ];
    let restarting = restart_all::possible(i.pod).then(|| (restart_all::CONDITION, restarting(i, phase)));
    for (kind, part) in parts.into_iter().chain(restarting) {
        let truth = if part.ok { "True" } else { "False" };
        let before = old.iter().find(|c| c.type_ == kind);
        let same = before.filter(|c| c.status == truth);
        out.push(PodCondition {
            type_: kind.to_owned(),
            status: truth.to_owned(),
            reason: part.reason.map(str::to_owned),
            message: Some(part.message).filter(|m| !m.is_empty()),
            last_transition_time: same.and_then(|c| c.last_transition_time.clone()).or_else(|| Some(ctx.clock.time())),
            last_probe_time: None,
            observed_generation: i.pod.metadata.generation,
        });
    }
    let resizing = [("PodResizePending", &i.resizing.pending), ("PodResizeInProgress", &i.resizing.in_progress)];
    for (kind, progress) in resizing.into_iter().filter(|_| !i.terminal) {
        let Some(p) = progress else { continue };
        let reason = Some(p.reason.to_owned()).filter(|r| !r.is_empty());
        let same = old.iter().find(|c| c.type_ == kind && c.reason == reason);
        out.push(PodCondition {
            type_: kind.to_owned(),
            status: "True".to_owned(),
            reason,
            message: Some(p.message.clone()).filter(|m| !m.is_empty()),
            last_transition_time: same.and_then(|c| c.last_transition_time.clone()).or_else(|| Some(ctx.clock.time())),
            last_probe_time: None,
            observed_generation: p.generation,
        });
    }
    out
}

#[derive(Clone, Default)]
struct Part {
    ok: bool,
    reason: Option<&'static str>,
    message: String,
}

impl Part {
    fn of(ok: bool) -> Self {
        Self { ok, ..Default::default() }
    }
    fn because(ok: bool, reason: &'static str, message: String) -> Self {
        Self { ok, reason: Some(reason), message }
    }
}

fn restarting(i: &Inputs<'_>, phase: &str) -> Part {
    match phase {
        "Succeeded" => Part::because(false, "PodCompleted", String::new()),
        "Failed" => Part::because(false, "PodFailed", String::new()),
        _ if restart_all::wanted(i.pod, i.record, i.old) && restart_all::any_left(i.pod, i.record) => {
            Part::because(true, "RestartAllContainersStarted", "container exited with restart policy rule".into())
        }
        _ => Part::of(false),
    }
}

/// A Go slice of strings, printed.
fn list(names: &[&str]) -> String {
    format!("[{}]", names.join(" "))
}

fn containers_ready(pod: &Pod, statuses: &[&ContainerStatus], phase: &str) -> Part {
    let (mut unknown, mut unready) = (Vec::new(), Vec::new());
    let sidecars = spec::init_containers(pod).iter().filter(|c| spec::is_sidecar(c));
    for c in sidecars.chain(spec::containers(pod)) {
        match statuses.iter().find(|s| s.name == c.name) {
            None => unknown.push(c.name.as_str()),
            Some(s) if !s.ready => unready.push(c.name.as_str()),
            Some(_) => {}
        }
    }
    if phase == "Succeeded" && unknown.is_empty() {
        return Part::because(false, "PodCompleted", String::new());
    }
    if phase == "Failed" {
        return Part::because(false, "PodFailed", String::new());
    }
    match reasons(&unknown, &unready, "unready") {
        m if m.is_empty() => Part::of(true),
        m => Part::because(false, "ContainersNotReady", m),
    }
}

fn reasons(unknown: &[&str], other: &[&str], word: &str) -> String {
    let mut messages = Vec::new();
    if !unknown.is_empty() {
        messages.push(format!("containers with unknown status: {}", list(unknown)));
    }
    if !other.is_empty() {
        messages.push(format!("containers with {word} status: {}", list(other)));
    }
    messages.join(", ")
}

fn ready(pod: &Pod, others: &[PodCondition], containers_ready: &Part) -> Part {
    if !containers_ready.ok {
        return containers_ready.clone();
    }
    let mut messages = Vec::new();
    for gate in spec::spec(pod).readiness_gates.iter().flatten() {
        let kind = &gate.condition_type;
        match others.iter().find(|c| c.type_ == *kind) {
            None => messages.push(format!("corresponding condition of pod readiness gate {kind:?} does not exist.")),
            Some(c) if c.status != "True" => {
                messages.push(format!("the status of pod readiness gate {kind:?} is not \"True\", but {}", c.status));
            }
            Some(_) => {}
        }
    }
    if messages.is_empty() { Part::of(true) } else { Part::because(false, "ReadinessGatesNotReady", messages.join(", ")) }
}

fn initialized(pod: &Pod, statuses: &[&ContainerStatus], phase: &str) -> Part {
    let (mut unknown, mut incomplete) = (Vec::new(), Vec::new());
    for c in spec::init_containers(pod) {
        match statuses.iter().find(|s| s.name == c.name) {
            None => unknown.push(c.name.as_str()),
            Some(s) => {
                let done = if spec::is_sidecar(c) { s.started == Some(true) } else { s.ready };
                if !done {
                    incomplete.push(c.name.as_str());
                }
            }
        }
    }
    if phase == "Succeeded" && unknown.is_empty() {
        return Part::because(true, "PodCompleted", String::new());
    }
    let has_run = |s: &&&ContainerStatus| {
        let ended = |s: Option<&k8s_openapi::api::core::v1::ContainerState>| s.is_some_and(|s| s.terminated.is_some());
        s.state.as_ref().is_some_and(|s| s.running.is_some()) || ended(s.state.as_ref()) || ended(s.last_state.as_ref())
    };
    if statuses.iter().filter(has_run).any(|s| spec::containers(pod).iter().any(|c| c.name == s.name)) {
        return Part::of(true);
    }
    match reasons(&unknown, &incomplete, "incomplete") {
        m if m.is_empty() => Part::of(true),
        m => Part::because(false, "ContainersNotInitialized", m),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::resize::{Progress, Resizing};
    use serde_json::json;
    use std::collections::HashMap;

    /// Case, condition before (reason, time), resize, terminal; wanted conditions: type, reason, whether the time is kept.
    type Case<'a> = (&'a str, Option<(&'a str, &'a str)>, Resizing, bool, &'a [(&'a str, Option<&'a str>, bool)]);

    #[tokio::test]
    async fn resizes() {
        const THEN: &str = "2020-01-01T00:00:00Z";
        let ctx = crate::testing::context(Default::default());
        let pod: Pod = serde_json::from_value(json!({"spec": {"containers": []}})).expect("pod");
        let progress = |reason| Some(Progress { reason, message: String::new(), generation: Some(2) });
        let deferred = || Resizing { pending: progress("Deferred"), in_progress: None };
        let cases: [Case<'_>; 6] = [
            ("none", None, Resizing::default(), false, &[]),
            ("deferred", None, deferred(), false, &[("PodResizePending", Some("Deferred"), false)]),
            ("still deferred", Some(("Deferred", THEN)), deferred(), false, &[("PodResizePending", Some("Deferred"), true)]),
            (
                "infeasible before",
                Some(("Infeasible", THEN)),
                deferred(),
                false,
                &[("PodResizePending", Some("Deferred"), false)],
            ),
            (
                "in progress",
                None,
                Resizing { pending: None, in_progress: progress("") },
                false,
                &[("PodResizeInProgress", None, false)],
            ),
            ("the pod is over", None, deferred(), true, &[]),
        ];
        for (name, before, resizing, terminal, want) in cases {
            let old = before.map(|(reason, time)| {
                json!({"conditions": [{"type": "PodResizePending", "status": "True", "reason": reason, "lastTransitionTime": time}]})
            });
            let old: PodStatus = serde_json::from_value(old.unwrap_or(json!({}))).expect("status");
            let inputs = Inputs {
                pod: &pod,
                record: &Default::default(),
                old: &old,
                failures: &HashMap::new(),
                actuated: &HashMap::new(),
                resizing: &resizing,
                terminal,
                evict: None,
            };
            let got = all(&ctx, &inputs, &PodStatus::default());
            let got: Vec<_> = got.iter().filter(|c| c.type_.starts_with("PodResize")).collect();
            let kept = |c: &PodCondition| c.last_transition_time.as_ref().is_some_and(|t| t.0.to_string() == THEN);
            let seen: Vec<_> = got.iter().map(|c| (c.type_.as_str(), c.reason.as_deref(), kept(c))).collect();
            assert_eq!(seen, want, "{name}");
            assert!(got.iter().all(|c| c.observed_generation == Some(2)), "{name}: generation");
        }
    }
}
