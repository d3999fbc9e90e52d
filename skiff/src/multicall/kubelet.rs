//! `kubelet`: the node agent alone. As upstream, its flags win over its configuration file.

use super::node_identity::Source;
use super::{Api, Logging};
use clap::Args;
use client::k8s_openapi::api::core::v1::Taint;
use kubelet::KubeletConfiguration;
use std::net::IpAddr;
use std::path::PathBuf;

#[derive(Args)]
pub struct Flags {
    #[command(flatten)]
    api: Api,
    /// How to get a certificate where --kubeconfig is not there yet; it is written then.
    #[arg(long)]
    bootstrap_kubeconfig: Option<PathBuf>,
    /// Where the node's certificates lie [default: pki below --root-dir].
    #[arg(long)]
    cert_dir: Option<PathBuf>,
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
    settings: Settings,
    #[command(flatten)]
    logging: Logging,
}

/// Flags that stand for fields of the configuration file.
#[derive(Args)]
struct Settings {
    /// Directory of manifests of static pods, or one manifest.
    #[arg(long)]
    pod_manifest_path: Option<String>,
    /// Address to listen on.
    #[arg(long)]
    address: Option<String>,
    /// Port to listen on.
    #[arg(long)]
    port: Option<u16>,
    /// Address of the port of health.
    #[arg(long)]
    healthz_bind_address: Option<String>,
    /// Port of health; 0 for none.
    #[arg(long)]
    healthz_port: Option<u16>,
    /// The runtime's socket.
    #[arg(long)]
    container_runtime_endpoint: Option<String>,
    /// The socket of the runtime's image service, if it is another one.
    #[arg(long)]
    image_service_endpoint: Option<String>,
    /// Parent of all pod cgroups.
    #[arg(long)]
    cgroup_root: Option<String>,
    /// Who moves processes between cgroups; cgroupfs is built.
    #[arg(long)]
    cgroup_driver: Option<String>,
    /// Addresses of cluster DNS.
    #[arg(long, value_delimiter = ',')]
    cluster_dns: Vec<String>,
    /// Domain of the cluster's names.
    #[arg(long)]
    cluster_domain: Option<String>,
    /// The node's resolv.conf.
    #[arg(long)]
    resolv_conf: Option<String>,
    /// How many pods may run here.
    #[arg(long)]
    max_pods: Option<u32>,
    /// Processes that a pod may have.
    #[arg(long)]
    pod_max_pids: Option<i64>,
    /// Do not start while swap is on.
    #[arg(long, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    fail_swap_on: Option<bool>,
    /// Authority of client certificates.
    #[arg(long)]
    client_ca_file: Option<String>,
    /// Requests without credentials are those of system:anonymous.
    #[arg(long, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    anonymous_auth: Option<bool>,
    /// Ask the API server whose a bearer token is.
    #[arg(long, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    authentication_token_webhook: Option<bool>,
    /// Who decides what is allowed: Webhook or AlwaysAllow.
    #[arg(long)]
    authorization_mode: Option<String>,
    /// Certificate that the node's port shows.
    #[arg(long)]
    tls_cert_file: Option<String>,
    /// Key of that.
    #[arg(long)]
    tls_private_key_file: Option<String>,
    /// Renew the client certificate by request.
    #[arg(long, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    rotate_certificates: Option<bool>,
    /// Get the serving certificate by request, and renew it.
    #[arg(long, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    rotate_server_certificates: Option<bool>,
    /// Make the Node object.
    #[arg(long, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    register_node: Option<bool>,
    /// Taints of the node at registration, `key=value:effect`, comma-separated.
    #[arg(long, value_delimiter = ',', value_parser = taint)]
    register_with_taints: Vec<Taint>,
    /// The node's name at its provider.
    #[arg(long)]
    provider_id: Option<String>,
    /// One image at a time.
    #[arg(long, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    serialize_image_pulls: Option<bool>,
    /// Sysctls that pods may set beside the safe ones.
    #[arg(long, value_delimiter = ',')]
    allowed_unsafe_sysctls: Vec<String>,
    /// Logs, exec, attach and port-forward.
    #[arg(long, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    enable_debugging_handlers: Option<bool>,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not key=value"))?;
    Ok((key.to_owned(), value.to_owned()))
}

fn taint(text: &str) -> Result<Taint, String> {
    let (rest, effect) = text.rsplit_once(':').ok_or_else(|| format!("{text:?} is not key=value:effect"))?;
    if !["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect) {
        return Err(format!("invalid taint effect: {effect}, unsupported taint effect"));
    }
    let (key, value) = rest.split_once('=').map_or((rest, None), |(k, v)| (k, Some(v.to_owned())));
    Ok(Taint { key: key.to_owned(), value, effect: effect.to_owned(), time_added: None })
}

