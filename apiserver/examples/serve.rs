//! The API server alone, on 127.0.0.1: `serve DATA_DIR [PORT] [--memory]`. Certificates and `admin.conf` go to DATA_DIR/pki, objects
//! to DATA_DIR/store (or nowhere, with `--memory`). For tests of single components against it.

use apiserver::Config;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use store::Store;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), AnyError> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()))
        .with_writer(std::io::stderr)
        .init();
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let memory = args.iter().any(|a| a == "--memory");
    args.retain(|a| a != "--memory");
    let dir = PathBuf::from(args.first().ok_or("usage: serve DATA_DIR [PORT] [--memory]")?);
    let port: u16 = args.get(1).map_or(Ok(6443), |p| p.parse())?;

    let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let config = Config { bind_address: localhost, secure_port: port, cert_dir: dir.join("pki"), ..Config::default() };
    let spec = pki::ClusterSpec {
        node_name: "node".into(),
        node_ips: vec![localhost],
        service_ips: config.service_cluster_ip_range.iter().filter_map(|n| n.hosts().next()).collect(),
        dns_domain: "cluster.local".into(),
        extra_names: Vec::new(),
        server_url: format!("https://127.0.0.1:{port}"),
    };
    let pki = pki::ClusterPki::ensure(&config.cert_dir, &spec)?;
    let store: Arc<dyn Store> = if memory {
        store::memory()?
    } else {
        Arc::new(store::Embedded::open(store::embedded::Options::file(&dir.join("store")))?)
    };
    let tls = pki::tls::server_config(&pki.api_server, &[pki.ca.cert_pem()])?;
    let listener =
        tokio::net::TcpListener::bind((localhost, port)).await.map_err(|e| format!("listening on 127.0.0.1:{port}: {e}"))?;
    let server = apiserver::build(config, store).await?;
    eprintln!("ready: KUBECONFIG={}", pki.path("admin.conf").display());
    let stop = server.clone();
    tokio::spawn(async move {
        let _ = tokio::signal::ctrl_c().await;
        stop.shutdown();
    });
    server.serve(listener, Arc::new(tls)).await?;
    Ok(())
}
