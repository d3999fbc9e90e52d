//! `skiff server`: the control plane and the node agent in one process. They share memory, not shortcuts: each component talks to
//! the API server under its own identity through the in-process transport, and is authorized like anybody.

mod agent;
mod control_plane;
mod enroll;
pub mod joined;
mod local_volumes;
mod manifests;

use crate::cli::Server;
use crate::commands::settle;
use crate::layout::Layout;
use crate::progress::Reporter;
use crate::settings::Settings;
use std::process::ExitCode;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The certificates and keys of the cluster; made if they are not there yet.
pub fn pki(layout: &Layout, settings: &Settings) -> Result<pki::ClusterPki, String> {
    let spec = pki::ClusterSpec {
        node_name: settings.node_name.clone(),
        node_ips: vec![settings.address()?],
        service_ips: vec![settings.service_ip(1)?],
        dns_domain: settings.cluster_domain.clone(),
        extra_names: Vec::new(),
        server_url: settings.server_url()?,
    };
    pki::ClusterPki::ensure(&layout.pki(), &spec).map_err(|e| format!("certificates: {e}"))
}

/// Runs as a CNI plugin if that is the name we were called by.
pub fn plugin() -> Option<ExitCode> {
    let name = std::env::args_os().next()?;
    let name = std::path::Path::new(&name).file_name()?.to_str()?.to_owned();
    (name == cni::PLUGIN || (name == "loopback" && std::env::var_os("CNI_COMMAND").is_some())).then(|| cni::main(&name))
}

/// Runs a server until it ends by itself or by a signal.
pub fn foreground<F: Future<Output = Result<(), String>>>(serve: impl FnOnce() -> F) -> Result<(), String> {
    // A peer that goes away is an error of one write, not the end of the process.
    // SAFETY: no other thread runs yet, and the disposition is one of the two fixed ones.
    #[allow(unsafe_code)]
    let _ = unsafe { nix::sys::signal::signal(nix::sys::signal::Signal::SIGPIPE, nix::sys::signal::SigHandler::SigIgn) };
    let workers = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build();
    let runtime = runtime.map_err(|e| format!("cannot start: {e}"))?;
    let outcome = runtime.block_on(async { serve().await });
    if let Err(e) = &outcome {
        tracing::error!(error = %e, "server ends");
    }
    // What still runs has been told to stop; a stuck task must not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    outcome
}

pub fn run(args: &Server) -> Result<(), String> {
    crate::commands::need_root()?;
    let layout = args.instance.layout()?;
    let settings = settle(&layout, &args.options)?;
    if let Some(server) = &settings.server {
        return Err(format!("this machine is a node of {server}: run `skiff agent`"));
    }
    daemon(&layout, async |reporter| serve(&layout, &settings, reporter).await)
}

/// What our own daemons do around their work: directories, logs, the report to whoever waits.
fn daemon(layout: &Layout, work: impl AsyncFnOnce(&mut Reporter) -> Result<(), String>) -> Result<(), String> {
    layout.make()?;
    let filter = tracing_subscriber::EnvFilter::try_from_env("SKIFF_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr).init();
    let mut reporter = Reporter::from_env();
    let outcome = foreground(|| work(&mut reporter));
    if let Err(e) = &outcome {
        reporter.failed(e);
    }
    outcome
}

async fn serve(layout: &Layout, settings: &Settings, reporter: &mut Reporter) -> Result<(), String> {
    let stop = CancellationToken::new();
    let signals = wait_for_signal(stop.clone())?;
    let pki = Arc::new(pki(layout, settings)?);
    reporter.step("certificates");
    let plane = control_plane::start(layout, settings, &pki, &stop, reporter).await?;
    let clients = agent::Clients {
        kubelet: plane.client(&kubelet::certificates::user(&settings.node_name), &["system:nodes"]),
        proxy: plane.client("system:kube-proxy", &[]),
        dns: plane.client("system:skiff-dns", &[]),
    };
    let node = agent::start(layout, settings, clients, &stop, reporter).await?;
    reporter.ready();
    tracing::info!(node = %settings.node_name, "cluster is up");
    tokio::select! {
        () = stop.cancelled() => {}
        failed = plane.failed() => return Err(failed),
        failed = node.failed() => return Err(failed),
    }
    drop(signals);
    plane.shutdown().await;
    Ok(())
}

/// Cancels `stop` at SIGTERM or SIGINT.
pub fn wait_for_signal(stop: CancellationToken) -> Result<tokio::task::JoinHandle<()>, String> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).map_err(|e| format!("cannot listen for signals: {e}"));
    let (mut term, mut int) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    Ok(tokio::spawn(async move {
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
        tracing::info!("stopping");
        stop.cancel();
    }))
}
