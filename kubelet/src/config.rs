//! What a node agent is told: the fields of `KubeletConfiguration` (kubelet.config.k8s.io/v1beta1) with upstream's defaults, and
//! what upstream takes as flags (node name, node IPs).

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Everything `build` needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    pub node_name: String,
    /// Addresses of the node, the primary first; at most one per family.
    pub node_ips: Vec<std::net::IpAddr>,
    /// Extra labels at registration (`--node-labels`).
    pub node_labels: BTreeMap<String, String>,
    /// `/var/lib/kubelet`
    pub root_dir: PathBuf,
    /// Kubelet's own cgroup state, certificates etc. go below `root_dir`; legacy log symlinks go here.
    pub container_log_links: PathBuf,
    pub kubelet: KubeletConfiguration,
}

impl Config {
    /// Defaults for a node of this name.
    pub fn new(node_name: &str, node_ips: Vec<std::net::IpAddr>) -> Self {
        Self {
            node_name: node_name.to_owned(),
            node_ips,
            node_labels: BTreeMap::new(),
            root_dir: "/var/lib/kubelet".into(),
            container_log_links: "/var/log/containers".into(),
            kubelet: KubeletConfiguration::default(),
        }
    }
    pub fn pods_dir(&self) -> PathBuf {
        self.root_dir.join("pods")
    }
    pub fn pod_dir(&self, uid: &str) -> PathBuf {
        self.pods_dir().join(uid)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("read {path}: {source}")]
    Read { path: String, source: std::io::Error },
    #[error("kubelet configuration {path}: {message}")]
    Parse { path: String, message: String },
    #[error("{0}")]
    Unsupported(String),
}

/// `metav1.Duration` in a configuration file: `4m0s`, `10s`, `500ms`.
fn duration<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(d)?;
    parse_duration(&text).ok_or_else(|| serde::de::Error::custom(format!("invalid duration {text:?}")))
}

/// A Go duration, none negative.
pub fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = 0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let value: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit_len = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        total += value
            * match &rest[..unit_len] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[unit_len..];
    }
    (!text.is_empty()).then(|| Duration::try_from_secs_f64(total).ok()).flatten()
}

/// The parts of `KubeletConfiguration` that are acted on.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KubeletConfiguration {
    pub static_pod_path: String,
    #[serde(deserialize_with = "duration")]
    pub sync_frequency: Duration,
    pub address: String,
    pub port: u16,
    pub tls_cert_file: String,
    pub tls_private_key_file: String,
    /// The serving certificate is asked for by CertificateSigningRequest, and renewed.
    #[serde(rename = "serverTLSBootstrap")]
    pub server_tls_bootstrap: bool,
    /// The client certificate is renewed (by whoever runs the agent: it makes the client).
    pub rotate_certificates: bool,
    pub healthz_bind_address: String,
    /// 0: no port of health.
    pub healthz_port: u16,
    pub authentication: Authentication,
    pub authorization: Authorization,
    #[serde(deserialize_with = "duration")]
    pub node_status_report_frequency: Duration,
    pub node_lease_duration_seconds: i32,
    pub cgroup_root: String,
    pub cgroup_driver: String,
    #[serde(rename = "cgroupsPerQOS")]
    pub cgroups_per_qos: bool,
    pub max_pods: u32,
    #[serde(rename = "clusterDNS")]
    pub cluster_dns: Vec<String>,
    pub cluster_domain: String,
    pub container_runtime_endpoint: String,
    pub image_service_endpoint: String,
    pub resolv_conf: String,
    #[serde(rename = "cpuCFSQuota")]
    pub cpu_cfs_quota: bool,
    pub serialize_image_pulls: bool,
    pub eviction_hard: BTreeMap<String, String>,
    pub fail_swap_on: bool,
    pub pod_pids_limit: i64,
    pub enable_controller_attach_detach: bool,
    pub container_log_max_size: String,
    pub container_log_max_files: u32,
    pub system_reserved: BTreeMap<String, String>,
    pub kube_reserved: BTreeMap<String, String>,
    pub register_node: bool,
    pub register_with_taints: Vec<k8s_openapi::api::core::v1::Taint>,
    pub pod_logs_dir: String,
    #[serde(rename = "providerID")]
    pub provider_id: String,
    pub allowed_unsafe_sysctls: Vec<String>,
    #[serde(rename = "imageGCHighThresholdPercent")]
    pub image_gc_high_threshold_percent: u8,
    #[serde(rename = "imageGCLowThresholdPercent")]
    pub image_gc_low_threshold_percent: u8,
    #[serde(rename = "imageMinimumGCAge", deserialize_with = "duration")]
    pub image_minimum_gc_age: Duration,
    pub enable_debugging_handlers: bool,
    pub enable_system_log_handler: bool,
    #[serde(deserialize_with = "duration")]
    pub streaming_connection_idle_timeout: Duration,
}

