//! Configuration, under the names of kube-controller-manager's flags.

use client::{Client, Clock};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The client that acts as a controller's service account, by the account's name in kube-system.
pub type ClientFor = Arc<dyn Fn(&str) -> Client + Send + Sync>;

#[derive(Clone)]
pub struct Config {
    /// `--controllers`: `*` for all that are on by default, `name` to enable, `-name` to disable.
    pub controllers: Vec<String>,
    /// `--use-service-account-credentials`: gives each controller its own identity. `None`: all act as the client given to `build`.
    pub client_for: Option<ClientFor>,
    pub clock: Clock,
    /// `--node-monitor-grace-period`.
    pub node_monitor_grace_period: Duration,
    /// `--node-startup-grace-period`.
    pub node_startup_grace_period: Duration,
    /// `--node-monitor-period`.
    pub node_monitor_period: Duration,
    /// `--node-eviction-rate`, nodes per second.
    pub node_eviction_rate: f32,
    /// `--allocate-node-cidrs`.
    pub allocate_node_cidrs: bool,
    /// `--cluster-cidr`, comma-separated for dual stack.
    pub cluster_cidr: String,
    /// `--service-cluster-ip-range`.
    pub service_cluster_ip_range: String,
    /// `--node-cidr-mask-size-ipv4`.
    pub node_cidr_mask_size_ipv4: u8,
    /// `--node-cidr-mask-size-ipv6`.
    pub node_cidr_mask_size_ipv6: u8,
    /// `--root-ca-file`, its content: published as kube-root-ca.crt. Empty: not published.
    pub root_ca_pem: String,
    /// `--cluster-signing-cert-file` and `--cluster-signing-key-file`, their content. Empty: requests are not signed.
    pub signing_cert_pem: String,
    pub signing_key_pem: String,
    /// `--cluster-signing-duration`.
    pub signing_duration: Duration,
    /// `--terminated-pod-gc-threshold`.
    pub terminated_pod_gc_threshold: usize,
    /// Where the `local-path` provisioner makes volumes, on the node.
    pub local_path_directory: PathBuf,
    /// Makes and removes those directories. `None`: nodes do it themselves (`DirectoryOrCreate`), and data outlives its volume.
    pub local_path: Option<Arc<dyn LocalDirectories>>,
    /// Give Services of type LoadBalancer the nodes' own addresses.
    pub node_load_balancer: bool,
    /// `--concurrent-*-syncs`, for every controller.
    pub concurrent_syncs: usize,
}

/// Makes and removes the directories of `local-path` volumes on a node this process can reach.
#[async_trait::async_trait]
pub trait LocalDirectories: Send + Sync {
    /// Makes `path` on `node`. `Ok(false)`: the node is not ours to touch.
    async fn create(&self, node: &str, path: &std::path::Path) -> std::io::Result<bool>;
    /// Removes `path` and what is in it on `node`; absent is fine. `Ok(false)`: the node is not ours to touch.
    async fn remove(&self, node: &str, path: &std::path::Path) -> std::io::Result<bool>;
}

impl Default for Config {
    fn default() -> Self {
        Self {
            controllers: vec!["*".into()],
            client_for: None,
            clock: Clock::System,
            node_monitor_grace_period: Duration::from_secs(50),
            node_startup_grace_period: Duration::from_secs(60),
            node_monitor_period: Duration::from_secs(5),
            node_eviction_rate: 0.1,
            allocate_node_cidrs: false,
            cluster_cidr: String::new(),
            service_cluster_ip_range: String::new(),
            node_cidr_mask_size_ipv4: 24,
            node_cidr_mask_size_ipv6: 64,
            root_ca_pem: String::new(),
            signing_cert_pem: String::new(),
            signing_key_pem: String::new(),
            signing_duration: Duration::from_secs(365 * 24 * 3600),
            terminated_pod_gc_threshold: 12_500,
            local_path_directory: "/var/lib/skiff/local-path".into(),
            local_path: None,
            node_load_balancer: false,
            concurrent_syncs: 5,
        }
    }
}

impl Config {
    /// Whether `--controllers` turns `name` on (upstream's IsControllerEnabled).
    pub fn enables(&self, name: &str, by_default: bool) -> bool {
        let mut star = false;
        for c in &self.controllers {
            if c == name {
                return true;
            }
            if c.strip_prefix('-') == Some(name) {
                return false;
            }
            star |= c == "*";
        }
        star && by_default
    }
}
