//! The configuration of one container, as the runtime takes it (upstream kuberuntime_container.go).

use super::env::Env;
use super::{expansion, resources, security, spec};
use crate::context::Context;
use crate::runtime::{CONTAINER_NAME_LABEL, POD_NAME_LABEL, POD_NAMESPACE_LABEL, POD_UID_LABEL};
use cri::v1 as api;
use k8s_openapi::api::core::v1::{Container, Pod};
use std::collections::HashMap;

pub const HASH: &str = "io.kubernetes.container.hash";
pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
pub const TERMINATION_PATH: &str = "io.kubernetes.container.terminationMessagePath";
pub const TERMINATION_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
const DELETION_GRACE: &str = "io.kubernetes.pod.deletionGracePeriod";
const TERMINATION_GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";
const PRE_STOP: &str = "io.kubernetes.container.preStopHandler";
const PORTS: &str = "io.kubernetes.container.ports";

/// The hash by which upstream notices a changed container: FNV-1a over Go's printed form of the JSON of name and image. The same,
/// so that either kubelet takes over the other's containers.
pub fn container_hash(c: &Container) -> String {
    let quote = |s: &str| go_json(s);
    let image = c.image.as_deref().unwrap_or("");
    let json = format!("{{\"image\":{},\"name\":{}}}", quote(image), quote(&c.name));
    let bytes: Vec<String> = json.bytes().map(|b| b.to_string()).collect();
    let printed = format!("([]uint8)[{}]", bytes.join(" "));
    let hash = printed.bytes().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    format!("{hash:x}")
}

/// A string as encoding/json writes it, which escapes HTML.
fn go_json(s: &str) -> String {
    let plain = serde_json::Value::from(s).to_string();
    plain.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// What is known when a container is about to be created.
pub struct Start<'a> {
    pub restart_count: u32,
    pub env: &'a Env,
    pub image_ref: &'a str,
    pub image: &'a api::Image,
    /// The container whose process namespace an ephemeral container joins.
    pub target: Option<&'a str>,
    pub mounts: Vec<api::Mount>,
}

/// The configuration, or the message of CreateContainerConfigError.
pub fn config(ctx: &Context, pod: &Pod, c: &Container, start: Start<'_>) -> Result<api::ContainerConfig, String> {
    let environment = start.env;
    let mut security_context = security::container(ctx, pod, c, start.image)?;
    if let (Some(target), Some(n)) = (start.target, security_context.namespace_options.as_mut()) {
        n.pid = api::NamespaceMode::Target as i32;
        n.target_id = target.to_owned();
    }
    let lookup = |n: &str| environment.iter().find(|(k, _)| k == n).map(|(_, v)| v.clone());
    let expand = |list: &Option<Vec<String>>| list.iter().flatten().map(|s| expansion::expand(s, lookup)).collect();
    let log_dir = ctx.pod_log_dir(pod).join(&c.name);
    std::fs::create_dir_all(&log_dir)
        .map_err(|e| format!("create container log directory for container {} failed: {e}", c.name))?;
    Ok(api::ContainerConfig {
        metadata: Some(api::ContainerMetadata { name: c.name.clone(), attempt: start.restart_count }),
        image: Some(api::ImageSpec {
            image: start.image_ref.to_owned(),
            user_specified_image: c.image.clone().unwrap_or_default(),
            ..Default::default()
        }),
        command: expand(&c.command),
        args: expand(&c.args),
        working_dir: c.working_dir.clone().unwrap_or_default(),
        envs: environment.iter().map(|(k, v)| api::KeyValue { key: k.clone(), value: v.clone().into_bytes() }).collect(),
        mounts: start.mounts,
        labels: labels(pod, c),
        annotations: annotations(pod, c, start.restart_count),
        log_path: format!("{}/{}.log", c.name, start.restart_count),
        stdin: c.stdin == Some(true),
        stdin_once: c.stdin_once == Some(true),
        tty: c.tty == Some(true),
        stop_signal: stop_signal(c),
        linux: Some(api::LinuxContainerConfig {
            resources: Some(linux_resources(ctx, pod, c)),
            security_context: Some(security_context),
        }),
        ..Default::default()
    })
}

