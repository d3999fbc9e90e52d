//! What the kernel should hold for one port of one Service, from the Service and its EndpointSlices.

use client::k8s_openapi::api::core::v1::Service;
use client::k8s_openapi::api::discovery::v1::{Endpoint as Api, EndpointSlice};
use ipnet::Ipv4Net;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

/// An address and port that traffic goes to.
pub type Endpoint = (Ipv4Addr, u16);

/// One port of a Service, as the data path sees it.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ServicePort {
    /// IP protocol number: 6 TCP, 17 UDP, 132 SCTP.
    pub protocol: u8,
    pub port: u16,
    pub cluster_ip: Option<Ipv4Addr>,
    /// 0: none.
    pub node_port: u16,
    /// Load balancer addresses and external IPs.
    pub external_ips: BTreeSet<Ipv4Addr>,
    /// `loadBalancerSourceRanges`; empty lets everybody in.
    pub source_ranges: BTreeSet<Ipv4Net>,
    /// How long a client stays with an endpoint.
    pub affinity: Option<Duration>,
    /// `externalTrafficPolicy: Local`.
    pub external_local: bool,
    /// `internalTrafficPolicy: Local`.
    pub internal_local: bool,
    /// Where traffic may go.
    pub endpoints: BTreeSet<Endpoint>,
    /// Those on this node.
    pub local_endpoints: BTreeSet<Endpoint>,
    /// When the Service was made, in seconds since 1970.
    pub created: i64,
}

impl ServicePort {
    /// Endpoints that serve the cluster IP.
    pub fn internal(&self) -> &BTreeSet<Endpoint> {
        if self.internal_local { &self.local_endpoints } else { &self.endpoints }
    }
    pub fn has_external(&self) -> bool {
        self.node_port != 0 || !self.external_ips.is_empty()
    }
}

fn protocol(name: Option<&str>) -> Option<u8> {
    match name {
        None | Some("TCP") => Some(6),
        Some("UDP") => Some(17),
        Some("SCTP") => Some(132),
        Some(_) => None,
    }
}

fn number(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|p| *p != 0)
}

/// Where traffic is sent from.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub node: &'a str,
    /// Empty where the node has none.
    pub zone: &'a str,
}

/// A label that keeps a Service away from proxies, as it does an EndpointSlice.
const HEADLESS: &str = "service.kubernetes.io/headless";

/// The ports of a Service by name of the port. Services without a cluster IP, of type ExternalName, or proxied by somebody else
/// have none.
pub fn service_ports(service: &Service, slices: &[Arc<EndpointSlice>], here: Place<'_>) -> Vec<(String, ServicePort)> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let labels = service.metadata.labels.as_ref();
    if spec.type_.as_deref() == Some("ExternalName")
        || labels.is_some_and(|l| l.contains_key("service.kubernetes.io/service-proxy-name") || l.contains_key(HEADLESS))
    {
        return Vec::new();
    }
    let ips = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    let Some(cluster_ip) = ips.filter_map(|ip| ip.parse::<Ipv4Addr>().ok()).next() else { return Vec::new() };
    let ingress = service.status.as_ref().and_then(|s| s.load_balancer.as_ref()).and_then(|l| l.ingress.as_ref());
    let balanced = ingress.into_iter().flatten().filter(|i| i.ip_mode.as_deref() != Some("Proxy")).filter_map(|i| i.ip.as_ref());
    let external_ips: BTreeSet<Ipv4Addr> =
        balanced.chain(spec.external_ips.iter().flatten()).filter_map(|ip| ip.parse().ok()).collect();
    let affinity = (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| {
        let seconds = spec.session_affinity_config.as_ref().and_then(|c| c.client_ip.as_ref()).and_then(|c| c.timeout_seconds);
        Duration::from_secs(seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(10_800))
    });
    let ranges = spec.load_balancer_source_ranges.iter().flatten().filter_map(|r| r.trim().parse().ok()).collect();
    let created = service.metadata.creation_timestamp.as_ref().map_or(0, |t| t.0.as_second());
    let mut out = Vec::new();
    for p in spec.ports.iter().flatten() {
        let (Some(protocol), Some(port)) = (protocol(p.protocol.as_deref()), number(p.port)) else { continue };
        let name = p.name.clone().unwrap_or_default();
        let (endpoints, local_endpoints) = endpoints(slices, &name, here);
        out.push((
            name,
            ServicePort {
                protocol,
                port,
                cluster_ip: Some(cluster_ip),
                node_port: p.node_port.and_then(number).unwrap_or(0),
                external_ips: external_ips.clone(),
                source_ranges: Clone::clone(&ranges),
                affinity,
                external_local: spec.external_traffic_policy.as_deref() == Some("Local"),
                internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
                endpoints,
                local_endpoints,
                created,
            },
        ));
    }
    out
}

