//! A pod's status as a function of its spec, the runtime's record, the probes' verdicts and the status before
//! (upstream kubelet_pods.go, status/generate.go).

use super::container::{RESTART_COUNT, TERMINATION_PATH, TERMINATION_POLICY};
use super::resize::Resizing;
use super::{conditions, restart_all, spec};
use crate::context::Context;
use crate::probes::{ProbeKind, Verdict};
use crate::runtime::PodRecord;
use cri::v1 as api;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::{BTreeMap, HashMap};

/// Why a container that should run does not: reason and message of its waiting state.
pub type Failures = HashMap<String, (String, String)>;

/// The largest termination message of one container.
const MAX_MESSAGE: usize = 4096;
/// The part of a log that stands in for a missing message: bytes and lines.
const MAX_LOG_MESSAGE: usize = 2048;
const MAX_LOG_LINES: usize = 80;

/// What the status is made from.
pub struct Inputs<'a> {
    pub pod: &'a Pod,
    pub record: &'a PodRecord,
    pub old: &'a PodStatus,
    pub failures: &'a Failures,
    /// What running containers have, by their IDs; what the pod was given where nothing is said.
    pub actuated: &'a HashMap<String, core::ResourceRequirements>,
    pub resizing: &'a Resizing,
    /// The pod ends for good: everything stopped counts as final.
    pub terminal: bool,
    /// Phase Failed with this reason and message (eviction, deadline).
    pub evict: Option<(String, String)>,
}

/// Addresses of the pod: those of its sandbox, or the node's on the host network.
pub fn pod_ips(ctx: &Context, pod: &Pod, record: &PodRecord) -> Vec<String> {
    if spec::host_network(pod) {
        return ctx.config.node_ips.iter().map(ToString::to_string).collect();
    }
    let Some(network) = record.sandboxes.first().and_then(|s| s.network.as_ref()) else { return Vec::new() };
    if network.ip.is_empty() {
        return Vec::new();
    }
    std::iter::once(network.ip.clone()).chain(network.additional_ips.iter().map(|i| i.ip.clone())).collect()
}

/// The whole status.
pub fn generate(ctx: &Context, i: &Inputs<'_>) -> PodStatus {
    let init = !spec::init_containers(i.pod).is_empty();
    let ephemeral: Vec<Container> = spec::ephemeral_containers(i.pod).into_iter().map(|(c, _)| c).collect();
    let mut containers = container_statuses(ctx, i, spec::containers(i.pod), i.old.container_statuses.as_deref(), init, false);
    containers.sort_by(|a, b| a.name.cmp(&b.name));
    let mut inits =
        container_statuses(ctx, i, spec::init_containers(i.pod), i.old.init_container_statuses.as_deref(), init, true);
    let mut ephemerals = container_statuses(ctx, i, &ephemeral, i.old.ephemeral_container_statuses.as_deref(), init, false);
    ephemerals.sort_by(|a, b| a.name.cmp(&b.name));
    let started = spec::containers(i.pod).iter().any(|c| spec::newest(i.record, &c.name).is_some_and(|s| s.started_at > 0));
    let all: Vec<&ContainerStatus> = containers.iter().chain(&inits).collect();
    let mut phase = conditions::phase(i.pod, &all, i.terminal, started).to_owned();
    let api_phase = spec::status(i.pod).phase.clone().unwrap_or_default();
    let over = |p: &str| p == "Failed" || p == "Succeeded";
    for was in [i.old.phase.as_deref().unwrap_or(""), api_phase.as_str()] {
        if over(was) {
            was.clone_into(&mut phase);
        }
    }
    let (mut reason, mut message) = (None, None);
    if i.old.phase.as_deref() == Some(&phase) {
        reason = i.old.reason.clone().filter(|r| !r.is_empty()).or_else(|| spec::status(i.pod).reason.clone());
        message = i.old.message.clone().filter(|r| !r.is_empty()).or_else(|| spec::status(i.pod).message.clone());
    }
    if let Some((r, m)) = i.evict.as_ref().filter(|_| !over(&api_phase)) {
        phase = "Failed".into();
        (reason, message) = (Some(r.clone()), Some(m.clone()));
    }
    apply_probes(ctx, i.pod, &mut containers, &mut inits);
    let ips = pod_ips(ctx, i.pod, i.record);
    let hosts: Vec<String> = ctx.config.node_ips.iter().map(ToString::to_string).collect();
    let some = |v: Vec<ContainerStatus>| (!v.is_empty()).then_some(v);
    let mut status = PodStatus {
        phase: Some(phase),
        reason,
        message,
        host_ip: hosts.first().cloned(),
        host_ips: Some(hosts.into_iter().map(|ip| core::HostIP { ip }).collect()),
        pod_ip: ips.first().cloned(),
        pod_ips: (!ips.is_empty()).then(|| ips.into_iter().map(|ip| core::PodIP { ip }).collect()),
        qos_class: Some(spec::qos_class(i.pod).to_owned()),
        start_time: i.old.start_time.clone().or_else(|| Some(ctx.clock.time())),
        observed_generation: i.pod.metadata.generation,
        container_statuses: some(containers),
        init_container_statuses: some(inits),
        ephemeral_container_statuses: some(ephemerals),
        ..Default::default()
    };
    status.conditions = Some(conditions::all(ctx, i, &status));
    status
}

