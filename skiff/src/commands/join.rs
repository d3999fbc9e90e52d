//! `skiff join`: what a machine must know of a cluster comes from the cluster itself, trusted by token and pin; then containerd, then the
//! agent, then wait for the node.

use super::need_root;
use super::up::{finish_import, start_daemon, start_runtime};
use crate::cli::Join;
use crate::layout::Layout;
use crate::process::Daemon;
use crate::progress::Progress;
use crate::settings::{self, Settings};
use client::{Client, HttpsConfig, HttpsTransport};
use machinery::{Value, meta};
use pki::bootstrap::{Invitation, check_pin, pin};
use pki::kubeconfig::{Kubeconfig, User};
use std::sync::Arc;
use std::time::Duration;

fn invitation(args: &Join) -> Result<Option<Invitation>, String> {
    if let Some(text) = &args.invitation {
        return text.parse().map(Some);
    }
    let (Some(server), Some(token), Some(hash)) = (&args.server, &args.token, &args.ca_hash) else { return Ok(None) };
    let server = if server.contains("://") { server.clone() } else { format!("https://{server}") };
    Ok(Some(Invitation { token: token.parse()?, server, pin: check_pin(hash)? }))
}

pub fn run(args: &Join) -> Result<(), String> {
    need_root()?;
    let layout = args.instance.layout()?;
    let old = Settings::load(&layout)?;
    if old.as_ref().is_some_and(|s| s.server.is_none()) {
        return Err(format!("a cluster of its own lives in {}: `skiff down --purge` removes it", layout.data.display()));
    }
    let mut settings = old.clone().unwrap_or_default();
    take_options(&mut settings, args);
    match (invitation(args)?, &old) {
        (None, None) => return Err("what `skiff token create` prints on the cluster's machine is needed".into()),
        (None, Some(_)) => {}
        (Some(i), Some(old)) if old.server.as_deref() != Some(i.server.as_str()) => {
            let server = old.server.as_deref().unwrap_or_default();
            return Err(format!("this machine is a node of {server}: `skiff down --purge` first"));
        }
        (Some(i), _) => {
            layout.make()?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
            runtime.block_on(accept(&layout, &mut settings, &i))?;
        }
    }
    start(&layout, &settings, Duration::from_secs(args.timeout))
}

fn take_options(settings: &mut Settings, args: &Join) {
    if let Some(name) = &args.node_name {
        settings.node_name.clone_from(name);
    }
    if settings.node_name.is_empty() {
        settings.node_name = settings::host_name();
    }
    if args.node_ip.is_some() {
        settings.node_ip = args.node_ip;
    }
    if let Some(port) = args.kubelet_port {
        settings.kubelet_port = port;
    }
    if args.container_runtime_endpoint.is_some() {
        settings.container_runtime_endpoint.clone_from(&args.container_runtime_endpoint);
    }
    if let Some(root) = &args.cgroup_root {
        settings.cgroup_root.clone_from(root);
    }
}

/// Starts containerd and the agent of a machine that has joined.
pub fn start(layout: &Layout, settings: &Settings, patience: Duration) -> Result<(), String> {
    let mut progress = Progress::start();
    layout.make()?;
    settings.save(layout)?;
    let agent = Daemon::from_file(&layout.pid_file("agent"));
    if agent.is_none() {
        settings.check_ports()?;
    }
    let own_runtime = settings.container_runtime_endpoint.is_none();
    let import = if own_runtime { Some(start_runtime(layout, &mut progress, patience)?) } else { None };
    match agent {
        Some(d) => progress.done(&format!("agent runs already (pid {})", d.pid)),
        None => start_daemon("agent", layout, settings, &mut progress, patience)?,
    }
    if let Some(import) = import {
        finish_import(import, &mut progress)?;
    }
    println!("\n Node {} of {} is up after {}.", settings.node_name, settings.server_url()?, progress.total());
    Ok(())
}

