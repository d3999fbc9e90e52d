//! Services of type LoadBalancer on machines without one: their ingress is the nodes' own addresses, where the proxy answers.
//! Takes only Services that name no load balancer class. All share these addresses, so a port of them can be one Service's only: the
//! oldest has it, and the others stay without ingress until it is free.

use crate::manager::forever;
use crate::{Context, Result, synced};
use client::{Informer, InformerEvent, Object, Patch, WorkQueue};
use k8s_openapi::api::core::v1::{LoadBalancerIngress, Node, Service};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;

const EXCLUDE: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

pub async fn run(ctx: Context) {
    if !ctx.config.node_load_balancer {
        return;
    }
    let services = ctx.informers.of::<Service>();
    let nodes = ctx.informers.of::<Node>();
    let queue = WorkQueue::new();
    let q = queue.clone();
    let all = Arc::downgrade(&services);
    services.add_handler(move |e| {
        if let InformerEvent::Added(s) | InformerEvent::Updated { new: s, .. } = e
            && (wants(s) || !ingress(s).is_empty())
        {
            q.add(s.key());
        }
        let freed = match e {
            InformerEvent::Added(_) => false,
            InformerEvent::Updated { old, new } => wants(old) && (!wants(new) || ports(old) != ports(new)),
            InformerEvent::Deleted(s) => wants(s),
        };
        if freed {
            let waiting = |s: &Arc<Service>| wants(s) && ingress(s).is_empty();
            all.upgrade().into_iter().flat_map(|s| s.list()).filter(waiting).for_each(|s| q.add(s.key()));
        }
    });
    let (q, all) = (queue.clone(), Arc::downgrade(&services));
    nodes.add_handler(move |e| {
        let changed = match e {
            InformerEvent::Updated { old, new } => addresses_of(old) != addresses_of(new),
            _ => true,
        };
        if changed {
            all.upgrade().into_iter().flat_map(|s| s.list()).filter(|s| wants(s)).for_each(|s| q.add(s.key()));
        }
    });
    synced!(services, nodes);
    forever(queue.run("node-load-balancer", 1, move |key: String| {
        let (ctx, services, nodes) = (ctx.clone(), services.clone(), nodes.clone());
        async move {
            match services.get_key(&key) {
                Some(s) => {
                    let free = !wants(&s) || free(&s, &services.list());
                    sync(&ctx, &nodes, &s, free).await
                }
                None => Ok(()),
            }
        }
    }))
    .await;
}

fn wants(s: &Service) -> bool {
    let spec = s.spec.as_ref();
    !s.is_terminating() && spec.is_some_and(|s| s.type_.as_deref() == Some("LoadBalancer") && s.load_balancer_class.is_none())
}

/// Protocols and numbers of a Service's ports.
fn ports(s: &Service) -> BTreeSet<(String, i32)> {
    let all = s.spec.iter().flat_map(|s| s.ports.iter().flatten());
    all.map(|p| (p.protocol.clone().unwrap_or_else(|| "TCP".into()), p.port)).collect()
}

/// Whether no Service before this one has any of its ports: the oldest come first, and who gets only a part gets nothing.
fn free(s: &Service, all: &[Arc<Service>]) -> bool {
    let age = |s: &Service| (s.metadata.creation_timestamp.as_ref().map(|t| t.0), s.key());
    let mut before: Vec<&Arc<Service>> = all.iter().filter(|o| wants(o) && age(o) < age(s)).collect();
    before.sort_by_cached_key(|o| age(o));
    let mut taken = BTreeSet::new();
    for o in before {
        let ports = ports(o);
        if taken.is_disjoint(&ports) {
            taken.extend(ports);
        }
    }
    taken.is_disjoint(&ports(s))
}

fn ingress(s: &Service) -> &[LoadBalancerIngress] {
    let status = s.status.as_ref().and_then(|s| s.load_balancer.as_ref());
    status.and_then(|l| l.ingress.as_deref()).unwrap_or_default()
}

/// InternalIPs of a node that takes outside traffic.
fn addresses_of(n: &Node) -> Vec<String> {
    if n.label(EXCLUDE).is_some() || n.is_terminating() {
        return Vec::new();
    }
    let all = n.status.iter().flat_map(|s| s.addresses.iter().flatten());
    all.filter(|a| a.type_ == "InternalIP").map(|a| a.address.clone()).collect()
}

async fn sync(ctx: &Context, nodes: &Informer<Node>, s: &Service, free: bool) -> Result {
    let families: Vec<&str> = s.spec.iter().flat_map(|s| s.ip_families.iter().flatten()).map(String::as_str).collect();
    let fits = |ip: &String| {
        let family = if ip.contains(':') { "IPv6" } else { "IPv4" };
        families.is_empty() || families.contains(&family)
    };
    if !free {
        tracing::info!(service = s.key(), "no ingress: an older Service has one of its ports on the nodes");
    }
    let wanted: Vec<String> =
        if !wants(s) || !free { Vec::new() } else { nodes.list().iter().flat_map(|n| addresses_of(n)).filter(fits).collect() };
    let current: Vec<String> = ingress(s).iter().filter_map(|i| i.ip.clone()).collect();
    // Another controller's Service: a class names it, and its ingress is not ours to clear.
    let others = s.spec.as_ref().is_some_and(|s| s.load_balancer_class.is_some());
    if current == wanted || others {
        return Ok(());
    }
    let list: Vec<_> = wanted.iter().map(|ip| json!({"ip": ip, "ipMode": "VIP"})).collect();
    let load_balancer = if list.is_empty() { json!({"ingress": null}) } else { json!({"ingress": list}) };
    let patch = Patch::Merge(json!({"status": {"loadBalancer": load_balancer}}));
    match ctx.client.patch_status::<Service>(s.namespace(), s.name(), &patch).await {
        Err(e) if !e.is_not_found() => Err(e.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_one_services() {
        let service = |name: &str, second: u32, class: Option<&str>, ports: &[(&str, i32)]| {
            let ports: Vec<_> = ports.iter().map(|(protocol, port)| json!({"protocol": protocol, "port": port})).collect();
            let created = format!("2026-01-01T00:00:{second:02}Z");
            let s = json!({"metadata": {"namespace": "ns", "name": name, "creationTimestamp": created},
                "spec": {"type": "LoadBalancer", "loadBalancerClass": class, "ports": ports}});
            Arc::new(serde_json::from_value::<Service>(s).expect("service"))
        };
        let all = [
            service("young", 9, None, &[("TCP", 80)]),
            service("old", 1, None, &[("TCP", 80)]),
            service("udp", 3, None, &[("UDP", 80)]),
            service("partly", 4, None, &[("TCP", 80), ("TCP", 443)]),
            service("not held by the one before", 5, None, &[("TCP", 443)]),
            service("somebody else's", 0, Some("c"), &[("UDP", 80)]),
            service("same age", 1, None, &[("TCP", 80)]),
        ];
        let got: Vec<&str> = all.iter().filter(|s| wants(s) && free(s, &all)).map(|s| s.name()).collect();
        assert_eq!(got, ["old", "udp", "not held by the one before"]);
    }
}
