//! `kube-proxy`: Services of one node in nftables.

use super::{Api, Logging};
use clap::Args;
use client::Client;
use client::k8s_openapi::api::core::v1::Node;
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

#[derive(Args)]
pub struct Flags {
    #[command(flatten)]
    api: Api,
    /// The node's name [default: the host name].
    #[arg(long)]
    hostname_override: Option<String>,
    /// Range of pod addresses.
    #[arg(long)]
    cluster_cidr: Option<Ipv4Net>,
    /// Range of Service addresses; gets a route to nowhere on this node (not one of upstream's flags).
    #[arg(long)]
    service_cidr: Option<Ipv4Net>,
    /// The only one that is built.
    #[arg(long, default_value = "nftables", value_parser = ["nftables"])]
    proxy_mode: String,
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

pub fn run(flags: &Flags) -> Result<(), String> {
    super::foreground("kube-proxy", &flags.logging, |stop| async move {
        let client = super::client_of(&flags.api.kubeconfig)?;
        let node_name = flags.hostname_override.clone().unwrap_or_else(crate::settings::host_name);
        let config = kube_proxy::Config {
            node_ip: node_ip(&client, &node_name).await?,
            node_name,
            cluster_cidr: flags.cluster_cidr,
            service_cidr: flags.service_cidr,
            own_service_ips: Vec::new(),
            masquerade_pods: false,
        };
        let kernel = kube_proxy::Netlink::open().map_err(|e| e.to_string())?;
        kube_proxy::build(config, &client).run(kernel, stop).await.map_err(|e| e.to_string())
    })
}