fn time(nanos: i64) -> Option<Time> {
    jiff::Timestamp::from_second(nanos.div_euclid(1_000_000_000)).ok().map(Time)
}

fn container_statuses(
    ctx: &Context,
    i: &Inputs<'_>,
    list: &[Container],
    old: Option<&[ContainerStatus]>,
    has_init: bool,
    is_init: bool,
) -> Vec<ContainerStatus> {
    list.iter().map(|c| container_status(ctx, i, c, old, has_init, is_init)).collect()
}

fn waiting(reason: &str, message: Option<String>) -> core::ContainerState {
    core::ContainerState {
        waiting: Some(core::ContainerStateWaiting { reason: Some(reason.to_owned()), message }),
        ..Default::default()
    }
}

fn container_status(
    ctx: &Context,
    i: &Inputs<'_>,
    c: &Container,
    old: Option<&[ContainerStatus]>,
    has_init: bool,
    is_init: bool,
) -> ContainerStatus {
    let default_reason = if has_init { "PodInitializing" } else { "ContainerCreating" };
    let old = old.and_then(|o| o.iter().find(|s| s.name == c.name));
    let mut found = i.record.containers.iter().filter(|s| spec::container_name(s) == c.name);
    let removed = old.filter(|_| restart_all::wanted(i.pod, i.record, i.old)).and_then(|o| restart_all::removed(c, o));
    let newest = found.next();
    if let (None, Some(removed)) = (newest, removed) {
        return ContainerStatus { volume_mounts: volume_mounts(c), ..removed };
    }
    let mut status = match (newest, old) {
        (Some(newest), old) => {
            let mut s = convert(ctx, i.pod, c, newest, old);
            if let Some(r) = i.actuated.get(&newest.id) {
                s.resources = Some(r.clone());
            }
            match found.next() {
                Some(previous) => s.last_state = Some(convert(ctx, i.pod, c, previous, old).state.unwrap_or_default()),
                None => s.last_state = last_of(&s, old),
            }
            s
        }
        (None, Some(o)) if o.state.as_ref().is_some_and(|s| s.terminated.is_some()) => o.clone(),
        (None, old) => absent(i.pod, c, old, default_reason),
    };
    if status.volume_mounts.is_none() {
        status.volume_mounts = volume_mounts(c);
    }
    let newest = spec::newest(i.record, &c.name);
    if is_init {
        if newest.is_some_and(|s| s.state() == api::ContainerState::ContainerExited && s.exit_code == 0) && !spec::is_sidecar(c) {
            return status;
        }
        let waits = status.state.as_ref().is_some_and(|s| s.waiting.is_some());
        if newest.is_none() && !spec::is_sidecar(c) && waits && spec::any_regular_created(i.pod, i.record) {
            let message = "Unable to get init container status from container runtime and pod has been initialized, \
                           treat it as exited normally";
            status.state = Some(core::ContainerState {
                terminated: Some(core::ContainerStateTerminated {
                    reason: Some("Completed".into()),
                    message: Some(message.into()),
                    ..Default::default()
                }),
                ..Default::default()
            });
            return status;
        }
    }
    if spec::should_start(i.pod, c, i.record)
        && let Some((reason, message)) = i.failures.get(&c.name)
    {
        if status.state.as_ref().is_some_and(|s| s.terminated.is_some()) {
            status.last_state = status.state.take();
        }
        status.state = Some(waiting(reason, Some(message.clone()).filter(|m| !m.is_empty())));
    }
    status
}

