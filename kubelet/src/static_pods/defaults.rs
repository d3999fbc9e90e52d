//! Defaults of pods that no API server has seen (upstream pkg/apis/core/v1/defaults.go), as far as a kubelet looks at them.

use crate::image_name::ImageName;
use k8s_openapi::api::core::v1::{Container, PodSpec, Probe};

pub fn set(spec: &mut PodSpec) {
    spec.restart_policy.get_or_insert_with(|| "Always".into());
    spec.dns_policy.get_or_insert_with(|| "ClusterFirst".into());
    spec.termination_grace_period_seconds.get_or_insert(30);
    spec.enable_service_links.get_or_insert(true);
    spec.security_context.get_or_insert_default();
    spec.scheduler_name.get_or_insert_with(|| "default-scheduler".into());
    let host_network = spec.host_network == Some(true);
    for c in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        container(c, host_network);
    }
    for v in spec.volumes.iter_mut().flatten() {
        if let Some(h) = &mut v.host_path {
            h.type_.get_or_insert_default();
        }
        for mode in [v.downward_api.as_mut().map(|d| &mut d.default_mode), v.projected.as_mut().map(|p| &mut p.default_mode)]
            .into_iter()
            .flatten()
        {
            mode.get_or_insert(0o644);
        }
    }
}

fn container(c: &mut Container, host_network: bool) {
    let image = ImageName::of(c.image.as_deref().unwrap_or(""));
    let latest = image.tag == Some("latest") || (image.tag.is_none() && image.digest.is_none());
    c.image_pull_policy.get_or_insert_with(|| if latest { "Always" } else { "IfNotPresent" }.into());
    c.termination_message_path.get_or_insert_with(|| "/dev/termination-log".into());
    c.termination_message_policy.get_or_insert_with(|| "File".into());
    for p in c.ports.iter_mut().flatten() {
        p.protocol.get_or_insert_with(|| "TCP".into());
        if host_network {
            p.host_port.get_or_insert(p.container_port);
        }
    }
    if let Some(r) = &mut c.resources {
        for (name, limit) in r.limits.iter().flatten() {
            r.requests.get_or_insert_default().entry(name.clone()).or_insert_with(|| limit.clone());
        }
    }
    for p in [&mut c.liveness_probe, &mut c.readiness_probe, &mut c.startup_probe].into_iter().flatten() {
        probe(p);
    }
    for e in c.env.iter_mut().flatten() {
        if let Some(f) = e.value_from.as_mut().and_then(|v| v.field_ref.as_mut()) {
            f.api_version.get_or_insert_with(|| "v1".into());
        }
    }
}

fn probe(p: &mut Probe) {
    p.timeout_seconds.get_or_insert(1);
    p.period_seconds.get_or_insert(10);
    p.success_threshold.get_or_insert(1);
    p.failure_threshold.get_or_insert(3);
    if let Some(h) = &mut p.http_get {
        h.path.get_or_insert_with(|| "/".into());
        h.scheme.get_or_insert_with(|| "HTTP".into());
    }
}
