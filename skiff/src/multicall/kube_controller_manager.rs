//! `kube-controller-manager`: the controllers alone.

use super::accounts::Accounts;
use super::health::Secure;
use super::{Api, Leader, Logging};
use clap::Args;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

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
    /// Let each controller act as a service account of its own.
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    use_service_account_credentials: bool,
    /// How long signed certificates are valid at most.
    #[arg(long, default_value = "8760h", value_parser = super::duration)]
    cluster_signing_duration: Duration,
    /// Size of a node's range of IPv4 pod addresses.
    #[arg(long, alias = "node-cidr-mask-size", default_value_t = 24)]
    node_cidr_mask_size_ipv4: u8,
    /// Size of a node's range of IPv6 pod addresses.
    #[arg(long, default_value_t = 64)]
    node_cidr_mask_size_ipv6: u8,
    /// How often nodes are looked at.
    #[arg(long, default_value = "5s", value_parser = super::duration)]
    node_monitor_period: Duration,
    /// How long a node may be silent.
    #[arg(long, default_value = "50s", value_parser = super::duration)]
    node_monitor_grace_period: Duration,
    /// How long a starting node may be silent.
    #[arg(long, default_value = "1m", value_parser = super::duration)]
    node_startup_grace_period: Duration,
    /// Nodes a second whose pods are evicted.
    #[arg(long, default_value_t = 0.1)]
    node_eviction_rate: f32,
    /// How many pods that are over may stay.
    #[arg(long, default_value_t = 12_500)]
    terminated_pod_gc_threshold: usize,
    #[command(flatten)]
    secure: Secure,
    #[command(flatten)]
    logging: Logging,
}

fn content(path: &Option<PathBuf>) -> Result<String, String> {
    let read = |p: &Path| std::fs::read_to_string(p).map_err(|e| format!("{}: {e}", p.display()));
    path.as_deref().map_or(Ok(String::new()), read)
}

/// Upstream's port of health.
const PORT: u16 = 10257;

/// Former names of controllers, which upstream still takes.
const ALIASES: &[(&str, &str)] = &[
    ("bootstrapsigner", "bootstrap-signer-controller"),
    ("clusterrole-aggregation", "clusterrole-aggregation-controller"),
    ("cronjob", "cronjob-controller"),
    ("csrapproving", "certificatesigningrequest-approving-controller"),
    ("csrcleaner", "certificatesigningrequest-cleaner-controller"),
    ("csrsigning", "certificatesigningrequest-signing-controller"),
    ("daemonset", "daemonset-controller"),
    ("deployment", "deployment-controller"),
    ("disruption", "disruption-controller"),
    ("endpoint", "endpoints-controller"),
    ("endpointslice", "endpointslice-controller"),
    ("endpointslicemirroring", "endpointslice-mirroring-controller"),
    ("ephemeral-volume", "ephemeral-volume-controller"),
    ("garbagecollector", "garbage-collector-controller"),
    ("horizontalpodautoscaling", "horizontal-pod-autoscaler-controller"),
    ("job", "job-controller"),
    ("namespace", "namespace-controller"),
    ("nodeipam", "node-ipam-controller"),
    ("nodelifecycle", "node-lifecycle-controller"),
    ("persistentvolume-binder", "persistentvolume-binder-controller"),
    ("podgc", "pod-garbage-collector-controller"),
    ("pv-protection", "persistentvolume-protection-controller"),
    ("pvc-protection", "persistentvolumeclaim-protection-controller"),
    ("replicaset", "replicaset-controller"),
    ("replicationcontroller", "replicationcontroller-controller"),
    ("resourcequota", "resourcequota-controller"),
    ("root-ca-cert-publisher", "root-ca-certificate-publisher-controller"),
    ("serviceaccount", "serviceaccount-controller"),
    ("statefulset", "statefulset-controller"),
    ("tokencleaner", "token-cleaner-controller"),
    ("ttl-after-finished", "ttl-after-finished-controller"),
];

/// Upstream's controllers that are not built: to turn them off is to have them as they are.
const ABSENT: &[&str] = &[
    "attachdetach",
    "device-taint-eviction-controller",
    "legacy-service-account-token-cleaner",
    "legacy-serviceaccount-token-cleaner-controller",
    "persistentvolume-attach-detach-controller",
    "persistentvolume-expander",
    "persistentvolume-expander-controller",
    "podcertificaterequest-cleaner-controller",
    "resourceclaim-controller",
    "resource-claim-controller",
    "selinux-warning-controller",
    "serviceaccount-token",
    "serviceaccount-token-controller",
    "storage-version-gc",
    "storageversion-garbage-collector-controller",
    "ttl",
    "ttl-controller",
];

/// `--controllers` in the names of today.
fn controllers(named: &[String]) -> Vec<String> {
    let split = |c: &str| c.strip_prefix('-').map_or((false, c.to_owned()), |off| (true, off.to_owned()));
    let wanted = named.iter().map(|c| split(c.trim())).filter(|(off, name)| !(*off && ABSENT.contains(&name.as_str())));
    wanted
        .map(|(off, name)| {
            let name = ALIASES.iter().find(|(old, _)| *old == name).map_or(name.as_str(), |(_, new)| new);
            if off { format!("-{name}") } else { name.to_owned() }
        })
        .collect()
}

impl Flags {
    fn config(&self) -> Result<controller_manager::Config, String> {
        Ok(controller_manager::Config {
            controllers: controllers(&self.controllers),
            root_ca_pem: content(&self.root_ca_file)?,
            signing_cert_pem: content(&self.cluster_signing_cert_file)?,
            signing_key_pem: content(&self.cluster_signing_key_file)?,
            signing_duration: self.cluster_signing_duration,
            allocate_node_cidrs: self.allocate_node_cidrs,
            cluster_cidr: self.cluster_cidr.clone(),
            service_cluster_ip_range: self.service_cluster_ip_range.clone(),
            node_cidr_mask_size_ipv4: self.node_cidr_mask_size_ipv4,
            node_cidr_mask_size_ipv6: self.node_cidr_mask_size_ipv6,
            node_monitor_period: self.node_monitor_period,
            node_monitor_grace_period: self.node_monitor_grace_period,
            node_startup_grace_period: self.node_startup_grace_period,
            node_eviction_rate: self.node_eviction_rate,
            terminated_pod_gc_threshold: self.terminated_pod_gc_threshold,
            ..Default::default()
        })
    }
}

pub fn run(flags: &Flags) -> Result<(), String> {
    super::foreground("kube-controller-manager", &flags.logging, |stop| async move {
        let client = flags.api.client(None)?;
        let mut config = flags.config()?;
        if flags.use_service_account_credentials {
            let accounts = Accounts::new(client.clone(), flags.api.connection(None)?).map_err(|e| e.to_string())?;
            config.client_for = Some(Arc::new(move |name: &str| accounts.client(name)));
        }
        let manager = controller_manager::build(config, client.clone()).map_err(|e| e.to_string())?;
        flags.secure.serve(PORT).await?;
        let elect = flags.leader.wanted(None);
        flags.leader.lead(elect, "kube-controller-manager", &client, &stop, || manager.run(stop.clone())).await
    })
}

#[cfg(test)]
mod tests {
    use super::controllers;

    #[test]
    fn names() {
        let named = ["*", "bootstrapsigner", "-nodeipam", "-ttl-controller", "-job-controller"].map(str::to_owned);
        let want = ["*", "bootstrap-signer-controller", "-node-ipam-controller", "-job-controller"];
        assert_eq!(controllers(&named), want);
    }
}
