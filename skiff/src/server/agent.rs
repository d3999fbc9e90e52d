//! The node: kubelet, proxy, DNS and pod network of this machine.

use crate::layout::Layout;
use crate::progress::Reporter;
use crate::settings::Settings;
use client::k8s_openapi::api::core::v1::Node;
use client::{Client, Informer, InformerEvent, Informers, ListOptions};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// A running node.
pub struct Agent {
    failures: tokio::sync::Mutex<mpsc::Receiver<String>>,
    _informers: Informers,
}

impl Agent {
    /// Waits until a part that must not end has ended, and tells why.
    pub async fn failed(&self) -> String {
        self.failures.lock().await.recv().await.unwrap_or_else(|| "the node agent ended".into())
    }
}

fn v4(ip: IpAddr) -> Option<Ipv4Addr> {
    match ip {
        IpAddr::V4(a) => Some(a),
        IpAddr::V6(_) => None,
    }
}

/// By whom the node's parts talk to the API server.
pub struct Clients {
    pub kubelet: Client,
    pub proxy: Client,
    pub dns: Client,
}

/// Starts the node's parts; returns when the node is Ready.
pub async fn start(
    layout: &Layout,
    settings: &Settings,
    clients: Clients,
    stop: &CancellationToken,
    reporter: &mut Reporter,
) -> Result<Agent, String> {
    let address = settings.address()?;
    let (client, proxy_client) = (clients.kubelet, clients.proxy);
    let (tell, failures) = mpsc::channel(8);

    let kubelet = kubelet::build(kubelet_config(layout, settings, address)?, client.with_user_agent("kubelet/v1.36.3"));
    let kubelet = kubelet.map_err(|e| format!("kubelet: {e}"))?;
    let mut serving = kubelet.serving();
    let (token, said) = (stop.clone(), tell.clone());
    tokio::spawn(async move {
        if let Err(e) = kubelet.run(token).await {
            let _ = said.send(format!("kubelet: {e}")).await;
        }
    });

    let dns_ip = settings.service_ip(10)?;
    let proxy = kube_proxy::build(
        kube_proxy::Config {
            node_name: settings.node_name.clone(),
            node_ip: v4(address),
            cluster_cidr: settings.cluster_cidr.parse().ok(),
            service_cidr: settings.service_cidr.parse().ok(),
            own_service_ips: v4(dns_ip).into_iter().collect(),
            masquerade_pods: true,
        },
        &proxy_client,
    );
    let kernel = kube_proxy::Netlink::open().map_err(|e| format!("kube-proxy: {e}"))?;
    let (token, said) = (stop.clone(), tell.clone());
    tokio::spawn(async move {
        if let Err(e) = proxy.run(kernel, token).await {
            let _ = said.send(format!("kube-proxy: {e}")).await;
        }
    });

    start_dns(settings, dns_ip, &clients.dns, stop)?;
    start_routes(settings, address, proxy_client, stop)?;

    let informers = Informers::new(client);
    let node = informers.with::<Node>(
        "",
        ListOptions { field_selector: format!("metadata.name={}", settings.node_name), ..ListOptions::default() },
    );
    let mut states = observe(&node);
    wait(&mut states, |s| s.registered, "the node to register").await?;
    reporter.step(&format!("node {} registered", settings.node_name));
    tokio::spawn(pod_network(layout.clone(), v4(address), states.clone(), tell));
    wait(&mut states, |s| s.ready, "the node to be Ready").await?;
    reporter.step("node Ready");
    if tokio::time::timeout(Duration::from_secs(30), serving.wait_for(|s| *s)).await.is_err() {
        tracing::warn!(
            "the node has no serving certificate yet: logs and exec of its pods do not work until its request is approved"
        );
    }
    Ok(Agent { failures: tokio::sync::Mutex::new(failures), _informers: informers })
}

/// Routes to the pods of other nodes.
fn start_routes(settings: &Settings, address: IpAddr, client: Client, stop: &CancellationToken) -> Result<(), String> {
    let kernel = routes::Netlink::open().map_err(|e| format!("routes: {e}"))?;
    let config = routes::Config { node_name: settings.node_name.clone(), node_ip: v4(address) };
    tokio::spawn(routes::run(config, client.with_user_agent("skiff-routes/v1.36.3"), kernel, stop.clone()));
    Ok(())
}

/// Cluster DNS on its Service address, which the proxy puts on this node.
fn start_dns(settings: &Settings, address: IpAddr, client: &Client, stop: &CancellationToken) -> Result<(), String> {
    let mut config = dns::Config::new(vec![(address, 53).into()]);
    config.domain.clone_from(&settings.cluster_domain);
    let server = dns::build(config, client.with_user_agent("skiff-dns/v1.36.3")).map_err(|e| format!("cluster DNS: {e}"))?;
    tokio::spawn(server.run(stop.clone()));
    Ok(())
}

