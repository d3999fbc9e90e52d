//! One module per command.

pub mod down;
pub mod image;
pub mod join;
pub mod kubectl;
pub mod status;
pub mod token;
pub mod up;

use crate::cli::Options;
use crate::layout::Layout;
use crate::settings::{self, Settings};
use std::path::PathBuf;

/// Commands that touch the machine need root.
pub fn need_root() -> Result<(), String> {
    if nix::unistd::geteuid().is_root() { Ok(()) } else { Err("this needs root: run it with sudo".into()) }
}

/// The remembered settings with today's options on top.
pub fn settle(layout: &Layout, options: &Options) -> Result<Settings, String> {
    let mut s = Settings::load(layout)?.unwrap_or_default();
    let fixed = [
        ("--cluster-cidr", &s.cluster_cidr, &options.cluster_cidr),
        ("--service-cidr", &s.service_cidr, &options.service_cidr),
        ("--cluster-domain", &s.cluster_domain, &options.cluster_domain),
    ];
    if layout.settings().exists() {
        for (flag, old, new) in fixed {
            if new.as_ref().is_some_and(|n| n != old) {
                return Err(format!("{flag} of an existing cluster cannot change (it is {old}): `skiff down --purge` first"));
            }
        }
    }
    macro_rules! take {
        ($($f:ident),+) => { $(if let Some(v) = &options.$f { s.$f = v.clone(); })+ };
    }
    take!(node_name, https_port, kubelet_port, cluster_cidr, service_cidr, cluster_domain, cgroup_root);
    if options.node_ip.is_some() {
        s.node_ip = options.node_ip;
    }
    if options.container_runtime_endpoint.is_some() {
        s.container_runtime_endpoint.clone_from(&options.container_runtime_endpoint);
    }
    if !options.etcd_servers.is_empty() {
        s.etcd_servers.clone_from(&options.etcd_servers);
    }
    if s.node_name.is_empty() {
        s.node_name = settings::host_name();
    }
    s.check()?;
    Ok(s)
}

/// The kubeconfig of the person who called us; under sudo the one of the calling user.
pub fn user_kubeconfig() -> Option<PathBuf> {
    if let Some(first) = std::env::var_os("KUBECONFIG").as_ref().and_then(|k| std::env::split_paths(k).next())
        && !first.as_os_str().is_empty()
    {
        return Some(first);
    }
    let caller = std::env::var("SUDO_USER").ok().and_then(|u| nix::unistd::User::from_name(&u).ok().flatten());
    let home = caller.map(|u| u.dir).or_else(|| std::env::var_os("HOME").map(PathBuf::from))?;
    Some(home.join(".kube/config"))
}

/// Files made below the calling user's home belong to that user, even under sudo.
pub fn give_to_caller(path: &std::path::Path) {
    let id = |k: &str| std::env::var(k).ok().and_then(|v| v.parse::<u32>().ok());
    if let (Some(uid), Some(gid)) = (id("SUDO_UID"), id("SUDO_GID")) {
        for p in [Some(path), path.parent()].into_iter().flatten() {
            // Best effort: the file works for root all the same.
            let _ = nix::unistd::chown(p, Some(uid.into()), Some(gid.into()));
        }
    }
}
