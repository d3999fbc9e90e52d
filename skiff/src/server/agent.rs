//! The node: kubelet, proxy, DNS and pod network of this machine.

use super::control_plane::ControlPlane;
use crate::layout::Layout;
use crate::progress::Reporter;
use crate::settings::Settings;
use client::k8s_openapi::api::core::v1::Node;
use client::{Informer, InformerEvent, Informers, ListOptions};
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

/// Starts the node's parts; returns when the node is Ready.
pub async fn start(
    layout: &Layout,
    settings: &Settings,
    plane: &ControlPlane,
    stop: &CancellationToken,
    reporter: &mut Reporter,
) -> Result<Agent, String> {
    let address = settings.address()?;
    let user = format!("system:node:{}", settings.node_name);
    let client = plane.client(&user, &["system:nodes"]);
    let (tell, failures) = mpsc::channel(8);

    let kubelet = kubelet::build(kubelet_config(layout, settings, address)?, client.with_user_agent("kubelet/v1.36.3"));
    let kubelet = kubelet.map_err(|e| format!("kubelet: {e}"))?;
    let (token, said) = (stop.clone(), tell.clone());
    tokio::spawn(async move {
        if let Err(e) = kubelet.run(async move { token.cancelled().await }).await {
            let _ = said.send(format!("kubelet: {e}")).await;
        }
    });

    let proxy_client = plane.client("system:kube-proxy", &[]);
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

    start_dns(settings, dns_ip, &plane.client("system:skiff-dns", &[]), stop)?;

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
    Ok(Agent { failures: tokio::sync::Mutex::new(failures), _informers: informers })
}

/// Cluster DNS on its Service address, which the proxy puts on this node.
fn start_dns(settings: &Settings, address: IpAddr, client: &client::Client, stop: &CancellationToken) -> Result<(), String> {
    let mut config = dns::Config::new(vec![(address, 53).into()]);
    config.domain.clone_from(&settings.cluster_domain);
    let server = dns::build(config, client.with_user_agent("skiff-dns/v1.36.3")).map_err(|e| format!("cluster DNS: {e}"))?;
    let token = stop.clone();
    tokio::spawn(server.run(async move { token.cancelled().await }));
    Ok(())
}

fn kubelet_config(layout: &Layout, settings: &Settings, address: IpAddr) -> Result<kubelet::Config, String> {
    let mut config = kubelet::Config::new(&settings.node_name, vec![address]);
    config.root_dir.clone_from(&layout.kubelet);
    config.container_log_links.clone_from(&layout.container_logs);
    let pki = |name: &str| layout.pki().join(name).display().to_string();
    let k = &mut config.kubelet;
    k.port = settings.kubelet_port;
    k.tls_cert_file = pki("kubelet.crt");
    k.tls_private_key_file = pki("kubelet.key");
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
        tokio::fs::create_dir_all(path).await?;
        // Pods run as any user; the directory above is root's alone to list.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        tokio::fs::set_permissions(path, mode).await?;
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
