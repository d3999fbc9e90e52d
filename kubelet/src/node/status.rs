//! The Node's status: capacity, conditions, addresses, versions, images (upstream pkg/kubelet/nodestatus).

use super::machine::{arch, threshold};
use crate::context::Context;
use crate::runtime::Result;
use cri::v1 as api;
use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use machinery::quantity::{Format, Quantity as Amount};
use std::collections::BTreeMap;

/// The Kubernetes version this agent speaks.
pub const VERSION: &str = "v1.36.3";
/// Images listed in a node's status, and names of each.
const MAX_IMAGES: usize = 50;
const MAX_NAMES: usize = 5;

/// Why pods cannot have a network, if they cannot.
pub fn network_problem(status: &Result<api::StatusResponse>) -> Option<String> {
    condition_problem(status, "NetworkReady", "container runtime network not ready")
}

fn condition_problem(status: &Result<api::StatusResponse>, kind: &str, text: &str) -> Option<String> {
    let status = match status {
        Ok(s) => s.status.as_ref(),
        Err(e) => return Some(format!("container runtime is down: {e}")),
    };
    let c = status.and_then(|s| s.conditions.iter().find(|c| c.r#type == kind));
    match c {
        Some(c) if c.status => None,
        Some(c) => Some(format!("{text}: {kind}={} reason:{} message:{}", c.status, c.reason, c.message)),
        None => Some(format!("{text}: {kind} is unknown")),
    }
}

/// A resource below its hard threshold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// `memory`, `ephemeral-storage` or `inodes`.
    pub resource: &'static str,
    /// As configured, or what the percentage comes to.
    pub threshold: String,
    pub available: i64,
}

impl Shortage {
    /// An amount of the resource as messages print it.
    pub fn print(&self, amount: i64) -> String {
        let format = if self.resource == "inodes" { Format::DecimalSI } else { Format::BinarySI };
        Amount::new(amount, format).to_string()
    }
}

/// What pressure there is on the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    pub memory: Option<Shortage>,
    pub disk: Option<Shortage>,
}

impl Pressure {
    /// Measures against the hard thresholds.
    pub fn measure(ctx: &Context) -> Self {
        let check = |signal: &str, resource: &'static str, available: i64, of: i64| {
            let text = ctx.config.kubelet.eviction_hard.get(signal)?;
            let limit = threshold(text, of);
            let mut s = Shortage { resource, threshold: text.clone(), available };
            if text.ends_with('%') {
                s.threshold = s.print(limit);
            }
            (available < limit).then_some(s)
        };
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let free = meminfo.lines().find_map(|l| l.strip_prefix("MemAvailable:")).and_then(|l| l.split_whitespace().next());
        let free = free.and_then(|n| n.parse::<i64>().ok()).map_or(i64::MAX, |k| k * 1024);
        let memory = check("memory.available", "memory", free, ctx.machine.memory);
        let disk = rustix::fs::statvfs(&ctx.config.root_dir).ok().and_then(|s| {
            let bytes = |blocks: u64| i64::try_from(blocks * s.f_frsize).unwrap_or(i64::MAX);
            let inodes = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
            let by_inodes = || check("nodefs.inodesFree", "inodes", inodes(s.f_favail), inodes(s.f_files));
            check("nodefs.available", "ephemeral-storage", bytes(s.f_bavail), bytes(s.f_blocks))
                .or_else(|| if s.f_files > 0 { by_inodes() } else { None })
        });
        Self { memory, disk }
    }
}

type Resources = BTreeMap<String, Quantity>;

