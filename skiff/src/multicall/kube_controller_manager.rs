//! `kube-controller-manager`: the controllers alone.

use super::{Api, Leader, Logging};
use clap::Args;
use client::Clock;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct Flags {
    #[command(flatten)]
    api: Api,
    #[command(flatten)]
    leader: Leader,
    /// Controllers to run: `*` for all, `name` to enable, `-name` to disable.
    #[arg(long, value_delimiter = ',', default_value = "*", allow_hyphen_values = true)]
    controllers: Vec<String>,
    /// The authority that pods verify the API server by.
    #[arg(long)]
    root_ca_file: Option<PathBuf>,
    /// Authority that signs certificate requests.
    #[arg(long, requires = "cluster_signing_key_file")]
    cluster_signing_cert_file: Option<PathBuf>,
    /// Key of that.
    #[arg(long, requires = "cluster_signing_cert_file")]
    cluster_signing_key_file: Option<PathBuf>,
    /// Give each node a range of pod addresses.
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    allocate_node_cidrs: bool,
    /// Range of pod addresses.
    #[arg(long, default_value = "")]
    cluster_cidr: String,
    /// Range of Service addresses.
    #[arg(long, default_value = "")]
    service_cluster_ip_range: String,
    /// Port of health and metrics; 0 is the only one that is built: none.
    #[arg(long, value_parser = clap::value_parser!(u16).range(0..=0))]
    secure_port: Option<u16>,
    #[command(flatten)]
    logging: Logging,
}

fn content(path: &Option<PathBuf>) -> Result<String, String> {
    let read = |p: &Path| std::fs::read_to_string(p).map_err(|e| format!("{}: {e}", p.display()));
    path.as_deref().map_or(Ok(String::new()), read)
}

pub fn run(flags: &Flags) -> Result<(), String> {
    super::foreground("kube-controller-manager", &flags.logging, |stop| async move {
        let client = super::client_of(&flags.api.kubeconfig)?;
        let config = controller_manager::Config {
            controllers: flags.controllers.clone(),
            root_ca_pem: content(&flags.root_ca_file)?,
            signing_cert_pem: content(&flags.cluster_signing_cert_file)?,
            signing_key_pem: content(&flags.cluster_signing_key_file)?,
            allocate_node_cidrs: flags.allocate_node_cidrs,
            cluster_cidr: flags.cluster_cidr.clone(),
            service_cluster_ip_range: flags.service_cluster_ip_range.clone(),
            ..Default::default()
        };
        let manager = controller_manager::build(config, client.clone()).map_err(|e| e.to_string())?;
        let Some(identity) = flags.leader.identity() else {
            manager.run(stop).await;
            return Ok(());
        };
        let election = client::leader::Election::new("kube-system", "kube-controller-manager", &identity);
        tokio::select! {
            () = election.run(&client, Clock::System, || manager.run(stop.clone())) => {}
            () = stop.cancelled() => {}
        }
        Ok(())
    })
}