fn stop_signal(c: &Container) -> i32 {
    let name = c.lifecycle.as_ref().and_then(|l| l.stop_signal.as_deref()).unwrap_or("");
    api::Signal::from_str_name(name).map_or(api::Signal::RuntimeDefault as i32, |s| s as i32)
}

fn labels(pod: &Pod, c: &Container) -> HashMap<String, String> {
    let m = &pod.metadata;
    let text = |v: &Option<String>| v.clone().unwrap_or_default();
    HashMap::from([
        (POD_NAME_LABEL.into(), text(&m.name)),
        (POD_NAMESPACE_LABEL.into(), text(&m.namespace)),
        (POD_UID_LABEL.into(), text(&m.uid)),
        (CONTAINER_NAME_LABEL.into(), c.name.clone()),
    ])
}

fn annotations(pod: &Pod, c: &Container, restart_count: u32) -> HashMap<String, String> {
    let mut a = HashMap::from([
        (HASH.to_owned(), container_hash(c)),
        (RESTART_COUNT.to_owned(), restart_count.to_string()),
        (TERMINATION_PATH.to_owned(), c.termination_message_path.clone().unwrap_or_default()),
        (TERMINATION_POLICY.to_owned(), c.termination_message_policy.clone().unwrap_or_default()),
    ]);
    if let Some(g) = pod.metadata.deletion_grace_period_seconds {
        a.insert(DELETION_GRACE.into(), g.to_string());
    }
    if let Some(g) = spec::spec(pod).termination_grace_period_seconds {
        a.insert(TERMINATION_GRACE.into(), g.to_string());
    }
    if let Some(json) = c.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref()).and_then(|h| serde_json::to_string(h).ok()) {
        a.insert(PRE_STOP.into(), json);
    }
    if let Some(json) = c.ports.as_ref().filter(|p| !p.is_empty()).and_then(|p| serde_json::to_string(p).ok()) {
        a.insert(PORTS.into(), json);
    }
    a
}

/// Resources of a container as the runtime takes them; also what a resize sends.
pub fn linux_resources(ctx: &Context, pod: &Pod, c: &Container) -> api::LinuxContainerResources {
    let limit = resources::container_memory_limit(c);
    let mut r = api::LinuxContainerResources {
        cpu_period: resources::CPU_PERIOD,
        cpu_shares: resources::container_shares(c),
        cpu_quota: if ctx.config.kubelet.cpu_cfs_quota { resources::container_quota(c) } else { 0 },
        memory_limit_in_bytes: limit,
        oom_score_adj: resources::oom_score_adj(pod, c, ctx.machine.memory),
        ..Default::default()
    };
    if ctx.cgroups.is_v2() {
        r.unified.insert("memory.oom.group".into(), "1".into());
        r.memory_swap_limit_in_bytes = limit; // no swap for pods
    }
    for page in &ctx.machine.huge_pages {
        let wanted = c.resources.as_ref().and_then(|r| r.limits.as_ref());
        let bytes = spec::amount(wanted, &page.resource).unwrap_or(0);
        r.hugepage_limits
            .push(api::HugepageLimit { page_size: page.cgroup_name.clone(), limit: u64::try_from(bytes).unwrap_or(0) });
    }
    r
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_upstreams() {
        for (name, image, want) in HASHES {
            let c = Container { name: name.into(), image: Some(image.into()), ..Default::default() };
            assert_eq!(container_hash(&c), want, "{name}");
        }
    }

    /// Printed by upstream's HashContainer.
    const HASHES: [(&str, &str, &str); 2] = [("c", "busybox:1", "1aaabc84"), ("web", "a<b", "d56baeb9")];
}