impl Settings {
    /// Puts what was said in place of what the file says.
    fn apply(&self, k: &mut KubeletConfiguration) {
        let texts = [
            (&self.pod_manifest_path, &mut k.static_pod_path),
            (&self.address, &mut k.address),
            (&self.healthz_bind_address, &mut k.healthz_bind_address),
            (&self.container_runtime_endpoint, &mut k.container_runtime_endpoint),
            (&self.image_service_endpoint, &mut k.image_service_endpoint),
            (&self.cgroup_root, &mut k.cgroup_root),
            (&self.cgroup_driver, &mut k.cgroup_driver),
            (&self.cluster_domain, &mut k.cluster_domain),
            (&self.resolv_conf, &mut k.resolv_conf),
            (&self.client_ca_file, &mut k.authentication.x509.client_ca_file),
            (&self.authorization_mode, &mut k.authorization.mode),
            (&self.tls_cert_file, &mut k.tls_cert_file),
            (&self.tls_private_key_file, &mut k.tls_private_key_file),
            (&self.provider_id, &mut k.provider_id),
        ];
        for (said, field) in texts {
            if let Some(s) = said {
                field.clone_from(s);
            }
        }
        let switches = [
            (self.fail_swap_on, &mut k.fail_swap_on),
            (self.anonymous_auth, &mut k.authentication.anonymous.enabled),
            (self.authentication_token_webhook, &mut k.authentication.webhook.enabled),
            (self.rotate_certificates, &mut k.rotate_certificates),
            (self.rotate_server_certificates, &mut k.server_tls_bootstrap),
            (self.register_node, &mut k.register_node),
            (self.serialize_image_pulls, &mut k.serialize_image_pulls),
            (self.enable_debugging_handlers, &mut k.enable_debugging_handlers),
        ];
        for (said, field) in switches {
            *field = said.unwrap_or(*field);
        }
        for (said, field) in [(self.port, &mut k.port), (self.healthz_port, &mut k.healthz_port)] {
            *field = said.unwrap_or(*field);
        }
        k.max_pods = self.max_pods.unwrap_or(k.max_pods);
        k.pod_pids_limit = self.pod_max_pids.unwrap_or(k.pod_pids_limit);
        for (said, field) in
            [(&self.cluster_dns, &mut k.cluster_dns), (&self.allowed_unsafe_sysctls, &mut k.allowed_unsafe_sysctls)]
        {
            if !said.is_empty() {
                field.clone_from(said);
            }
        }
        if !self.register_with_taints.is_empty() {
            k.register_with_taints.clone_from(&self.register_with_taints);
        }
    }
}

impl Flags {
    fn config(&self) -> Result<::kubelet::Config, String> {
        let name = self.hostname_override.clone().unwrap_or_else(crate::settings::host_name);
        let addresses = if self.node_ip.is_empty() { vec![crate::settings::host_ip()?] } else { self.node_ip.clone() };
        let mut config = ::kubelet::Config::new(&name, addresses);
        config.root_dir.clone_from(&self.root_dir);
        config.node_labels = self.node_labels.iter().cloned().collect();
        if let Some(path) = &self.config {
            config.kubelet = KubeletConfiguration::load(path).map_err(|e| e.to_string())?;
        }
        self.settings.apply(&mut config.kubelet);
        Ok(config)
    }
}

pub fn run(flags: &Flags) -> Result<(), String> {
    crate::commands::need_root()?;
    super::foreground("kubelet", &flags.logging, |stop| async move {
        let config = flags.config()?;
        let source = Source {
            node_name: &config.node_name,
            kubeconfig: flags
                .api
                .kubeconfig
                .as_deref()
                .ok_or("--kubeconfig is needed: a kubelet without a cluster is not built")?,
            bootstrap_kubeconfig: flags.bootstrap_kubeconfig.as_deref(),
            cert_dir: flags.cert_dir.clone().unwrap_or_else(|| flags.root_dir.join("pki")),
            rotate: config.kubelet.rotate_certificates,
            server: flags.api.master.clone(),
        };
        let client = tokio::select! {
            c = source.client() => c?.with_user_agent(&format!("kubelet/{}", super::VERSION)),
            () = stop.cancelled() => return Ok(()),
        };
        let kubelet = ::kubelet::build(config, client).map_err(|e| e.to_string())?;
        kubelet.run(stop).await.map_err(|e| e.to_string())
    })
}
