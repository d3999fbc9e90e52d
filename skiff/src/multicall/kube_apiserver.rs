//! `kube-apiserver`: the API server alone, on etcd or on an embedded store.

use super::Logging;
use apiserver::{AuthorizationMode, Config};
use clap::Args;
use ipnet::IpNet;
use pki::Pair;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use tokio_util::sync::CancellationToken;

#[derive(Args)]
pub struct Flags {
    /// etcd servers (scheme://ip:port), comma-separated.
    #[arg(long, value_delimiter = ',', required_unless_present = "store_file")]
    etcd_servers: Vec<String>,
    /// Keep objects in this file instead of etcd (not one of upstream's flags).
    #[arg(long, conflicts_with_all = ["etcd_servers", "etcd_cafile", "etcd_certfile", "etcd_keyfile"])]
    store_file: Option<PathBuf>,
    /// Authority of etcd's certificate.
    #[arg(long)]
    etcd_cafile: Option<PathBuf>,
    /// Client certificate for etcd.
    #[arg(long)]
    etcd_certfile: Option<PathBuf>,
    /// Key of that.
    #[arg(long)]
    etcd_keyfile: Option<PathBuf>,
    /// Prefix of all keys in etcd.
    #[arg(long, default_value = "/registry")]
    etcd_prefix: String,
    /// Time between compactions; 0 leaves them to others.
    #[arg(long, default_value = "5m", value_parser = super::duration)]
    etcd_compaction_interval: Duration,
    /// Address to listen on.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    bind_address: IpAddr,
    /// Port to listen on.
    #[arg(long, default_value_t = 6443, value_parser = clap::value_parser!(u16).range(1..))]
    secure_port: u16,
    /// Address that the cluster's members reach this server by [default: the bind address, or this machine's first].
    #[arg(long)]
    advertise_address: Option<IpAddr>,
    /// Ranges of Service addresses, at most one per family, comma-separated.
    #[arg(long, value_delimiter = ',', default_value = "10.0.0.0/24")]
    service_cluster_ip_range: Vec<IpNet>,
    /// Ports of Services of type NodePort.
    #[arg(long, default_value = "30000-32767", value_parser = port_range)]
    service_node_port_range: (u16, u16),
    /// Certificate that the server shows, with its chain [default: apiserver.crt below --cert-dir, made where it is missing].
    #[arg(long, requires = "tls_private_key_file")]
    tls_cert_file: Option<PathBuf>,
    /// Key of that.
    #[arg(long, requires = "tls_cert_file")]
    tls_private_key_file: Option<PathBuf>,
    /// Where a certificate of the server's own making lies.
    #[arg(long, default_value = "/var/run/kubernetes")]
    cert_dir: PathBuf,
    /// Authority of client certificates.
    #[arg(long)]
    client_ca_file: Option<PathBuf>,
    /// Issuer of service-account tokens.
    #[arg(long)]
    service_account_issuer: String,
    /// Key that service-account tokens are signed with.
    #[arg(long)]
    service_account_signing_key_file: PathBuf,
    /// Keys that service-account tokens are verified with (PEM, public or private).
    #[arg(long)]
    service_account_key_file: PathBuf,
    /// Audiences of tokens [default: the issuer].
    #[arg(long, value_delimiter = ',')]
    api_audiences: Vec<String>,
    /// Who decides what is allowed, in this order: Node, RBAC, AlwaysAllow.
    #[arg(long, value_delimiter = ',', default_value = "AlwaysAllow", value_parser = mode)]
    authorization_mode: Vec<AuthorizationMode>,
    /// Requests without credentials are those of system:anonymous.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    anonymous_auth: bool,
    /// Users by their tokens: lines of token, user, uid and (quoted) groups.
    #[arg(long)]
    token_auth_file: Option<PathBuf>,
    /// The version to claim: this one with a suffix, such as v1.36.3-custom.
    #[arg(long = "version", id = "reported_version", value_parser = reported_version)]
    reported_version: Option<String>,
    /// Privileged containers; they are always allowed here.
    #[arg(long, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    allow_privileged: Option<bool>,
    /// Client certificate for kubelets.
    #[arg(long)]
    kubelet_client_certificate: Option<PathBuf>,
    /// Key of that.
    #[arg(long)]
    kubelet_client_key: Option<PathBuf>,
    /// Authority of kubelets' certificates; without it any is taken.
    #[arg(long)]
    kubelet_certificate_authority: Option<PathBuf>,
    /// Types of nodes' addresses that kubelets are reached by; InternalIP is tried first here, and has to be among them.
    #[arg(long, value_delimiter = ',')]
    kubelet_preferred_address_types: Vec<String>,
    /// How the server shows itself to aggregated API servers.
    #[arg(long, requires = "proxy_client_key_file")]
    proxy_client_cert_file: Option<PathBuf>,
    /// Key of that.
    #[arg(long, requires = "proxy_client_cert_file")]
    proxy_client_key_file: Option<PathBuf>,
    /// Groups and versions to serve besides the usual ones. What is built is always served, so nothing can be turned off.
    #[arg(long, value_delimiter = ',')]
    runtime_config: Vec<String>,
    /// Seconds that a watch lasts at least.
    #[arg(long, default_value_t = 1800)]
    min_request_timeout: u64,
    /// Authority of the front proxy's client certificate.
    #[arg(long)]
    requestheader_client_ca_file: Option<PathBuf>,
    /// Common names of front proxies; empty: any that the authority signed.
    #[arg(long, value_delimiter = ',')]
    requestheader_allowed_names: Vec<String>,
    /// Admission plugins to add to the default ones.
    #[arg(long, value_delimiter = ',')]
    enable_admission_plugins: Vec<String>,
    /// Admission plugins to leave out.
    #[arg(long, value_delimiter = ',')]
    disable_admission_plugins: Vec<String>,
    /// How long events are kept.
    #[arg(long, default_value = "1h", value_parser = super::duration)]
    event_ttl: Duration,
    /// How long a request may take that is no watch.
    #[arg(long, default_value = "1m", value_parser = super::duration)]
    request_timeout: Duration,
    #[command(flatten)]
    logging: Logging,
}

