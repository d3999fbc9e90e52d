//! Subsets: addresses grouped by the ports they serve (pkg/api/v1/endpoints RepackSubsets).

use super::services::{find_port, hostname, ips, is_listed};
use crate::core::pod;
use client::Object;
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Pod, Service};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Most addresses in one Endpoints object.
const CAPACITY: usize = 1000;

type PortKey = (String, i32, String, Option<String>);

/// The subsets of a Service with these pods.
pub fn of(service: &Service, pods: &[Arc<Pod>]) -> Vec<EndpointSubset> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let publish = spec.publish_not_ready_addresses == Some(true);
    let ports = spec.ports.as_deref().unwrap_or_default();
    let headless = spec.cluster_ip.as_deref() == Some("None");
    // address, ready → ports
    let mut by_address: BTreeMap<(IpAddr, String, bool), (EndpointAddress, Vec<PortKey>)> = BTreeMap::new();
    for p in pods.iter().filter(|p| is_listed(p, publish)) {
        let Some(address) = address(service, p) else { continue };
        let Ok(ip) = address.ip.parse() else { continue };
        let key = (ip, p.uid().to_owned(), publish || pod::is_ready(p));
        let served: Vec<PortKey> = ports
            .iter()
            .filter_map(|sp| {
                let protocol = sp.protocol.clone().unwrap_or_else(|| "TCP".into());
                Some((sp.name.clone().unwrap_or_default(), find_port(p, sp)?, protocol, sp.app_protocol.clone()))
            })
            .collect();
        if served.is_empty() && !(ports.is_empty() && headless) {
            continue;
        }
        by_address.entry(key).or_insert((address, Vec::new())).1.extend(served);
    }
    let mut by_ports: BTreeMap<Vec<PortKey>, EndpointSubset> = BTreeMap::new();
    for ((_, _, ready), (address, mut ports)) in by_address {
        ports.sort();
        let subset = by_ports.entry(ports.clone()).or_default();
        let list = if ready { &mut subset.addresses } else { &mut subset.not_ready_addresses };
        list.get_or_insert_default().push(address);
        if !ports.is_empty() {
            subset.ports = Some(ports.into_iter().map(port).collect());
        }
    }
    by_ports.into_values().collect()
}

fn port((name, port, protocol, app_protocol): PortKey) -> EndpointPort {
    EndpointPort { name: (!name.is_empty()).then_some(name), port, protocol: Some(protocol), app_protocol }
}

fn address(service: &Service, p: &Pod) -> Option<EndpointAddress> {
    let spec = service.spec.as_ref()?;
    let six = match spec.ip_families.as_ref().and_then(|f| f.first()) {
        Some(f) => f == "IPv6",
        None => spec.cluster_ip.as_ref().is_some_and(|ip| ip.contains(':')),
    };
    let ip = ips(p).into_iter().find(|ip| ip.is_ipv6() == six)?;
    Some(EndpointAddress {
        ip: ip.to_string(),
        hostname: hostname(p, service),
        node_name: Some(pod::node_name(p).to_owned()).filter(|n| !n.is_empty()),
        target_ref: Some(pod::target(p)),
    })
}

/// Cuts to the capacity, ready addresses first, in proportion between subsets; true if anything was cut.
pub fn truncate(subsets: &mut [EndpointSubset]) -> bool {
    let count = |s: &[EndpointSubset], ready: bool| -> usize {
        s.iter().filter_map(|s| if ready { s.addresses.as_ref() } else { s.not_ready_addresses.as_ref() }).map(Vec::len).sum()
    };
    let (ready, not_ready) = (count(subsets, true), count(subsets, false));
    if ready + not_ready <= CAPACITY {
        return false;
    }
    let cut_ready = ready > CAPACITY;
    let (most, total) = if cut_ready { (CAPACITY, ready) } else { (CAPACITY - ready, not_ready) };
    let mut left = most;
    for s in subsets {
        let list = if cut_ready {
            s.not_ready_addresses = None;
            &mut s.addresses
        } else {
            &mut s.not_ready_addresses
        };
        let Some(list) = list else { continue };
        list.truncate((list.len() * most).div_ceil(total).min(left));
        left -= list.len();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, ip: &str, ready: bool, port: i32) -> Arc<Pod> {
        let v = json!({"metadata": {"name": name, "uid": name, "namespace": "ns"},
            "spec": {"nodeName": "n", "containers": [{"name": "c", "ports": [{"name": "web", "containerPort": port}]}]},
            "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
                "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]}});
        Arc::new(serde_json::from_value(v).expect("pod"))
    }
    fn service(spec: serde_json::Value) -> Service {
        serde_json::from_value(json!({"metadata": {"name": "s", "namespace": "ns"}, "spec": spec})).expect("service")
    }
    fn show(s: &[EndpointSubset]) -> String {
        let ips = |l: &Option<Vec<EndpointAddress>>| l.iter().flatten().map(|a| a.ip.clone()).collect::<Vec<_>>().join(",");
        let ports = |l: &Option<Vec<EndpointPort>>| l.iter().flatten().map(|p| p.port.to_string()).collect::<Vec<_>>().join(",");
        let one = |s: &EndpointSubset| format!("{}/{}:{}", ips(&s.addresses), ips(&s.not_ready_addresses), ports(&s.ports));
        s.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn addresses_are_grouped_by_their_ports() {
        let pods = [
            pod("b", "10.0.0.10", true, 80),
            pod("a", "10.0.0.2", true, 80),
            pod("c", "10.0.0.3", false, 80),
            pod("d", "10.0.0.4", true, 81),
        ];
        let web = json!([{"name": "http", "port": 1, "targetPort": "web", "protocol": "TCP"}]);
        for (name, spec, want) in [
            ("named port", json!({"clusterIP": "10.1.0.1", "ports": web}), "10.0.0.2,10.0.0.10/10.0.0.3:80 10.0.0.4/:81"),
            (
                "publishNotReadyAddresses",
                json!({"clusterIP": "10.1.0.1", "ports": web, "publishNotReadyAddresses": true}),
                "10.0.0.2,10.0.0.3,10.0.0.10/:80 10.0.0.4/:81",
            ),
            ("headless without ports", json!({"clusterIP": "None"}), "10.0.0.2,10.0.0.4,10.0.0.10/10.0.0.3:"),
            ("cluster IP without ports", json!({"clusterIP": "10.1.0.1"}), ""),
            ("no such port name", json!({"clusterIP": "10.1.0.1", "ports": [{"port": 1, "targetPort": "x"}]}), ""),
            ("other family", json!({"clusterIP": "fd00::1", "ipFamilies": ["IPv6"], "ports": web}), ""),
        ] {
            assert_eq!(show(&of(&service(spec), &pods)), want, "{name}");
        }
    }
}