impl Default for KubeletConfiguration {
    fn default() -> Self {
        let eviction = [
            ("memory.available", "100Mi"),
            ("nodefs.available", "10%"),
            ("nodefs.inodesFree", "5%"),
            ("imagefs.available", "15%"),
            ("imagefs.inodesFree", "5%"),
        ];
        Self {
            static_pod_path: String::new(),
            sync_frequency: Duration::from_secs(60),
            address: "0.0.0.0".into(),
            port: 10250,
            tls_cert_file: String::new(),
            tls_private_key_file: String::new(),
            server_tls_bootstrap: false,
            rotate_certificates: false,
            healthz_bind_address: "127.0.0.1".into(),
            healthz_port: 10248,
            authentication: Authentication::default(),
            authorization: Authorization::default(),
            node_status_report_frequency: Duration::from_secs(300),
            node_lease_duration_seconds: 40,
            cgroup_root: String::new(),
            cgroup_driver: "cgroupfs".into(),
            cgroups_per_qos: true,
            max_pods: 110,
            cluster_dns: Vec::new(),
            cluster_domain: String::new(),
            container_runtime_endpoint: "unix:///run/containerd/containerd.sock".into(),
            image_service_endpoint: String::new(),
            resolv_conf: "/etc/resolv.conf".into(),
            cpu_cfs_quota: true,
            serialize_image_pulls: true,
            eviction_hard: eviction.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            fail_swap_on: true,
            pod_pids_limit: -1,
            enable_controller_attach_detach: true,
            container_log_max_size: "10Mi".into(),
            container_log_max_files: 5,
            system_reserved: BTreeMap::new(),
            kube_reserved: BTreeMap::new(),
            register_node: true,
            register_with_taints: Vec::new(),
            pod_logs_dir: "/var/log/pods".into(),
            provider_id: String::new(),
            allowed_unsafe_sysctls: Vec::new(),
            image_gc_high_threshold_percent: 85,
            image_gc_low_threshold_percent: 80,
            image_minimum_gc_age: Duration::from_secs(120),
            enable_debugging_handlers: true,
            enable_system_log_handler: true,
            streaming_connection_idle_timeout: Duration::from_secs(4 * 3600),
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Authentication {
    pub x509: X509Authentication,
    pub webhook: Webhook,
    pub anonymous: Anonymous,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct X509Authentication {
    #[serde(rename = "clientCAFile")]
    pub client_ca_file: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Webhook {
    pub enabled: bool,
}

impl Default for Webhook {
    fn default() -> Self {
        Self { enabled: true }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Anonymous {
    pub enabled: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Authorization {
    /// `Webhook` or `AlwaysAllow`.
    pub mode: String,
}

impl Default for Authorization {
    fn default() -> Self {
        Self { mode: "Webhook".into() }
    }
}

impl KubeletConfiguration {
    /// Reads a configuration file, YAML or JSON.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        crate::config_file::load(path)
    }

    /// Refuses what is not built.
    pub fn check(&self) -> Result<(), ConfigError> {
        let refuse = |what: String| Err(ConfigError::Unsupported(what));
        if self.cgroup_driver != "cgroupfs" {
            return refuse(format!("cgroupDriver {:?} is not supported: use cgroupfs", self.cgroup_driver));
        }
        if !self.cgroups_per_qos {
            return refuse("cgroupsPerQOS: false is not supported".into());
        }
        let (high, low) = (self.image_gc_high_threshold_percent, self.image_gc_low_threshold_percent);
        if high > 100 || low >= high {
            return refuse(format!(
                "imageGCLowThresholdPercent {low} must be less than imageGCHighThresholdPercent {high}, which is at most 100"
            ));
        }
        match self.authorization.mode.as_str() {
            "Webhook" | "AlwaysAllow" => Ok(()),
            other => refuse(format!("authorization mode {other:?} is neither Webhook nor AlwaysAllow")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, want) in [
            ("0", Some(0)),
            ("10s", Some(10_000)),
            ("1h0m0.5s", Some(3_600_500)),
            ("5ms", Some(5)),
            ("", None),
            ("5", None),
            ("5y", None),
        ] {
            assert_eq!(parse_duration(text), want.map(Duration::from_millis), "{text:?}");
        }
    }
}
