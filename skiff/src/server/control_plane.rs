//! The control plane: store, API server, controllers, scheduler.

use crate::layout::Layout;
use crate::progress::Reporter;
use crate::settings::Settings;
use apiserver::ApiServer;
use auth::UserInfo;
use client::Client;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use store::Store;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A running control plane.
pub struct ControlPlane {
    server: ApiServer,
    failures: tokio::sync::Mutex<mpsc::Receiver<String>>,
}

impl ControlPlane {
    /// A client in this process under the identity of a component.
    pub fn client(&self, user: &str, groups: &[&str]) -> Client {
        let mut groups = groups.to_vec();
        groups.push(auth::user::AUTHENTICATED);
        Client::new(apiserver::transport(&self.server, UserInfo::new(user, &groups)))
    }

    /// Waits until a part that must not end has ended, and tells why.
    pub async fn failed(&self) -> String {
        self.failures.lock().await.recv().await.unwrap_or_else(|| "the control plane ended".into())
    }

    pub async fn shutdown(&self) {
        self.server.shutdown();
    }
}

async fn open_store(layout: &Layout, settings: &Settings) -> Result<Arc<dyn Store>, String> {
    if settings.etcd_servers.is_empty() {
        let path = layout.store();
        let options = store::embedded::Options::file(&path);
        let opened = tokio::task::spawn_blocking(move || store::Embedded::open(options)).await.map_err(|e| e.to_string())?;
        return Ok(Arc::new(opened.map_err(|e| format!("store {}: {e}", path.display()))?));
    }
    let options = store::etcd::Options { servers: settings.etcd_servers.clone(), ..Default::default() };
    let etcd = store::Etcd::connect(&options).await.map_err(|e| format!("etcd {}: {e}", settings.etcd_servers.join(",")))?;
    Ok(Arc::new(etcd))
}

/// Starts everything; the API server answers when this returns.
pub async fn start(
    layout: &Layout,
    settings: &Settings,
    pki: &pki::ClusterPki,
    stop: &CancellationToken,
    reporter: &mut Reporter,
) -> Result<ControlPlane, String> {
    let store = open_store(layout, settings).await?;
    reporter.step("store opened");
    let address = settings.address()?;
    let unspecified = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let config = apiserver::Config {
        bind_address: unspecified,
        secure_port: settings.https_port,
        advertise_address: address,
        service_cluster_ip_range: vec![settings.service_cidr.parse().map_err(|e| format!("--service-cidr: {e}"))?],
        cert_dir: layout.pki(),
        kubelet_certificate_authority: Some(layout.pki().join("ca.crt")),
        service_account_issuer: format!("https://kubernetes.default.svc.{}", settings.cluster_domain),
        etcd_servers: settings.etcd_servers.clone(),
        ..apiserver::Config::default()
    };
    let tls = pki::tls::server_config(&pki.api_server, &[pki.ca.cert_pem()]).map_err(|e| format!("TLS: {e}"))?;
    let listener = tokio::net::TcpListener::bind((unspecified, settings.https_port))
        .await
        .map_err(|e| format!("cannot listen on port {} (--https-port): {e}", settings.https_port))?;
    let server = apiserver::build(config, store).await.map_err(|e| format!("API server: {e}"))?;
    let (tell, failures) = mpsc::channel(4);
    let (serving, said) = (server.clone(), tell.clone());
    tokio::spawn(async move {
        let why = match serving.serve(listener, Arc::new(tls)).await {
            Ok(()) => "the API server ended".to_owned(),
            Err(e) => format!("API server: {e}"),
        };
        let _ = said.send(why).await;
    });
    let plane = ControlPlane { server, failures: tokio::sync::Mutex::new(failures) };
    reporter.step(&format!("API server answers at {}", settings.server_url()?));
    let client = plane.client("system:apiserver", &["system:masters"]);
    super::manifests::ensure(&client, settings).await?;
    tokio::spawn(super::manifests::ensure_joining(client, settings.clone(), pki.ca.cert_pem().to_owned()));
    start_controllers(layout, settings, pki, &plane, stop, tell.clone())?;
    start_scheduler(&plane, stop);
    reporter.step("controllers and scheduler");
    Ok(plane)
}

fn start_controllers(
    layout: &Layout,
    settings: &Settings,
    pki: &pki::ClusterPki,
    plane: &ControlPlane,
    stop: &CancellationToken,
    tell: mpsc::Sender<String>,
) -> Result<(), String> {
    let server = plane.server.clone();
    let config = controller_manager::Config {
        // Each controller has an identity of its own, as with upstream's --use-service-account-credentials.
        client_for: Some(Arc::new(move |name: &str| {
            let user = format!("system:serviceaccount:kube-system:{name}");
            let groups = ["system:serviceaccounts", "system:serviceaccounts:kube-system", auth::user::AUTHENTICATED];
            Client::new(apiserver::transport(&server, UserInfo::new(user, &groups)))
        })),
        allocate_node_cidrs: true,
        cluster_cidr: settings.cluster_cidr.clone(),
        service_cluster_ip_range: settings.service_cidr.clone(),
        root_ca_pem: pki.ca.cert_pem().to_owned(),
        signing_cert_pem: pki.ca.cert_pem().to_owned(),
        signing_key_pem: pki.ca.pair().key.clone(),
        local_path_directory: layout.local_path(),
        local_path: Some(Arc::new(super::agent::Directories { node: settings.node_name.clone() })),
        node_load_balancer: true,
        ..controller_manager::Config::default()
    };
    let client = plane.client("system:kube-controller-manager", &[]);
    let manager = controller_manager::build(config, client).map_err(|e| format!("controllers: {e}"))?;
    let stop = stop.clone();
    tokio::spawn(async move {
        manager.run(stop.clone()).await;
        if !stop.is_cancelled() {
            let _ = tell.send("the controllers ended".into()).await;
        }
    });
    Ok(())
}

fn start_scheduler(plane: &ControlPlane, stop: &CancellationToken) {
    let scheduler = scheduler::build(scheduler::Config::default(), plane.client("system:kube-scheduler", &[]));
    tokio::spawn(scheduler.run(stop.clone()));
}
