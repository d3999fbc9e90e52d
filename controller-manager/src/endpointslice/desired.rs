//! The endpoints a Service should have, by address family and ports.

use super::reconcile::{Desired, PortKey};
use super::{CONTROLLER, MANAGED_BY, SERVICE_NAME};
use crate::core::pod;
use crate::endpoints::services::{find_port, hostname, ips, is_listed};
use crate::endpoints::{HEADLESS, has_cluster_ip};
use client::Object;
use client::object::controller_reference;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointHints, EndpointSlice, ForNode, ForZone};
use std::collections::BTreeMap;
use std::sync::Arc;

fn families(s: &Service) -> Vec<&'static str> {
    let spec = s.spec.as_ref();
    let named = spec.and_then(|s| s.ip_families.as_deref()).unwrap_or_default();
    let named: Vec<&str> = named.iter().map(|f| if f == "IPv6" { "IPv6" } else { "IPv4" }).collect();
    if !named.is_empty() {
        return named;
    }
    match spec.and_then(|s| s.cluster_ip.as_deref()) {
        Some(ip) if has_cluster_ip(s) => vec![if ip.contains(':') { "IPv6" } else { "IPv4" }],
        _ => vec!["IPv4", "IPv6"],
    }
}

/// What the slices of a Service should hold; `zone` knows a node's zone.
pub fn of(service: &Service, pods: &[Arc<Pod>], zone: impl Fn(&str) -> Option<String>) -> Desired {
    let mut wanted = Desired::default();
    for family in families(service) {
        let groups = wanted.entry(family.to_owned()).or_default();
        for p in pods.iter().filter(|p| is_listed(p, true)) {
            let addresses: Vec<String> =
                ips(p).into_iter().filter(|ip| ip.is_ipv6() == (family == "IPv6")).map(|ip| ip.to_string()).collect();
            if addresses.is_empty() {
                continue;
            }
            let node = pod::node_name(p);
            groups.entry(ports(service, p)).or_default().push(endpoint(service, p, addresses, zone(node)));
        }
    }
    wanted
}

fn ports(service: &Service, p: &Pod) -> PortKey {
    let list = service.spec.as_ref().and_then(|s| s.ports.as_deref()).unwrap_or_default();
    let mut ports: PortKey = list
        .iter()
        .filter_map(|sp| {
            let protocol = sp.protocol.clone().unwrap_or_else(|| "TCP".into());
            Some((sp.name.clone().unwrap_or_default(), Some(find_port(p, sp)?), protocol, sp.app_protocol.clone()))
        })
        .collect();
    ports.sort();
    ports
}

fn endpoint(service: &Service, p: &Pod, addresses: Vec<String>, zone: Option<String>) -> Endpoint {
    let spec = service.spec.as_ref();
    let serving = pod::is_ready(p);
    let publish = spec.and_then(|s| s.publish_not_ready_addresses) == Some(true);
    let ready = publish || (serving && !p.is_terminating());
    let node_name = Some(pod::node_name(p).to_owned()).filter(|n| !n.is_empty());
    let hints = match spec.and_then(|s| s.traffic_distribution.as_deref()) {
        Some(policy @ ("PreferClose" | "PreferSameZone" | "PreferSameNode")) if ready => {
            let for_zones = zone.clone().map(|name| vec![ForZone { name }]);
            let for_nodes = node_name.clone().filter(|_| policy == "PreferSameNode").map(|name| vec![ForNode { name }]);
            (for_zones.is_some() || for_nodes.is_some()).then_some(EndpointHints { for_nodes, for_zones })
        }
        _ => None,
    };
    Endpoint {
        addresses,
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(p.is_terminating()),
        }),
        hostname: hostname(p, service),
        node_name,
        zone,
        hints,
        target_ref: Some(pod::target(p)),
        ..Default::default()
    }
}

/// Gives a slice the labels and the owner that the Service's slices have; true if that changed it.
pub fn dress(service: &Service, slice: &mut EndpointSlice) -> bool {
    let mut labels: BTreeMap<String, String> = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    if !has_cluster_ip(service) {
        labels.insert(HEADLESS.into(), String::new());
    }
    labels.insert(SERVICE_NAME.into(), service.name().to_owned());
    labels.insert(MANAGED_BY.into(), CONTROLLER.into());
    let meta = &mut slice.metadata;
    if meta.name.is_none() {
        meta.generate_name = Some(format!("{}-", service.name()));
        meta.namespace.clone_from(&service.metadata.namespace);
    }
    let owners = vec![controller_reference(service)];
    let owned = meta.owner_references.iter().flatten().any(|o| o.uid == service.uid());
    if owned && meta.labels.as_ref() == Some(&labels) {
        return false;
    }
    meta.labels = Some(labels);
    meta.owner_references = Some(owners);
    true
}
