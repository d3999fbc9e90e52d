//! Questions about a pod's spec that many parts ask: restart policies, namespaces, QoS class, the runtime's view of a container.

use crate::runtime::{CONTAINER_NAME_LABEL, PodRecord};
use cri::v1 as api;
use k8s_openapi::api::core::v1::{Container, ContainerRestartRule, EphemeralContainer, Pod, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use machinery::quantity::{Format, Quantity as Amount};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Where a pod's manifest comes from (`kubernetes.io/config.source`); absent for the API.
pub const CONFIG_SOURCE: &str = "kubernetes.io/config.source";
pub const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";

pub fn spec(pod: &Pod) -> &PodSpec {
    static NONE: LazyLock<PodSpec> = LazyLock::new(PodSpec::default);
    pod.spec.as_ref().unwrap_or(&NONE)
}

pub fn status(pod: &Pod) -> &PodStatus {
    static NONE: LazyLock<PodStatus> = LazyLock::new(PodStatus::default);
    pod.status.as_ref().unwrap_or(&NONE)
}

pub fn init_containers(pod: &Pod) -> &[Container] {
    spec(pod).init_containers.as_deref().unwrap_or_default()
}

pub fn containers(pod: &Pod) -> &[Container] {
    &spec(pod).containers
}

/// Ephemeral containers as plain ones, with the container whose namespaces they join.
pub fn ephemeral_containers(pod: &Pod) -> Vec<(Container, Option<String>)> {
    let list = spec(pod).ephemeral_containers.as_deref().unwrap_or_default();
    list.iter().map(|e| (plain(e), e.target_container_name.clone())).collect()
}

fn plain(e: &EphemeralContainer) -> Container {
    let e = e.clone();
    Container {
        args: e.args,
        command: e.command,
        env: e.env,
        env_from: e.env_from,
        image: e.image,
        image_pull_policy: e.image_pull_policy,
        name: e.name,
        resources: e.resources,
        security_context: e.security_context,
        stdin: e.stdin,
        stdin_once: e.stdin_once,
        termination_message_path: e.termination_message_path,
        termination_message_policy: e.termination_message_policy,
        tty: e.tty,
        volume_devices: e.volume_devices,
        volume_mounts: e.volume_mounts,
        working_dir: e.working_dir,
        ..Default::default()
    }
}

/// A container of any sort by name.
pub fn find_container(pod: &Pod, name: &str) -> Option<Container> {
    let plain = containers(pod).iter().chain(init_containers(pod)).find(|c| c.name == name).cloned();
    plain.or_else(|| ephemeral_containers(pod).into_iter().map(|(c, _)| c).find(|c| c.name == name))
}

pub fn is_static(pod: &Pod) -> bool {
    pod.metadata.annotations.as_ref().and_then(|a| a.get(CONFIG_SOURCE)).is_some_and(|s| s != "api")
}

pub fn is_mirror(pod: &Pod) -> bool {
    pod.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(CONFIG_MIRROR))
}

/// A sidecar: an init container with restartPolicy Always.
pub fn is_sidecar(c: &Container) -> bool {
    c.restart_policy.as_deref() == Some("Always")
}

pub fn host_network(pod: &Pod) -> bool {
    spec(pod).host_network == Some(true)
}

pub fn restart_policy(pod: &Pod) -> &str {
    spec(pod).restart_policy.as_deref().unwrap_or("Always")
}

/// The first of a container's rules that an exit code matches.
pub fn matching_rule(c: &Container, exit_code: i32) -> Option<&ContainerRestartRule> {
    c.restart_policy_rules.iter().flatten().find(|rule| {
        let Some(codes) = &rule.exit_codes else { return false };
        let listed = codes.values.iter().flatten().any(|v| *v == exit_code);
        match codes.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        }
    })
}

/// Whether a container that ended with this code starts again (container rules, then its policy, then the pod's).
pub fn restarts_after(pod: &Pod, c: &Container, exit_code: i32) -> bool {
    if matching_rule(c, exit_code).is_some_and(|r| matches!(r.action.as_str(), "Restart" | "RestartAllContainers")) {
        return true;
    }
    match c.restart_policy.as_deref().unwrap_or(restart_policy(pod)) {
        "Never" => false,
        "OnFailure" => exit_code != 0,
        _ => true,
    }
}