fn kubelet_config(layout: &Layout, settings: &Settings, address: IpAddr) -> Result<kubelet::Config, String> {
    let mut config = kubelet::Config::new(&settings.node_name, vec![address]);
    config.root_dir.clone_from(&layout.kubelet);
    config.container_log_links.clone_from(&layout.container_logs);
    let pki = |name: &str| layout.pki().join(name).display().to_string();
    let k = &mut config.kubelet;
    k.port = settings.kubelet_port;
    // `skiff status` tells about health.
    k.healthz_port = 0;
    if settings.server.is_some() {
        k.server_tls_bootstrap = true;
    } else {
        // Where the authority is at hand, the node needs nobody to sign for it.
        k.tls_cert_file = pki("kubelet.crt");
        k.tls_private_key_file = pki("kubelet.key");
    }
    k.authentication.x509.client_ca_file = pki("ca.crt");
    k.cgroup_root.clone_from(&settings.cgroup_root);
    k.cluster_dns = vec![settings.service_ip(10)?.to_string()];
    k.cluster_domain.clone_from(&settings.cluster_domain);
    k.container_runtime_endpoint = match &settings.container_runtime_endpoint {
        Some(e) => e.clone(),
        None => format!("unix://{}", layout.containerd_socket().display()),
    };
    k.pod_logs_dir = layout.pod_logs.display().to_string();
    k.fail_swap_on = false;
    // Images that were loaded by hand come from no registry again, and a personal machine's disk is often nine tenths full.
    k.image_gc_high_threshold_percent = 100;
    k.eviction_hard = [("memory.available", "100Mi"), ("nodefs.available", "100Mi"), ("nodefs.inodesFree", "1%")]
        .map(|(signal, limit)| (signal.to_owned(), limit.to_owned()))
        .into();
    k.serialize_image_pulls = false;
    Ok(config)
}

/// What we wait for in our own Node object.
#[derive(Clone, Debug, Default, PartialEq)]
struct NodeState {
    registered: bool,
    ready: bool,
    pod_cidr: Option<String>,
}

fn observe(node: &Arc<Informer<Node>>) -> watch::Receiver<NodeState> {
    let (tx, rx) = watch::channel(NodeState::default());
    node.add_handler(move |event| {
        let state = match event {
            InformerEvent::Added(n) | InformerEvent::Updated { new: n, .. } => {
                let conditions = n.status.as_ref().and_then(|s| s.conditions.as_ref());
                NodeState {
                    registered: true,
                    ready: conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True"),
                    pod_cidr: n.spec.as_ref().and_then(|s| s.pod_cidr.clone()),
                }
            }
            InformerEvent::Deleted(_) => NodeState::default(),
        };
        tx.send_if_modified(|old| {
            let changed = *old != state;
            *old = state;
            changed
        });
    });
    rx
}

async fn wait(states: &mut watch::Receiver<NodeState>, done: impl Fn(&NodeState) -> bool, what: &str) -> Result<(), String> {
    let waited = tokio::time::timeout(Duration::from_secs(120), states.wait_for(|s| done(s))).await;
    match waited {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err(format!("waiting for {what}: the watch ended")),
        Err(_) => Err(format!("waited 120 s for {what} in vain")),
    }
}

/// Writes the pod network's configuration whenever the node's share of the pod range is known.
async fn pod_network(
    layout: Layout,
    node_ip: Option<Ipv4Addr>,
    mut states: watch::Receiver<NodeState>,
    tell: mpsc::Sender<String>,
) {
    loop {
        let cidr = states.borrow_and_update().pod_cidr.clone();
        if let Some(cidr) = cidr
            && let Err(e) = install_network(&layout, node_ip, &cidr)
        {
            let _ = tell.send(format!("pod network: {e}")).await;
        }
        if states.changed().await.is_err() {
            return;
        }
    }
}

fn install_network(layout: &Layout, node_ip: Option<Ipv4Addr>, cidr: &str) -> Result<(), String> {
    let subnet = cidr.parse().map_err(|e| format!("pod CIDR {cidr}: {e}"))?;
    let binary = std::env::current_exe().map_err(|e| format!("our own binary: {e}"))?;
    let network = cni::Network { subnet, node_ip, mtu: None, run_dir: layout.run.clone() };
    cni::install(&layout.cni_conf(), &layout.cni_bin(), &binary, &network).map_err(|e| e.to_string())
}

/// Directories of `local-path` volumes on this machine.
pub struct Directories {
    pub node: String,
}

#[async_trait::async_trait]
impl controller_manager::config::LocalDirectories for Directories {
    async fn create(&self, node: &str, path: &Path) -> std::io::Result<bool> {
        if node != self.node {
            return Ok(false);
        }
        super::local_volumes::make(path)?;
        Ok(true)
    }
    async fn remove(&self, node: &str, path: &Path) -> std::io::Result<bool> {
        if node != self.node {
            return Ok(false);
        }
        match tokio::fs::remove_dir_all(path).await {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
            _ => Ok(true),
        }
    }
}
