//! `/metrics` and `/metrics/cadvisor`: the figures that dashboards and autoscalers ask for, by upstream's names. They are a choice,
//! not all of upstream's.

use super::stats::{self, METRICS, Network, Usage};
use super::{Answer, Service, answer};
use cri::v1::ContainerState;
use http::StatusCode;
use std::fmt::Write;

/// One metric in Prometheus' text format.
struct Family(String, &'static str);

impl Family {
    fn new(name: &'static str, kind: &str, help: &str) -> Self {
        Self(format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"), name)
    }
    fn add(&mut self, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let list: Vec<String> = labels.iter().map(|(k, v)| format!("{k}=\"{}\"", escape(v))).collect();
        let labels = if list.is_empty() { String::new() } else { format!("{{{}}}", list.join(",")) };
        let _ = writeln!(self.0, "{}{labels} {value}", self.1);
    }
}

fn escape(v: &str) -> String {
    v.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn page(families: Vec<Family>) -> Answer {
    answer(StatusCode::OK, METRICS, families.into_iter().map(|f| f.0).collect::<String>())
}

/// The agent's own figures.
pub fn kubelet(service: &Service) -> Answer {
    let mut pods = Family::new("kubelet_running_pods", "gauge", "[ALPHA] Number of pods that have a running pod sandbox");
    let mut containers = Family::new("kubelet_running_containers", "gauge", "[ALPHA] Number of containers currently running");
    let mut desired =
        Family::new("kubelet_desired_pods", "gauge", "[ALPHA] The number of pods the kubelet is being instructed to run");
    let mut node = Family::new("kubelet_node_name", "gauge", "[ALPHA] The node's name. The count is always 1.");
    let all = service.pods.all();
    let views: Vec<_> = all.iter().map(|h| h.view().record).collect();
    let ready =
        |r: &&crate::runtime::PodRecord| r.sandboxes.first().is_some_and(|s| s.state() == cri::v1::PodSandboxState::SandboxReady);
    pods.add(&[], views.iter().filter(ready).count());
    for (name, state) in [
        ("created", ContainerState::ContainerCreated),
        ("exited", ContainerState::ContainerExited),
        ("running", ContainerState::ContainerRunning),
        ("unknown", ContainerState::ContainerUnknown),
    ] {
        let count = views.iter().flat_map(|r| &r.containers).filter(|c| c.state() == state).count();
        containers.add(&[("container_state", name)], count);
    }
    desired.add(&[("static", "")], all.len());
    node.add(&[("node", &service.ctx.config.node_name)], 1);
    page(vec![pods, containers, desired, node])
}

/// What containers use, by cAdvisor's names.
pub async fn cadvisor(service: &Service) -> Answer {
    let pods = match stats::collect(service).await {
        Ok(p) => p,
        Err(e) => return super::text(StatusCode::INTERNAL_SERVER_ERROR, e),
    };
    let m = &service.ctx.machine;
    let mut cores = Family::new("machine_cpu_cores", "gauge", "Number of logical CPU cores.");
    let mut memory = Family::new("machine_memory_bytes", "gauge", "Amount of memory installed on the machine.");
    cores.add(&[], m.cpus);
    memory.add(&[], m.memory);
    let mut families = vec![cores, memory];
    let figures: [(&str, &str, &str, fn(&Usage) -> f64); 4] = [
        ("container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed in seconds.", |u| {
            u.cpu_nanos as f64 / 1e9
        }),
        ("container_memory_working_set_bytes", "gauge", "Current working set in bytes.", |u| u.working_set as f64),
        ("container_memory_rss", "gauge", "Size of RSS in bytes.", |u| u.rss as f64),
        ("container_fs_usage_bytes", "gauge", "Number of bytes that are consumed by the container on this filesystem.", |u| {
            u.layer as f64
        }),
    ];
    for (name, kind, help, value) in figures {
        let mut family = Family::new(name, kind, help);
        for ((namespace, pod, _), list) in &pods {
            for u in list {
                let mut labels = vec![
                    ("container", u.name.as_str()),
                    ("id", u.id.as_str()),
                    ("namespace", namespace.as_str()),
                    ("pod", pod.as_str()),
                ];
                if kind == "counter" {
                    labels.insert(1, ("cpu", "total"));
                }
                family.add(&labels, value(u));
            }
        }
        families.push(family);
    }
    let networks = stats::networks(service).await;
    let figures: [(&str, &str, fn(&Network) -> u64); 4] = [
        ("container_network_receive_bytes_total", "Cumulative count of bytes received", |n| n.rx_bytes),
        ("container_network_receive_errors_total", "Cumulative count of errors encountered while receiving", |n| n.rx_errors),
        ("container_network_transmit_bytes_total", "Cumulative count of bytes transmitted", |n| n.tx_bytes),
        ("container_network_transmit_errors_total", "Cumulative count of errors encountered while transmitting", |n| n.tx_errors),
    ];
    for (name, help, value) in figures {
        let mut family = Family::new(name, "counter", help);
        for (namespace, pod, uid) in pods.keys() {
            if let Some(n) = networks.get(uid) {
                family.add(&[("interface", &n.name), ("namespace", namespace), ("pod", pod)], value(n));
            }
        }
        families.push(family);
    }
    page(families)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_format() {
        let mut f = Family::new("m", "gauge", "Help.");
        f.add(&[], 1);
        f.add(&[("a", "x\"y\\"), ("b", "")], 0.5);
        assert_eq!(f.0, "# HELP m Help.\n# TYPE m gauge\nm 1\nm{a=\"x\\\"y\\\\\",b=\"\"} 0.5\n");
    }
}
