//! `kube-proxy`: Services of one node in nftables.

use super::component_config::ProxyFile;
use super::{Api, Logging, health};
use clap::Args;
use client::Client;
use client::k8s_openapi::api::core::v1::Node;
use ipnet::Ipv4Net;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

#[derive(Args)]
pub struct Flags {
    #[command(flatten)]
    api: Api,
    /// A file with a KubeProxyConfiguration, in place of the flags.
    #[arg(long)]
    config: Option<PathBuf>,
    /// The node's name [default: the host name].
    #[arg(long)]
    hostname_override: Option<String>,
    /// Range of pod addresses.
    #[arg(long)]
    cluster_cidr: Option<Ipv4Net>,
    /// Range of Service addresses; gets a route to nowhere on this node (not one of upstream's flags).
    #[arg(long)]
    service_cidr: Option<Ipv4Net>,
    /// nftables is the one that is built, and what is taken if none is named.
    #[arg(long)]
    proxy_mode: Option<String>,
    /// Address and port of health; empty for none.
    #[arg(long, default_value = "0.0.0.0:10256")]
    healthz_bind_address: String,
    /// Address and port of metrics, which are not built.
    #[arg(long)]
    metrics_bind_address: Option<String>,
    /// Remove what an earlier run left in the kernel, and end.
    #[arg(long, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    cleanup: bool,
    #[command(flatten)]
    logging: Logging,
}

/// The node's internal IPv4 address, as its object tells; none while there is no such object.
async fn node_ip(client: &Client, name: &str) -> Result<Option<Ipv4Addr>, String> {
    match client.get::<Node>("", name).await {
        Ok(node) => {
            let addresses = node.status.and_then(|s| s.addresses).unwrap_or_default();
            Ok(addresses.iter().filter(|a| a.type_ == "InternalIP").find_map(|a| a.address.parse().ok()))
        }
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(format!("node {name}: {e}")),
    }
}

/// Port of health where only an address is given.
const PORT: u16 = 10256;

fn socket(text: &str) -> Result<Option<SocketAddr>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let parsed = text.parse().or_else(|_| text.parse().map(|ip| SocketAddr::new(ip, PORT)));
    parsed.map(Some).map_err(|_| format!("--healthz-bind-address: {text:?} is no address with a port"))
}

/// Flags and file made one. Upstream takes the file alone where there is one, but for the node's name.
fn settle(flags: &Flags) -> Result<ProxyFile, String> {
    let mut settled = match &flags.config {
        Some(path) => ProxyFile::read(path)?,
        None => ProxyFile {
            cluster_cidr: flags.cluster_cidr.map(|c| c.to_string()),
            mode: flags.proxy_mode.clone(),
            healthz_bind_address: Some(flags.healthz_bind_address.clone()),
            ..Default::default()
        },
    };
    settled.hostname_override = flags.hostname_override.clone().or(settled.hostname_override);
    match settled.mode.as_deref() {
        None | Some("" | "nftables") => Ok(settled),
        Some(other) => Err(format!("proxy mode {other:?} is not built; there is nftables")),
    }
}

pub fn run(flags: &Flags) -> Result<(), String> {
    if flags.cleanup {
        return kube_proxy::remove().map_err(|e| format!("kube-proxy: {e}"));
    }
    let settled = settle(flags).map_err(|e| format!("kube-proxy: {e}"))?;
    super::foreground("kube-proxy", &flags.logging, |stop| async move {
        let client = flags.api.client(settled.kubeconfig.as_deref())?;
        let node_name = settled.hostname_override.clone().unwrap_or_else(crate::settings::host_name);
        let cluster_cidr = match &settled.cluster_cidr {
            Some(c) => Some(c.parse().map_err(|_| format!("cluster CIDR {c:?} is no IPv4 range"))?),
            None => None,
        };
        let config = kube_proxy::Config {
            node_ip: node_ip(&client, &node_name).await?,
            node_name,
            cluster_cidr,
            service_cidr: flags.service_cidr,
            own_service_ips: Vec::new(),
            masquerade_pods: false,
        };
        let kernel = kube_proxy::Netlink::open().map_err(|e| e.to_string())?;
        if let Some(address) = socket(settled.healthz_bind_address.as_deref().unwrap_or("0.0.0.0"))? {
            health::plain(address).await?;
        }
        kube_proxy::build(config, &client).run(kernel, stop).await.map_err(|e| e.to_string())
    })
}
