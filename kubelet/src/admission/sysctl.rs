//! Which sysctls pods may set: the safe ones of this kernel and those that the administrator allows.

use super::Rejection;
use crate::config::ConfigError;
use crate::pod::spec;
use k8s_openapi::api::core::v1::Pod;

/// Safe sysctls, with the kernel that first kept them per namespace.
const SAFE: [(&str, (u32, u32)); 12] = [
    ("kernel.shm_rmid_forced", (0, 0)),
    ("net.ipv4.ip_local_port_range", (0, 0)),
    ("net.ipv4.tcp_syncookies", (0, 0)),
    ("net.ipv4.ping_group_range", (0, 0)),
    ("net.ipv4.ip_unprivileged_port_start", (0, 0)),
    ("net.ipv4.ip_local_reserved_ports", (3, 16)),
    ("net.ipv4.tcp_keepalive_time", (4, 5)),
    ("net.ipv4.tcp_fin_timeout", (4, 6)),
    ("net.ipv4.tcp_keepalive_intvl", (4, 5)),
    ("net.ipv4.tcp_keepalive_probes", (4, 5)),
    ("net.ipv4.tcp_rmem", (4, 15)),
    ("net.ipv4.tcp_wmem", (4, 15)),
];

/// The kernel namespace a sysctl belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Namespace {
    Ipc,
    Net,
}

fn namespace(name: &str) -> Option<Namespace> {
    const IPC: [&str; 10] = [
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
        "kernel.shm",
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.msg",
    ];
    if IPC.contains(&name) || name.starts_with("fs.mqueue.") {
        Some(Namespace::Ipc)
    } else if name.starts_with("net.") {
        Some(Namespace::Net)
    } else {
        None
    }
}

/// Dots as separators, whichever of dot and slash comes first in the name.
fn normalize(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(i) if name.as_bytes().get(i) == Some(&b'/') => name
            .chars()
            .map(|c| {
                if c == '/' {
                    '.'
                } else if c == '.' {
                    '/'
                } else {
                    c
                }
            })
            .collect(),
        _ => name.to_owned(),
    }
}

/// The allowed sysctls of a node.
#[derive(Debug)]
pub struct Allowed {
    exact: Vec<(String, Namespace)>,
    prefixes: Vec<(String, Namespace)>,
}

impl Allowed {
    /// `kernel` is the release of the running kernel, `unsafe_too` the configuration's allowedUnsafeSysctls.
    pub fn new(kernel: &str, unsafe_too: &[String]) -> Result<Self, ConfigError> {
        let mut numbers = kernel.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
        let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        let safe = SAFE.iter().filter(|(_, since)| version >= *since).map(|(n, _)| (*n).to_owned());
        let mut allowed = Self { exact: Vec::new(), prefixes: Vec::new() };
        for pattern in safe.chain(unsafe_too.iter().cloned()) {
            let name = normalize(&pattern);
            let (name, prefixed) = match name.find('*') {
                Some(i) => (name[..i].to_owned(), true),
                None => (name, false),
            };
            let Some(ns) = namespace(&name) else {
                return Err(ConfigError::Unsupported(format!("the sysctls {name:?} are not known to be namespaced")));
            };
            let list = if prefixed { &mut allowed.prefixes } else { &mut allowed.exact };
            list.push((name, ns));
        }
        Ok(allowed)
    }

    pub fn check(&self, pod: &Pod) -> Result<(), Rejection> {
        let s = spec::spec(pod);
        for sysctl in s.security_context.iter().flat_map(|c| c.sysctls.iter().flatten()) {
            let name = normalize(&sysctl.name);
            let found = self
                .exact
                .iter()
                .find(|(n, _)| *n == name)
                .or_else(|| self.prefixes.iter().find(|(p, _)| name.starts_with(p.as_str())));
            let why = match found {
                None => format!("{name:?} not allowlisted"),
                Some((_, Namespace::Ipc)) if s.host_ipc == Some(true) => format!("{name:?} not allowed with host IPC enabled"),
                Some((_, Namespace::Net)) if s.host_network == Some(true) => {
                    format!("{name:?} not allowed with host Net enabled")
                }
                Some(_) => continue,
            };
            return Err(Rejection::new("SysctlForbidden", format!("forbidden sysctl: {why}")));
        }
        Ok(())
    }
}