/// Extended resources: those of other domains than Kubernetes' own.
fn extended(all: Option<&Resources>) -> Resources {
    let own = |name: &str| !name.contains('/') || name.contains("kubernetes.io/") || name.starts_with("requests.");
    all.into_iter().flatten().filter(|(k, _)| !own(k)).map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// Takes over the extended resources of the status that the API has: people advertise them by writing the capacity, and the
/// kubelet makes them allocatable.
pub fn adopt_extended(status: &mut NodeStatus, seen: &NodeStatus) {
    let adopt = |mine: &mut Option<Resources>, theirs: Option<&Resources>| {
        let Some(mine) = mine else { return };
        let gone = extended(Some(mine));
        mine.retain(|k, _| !gone.contains_key(k));
        mine.extend(extended(theirs));
    };
    adopt(&mut status.capacity, seen.capacity.as_ref());
    adopt(&mut status.allocatable, seen.allocatable.as_ref());
}

/// The whole status, made from scratch on top of `old`.
pub async fn make(ctx: &Context, old: &NodeStatus) -> NodeStatus {
    let (version, runtime, images) = tokio::join!(ctx.runtime.version(), ctx.runtime.status(), ctx.runtime.list_images());
    let version = version.unwrap_or_default();
    let pressure = Pressure::measure(ctx);
    let problem =
        condition_problem(&runtime, "RuntimeReady", "container runtime not ready").or_else(|| network_problem(&runtime));
    let m = &ctx.machine;
    let mut addresses: Vec<NodeAddress> =
        ctx.config.node_ips.iter().map(|ip| NodeAddress { type_: "InternalIP".into(), address: ip.to_string() }).collect();
    addresses.push(NodeAddress { type_: "Hostname".into(), address: ctx.config.node_name.clone() });
    let mut status = old.clone();
    status.capacity = Some(m.capacity().into_iter().chain(extended(old.capacity.as_ref())).collect());
    status.allocatable = Some(m.allocatable().into_iter().chain(extended(old.capacity.as_ref())).collect());
    status.addresses = Some(addresses);
    status.daemon_endpoints =
        Some(NodeDaemonEndpoints { kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(ctx.config.kubelet.port) }) });
    status.node_info = Some(NodeSystemInfo {
        architecture: arch().into(),
        boot_id: m.boot_id.clone(),
        container_runtime_version: format!("{}://{}", version.runtime_name, version.runtime_version.trim_start_matches('v')),
        kernel_version: m.kernel.clone(),
        kube_proxy_version: String::new(),
        kubelet_version: VERSION.into(),
        machine_id: m.machine_id.clone(),
        operating_system: "linux".into(),
        os_image: m.os_image.clone(),
        system_uuid: m.system_uuid.clone(),
        ..Default::default()
    });
    if let Ok(images) = images {
        status.images = Some(image_list(images));
    }
    let word = |bad: bool, yes: (&'static str, &'static str), no: (&'static str, &'static str)| {
        if bad { (true, yes) } else { (false, no) }
    };
    let pressures = [
        (
            "MemoryPressure",
            word(
                pressure.memory.is_some(),
                ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
                ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            ),
        ),
        (
            "DiskPressure",
            word(
                pressure.disk.is_some(),
                ("KubeletHasDiskPressure", "kubelet has disk pressure"),
                ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            ),
        ),
        ("PIDPressure", (false, ("KubeletHasSufficientPID", "kubelet has sufficient PID available"))),
    ];
    let mut conditions: Vec<NodeCondition> = old.conditions.clone().unwrap_or_default();
    for (kind, (bad, (reason, message))) in pressures {
        set(ctx, &mut conditions, kind, bad, reason, message.to_owned());
    }
    match problem {
        None => set(ctx, &mut conditions, "Ready", true, "KubeletReady", "kubelet is posting ready status".into()),
        Some(p) => set(ctx, &mut conditions, "Ready", false, "KubeletNotReady", p),
    }
    status.conditions = Some(conditions);
    status
}

fn set(ctx: &Context, all: &mut Vec<NodeCondition>, kind: &str, truth: bool, reason: &str, message: String) {
    let status = if truth { "True" } else { "False" };
    let now = ctx.clock.time();
    let old = all.iter().position(|c| c.type_ == kind);
    let since = old.map(|i| &all[i]).filter(|c| c.status == status).and_then(|c| c.last_transition_time.clone());
    let fresh = NodeCondition {
        type_: kind.into(),
        status: status.into(),
        reason: Some(reason.into()),
        message: Some(message),
        last_heartbeat_time: Some(now.clone()),
        last_transition_time: since.or(Some(now)),
    };
    match old {
        Some(i) => all[i] = fresh,
        None => all.push(fresh),
    }
}

fn image_list(mut images: Vec<api::Image>) -> Vec<ContainerImage> {
    images.sort_by_key(|i| std::cmp::Reverse(i.size));
    let one = |i: api::Image| {
        let mut names: Vec<String> = i.repo_digests.into_iter().chain(i.repo_tags).collect();
        names.truncate(MAX_NAMES);
        ContainerImage { names: Some(names), size_bytes: i64::try_from(i.size).ok() }
    };
    images.into_iter().map(one).filter(|i| i.names.as_ref().is_some_and(|n| !n.is_empty())).take(MAX_IMAGES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[tokio::test]
    async fn extended_resources_become_allocatable() {
        let ctx = crate::testing::context(Default::default());
        let status = |capacity: serde_json::Value, allocatable: serde_json::Value| -> NodeStatus {
            serde_json::from_value(json!({"capacity": capacity, "allocatable": allocatable})).expect("status")
        };
        let none = || json!({"cpu": "1"});
        let some = |n: &str| json!({"cpu": "1", "example.com/dongle": n});
        for (name, had, seen, want) in [
            ("none", status(none(), none()), status(none(), none()), None),
            ("advertised", status(none(), none()), status(some("4"), none()), Some("4")),
            ("changed", status(some("4"), some("4")), status(some("2"), some("4")), Some("2")),
            ("withdrawn", status(some("4"), some("4")), status(none(), some("4")), None),
        ] {
            let mut old = had;
            adopt_extended(&mut old, &seen);
            let new = make(&ctx, &old).await;
            for list in [new.capacity, new.allocatable] {
                let got = list.as_ref().and_then(|l| l.get("example.com/dongle")).map(|q| q.0.as_str());
                assert_eq!(got, want, "{name}");
            }
        }
    }
}
