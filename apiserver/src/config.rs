//! What the server needs to know before it starts. Field names follow upstream's flags (`--secure-port` is `secure_port`).

use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

/// `--authorization-mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthorizationMode {
    Node,
    Rbac,
    AlwaysAllow,
}

#[derive(Clone, Debug)]
pub struct Config {
    pub bind_address: IpAddr,
    pub secure_port: u16,
    /// The address of this server that pods use: the endpoint of the Service `kubernetes`.
    pub advertise_address: IpAddr,
    /// `--service-cluster-ip-range`, one per family; the first is the default family.
    pub service_cluster_ip_range: Vec<IpNet>,
    /// `--service-node-port-range`, both ends included.
    pub service_node_port_range: (u16, u16),
    /// Certificates and keys as `pki::ClusterPki` lays them out.
    pub cert_dir: PathBuf,
    /// `--tls-cert-file`, `--tls-private-key-file`; from `cert_dir` where unset.
    pub tls_cert_file: Option<PathBuf>,
    pub tls_private_key_file: Option<PathBuf>,
    /// `--client-ca-file`.
    pub client_ca_file: Option<PathBuf>,
    pub kubelet_client_certificate: Option<PathBuf>,
    pub kubelet_client_key: Option<PathBuf>,
    pub kubelet_certificate_authority: Option<PathBuf>,
    /// `--proxy-client-cert-file`, `--proxy-client-key-file`; from `cert_dir` where unset.
    pub proxy_client_cert_file: Option<PathBuf>,
    pub proxy_client_key_file: Option<PathBuf>,
    /// `--requestheader-client-ca-file`; `front-proxy-ca.crt` in `cert_dir` where unset.
    pub requestheader_client_ca_file: Option<PathBuf>,
    /// `--requestheader-allowed-names`; empty: any that the authority signed.
    pub requestheader_allowed_names: Vec<String>,
    pub service_account_issuer: String,
    /// Empty: the issuer alone.
    pub api_audiences: Vec<String>,
    pub service_account_key_file: Option<PathBuf>,
    pub service_account_signing_key_file: Option<PathBuf>,
    pub etcd_servers: Vec<String>,
    pub etcd_prefix: String,
    pub authorization_mode: Vec<AuthorizationMode>,
    pub anonymous_auth: bool,
    /// `--token-auth-file`: lines of token, user, uid and groups.
    pub token_auth_file: Option<PathBuf>,
    /// `--version=vX.Y.Z…`: what `/version` says in place of [`crate::GIT_VERSION`].
    pub reported_version: Option<String>,
    /// Admission plugins that are left out, by their upstream names.
    pub disable_admission_plugins: Vec<String>,
    pub event_ttl: Duration,
    /// Requests that are no watch or stream end after this long.
    pub request_timeout: Duration,
    /// Watches without `timeoutSeconds` last this long to twice as long.
    pub min_request_timeout: Duration,
    /// `--etcd-compaction-interval`; zero leaves compaction to others.
    pub etcd_compaction_interval: Duration,
    /// Requests on one connection at a time (HTTP/2 streams).
    pub http2_max_streams_per_connection: u32,
    /// Time for requests in flight to end when shutting down.
    pub shutdown_grace: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bind_address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            secure_port: 6443,
            advertise_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            service_cluster_ip_range: vec![IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(10, 96, 0, 0)), 16)],
            service_node_port_range: (30000, 32767),
            cert_dir: PathBuf::from("/var/lib/skiff/pki"),
            tls_cert_file: None,
            tls_private_key_file: None,
            client_ca_file: None,
            kubelet_client_certificate: None,
            kubelet_client_key: None,
            kubelet_certificate_authority: None,
            proxy_client_cert_file: None,
            proxy_client_key_file: None,
            requestheader_client_ca_file: None,
            requestheader_allowed_names: vec!["front-proxy-client".into()],
            service_account_issuer: "https://kubernetes.default.svc.cluster.local".into(),
            api_audiences: Vec::new(),
            service_account_key_file: None,
            service_account_signing_key_file: None,
            etcd_servers: Vec::new(),
            etcd_prefix: "/registry".into(),
            authorization_mode: vec![AuthorizationMode::Node, AuthorizationMode::Rbac],
            anonymous_auth: true,
            token_auth_file: None,
            reported_version: None,
            disable_admission_plugins: Vec::new(),
            event_ttl: Duration::from_secs(3600),
            request_timeout: Duration::from_secs(60),
            min_request_timeout: Duration::from_secs(1800),
            etcd_compaction_interval: Duration::from_secs(300),
            http2_max_streams_per_connection: 250,
            shutdown_grace: Duration::from_secs(10),
        }
    }
}

impl Config {
    /// The file a setting names, or the one of that name in `cert_dir`.
    pub fn file(&self, setting: &Option<PathBuf>, name: &str) -> PathBuf {
        setting.clone().unwrap_or_else(|| self.cert_dir.join(name))
    }
    /// The directory of a resource's objects in the store.
    pub fn prefix(&self, storage_prefix: &str) -> String {
        format!("{}/{storage_prefix}/", self.etcd_prefix.trim_end_matches('/'))
    }
    /// Audiences that tokens must be for.
    pub fn audiences(&self) -> Vec<String> {
        if self.api_audiences.is_empty() { vec![self.service_account_issuer.clone()] } else { self.api_audiences.clone() }
    }
}