/// The last state of a container whose predecessor is gone from the runtime.
fn last_of(s: &ContainerStatus, old: Option<&ContainerStatus>) -> Option<core::ContainerState> {
    let old = old?;
    let ended = old.state.as_ref().is_some_and(|s| s.terminated.is_some());
    if ended && old.container_id != s.container_id { old.state.clone() } else { old.last_state.clone() }
}

fn volume_mounts(c: &Container) -> Option<Vec<core::VolumeMountStatus>> {
    let mounts = c.volume_mounts.as_ref().filter(|m| !m.is_empty())?;
    let status = |m: &core::VolumeMount| core::VolumeMountStatus {
        name: m.name.clone(),
        mount_path: m.mount_path.clone(),
        read_only: m.read_only.filter(|r| *r),
        recursive_read_only: (m.read_only == Some(true)).then(|| "Disabled".to_owned()),
        ..Default::default()
    };
    Some(mounts.iter().map(status).collect())
}

/// A container the runtime does not have.
fn absent(pod: &Pod, c: &Container, old: Option<&ContainerStatus>, default_reason: &str) -> ContainerStatus {
    let mut s = ContainerStatus {
        name: c.name.clone(),
        image: c.image.clone().unwrap_or_default(),
        state: Some(waiting(default_reason, None)),
        last_state: Some(old.and_then(|o| o.last_state.clone()).unwrap_or_default()),
        restart_count: old.map_or(0, |o| o.restart_count),
        ..Default::default()
    };
    let ran = old.and_then(|o| o.state.as_ref()).is_some_and(|s| s.running.is_some());
    if ran && s.last_state.as_ref().is_none_or(|l| l.terminated.is_none()) {
        let message = "The container could not be located when the pod was deleted.  The container used to be Running";
        s.last_state = Some(core::ContainerState {
            terminated: Some(core::ContainerStateTerminated {
                reason: Some("ContainerStatusUnknown".into()),
                message: Some(message.into()),
                exit_code: 137,
                ..Default::default()
            }),
            ..Default::default()
        });
        if pod.metadata.deletion_timestamp.is_none() {
            s.restart_count += 1;
        }
    }
    s
}

fn convert(ctx: &Context, pod: &Pod, c: &Container, s: &api::ContainerStatus, old: Option<&ContainerStatus>) -> ContainerStatus {
    let id = ctx.container_id(&s.id);
    let state = match s.state() {
        api::ContainerState::ContainerRunning => core::ContainerState {
            running: Some(core::ContainerStateRunning { started_at: time(s.started_at) }),
            ..Default::default()
        },
        api::ContainerState::ContainerExited => {
            let text = message(s);
            core::ContainerState {
                terminated: Some(core::ContainerStateTerminated {
                    exit_code: s.exit_code,
                    reason: Some(s.reason.clone()).filter(|r| !r.is_empty()),
                    message: Some(text).filter(|m| !m.is_empty()),
                    started_at: time(s.started_at),
                    finished_at: time(s.finished_at),
                    container_id: Some(id.clone()),
                    ..Default::default()
                }),
                ..Default::default()
            }
        }
        api::ContainerState::ContainerUnknown if old.and_then(|o| o.state.as_ref()).is_some_and(|s| s.running.is_some()) => {
            core::ContainerState {
                terminated: Some(core::ContainerStateTerminated {
                    reason: Some("ContainerStatusUnknown".into()),
                    message: Some("The container could not be located when the pod was terminated".into()),
                    exit_code: 137,
                    container_id: Some(id.clone()),
                    ..Default::default()
                }),
                ..Default::default()
            }
        }
        _ => core::ContainerState { waiting: Some(Default::default()), ..Default::default() },
    };
    let user = s.user.as_ref().and_then(|u| u.linux.as_ref());
    let restart_count = s.annotations.get(RESTART_COUNT).and_then(|c| c.parse().ok()).unwrap_or(0);
    ContainerStatus {
        name: c.name.clone(),
        image: s.image.as_ref().map(|i| i.image.clone()).unwrap_or_default(),
        image_id: s.image_ref.clone(),
        container_id: Some(id),
        restart_count: old.map_or(restart_count, |o| o.restart_count.max(restart_count)),
        state: Some(state),
        last_state: Some(Default::default()),
        resources: c.resources.clone().or_else(|| Some(Default::default())),
        allocated_resources: c.resources.as_ref().and_then(|r| r.requests.clone()),
        volume_mounts: old.and_then(|o| o.volume_mounts.clone()),
        user: user.map(|u| core::ContainerUser {
            linux: Some(core::LinuxContainerUser {
                uid: u.uid,
                gid: u.gid,
                supplemental_groups: (!u.supplemental_groups.is_empty()).then(|| u.supplemental_groups.clone()),
            }),
        }),
        stop_signal: stop_signal(pod, s),
        ..Default::default()
    }
}