fn port_range(text: &str) -> Result<(u16, u16), String> {
    let range = text.split_once('-').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    range.filter(|(a, b)| a <= b && *a > 0).ok_or_else(|| format!("{text:?} is no range of ports such as 30000-32767"))
}

fn mode(text: &str) -> Result<AuthorizationMode, String> {
    match text {
        "Node" => Ok(AuthorizationMode::Node),
        "RBAC" => Ok(AuthorizationMode::Rbac),
        "AlwaysAllow" => Ok(AuthorizationMode::AlwaysAllow),
        other => Err(format!("{other:?} is not built; there are Node, RBAC and AlwaysAllow")),
    }
}

/// Upstream's rule: the version may have a suffix of its own, and has to be this one for the rest.
fn reported_version(text: &str) -> Result<String, String> {
    let suffix = text.strip_prefix(super::VERSION).filter(|s| s.is_empty() || s.starts_with(['-', '+']));
    match suffix {
        Some(_) => Ok(text.to_owned()),
        None => Err(format!("version {text:?} must match major/minor/patch of default version {:?}", super::VERSION)),
    }
}

/// Whether an item of --runtime-config asks for what there is anyway: `api/all`, or a version such as `api/v1` or `apps/v1`.
fn served(item: &str) -> bool {
    let (name, value) = item.split_once('=').unwrap_or((item, "true"));
    let version = name.strip_prefix("api/").unwrap_or(name);
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    name.is_empty() || (value == "true" && (name == "api/all" || apiserver::serves(group, version)))
}