/// Learns what a node must know, and writes it down: settings, authority, and the token to get a certificate with.
async fn accept(layout: &Layout, settings: &mut Settings, i: &Invitation) -> Result<(), String> {
    let ca = discover(i).await?;
    let config = HttpsConfig {
        server: i.server.clone(),
        ca_pem: Some(ca.clone().into_bytes()),
        token: Some(i.token.to_string()),
        ..HttpsConfig::default()
    };
    let client = Client::new(Arc::new(HttpsTransport::new(config).map_err(|e| e.to_string())?));
    let map = client.get_path("/api/v1/namespaces/kube-system/configmaps/skiff-cluster").await;
    let map = map.map_err(|e| format!("reading the cluster's settings: {e}"))?;
    for (field, key) in [
        (&mut settings.cluster_cidr, "clusterCIDR"),
        (&mut settings.service_cidr, "serviceCIDR"),
        (&mut settings.cluster_domain, "clusterDomain"),
    ] {
        *field = meta::str_at(&map, &["data", key]).to_owned();
    }
    settings.server = Some(i.server.clone());
    if settings.node_ip.is_none() {
        settings.node_ip = settings::address_towards(i.server.trim_start_matches("https://"));
    }
    settings.check()?;
    refuse_taken_name(&client, layout, &settings.node_name).await?;
    let error = |e: pki::Error| e.to_string();
    pki::files::ensure_dir(&layout.pki()).map_err(error)?;
    pki::files::write_atomic(&layout.pki().join("ca.crt"), ca.as_bytes(), pki::files::PUBLIC).map_err(error)?;
    let user = User::Token(i.token.to_string());
    let bootstrap = Kubeconfig { name: "skiff".into(), server: i.server.clone(), ca_pem: ca, user };
    bootstrap.write(&layout.bootstrap_kubeconfig()).map_err(error)
}

/// Two machines of one name would take each other's pods.
async fn refuse_taken_name(client: &Client, layout: &Layout, name: &str) -> Result<(), String> {
    if layout.node_kubeconfig().exists() {
        return Ok(());
    }
    let node = match client.get_path(&format!("/api/v1/nodes/{name}")).await {
        Ok(n) => n,
        Err(e) if e.is_not_found() => return Ok(()),
        Err(e) => return Err(format!("looking for a node of this name: {e}")),
    };
    let ready = meta::list_at(&node, &["status", "conditions"]).iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
    if ready {
        return Err(format!("the cluster has a node {name} already, and it is Ready: choose another --node-name"));
    }
    Ok(())
}

/// The cluster's authority: anybody may read it, the token's signature and the pin prove it (kubeadm's token discovery).
async fn discover(i: &Invitation) -> Result<String, String> {
    let tls = pki::tls::verifying_client_config(pki::ServerVerifier::any_server(), None).map_err(|e| e.to_string())?;
    let client = Client::new(Arc::new(HttpsTransport::with_tls(&i.server, tls).map_err(|e| e.to_string())?));
    let map = client.get_path("/api/v1/namespaces/kube-public/configmaps/cluster-info").await;
    let map = map.map_err(|e| format!("asking {} for its description: {e}", i.server))?;
    let content = meta::str_at(&map, &["data", "kubeconfig"]);
    let signature = meta::str_at(&map, &["data", &format!("jws-kubeconfig-{}", i.token.id)]);
    if signature.is_empty() {
        return Err(format!("the cluster at {} knows no token {}: it has expired, or was deleted", i.server, i.token.id));
    }
    if !i.token.verifies(signature, content) {
        return Err(format!("the answer of {} does not fit the token: it is not the cluster that made it", i.server));
    }
    let ca = authority(content).ok_or_else(|| format!("the description of the cluster at {} has no authority", i.server))?;
    let found = pin(&ca).map_err(|e| format!("the cluster's CA: {e}"))?;
    if found != i.pin {
        return Err(format!("the cluster's CA is {found}, not {}: it is not the cluster that the token is of", i.pin));
    }
    Ok(ca)
}

fn authority(kubeconfig: &str) -> Option<String> {
    use base64::Engine;
    let config: Value = serde_saphyr::from_str(kubeconfig).ok()?;
    let data = config["clusters"].as_array()?.first()?["cluster"]["certificate-authority-data"].as_str()?;
    String::from_utf8(base64::engine::general_purpose::STANDARD.decode(data).ok()?).ok()
}
