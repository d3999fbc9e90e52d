//! Runs the controllers against the API server of a kubeconfig: `run KUBECONFIG [--controllers=…] [ROOT_CA_FILE]`.

use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    let mut config = controller_manager::Config { node_load_balancer: true, ..Default::default() };
    let mut kubeconfig = None;
    for arg in std::env::args().skip(1) {
        if let Some(list) = arg.strip_prefix("--controllers=") {
            config.controllers = list.split(',').map(str::to_owned).collect();
        } else if kubeconfig.is_none() {
            kubeconfig = Some(PathBuf::from(arg));
        } else {
            config.root_ca_pem = std::fs::read_to_string(arg)?;
        }
    }
    let client = client::kubeconfig::client(&kubeconfig.ok_or("usage: run KUBECONFIG [--controllers=…] [ROOT_CA_FILE]")?)?;
    let manager = controller_manager::build(config, client)?;
    let stop = CancellationToken::new();
    let signal = stop.clone();
    tokio::spawn(async move {
        let _ = tokio::signal::ctrl_c().await;
        signal.cancel();
    });
    manager.run(stop).await;
    Ok(())
}
