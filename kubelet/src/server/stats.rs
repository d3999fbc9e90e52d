//! `/stats/summary` and `/metrics/resource`: what pods use, from the runtime's statistics.

use super::{Answer, Service, answer};
use crate::runtime::{CONTAINER_NAME_LABEL, POD_NAME_LABEL, POD_NAMESPACE_LABEL, POD_UID_LABEL};
use cri::v1::ContainerStats;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

pub const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What one container uses.
pub struct Usage {
    pub name: String,
    pub id: String,
    at: i64,
    pub cpu_nanos: u64,
    pub working_set: u64,
    pub rss: u64,
    /// Bytes of its writable layer.
    pub layer: u64,
}

/// What a pod's interface has carried.
pub struct Network {
    pub name: String,
    pub rx_bytes: u64,
    pub rx_errors: u64,
    pub tx_bytes: u64,
    pub tx_errors: u64,
}

/// The main interface of each pod, by UID; of none where the runtime has no sandbox statistics.
pub async fn networks(service: &Service) -> HashMap<String, Network> {
    let all = service.ctx.runtime.sandbox_stats().await.unwrap_or_default();
    let one = |s: cri::v1::PodSandboxStats| {
        let uid = s.attributes?.labels.get(POD_UID_LABEL)?.clone();
        let i = s.linux?.network?.default_interface?;
        let value = |v: Option<cri::v1::UInt64Value>| v.map_or(0, |v| v.value);
        let n = Network {
            name: i.name,
            rx_bytes: value(i.rx_bytes),
            rx_errors: value(i.rx_errors),
            tx_bytes: value(i.tx_bytes),
            tx_errors: value(i.tx_errors),
        };
        Some((uid, n))
    };
    all.into_iter().filter_map(one).collect()
}

fn usage(s: &ContainerStats) -> Usage {
    let name = s.attributes.as_ref().and_then(|a| a.labels.get(CONTAINER_NAME_LABEL)).cloned().unwrap_or_default();
    let cpu = s.cpu.as_ref();
    let memory = s.memory.as_ref();
    Usage {
        name,
        id: s.attributes.as_ref().map(|a| a.id.clone()).unwrap_or_default(),
        at: cpu.map_or(0, |c| c.timestamp),
        cpu_nanos: cpu.and_then(|c| c.usage_core_nano_seconds.as_ref()).map_or(0, |v| v.value),
        working_set: memory.and_then(|m| m.working_set_bytes.as_ref()).map_or(0, |v| v.value),
        rss: memory.and_then(|m| m.rss_bytes.as_ref()).map_or(0, |v| v.value),
        layer: s.writable_layer.as_ref().and_then(|l| l.used_bytes.as_ref()).map_or(0, |v| v.value),
    }
}

fn time(nanos: i64) -> String {
    Timestamp::from_second(nanos.div_euclid(1_000_000_000)).unwrap_or_default().to_string()
}

/// Containers by their pod's namespace, name and UID.
pub type ByPod = BTreeMap<(String, String, String), Vec<Usage>>;

pub async fn collect(service: &Service) -> Result<ByPod, String> {
    let stats = service.ctx.runtime.container_stats().await.map_err(|e| e.to_string())?;
    let mut pods = ByPod::new();
    for s in &stats {
        let label = |k: &str| s.attributes.as_ref().and_then(|a| a.labels.get(k)).cloned().unwrap_or_default();
        let key = (label(POD_NAMESPACE_LABEL), label(POD_NAME_LABEL), label(POD_UID_LABEL));
        pods.entry(key).or_default().push(usage(s));
    }
    Ok(pods)
}

fn node_memory() -> (u64, u64) {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let get = |k: &str| {
        let line = info.lines().find_map(|l| l.strip_prefix(k));
        line.and_then(|l| l.split_whitespace().next()).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) * 1024
    };
    let (total, available) = (get("MemTotal:"), get("MemAvailable:"));
    (total.saturating_sub(available), available)
}

/// CPU time of the node in nanoseconds.
fn node_cpu() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields: Vec<u64> = stat.lines().next().unwrap_or("").split_whitespace().skip(1).filter_map(|f| f.parse().ok()).collect();
    // All but idle and iowait, in hundredths of a second.
    fields.iter().enumerate().filter(|(i, _)| ![3, 4].contains(i)).take(6).map(|(_, v)| v).sum::<u64>() * 10_000_000
}

