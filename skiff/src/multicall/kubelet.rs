//! `kubelet`: the node agent alone.

use super::{Api, Logging};
use clap::Args;
use kubelet::KubeletConfiguration;
use std::net::IpAddr;
use std::path::PathBuf;

#[derive(Args)]
pub struct Flags {
    #[command(flatten)]
    api: Api,
    /// A file with a KubeletConfiguration.
    #[arg(long)]
    config: Option<PathBuf>,
    /// The node's name [default: the host name].
    #[arg(long)]
    hostname_override: Option<String>,
    /// Addresses of the node, at most one per family, comma-separated [default: this machine's first].
    #[arg(long, value_delimiter = ',')]
    node_ip: Vec<IpAddr>,
    /// Labels of the node at registration, `key=value`, comma-separated.
    #[arg(long, value_delimiter = ',', value_parser = label)]
    node_labels: Vec<(String, String)>,
    /// Where the kubelet keeps its files.
    #[arg(long, default_value = "/var/lib/kubelet")]
    root_dir: PathBuf,
    #[command(flatten)]
    logging: Logging,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not key=value"))?;
    Ok((key.to_owned(), value.to_owned()))
}

pub fn run(flags: &Flags) -> Result<(), String> {
    crate::commands::need_root()?;
    super::foreground("kubelet", &flags.logging, |stop| async move {
        let client = super::client_of(&flags.api.kubeconfig)?.with_user_agent("kubelet/v1.36.3");
        let name = flags.hostname_override.clone().unwrap_or_else(crate::settings::host_name);
        let addresses = if flags.node_ip.is_empty() { vec![crate::settings::host_ip()?] } else { flags.node_ip.clone() };
        let mut config = ::kubelet::Config::new(&name, addresses);
        config.root_dir.clone_from(&flags.root_dir);
        config.node_labels = flags.node_labels.iter().cloned().collect();
        if let Some(path) = &flags.config {
            config.kubelet = KubeletConfiguration::load(path).map_err(|e| e.to_string())?;
        }
        let kubelet = ::kubelet::build(config, client).map_err(|e| e.to_string())?;
        kubelet.run(stop).await.map_err(|e| e.to_string())
    })
}