/// Whether the container should be started if it is not running.
pub fn should_start(pod: &Pod, c: &Container, record: &PodRecord) -> bool {
    if pod.metadata.deletion_timestamp.is_some() {
        return false;
    }
    match newest(record, &c.name) {
        None => true,
        Some(s) => match s.state() {
            api::ContainerState::ContainerRunning => false,
            api::ContainerState::ContainerExited => restarts_after(pod, c, s.exit_code),
            _ => true,
        },
    }
}

pub fn container_name(s: &api::ContainerStatus) -> &str {
    s.metadata.as_ref().map(|m| m.name.as_str()).or_else(|| s.labels.get(CONTAINER_NAME_LABEL).map(String::as_str)).unwrap_or("")
}

/// The newest container of a name. The record is ordered newest first.
pub fn newest<'a>(record: &'a PodRecord, name: &str) -> Option<&'a api::ContainerStatus> {
    record.containers.iter().find(|c| container_name(c) == name)
}

/// A regular container of the pod exists in the runtime: initialization is over.
pub fn any_regular_created(pod: &Pod, record: &PodRecord) -> bool {
    containers(pod).iter().any(|c| newest(record, &c.name).is_some())
}

/// Whether the pod needs a (new) sandbox, the attempt number of that, and the sandbox that is there.
pub fn sandbox_changed(pod: &Pod, record: &PodRecord) -> (bool, u32, String) {
    let ready = |s: &api::PodSandboxStatus| s.state() == api::PodSandboxState::SandboxReady;
    let Some(newest) = record.sandboxes.first() else { return (true, 0, String::new()) };
    let attempt = newest.metadata.as_ref().map_or(0, |m| m.attempt);
    if record.sandboxes.iter().filter(|s| ready(s)).count() > 1 || !ready(newest) {
        return (true, attempt + 1, newest.id.clone());
    }
    let mode = newest
        .linux
        .as_ref()
        .and_then(|l| l.namespaces.as_ref())
        .and_then(|n| n.options.as_ref())
        .map_or(api::NamespaceMode::Pod, |o| o.network());
    let want = if host_network(pod) { api::NamespaceMode::Node } else { api::NamespaceMode::Pod };
    if mode != want {
        return (true, attempt + 1, String::new());
    }
    if !host_network(pod) && newest.network.as_ref().is_none_or(|n| n.ip.is_empty()) {
        return (true, attempt + 1, newest.id.clone());
    }
    (false, attempt, newest.id.clone())
}

/// Parses a quantity; what the API server admitted always parses.
pub fn quantity(q: &Quantity) -> Amount {
    q.0.parse().unwrap_or_else(|_| Amount::new(0, Format::DecimalSI))
}

/// An amount of a resource in its unit (bytes, cores rounded up).
pub fn amount(map: Option<&BTreeMap<String, Quantity>>, name: &str) -> Option<i64> {
    map?.get(name).map(|q| quantity(q).value())
}

/// CPU in thousandths of a core.
pub fn milli_cpu(map: Option<&BTreeMap<String, Quantity>>) -> Option<i64> {
    map?.get("cpu").map(|q| quantity(q).milli_value())
}

/// QoS class, from the status if the API server set it there.
pub fn qos_class(pod: &Pod) -> &'static str {
    match status(pod).qos_class.as_deref() {
        Some("Guaranteed") => return "Guaranteed",
        Some("Burstable") => return "Burstable",
        Some("BestEffort") => return "BestEffort",
        _ => {}
    }
    let mut any = false;
    let mut guaranteed = true;
    let pod_level = spec(pod).resources.as_ref();
    let list: Vec<_> = match pod_level {
        Some(r) => vec![Some(r)],
        None => containers(pod).iter().chain(init_containers(pod)).map(|c| c.resources.as_ref()).collect(),
    };
    for r in list {
        for name in ["cpu", "memory"] {
            let get = |m: Option<&BTreeMap<String, Quantity>>| {
                m.and_then(|m| m.get(name)).map(quantity).filter(|q| !q.is_zero()).map(|q| q.milli_value())
            };
            let limit = get(r.and_then(|r| r.limits.as_ref()));
            let request = get(r.and_then(|r| r.requests.as_ref())).or(limit);
            any |= limit.is_some() || request.is_some();
            guaranteed &= limit.is_some() && limit == request;
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// Seconds a pod gets to end: as its deletion asks, else as its spec says.
pub fn grace_period(pod: &Pod) -> i64 {
    pod.metadata.deletion_grace_period_seconds.or(spec(pod).termination_grace_period_seconds).unwrap_or(30)
}
