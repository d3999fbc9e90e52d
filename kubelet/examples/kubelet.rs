//! A kubelet alone, against any API server: `run CONFIG.yaml KUBECONFIG NODE-NAME NODE-IP`.

use kubelet::{Config, KubeletConfiguration};
use std::path::Path;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).with_ansi(false).init();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [file, kubeconfig, name, ip] = args.as_slice() else { return Err("usage: run CONFIG KUBECONFIG NODE IP".into()) };
    let mut config = Config::new(name, vec![ip.parse()?]);
    config.kubelet = KubeletConfiguration::load(Path::new(file))?;
    let client = client::kubeconfig::client(Path::new(kubeconfig))?;
    let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let stop = tokio_util::sync::CancellationToken::new();
    let ended = stop.clone();
    tokio::spawn(async move {
        term.recv().await;
        ended.cancel();
    });
    kubelet::build(config, client)?.run(stop).await?;
    Ok(())
}