/// The port where the Service's health on this node is asked for, and how many addresses of ready endpoints are here.
pub fn health_check(service: &Service, slices: &[Arc<EndpointSlice>], node: &str) -> Option<(u16, usize)> {
    let spec = service.spec.as_ref()?;
    let wanted = spec.type_.as_deref() == Some("LoadBalancer") && spec.external_traffic_policy.as_deref() == Some("Local");
    let port = spec.health_check_node_port.and_then(number).filter(|_| wanted)?;
    let all = slices.iter().filter(|s| s.address_type == "IPv4").flat_map(|s| s.endpoints.iter().flatten());
    let here = all.filter(|e| e.node_name.as_deref() == Some(node));
    let ready = here.filter(|e| e.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true));
    Some((port, ready.flat_map(|e| &e.addresses).collect::<BTreeSet<_>>().len()))
}

/// Which of the ready endpoints are meant for traffic from here: those that hint at the node or else the zone, if every one has
/// hints and one of them does; else all.
#[derive(Clone, Copy, PartialEq)]
enum Topology {
    Any,
    Node,
    Zone,
}

fn for_node(e: &Api, node: &str) -> Option<bool> {
    let hints = e.hints.as_ref().and_then(|h| h.for_nodes.as_ref()).filter(|n| !n.is_empty())?;
    Some(hints.iter().any(|n| n.name == node))
}

fn for_zone(e: &Api, zone: &str) -> Option<bool> {
    let hints = e.hints.as_ref().and_then(|h| h.for_zones.as_ref()).filter(|z| !z.is_empty())?;
    Some(hints.iter().any(|z| z.name == zone))
}

impl Topology {
    fn of(ready: &[&Api], here: Place<'_>) -> Self {
        let meant = |hint: &dyn Fn(&Api) -> Option<bool>| {
            ready.iter().all(|e| hint(e).is_some()) && ready.iter().any(|e| hint(e) == Some(true))
        };
        if meant(&|e| for_node(e, here.node)) {
            Self::Node
        } else if meant(&|e| for_zone(e, here.zone)) {
            Self::Zone
        } else {
            Self::Any
        }
    }
    fn has(self, e: &Api, here: Place<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::Node => for_node(e, here.node) == Some(true),
            Self::Zone => for_zone(e, here.zone) == Some(true),
        }
    }
}

/// Ready endpoints of a port, in all (as their hints have it) and on this node; where none is ready, those that serve while they
/// terminate (KEP-1669).
fn endpoints(slices: &[Arc<EndpointSlice>], port_name: &str, here: Place<'_>) -> (BTreeSet<Endpoint>, BTreeSet<Endpoint>) {
    let mut ready = Vec::new();
    let mut serving = Vec::new();
    for slice in slices.iter().filter(|s| s.address_type == "IPv4") {
        let port = slice.ports.iter().flatten().find(|p| p.name.as_deref().unwrap_or("") == port_name);
        let Some(port) = port.and_then(|p| p.port).and_then(number) else { continue };
        for e in slice.endpoints.iter().flatten() {
            let c = e.conditions.as_ref();
            let is_ready = c.and_then(|c| c.ready).unwrap_or(true);
            let is_serving = c.and_then(|c| c.serving).unwrap_or(is_ready) && c.and_then(|c| c.terminating).unwrap_or(false);
            match (is_ready, is_serving) {
                (true, _) => ready.push((e, port)),
                (false, true) => serving.push((e, port)),
                _ => {}
            }
        }
    }
    let any: Vec<&Api> = ready.iter().map(|(e, _)| *e).collect();
    let topology = if any.iter().any(|e| e.hints.is_some()) { Topology::of(&any, here) } else { Topology::Any };
    let local = |e: &Api| e.node_name.as_deref() == Some(here.node);
    let set = |from: &[(&Api, u16)], take: &dyn Fn(&Api) -> bool| {
        let chosen = from.iter().filter(|(e, _)| take(e));
        let pairs = chosen.flat_map(|(e, port)| e.addresses.iter().filter_map(|a| Some((a.parse().ok()?, *port))));
        pairs.collect::<BTreeSet<Endpoint>>()
    };
    let all = set(&ready, &|e| topology.has(e, here));
    let here_ready = set(&ready, &local);
    (
        if all.is_empty() { set(&serving, &|_| true) } else { all },
        if here_ready.is_empty() { set(&serving, &local) } else { here_ready },
    )
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