pub async fn summary(service: &Service) -> Answer {
    let pods = match collect(service).await {
        Ok(p) => p,
        Err(e) => return super::text(StatusCode::INTERNAL_SERVER_ERROR, e),
    };
    let networks = networks(service).await;
    let now = time(i64::try_from(service.ctx.clock.now().as_nanosecond()).unwrap_or(0));
    let started = |uid: &str| {
        let handle = service.pods.get(uid)?;
        serde_json::to_value(handle.view().status.start_time?).ok()
    };
    let entries: Vec<Value> = pods
        .iter()
        .map(|((namespace, name, uid), containers)| {
            let sum = |f: fn(&Usage) -> u64| containers.iter().map(f).sum::<u64>();
            let list: Vec<Value> = containers
                .iter()
                .map(|c| {
                    let at = time(c.at);
                    json!({
                        "name": c.name, "startTime": started(uid),
                        "cpu": {"time": at, "usageCoreNanoSeconds": c.cpu_nanos},
                        "memory": {"time": at, "workingSetBytes": c.working_set, "rssBytes": c.rss},
                        "rootfs": {"time": at, "usedBytes": c.layer},
                    })
                })
                .collect();
            let mut entry = json!({
                "podRef": {"name": name, "namespace": namespace, "uid": uid},
                "startTime": started(uid),
                "containers": list,
                "cpu": {"time": now, "usageCoreNanoSeconds": sum(|c| c.cpu_nanos)},
                "memory": {"time": now, "workingSetBytes": sum(|c| c.working_set), "rssBytes": sum(|c| c.rss)},
            });
            if let Some(n) = networks.get(uid) {
                let i = json!({"name": n.name, "rxBytes": n.rx_bytes, "rxErrors": n.rx_errors, "txBytes": n.tx_bytes,
                    "txErrors": n.tx_errors});
                let mut all = i.clone();
                all["time"] = now.clone().into();
                all["interfaces"] = json!([i]);
                entry["network"] = all;
            }
            entry
        })
        .collect();
    let (used, available) = node_memory();
    let disk = rustix::fs::statvfs(&service.ctx.config.root_dir).ok();
    let fs = disk.map(|s| {
        json!({"time": now, "capacityBytes": s.f_blocks * s.f_frsize, "availableBytes": s.f_bavail * s.f_frsize,
            "usedBytes": (s.f_blocks - s.f_bfree) * s.f_frsize, "inodes": s.f_files, "inodesFree": s.f_ffree})
    });
    let node = json!({
        "nodeName": service.ctx.config.node_name,
        "startTime": now,
        "cpu": {"time": now, "usageCoreNanoSeconds": node_cpu()},
        "memory": {"time": now, "availableBytes": available, "usageBytes": used, "workingSetBytes": used},
        "fs": fs,
        "runtime": {"imageFs": fs},
    });
    answer(StatusCode::OK, "application/json", json!({"node": node, "pods": entries}).to_string())
}

pub async fn resource_metrics(service: &Service) -> Answer {
    let (pods, failed) = match collect(service).await {
        Ok(p) => (p, 0),
        Err(_) => (ByPod::new(), 1),
    };
    let mut cpu = String::from(
        "# HELP container_cpu_usage_seconds_total Cumulative cpu time consumed by the container in core-seconds\n\
         # TYPE container_cpu_usage_seconds_total counter\n",
    );
    let mut memory = String::from(
        "# HELP container_memory_working_set_bytes Current working set of the container in bytes\n\
         # TYPE container_memory_working_set_bytes gauge\n",
    );
    let mut pod_cpu = String::from(
        "# HELP pod_cpu_usage_seconds_total Cumulative cpu time consumed by the pod in core-seconds\n\
         # TYPE pod_cpu_usage_seconds_total counter\n",
    );
    let mut pod_memory = String::from(
        "# HELP pod_memory_working_set_bytes Current working set of the pod in bytes\n# TYPE pod_memory_working_set_bytes gauge\n",
    );
    let seconds = |n: u64| n as f64 / 1e9;
    for ((namespace, pod, _), list) in &pods {
        for c in list {
            let labels = format!("{{container=\"{}\",namespace=\"{namespace}\",pod=\"{pod}\"}}", c.name);
            let at = c.at / 1_000_000;
            let _ = writeln!(cpu, "container_cpu_usage_seconds_total{labels} {} {at}", seconds(c.cpu_nanos));
            let _ = writeln!(memory, "container_memory_working_set_bytes{labels} {} {at}", c.working_set);
        }
        let labels = format!("{{namespace=\"{namespace}\",pod=\"{pod}\"}}");
        let at = list.iter().map(|c| c.at).max().unwrap_or(0) / 1_000_000;
        let _ = writeln!(pod_cpu, "pod_cpu_usage_seconds_total{labels} {} {at}", seconds(list.iter().map(|c| c.cpu_nanos).sum()));
        let _ =
            writeln!(pod_memory, "pod_memory_working_set_bytes{labels} {} {at}", list.iter().map(|c| c.working_set).sum::<u64>());
    }
    let (used, _) = node_memory();
    let node = format!(
        "# HELP node_cpu_usage_seconds_total Cumulative cpu time consumed by the node in core-seconds\n\
         # TYPE node_cpu_usage_seconds_total counter\nnode_cpu_usage_seconds_total {}\n\
         # HELP node_memory_working_set_bytes Current working set of the node in bytes\n\
         # TYPE node_memory_working_set_bytes gauge\nnode_memory_working_set_bytes {used}\n\
         # HELP resource_scrape_error 1 if there was an error while getting container metrics, 0 otherwise\n\
         # TYPE resource_scrape_error gauge\nresource_scrape_error {failed}\n",
        seconds(node_cpu())
    );
    answer(StatusCode::OK, METRICS, [cpu, memory, pod_cpu, pod_memory, node].concat())
}