/// The stop signal, where the pod says which operating system it is for.
fn stop_signal(pod: &Pod, s: &api::ContainerStatus) -> Option<String> {
    let known = spec::spec(pod).os.is_some() && s.stop_signal() != api::Signal::RuntimeDefault;
    known.then(|| s.stop_signal().as_str_name().to_owned())
}

/// The runtime's message, and what the container left as its own.
fn message(s: &api::ContainerStatus) -> String {
    let text = |k: &str| s.annotations.get(k).map(String::as_str).unwrap_or("");
    let path = text(TERMINATION_PATH);
    let logs = text(TERMINATION_POLICY) == "FallbackToLogsOnError" && s.exit_code != 0 && s.reason != "ContainerCannotRun";
    let file = s.mounts.iter().find(|m| !path.is_empty() && m.container_path == path).map(|m| m.host_path.as_str());
    let mut own = file.map(|f| tail(f, MAX_MESSAGE)).unwrap_or_default();
    if own.is_empty() && logs {
        own = log_tail(&s.log_path);
    }
    match (s.message.is_empty(), own.is_empty()) {
        (true, _) => own,
        (false, true) => s.message.clone(),
        (false, false) => format!("{}: {own}", s.message),
    }
}

/// The last bytes of a file, none if it cannot be read.
fn tail(path: &str, max: usize) -> String {
    use std::io::{Read, Seek, SeekFrom};
    let read = || -> std::io::Result<Vec<u8>> {
        let mut f = std::fs::File::open(path)?;
        let len = f.metadata()?.len();
        f.seek(SeekFrom::Start(len.saturating_sub(max as u64)))?;
        let mut data = Vec::new();
        f.take(max as u64).read_to_end(&mut data)?;
        Ok(data)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

/// The last lines of a container's log, without the runtime's prefixes.
fn log_tail(path: &str) -> String {
    let raw = tail(path, 64 << 10);
    let mut lines: Vec<String> = Vec::new();
    for line in raw.lines() {
        let mut parts = line.splitn(4, ' ');
        if let (Some(_), Some(_), Some(tag), Some(text)) = (parts.next(), parts.next(), parts.next(), parts.next()) {
            lines.push(if tag.starts_with('P') { text.to_owned() } else { format!("{text}\n") });
        }
    }
    let text = lines[lines.len().saturating_sub(MAX_LOG_LINES)..].concat();
    let mut from = text.len().saturating_sub(MAX_LOG_MESSAGE);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    text[from..].to_owned()
}

/// Sets `started` and `ready` by the probes' verdicts.
fn apply_probes(ctx: &Context, pod: &Pod, containers: &mut [ContainerStatus], inits: &mut [ContainerStatus]) {
    let by_name: BTreeMap<&str, &Container> =
        spec::containers(pod).iter().chain(spec::init_containers(pod)).map(|c| (c.name.as_str(), c)).collect();
    for (s, init) in containers.iter_mut().map(|s| (s, false)).chain(inits.iter_mut().map(|s| (s, true))) {
        let Some(c) = by_name.get(s.name.as_str()) else { continue };
        let running = s.state.as_ref().is_some_and(|s| s.running.is_some());
        let id = s.container_id.as_deref().and_then(|i| i.split("://").nth(1)).unwrap_or("");
        let verdict = |kind| ctx.probe_results.get(id, kind);
        let started = running && (c.startup_probe.is_none() || verdict(ProbeKind::Startup) == Some(Verdict::Success));
        s.started = Some(started);
        if init && !spec::is_sidecar(c) {
            s.ready = s.state.as_ref().and_then(|s| s.terminated.as_ref()).is_some_and(|t| t.exit_code == 0);
        } else {
            s.ready = started && (c.readiness_probe.is_none() || verdict(ProbeKind::Readiness) == Some(Verdict::Success));
        }
    }
}

/// Addresses that the API knows of a pod.
pub fn known_ips(pod: &Pod) -> Vec<String> {
    let s = spec::status(pod);
    match &s.pod_ips {
        Some(ips) if !ips.is_empty() => ips.iter().map(|i| i.ip.clone()).collect(),
        _ => s.pod_ip.iter().filter(|i| !i.is_empty()).cloned().collect(),
    }
}
