//! Services of type LoadBalancer on machines without one: their ingress is the nodes' own addresses, where the proxy answers.
//! Takes only Services that name no load balancer class.

use crate::manager::forever;
use crate::{Context, Result, synced};
use client::{Informer, InformerEvent, Object, Patch, WorkQueue};
use k8s_openapi::api::core::v1::{LoadBalancerIngress, Node, Service};
use serde_json::json;
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
    services.add_handler(move |e| {
        if let InformerEvent::Added(s) | InformerEvent::Updated { new: s, .. } = e
            && (wants(s) || !ingress(s).is_empty())
        {
            q.add(s.key());
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
                Some(s) => sync(&ctx, &nodes, &s).await,
                None => Ok(()),
            }
        }
    }))
    .await;
}

fn wants(s: &Service) -> bool {
    let spec = s.spec.as_ref();
    spec.is_some_and(|s| s.type_.as_deref() == Some("LoadBalancer") && s.load_balancer_class.is_none())
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

async fn sync(ctx: &Context, nodes: &Informer<Node>, s: &Service) -> Result {
    let families: Vec<&str> = s.spec.iter().flat_map(|s| s.ip_families.iter().flatten()).map(String::as_str).collect();
    let fits = |ip: &String| {
        let family = if ip.contains(':') { "IPv6" } else { "IPv4" };
        families.is_empty() || families.contains(&family)
    };
    let wanted: Vec<String> = if !wants(s) || s.is_terminating() {
        Vec::new()
    } else {
        nodes.list().iter().flat_map(|n| addresses_of(n)).filter(fits).collect()
    };
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
