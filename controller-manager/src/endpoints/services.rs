//! Which Services a pod concerns, and which pods a Service has.

use crate::core::{pod, selectors};
use client::{Informer, InformerEvent, Object, WorkQueue};
use k8s_openapi::api::core::v1::{Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use machinery::labels::Selector;
use std::net::IpAddr;
use std::sync::Arc;

/// `None` for a Service whose endpoints are made by hand, and for ExternalName.
pub fn selector(service: &Service) -> Option<Selector> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") {
        return None;
    }
    let map = spec.selector.as_ref().filter(|m| !m.is_empty())?;
    Some(selectors::from_map(Some(map)))
}

/// The pods a Service selects.
pub fn pods(informer: &Informer<Pod>, service: &Service, selector: &Selector) -> Vec<Arc<Pod>> {
    let mut pods = informer.list_namespace(service.namespace());
    pods.retain(|p| selectors::matches(selector, p.metadata.labels.as_ref()));
    pods
}

/// Queues Services as they and their pods change.
pub fn follow(services: &Arc<Informer<Service>>, pods: &Informer<Pod>, queue: &WorkQueue<String>) {
    let q = queue.clone();
    services.add_handler(move |e| match e {
        InformerEvent::Added(s) | InformerEvent::Updated { new: s, .. } | InformerEvent::Deleted(s) => q.add(s.key()),
    });
    let (q, services) = (queue.clone(), services.clone());
    pods.add_handler(move |e| {
        let (old, new) = match e {
            InformerEvent::Added(p) | InformerEvent::Deleted(p) => (None, p),
            InformerEvent::Updated { old, new } => (Some(old), new),
        };
        let changed = old.is_none_or(|old| endpoint_changed(old, new));
        let relabelled = old.is_some_and(|old| old.metadata.labels != new.metadata.labels);
        if !changed && !relabelled {
            return;
        }
        for s in services.list_namespace(new.namespace()) {
            let Some(sel) = selector(&s) else { continue };
            let now = selectors::matches(&sel, new.metadata.labels.as_ref());
            let before = old.is_some_and(|old| selectors::matches(&sel, old.metadata.labels.as_ref()));
            if (changed && (now || before)) || now != before {
                q.add(s.key());
            }
        }
    });
}

/// Something that shows in endpoints changed.
fn endpoint_changed(old: &Pod, new: &Pod) -> bool {
    let host = |p: &Pod| p.spec.as_ref().map(|s| (s.hostname.clone(), s.subdomain.clone(), s.node_name.clone()));
    old.uid() != new.uid()
        || old.is_terminating() != new.is_terminating()
        || pod::is_ready(old) != pod::is_ready(new)
        || pod::is_terminal(old) != pod::is_terminal(new)
        || ips(old) != ips(new)
        || host(old) != host(new)
}

/// A pod's addresses, in status order.
pub fn ips(pod: &Pod) -> Vec<IpAddr> {
    let Some(status) = &pod.status else { return Vec::new() };
    let all = status.pod_ips.iter().flatten().map(|p| p.ip.as_str());
    let ips: Vec<IpAddr> = all.filter_map(|ip| ip.parse().ok()).collect();
    if ips.is_empty() { status.pod_ip.iter().filter_map(|ip| ip.parse().ok()).collect() } else { ips }
}

/// Whether a pod is listed at all; terminating ones only where asked for.
pub fn is_listed(p: &Pod, include_terminating: bool) -> bool {
    !pod::is_terminal(p) && !ips(p).is_empty() && (include_terminating || !p.is_terminating())
}

/// The pod's hostname is a name under this (headless) Service.
pub fn hostname(pod: &Pod, service: &Service) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let ours = spec.subdomain.as_deref() == Some(service.name());
    spec.hostname.clone().filter(|h| ours && !h.is_empty())
}

/// The container port behind a Service's port on this pod.
pub fn find_port(pod: &Pod, port: &ServicePort) -> Option<i32> {
    let name = match &port.target_port {
        Some(IntOrString::Int(n)) if *n != 0 => return Some(*n),
        None | Some(IntOrString::Int(_)) => return Some(port.port),
        Some(IntOrString::String(s)) => s,
    };
    let spec = pod.spec.as_ref()?;
    let sidecars = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let protocol = |p: &Option<String>| p.clone().unwrap_or_else(|| "TCP".into());
    let mut ports = spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
    let found = ports.find(|p| p.name.as_ref() == Some(name) && protocol(&p.protocol) == protocol(&port.protocol));
    found.map(|p| p.container_port)
}
