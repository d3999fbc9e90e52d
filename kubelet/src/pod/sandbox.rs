//! The configuration of a pod's sandbox.

use super::spec::{CONFIG_SOURCE, containers, host_network, init_containers, is_sidecar, spec};
use super::{dns, hosts, resources, security};
use crate::context::Context;
use crate::runtime::{POD_NAME_LABEL, POD_NAMESPACE_LABEL, POD_UID_LABEL};
use cri::v1 as api;
use k8s_openapi::api::core::v1::Pod;
use std::collections::HashMap;

/// What `RunPodSandbox` is told (upstream kuberuntime_sandbox.go).
pub fn config(ctx: &Context, pod: &Pod, attempt: u32) -> Result<api::PodSandboxConfig, String> {
    if spec(pod).host_users == Some(false) {
        return Err("user namespaces (hostUsers: false) are not supported".into());
    }
    let m = &pod.metadata;
    let text = |v: &Option<String>| v.clone().unwrap_or_default();
    let mut labels: HashMap<String, String> = m.labels.clone().unwrap_or_default().into_iter().collect();
    labels.insert(POD_NAME_LABEL.into(), text(&m.name));
    labels.insert(POD_NAMESPACE_LABEL.into(), text(&m.namespace));
    labels.insert(POD_UID_LABEL.into(), text(&m.uid));
    let mut annotations: HashMap<String, String> = m.annotations.clone().unwrap_or_default().into_iter().collect();
    annotations.entry(CONFIG_SOURCE.into()).or_insert_with(|| "api".into());
    let hostname =
        if host_network(pod) { String::new() } else { hosts::kernel_hostname(pod, &ctx.config.kubelet.cluster_domain)? };
    let sidecars = init_containers(pod).iter().filter(|c| is_sidecar(c));
    let mut port_mappings = Vec::new();
    for p in containers(pod).iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten()) {
        let protocol = match p.protocol.as_deref() {
            Some("UDP") => api::Protocol::Udp,
            Some("SCTP") => api::Protocol::Sctp,
            _ => api::Protocol::Tcp,
        };
        port_mappings.push(api::PortMapping {
            protocol: protocol as i32,
            container_port: p.container_port,
            host_port: p.host_port.unwrap_or(0),
            host_ip: p.host_ip.clone().unwrap_or_default(),
        });
    }
    Ok(api::PodSandboxConfig {
        metadata: Some(api::PodSandboxMetadata {
            name: text(&m.name),
            uid: text(&m.uid),
            namespace: text(&m.namespace),
            attempt,
        }),
        hostname,
        log_directory: ctx.pod_log_dir(pod).display().to_string(),
        dns_config: Some(dns::config(ctx, pod)),
        port_mappings,
        labels,
        annotations,
        linux: Some(linux(ctx, pod)),
        ..Default::default()
    })
}

fn linux(ctx: &Context, pod: &Pod) -> api::LinuxPodSandboxConfig {
    let sc = spec(pod).security_context.as_ref();
    let sysctls = sc.and_then(|s| s.sysctls.as_ref()).into_iter().flatten();
    let int = |v: i64| api::Int64Value { value: v };
    let limits = resources::pod_limits(pod);
    api::LinuxPodSandboxConfig {
        cgroup_parent: ctx.cgroups.pod_parent(pod),
        sysctls: sysctls.map(|s| (s.name.clone(), s.value.clone())).collect(),
        security_context: Some(api::LinuxSandboxSecurityContext {
            namespace_options: Some(security::namespaces(pod)),
            run_as_user: sc.and_then(|s| s.run_as_user).map(int),
            run_as_group: sc.and_then(|s| s.run_as_group).map(int),
            supplemental_groups: security::groups(pod),
            supplemental_groups_policy: security::groups_policy(pod),
            privileged: security::any_privileged(pod),
            seccomp: Some(api::SecurityProfile {
                profile_type: api::security_profile::ProfileType::RuntimeDefault as i32,
                localhost_ref: String::new(),
            }),
            ..Default::default()
        }),
        resources: Some(api::LinuxContainerResources {
            cpu_period: resources::CPU_PERIOD,
            cpu_shares: limits.cpu_shares,
            cpu_quota: limits.cpu_quota.unwrap_or(0),
            memory_limit_in_bytes: limits.memory.unwrap_or(0),
            ..Default::default()
        }),
        ..Default::default()
    }
}