impl Flags {
    fn config(&self) -> Result<Config, String> {
        if self.allow_privileged == Some(false) {
            return Err("--allow-privileged=false is not built".into());
        }
        if let Some(other) = self.runtime_config.iter().find(|c| !served(c)) {
            return Err(format!(
                "--runtime-config={other} is not built; there are api/all=true and the versions that are served"
            ));
        }
        let types = &self.kubelet_preferred_address_types;
        if !types.is_empty() && !types.iter().any(|t| t == "InternalIP") {
            return Err("--kubelet-preferred-address-types without InternalIP is not built".into());
        }
        let known = apiserver::admission_plugins();
        for (flag, names) in [
            ("--enable-admission-plugins", &self.enable_admission_plugins),
            ("--disable-admission-plugins", &self.disable_admission_plugins),
        ] {
            if let Some(unknown) = names.iter().find(|n| !known.contains(&n.as_str())) {
                return Err(format!("{flag}: {unknown} is not built; there are {}", known.join(", ")));
            }
        }
        // NodeRestriction is upstream's one plugin of ours that is off by default.
        let mut disabled = self.disable_admission_plugins.clone();
        if !self.enable_admission_plugins.iter().any(|n| n == "NodeRestriction") {
            disabled.push("NodeRestriction".into());
        }
        let advertise_address = match self.advertise_address {
            Some(a) => a,
            None if self.bind_address.is_unspecified() || self.bind_address.is_loopback() => crate::settings::host_ip()?,
            None => self.bind_address,
        };
        let defaults = Config::default();
        Ok(Config {
            bind_address: self.bind_address,
            secure_port: self.secure_port,
            advertise_address,
            service_cluster_ip_range: self.service_cluster_ip_range.clone(),
            service_node_port_range: self.service_node_port_range,
            cert_dir: self.cert_dir.clone(),
            tls_cert_file: self.tls_cert_file.clone(),
            tls_private_key_file: self.tls_private_key_file.clone(),
            proxy_client_cert_file: self.proxy_client_cert_file.clone(),
            proxy_client_key_file: self.proxy_client_key_file.clone(),
            min_request_timeout: Duration::from_secs(self.min_request_timeout),
            client_ca_file: self.client_ca_file.clone(),
            kubelet_client_certificate: self.kubelet_client_certificate.clone(),
            kubelet_client_key: self.kubelet_client_key.clone(),
            kubelet_certificate_authority: self.kubelet_certificate_authority.clone(),
            requestheader_client_ca_file: self.requestheader_client_ca_file.clone(),
            requestheader_allowed_names: self.requestheader_allowed_names.clone(),
            service_account_issuer: self.service_account_issuer.clone(),
            api_audiences: self.api_audiences.clone(),
            service_account_key_file: Some(self.service_account_key_file.clone()),
            service_account_signing_key_file: Some(self.service_account_signing_key_file.clone()),
            etcd_servers: self.etcd_servers.clone(),
            etcd_prefix: self.etcd_prefix.clone(),
            authorization_mode: self.authorization_mode.clone(),
            // As upstream: who may do everything has to say who they are.
            anonymous_auth: self.anonymous_auth && !self.authorization_mode.contains(&AuthorizationMode::AlwaysAllow),
            token_auth_file: self.token_auth_file.clone(),
            reported_version: self.reported_version.clone(),
            disable_admission_plugins: disabled,
            event_ttl: self.event_ttl,
            request_timeout: self.request_timeout,
            etcd_compaction_interval: self.etcd_compaction_interval,
            ..defaults
        })
    }

    async fn open_store(&self) -> Result<Arc<dyn Store>, String> {
        if let Some(path) = &self.store_file {
            let options = store::embedded::Options::file(path);
            let opened = tokio::task::spawn_blocking(move || store::Embedded::open(options)).await.map_err(|e| e.to_string())?;
            return Ok(Arc::new(opened.map_err(|e| format!("--store-file {}: {e}", path.display()))?));
        }
        let options = store::etcd::Options {
            servers: self.etcd_servers.clone(),
            ca_file: self.etcd_cafile.clone(),
            cert_file: self.etcd_certfile.clone(),
            key_file: self.etcd_keyfile.clone(),
        };
        Ok(Arc::new(store::Etcd::connect(&options).await.map_err(|e| format!("--etcd-servers: {e}"))?))
    }

    /// What the server shows of itself; kept below --cert-dir if it has to be made.
    fn certificate(&self, config: &Config) -> pki::Result<Pair> {
        if let (Some(cert), Some(key)) = (&self.tls_cert_file, &self.tls_private_key_file) {
            return Pair::read(cert, key);
        }
        let (cert, key) = (self.cert_dir.join("apiserver.crt"), self.cert_dir.join("apiserver.key"));
        if !cert.exists() {
            pki::files::ensure_dir(&self.cert_dir)?;
            super::health::self_signed(config.advertise_address)?.write(&cert, &key)?;
        }
        Pair::read(&cert, &key)
    }

