//! What the kernel should hold for one port of one Service, from the Service and its EndpointSlices.

use client::k8s_openapi::api::core::v1::Service;
use client::k8s_openapi::api::discovery::v1::EndpointSlice;
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

/// The ports of a Service by name of the port. Services without a cluster IP, of type ExternalName, or proxied by somebody else
/// have none.
pub fn service_ports(service: &Service, slices: &[Arc<EndpointSlice>], node: &str) -> Vec<(String, ServicePort)> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let labels = service.metadata.labels.as_ref();
    if spec.type_.as_deref() == Some("ExternalName")
        || labels.is_some_and(|l| l.contains_key("service.kubernetes.io/service-proxy-name"))
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
    let mut out = Vec::new();
    for p in spec.ports.iter().flatten() {
        let (Some(protocol), Some(port)) = (protocol(p.protocol.as_deref()), number(p.port)) else { continue };
        let name = p.name.clone().unwrap_or_default();
        let (endpoints, local_endpoints) = endpoints(slices, &name, node);
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
            },
        ));
    }
    out
}

/// Ready endpoints of a port, in all and on this node; where none is ready, those that serve while they terminate (KEP-1669).
fn endpoints(slices: &[Arc<EndpointSlice>], port_name: &str, node: &str) -> (BTreeSet<Endpoint>, BTreeSet<Endpoint>) {
    let mut ready = (BTreeSet::new(), BTreeSet::new());
    let mut serving = (BTreeSet::new(), BTreeSet::new());
    for slice in slices.iter().filter(|s| s.address_type == "IPv4") {
        let port = slice.ports.iter().flatten().find(|p| p.name.as_deref().unwrap_or("") == port_name);
        let Some(port) = port.and_then(|p| p.port).and_then(number) else { continue };
        for e in slice.endpoints.iter().flatten() {
            let c = e.conditions.clone().unwrap_or_default();
            let is_ready = c.ready.unwrap_or(true);
            let is_serving = c.serving.unwrap_or(is_ready) && c.terminating.unwrap_or(false);
            let into = match (is_ready, is_serving) {
                (true, _) => &mut ready,
                (false, true) => &mut serving,
                _ => continue,
            };
            for ip in e.addresses.iter().filter_map(|a| a.parse::<Ipv4Addr>().ok()) {
                into.0.insert((ip, port));
                if e.node_name.as_deref() == Some(node) {
                    into.1.insert((ip, port));
                }
            }
        }
    }
    let all = if ready.0.is_empty() { serving.0 } else { ready.0 };
    let local = if ready.1.is_empty() { serving.1 } else { ready.1 };
    (all, local)
}
