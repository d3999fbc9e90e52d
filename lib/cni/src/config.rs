//! The network configuration that the runtime hands to the plugin, and its environment.

use crate::{Error, Result};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// Versions of the specification we speak.
pub const VERSIONS: &[&str] = &["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// Standard input of the plugin.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    #[serde(default)]
    pub cni_version: String,
    #[serde(default)]
    pub name: String,
    /// The node's share of the pod range.
    #[serde(default)]
    pub subnet: Option<Ipv4Net>,
    /// Source address of packets from the node to its pods.
    #[serde(default)]
    pub node_ip: Option<Ipv4Addr>,
    #[serde(default)]
    pub mtu: Option<u32>,
    /// Where the lock and the allocation cursor lie.
    #[serde(default)]
    pub run_dir: Option<PathBuf>,
    /// What the runtime adds for the capabilities declared.
    #[serde(default, skip_serializing_if = "RuntimeConfig::is_empty")]
    pub runtime_config: RuntimeConfig,
}

/// Values of capabilities.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeConfig {
    #[serde(default)]
    pub port_mappings: Vec<PortMapping>,
}

impl RuntimeConfig {
    fn is_empty(&self) -> bool {
        self.port_mappings.is_empty()
    }
}

/// A port of the node that leads to the pod. Its names are the convention's; containerd writes them as Go names fields, which
/// plugins in Go take for the same.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMapping {
    #[serde(alias = "HostPort")]
    pub host_port: u16,
    #[serde(alias = "ContainerPort")]
    pub container_port: u16,
    /// `tcp` if empty.
    #[serde(default, alias = "Protocol")]
    pub protocol: String,
    /// The node's address; empty or 0.0.0.0 for all.
    #[serde(default, rename = "hostIP", alias = "HostIP")]
    pub host_ip: String,
}

/// What the runtime says in the environment.
#[derive(Clone, Debug)]
pub struct Environment {
    pub command: String,
    pub container_id: String,
    /// Path of the pod's network namespace; empty if it is gone.
    pub netns: String,
    pub interface: String,
}

impl Environment {
    pub fn read() -> Result<Self> {
        let var = |k: &str| std::env::var(k).unwrap_or_default();
        let e = Self {
            command: var("CNI_COMMAND"),
            container_id: var("CNI_CONTAINERID"),
            netns: var("CNI_NETNS"),
            interface: var("CNI_IFNAME"),
        };
        if matches!(e.command.as_str(), "ADD" | "DEL" | "CHECK") {
            for (name, value) in [("CNI_CONTAINERID", &e.container_id), ("CNI_IFNAME", &e.interface)] {
                if value.is_empty() {
                    return Err(Error::Environment(format!("{name} is missing")));
                }
            }
        }
        if matches!(e.command.as_str(), "ADD" | "CHECK") && e.netns.is_empty() {
            return Err(Error::Environment("CNI_NETNS is missing".into()));
        }
        Ok(e)
    }

    /// Name of the node's end of the link: `sk` and 12 hex digits of a hash of container and interface (names have 15 bytes).
    pub fn link_name(&self) -> String {
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for b in self.container_id.bytes().chain([0]).chain(self.interface.bytes()) {
            hash = (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
        }
        format!("sk{:012x}", hash & 0xffff_ffff_ffff)
    }
}

impl Config {
    pub fn parse(input: &[u8]) -> Result<Self> {
        let c: Self = serde_json::from_slice(input).map_err(|e| Error::Decode(e.to_string()))?;
        if !VERSIONS.contains(&c.cni_version.as_str()) {
            return Err(Error::Version(c.cni_version));
        }
        Ok(c)
    }
    pub fn subnet(&self) -> Result<Ipv4Net> {
        self.subnet.ok_or_else(|| Error::Config("no subnet given".into()))
    }
    pub fn run_dir(&self) -> PathBuf {
        self.run_dir.clone().unwrap_or_else(|| "/run/skiff".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_names_fit_and_differ() {
        let e = |id: &str, ifname: &str| Environment {
            command: "ADD".into(),
            container_id: id.into(),
            netns: String::new(),
            interface: ifname.into(),
        };
        let names = [e("a", "eth0").link_name(), e("a", "eth1").link_name(), e("b", "eth0").link_name()];
        assert!(names.iter().all(|n| n.len() < 16), "{names:?}");
        assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
    }

    #[test]
    fn configurations() {
        for (name, text, want) in [
            ("plain", r#"{"cniVersion":"1.0.0","name":"skiff","subnet":"10.244.0.0/24"}"#, Ok("10.244.0.0/24")),
            ("unknown fields are the runtime's", r#"{"cniVersion":"0.4.0","subnet":"10.1.0.0/16","x":1}"#, Ok("10.1.0.0/16")),
            ("future version", r#"{"cniVersion":"9.0.0","subnet":"10.1.0.0/16"}"#, Err(1)),
            ("not JSON", "{", Err(6)),
            ("no subnet", r#"{"cniVersion":"1.0.0"}"#, Err(7)),
            ("bad subnet", r#"{"cniVersion":"1.0.0","subnet":"10.1.0.0/99"}"#, Err(6)),
        ] {
            let got = Config::parse(text.as_bytes()).and_then(|c| c.subnet()).map(|s| s.to_string()).map_err(|e| e.code());
            assert_eq!(got, want.map(str::to_owned), "{name}");
        }
    }

    #[test]
    fn port_mappings() {
        for (name, text) in [
            ("the convention", r#"{"portMappings":[{"hostPort":80,"containerPort":8080,"protocol":"udp","hostIP":"10.0.0.1"}]}"#),
            (
                "as containerd writes",
                r#"{"portMappings":[{"HostPort":80,"ContainerPort":8080,"Protocol":"udp","HostIP":"10.0.0.1"}]}"#,
            ),
        ] {
            let config: RuntimeConfig = serde_json::from_str(text).expect(name);
            let m = &config.port_mappings[0];
            assert_eq!((m.host_port, m.container_port, &*m.protocol, &*m.host_ip), (80, 8080, "udp", "10.0.0.1"), "{name}");
        }
    }
}