    async fn serve(&self, config: Config, stop: CancellationToken) -> Result<(), String> {
        // Nothing is generated in the place of a key that was named and is not there.
        for path in [&self.service_account_signing_key_file, &self.service_account_key_file] {
            std::fs::metadata(path).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        let pair = self.certificate(&config).map_err(|e| e.to_string())?;
        let mut authorities = Vec::new();
        for path in self.client_ca_file.iter().chain(&self.requestheader_client_ca_file) {
            authorities.push(std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?);
        }
        let hints: Vec<&str> = authorities.iter().map(String::as_str).collect();
        let tls = pki::tls::server_config(&pair, &hints).map_err(|e| format!("TLS: {e}"))?;
        let address = (self.bind_address, self.secure_port);
        let listener = tokio::net::TcpListener::bind(address).await;
        let listener = listener.map_err(|e| format!("cannot listen on {}:{}: {e}", address.0, address.1))?;
        let server = apiserver::build(config, self.open_store().await?).await.map_err(|e| e.to_string())?;
        tracing::info!(address = %address.0, port = address.1, "serving");
        let ending = server.clone();
        tokio::spawn(async move {
            stop.cancelled().await;
            ending.shutdown();
        });
        server.serve(listener, Arc::new(tls)).await.map_err(|e| e.to_string())
    }
}

pub fn run(flags: &Flags) -> Result<(), String> {
    let config = flags.config().map_err(|e| format!("kube-apiserver: {e}"))?;
    super::foreground("kube-apiserver", &flags.logging, |stop| flags.serve(config, stop))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: Flags,
    }

    const NEEDED: &str = "x --tls-cert-file=c --tls-private-key-file=k --service-account-issuer=i \
                          --service-account-signing-key-file=s --service-account-key-file=p --advertise-address=10.1.2.3";

    fn parse(more: &str) -> Result<Config, String> {
        let line = format!("{NEEDED} {more}");
        Line::try_parse_from(line.split_whitespace()).map_err(|e| e.to_string())?.flags.config()
    }

    #[test]
    fn flags_are_upstreams() {
        let c =
            parse("--etcd-servers=http://a:1,http://b:2 --authorization-mode Node,RBAC --allow-privileged --event-ttl=2h0m0s")
                .unwrap();
        assert_eq!(c.etcd_servers, ["http://a:1", "http://b:2"]);
        assert_eq!(c.authorization_mode, [AuthorizationMode::Node, AuthorizationMode::Rbac]);
        assert_eq!(c.event_ttl, Duration::from_secs(7200));
        assert!(c.anonymous_auth);
        assert_eq!(c.disable_admission_plugins, ["NodeRestriction"], "as upstream, off unless it is asked for");
        let c = parse("--store-file=f --enable-admission-plugins=NodeRestriction --service-node-port-range=1-2").unwrap();
        assert_eq!((c.disable_admission_plugins.len(), c.service_node_port_range), (0, (1, 2)));
        assert!(!c.anonymous_auth, "nobody in particular may not do everything, which is the default mode");
        let c = parse(
            "--store-file=f --token-auth-file=t --version=v1.36.3-custom --runtime-config=api/v1,apps/v1=true,api/all=true \
             --disable-admission-plugins=MutatingAdmissionWebhook,ValidatingAdmissionWebhook",
        )
        .unwrap();
        assert_eq!(c.token_auth_file.as_deref(), Some("t".as_ref()));
        assert_eq!(c.reported_version.as_deref(), Some("v1.36.3-custom"));
    }

    #[test]
    fn what_is_not_built_is_refused() {
        for (name, line, want) in [
            ("no store", "", "--etcd-servers"),
            ("two stores", "--etcd-servers=a --store-file=b", "cannot be used with"),
            ("an unknown flag", "--store-file=f --audit-nothing", "--audit-nothing"),
            ("an unknown mode", "--store-file=f --authorization-mode=ABAC", "\"ABAC\" is not built"),
            ("an unknown plugin", "--store-file=f --enable-admission-plugins=Other", "Other is not built"),
            ("unprivileged only", "--store-file=f --allow-privileged=false", "not built"),
            ("a version that is off", "--store-file=f --runtime-config=apps/v1=false", "apps/v1=false is not built"),
            ("a version of another release", "--store-file=f --version=v1.35.0-x", "must match major/minor/patch"),
            ("no range", "--store-file=f --service-node-port-range=9-3", "no range of ports"),
        ] {
            let said = parse(line).err().unwrap_or_default();
            assert!(said.contains(want), "{name}: {said}");
        }
    }
}
