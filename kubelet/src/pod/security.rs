//! Security contexts: the pod's and the container's merged into what the runtime is told.

use super::spec::{ephemeral_containers, host_network, spec};
use crate::context::{Context, pod_text};
use cri::v1 as api;
use k8s_openapi::api::core::v1::{Container, Pod, SeccompProfile};

const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Which namespaces a pod's containers share with each other or the host.
pub fn namespaces(pod: &Pod) -> api::NamespaceOption {
    let s = spec(pod);
    let of = |host: bool| if host { api::NamespaceMode::Node } else { api::NamespaceMode::Pod };
    let pid = if s.host_pid == Some(true) {
        api::NamespaceMode::Node
    } else if s.share_process_namespace == Some(true) {
        api::NamespaceMode::Pod
    } else {
        api::NamespaceMode::Container
    };
    api::NamespaceOption {
        network: of(host_network(pod)) as i32,
        pid: pid as i32,
        ipc: of(s.host_ipc == Some(true)) as i32,
        ..Default::default()
    }
}

/// Whether any container of the pod is privileged: its sandbox then is, too.
pub fn any_privileged(pod: &Pod) -> bool {
    let privileged = |c: &Container| c.security_context.as_ref().and_then(|s| s.privileged) == Some(true);
    let s = spec(pod);
    s.containers.iter().chain(s.init_containers.iter().flatten()).any(privileged)
        || ephemeral_containers(pod).iter().any(|(c, _)| privileged(c))
}

/// fsGroup and supplemental groups of the pod.
pub fn groups(pod: &Pod) -> Vec<i64> {
    let Some(sc) = &spec(pod).security_context else { return Vec::new() };
    sc.fs_group.into_iter().chain(sc.supplemental_groups.iter().flatten().copied()).collect()
}

pub fn groups_policy(pod: &Pod) -> i32 {
    let policy = spec(pod).security_context.as_ref().and_then(|s| s.supplemental_groups_policy.as_deref());
    if policy == Some("Strict") {
        api::SupplementalGroupsPolicy::Strict as i32
    } else {
        api::SupplementalGroupsPolicy::Merge as i32
    }
}

/// The container's context; `image` tells its user. Fails where runAsNonRoot cannot be kept.
pub fn container(
    ctx: &Context,
    pod: &Pod,
    c: &Container,
    image: &api::Image,
) -> Result<api::LinuxContainerSecurityContext, String> {
    let none = Default::default();
    let p = spec(pod).security_context.as_ref();
    let own = c.security_context.as_ref().unwrap_or(&none);
    let user = own.run_as_user.or(p.and_then(|p| p.run_as_user));
    let non_root = own.run_as_non_root.or(p.and_then(|p| p.run_as_non_root));
    let image_uid = image.uid.as_ref().map(|u| u.value).or_else(|| image.username.is_empty().then_some(0));
    if non_root == Some(true) {
        let where_ = format!("(pod: {:?}, container: {})", pod_text(pod), c.name);
        match (user, image_uid) {
            (Some(0), _) => return Err(format!("container's runAsUser breaks non-root policy {where_}")),
            (Some(_), _) => {}
            (None, Some(0)) => return Err(format!("container has runAsNonRoot and image will run as root {where_}")),
            (None, Some(_)) => {}
            (None, None) => {
                return Err(format!(
                    "container has runAsNonRoot and image has non-numeric user ({}), cannot verify user is non-root {where_}",
                    image.username
                ));
            }
        }
    }
    let seccomp = own.seccomp_profile.as_ref().or(p.and_then(|p| p.seccomp_profile.as_ref()));
    let apparmor = own.app_armor_profile.as_ref().or(p.and_then(|p| p.app_armor_profile.as_ref()));
    let selinux = own.se_linux_options.as_ref().or(p.and_then(|p| p.se_linux_options.as_ref()));
    let unmasked = own.proc_mount.as_deref() == Some("Unmasked");
    let paths = |list: &[&str]| if unmasked { Vec::new() } else { list.iter().map(|s| (*s).to_owned()).collect() };
    let int = |v: i64| api::Int64Value { value: v };
    Ok(api::LinuxContainerSecurityContext {
        capabilities: own.capabilities.as_ref().map(|k| api::Capability {
            add_capabilities: k.add.clone().unwrap_or_default(),
            drop_capabilities: k.drop.clone().unwrap_or_default(),
            ..Default::default()
        }),
        privileged: own.privileged == Some(true),
        namespace_options: Some(namespaces(pod)),
        selinux_options: selinux.map(|s| api::SeLinuxOption {
            user: s.user.clone().unwrap_or_default(),
            role: s.role.clone().unwrap_or_default(),
            r#type: s.type_.clone().unwrap_or_default(),
            level: s.level.clone().unwrap_or_default(),
        }),
        run_as_user: user.or(image_uid).map(int),
        run_as_group: own.run_as_group.or(p.and_then(|p| p.run_as_group)).map(int),
        run_as_username: if user.is_none() && image_uid.is_none() { image.username.clone() } else { String::new() },
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        supplemental_groups: groups(pod),
        supplemental_groups_policy: groups_policy(pod),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: paths(&MASKED),
        readonly_paths: paths(&READ_ONLY),
        seccomp: Some(seccomp_profile(ctx, seccomp)),
        apparmor: apparmor.map(|a| profile(&a.type_, a.localhost_profile.clone().unwrap_or_default())),
        ..Default::default()
    })
}

fn profile(kind: &str, localhost: String) -> api::SecurityProfile {
    use api::security_profile::ProfileType;
    let kind = match kind {
        "RuntimeDefault" => ProfileType::RuntimeDefault,
        "Localhost" => ProfileType::Localhost,
        _ => ProfileType::Unconfined,
    };
    let localhost_ref = if kind == ProfileType::Localhost { localhost } else { String::new() };
    api::SecurityProfile { profile_type: kind as i32, localhost_ref }
}

fn seccomp_profile(ctx: &Context, p: Option<&SeccompProfile>) -> api::SecurityProfile {
    let Some(p) = p else { return profile("Unconfined", String::new()) };
    let file = p.localhost_profile.as_deref().unwrap_or("");
    profile(&p.type_, ctx.config.root_dir.join("seccomp").join(file).display().to_string())
}
