//! Every upstream component by its own name: `skiff kube-apiserver …`, or a link of that name to this binary, runs the one component
//! as a process of its own, under upstream's flags, against peers that may be stock. A flag that is not listed is not built, and
//! refused.

pub mod kube_apiserver;
pub mod kube_controller_manager;
pub mod kube_proxy;
pub mod kube_scheduler;
pub mod kubelet;

use clap::Args;
use client::Client;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

const NAMES: &[&str] = &["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet"];

/// The command line as if the component had been named as a command: a link `kubelet` with `--v=2` is `skiff kubelet --v=2`.
pub fn arguments() -> Vec<OsString> {
    let mut args: Vec<OsString> = std::env::args_os().collect();
    let called = args.first().and_then(|a| Path::new(a).file_name()).and_then(|n| n.to_str()).map(str::to_owned);
    if let Some(name) = called.filter(|n| NAMES.contains(&n.as_str())) {
        args.insert(1, name.into());
    }
    args
}

/// What all components take.
#[derive(Args)]
pub struct Logging {
    /// How much is logged, as upstream counts it; 4 and above are this program's `debug`.
    #[arg(long = "v", short = 'v', default_value_t = 0)]
    verbosity: u8,
}

impl Logging {
    fn start(&self) {
        let level = if self.verbosity >= 4 { "debug" } else { "info" };
        let filter = tracing_subscriber::EnvFilter::try_from_env("SKIFF_LOG").unwrap_or_else(|_| level.into());
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr).init();
    }
}

/// Runs a component in the foreground until SIGTERM or SIGINT.
fn foreground<F: Future<Output = Result<(), String>>>(
    name: &str,
    logging: &Logging,
    run: impl FnOnce(CancellationToken) -> F,
) -> Result<(), String> {
    logging.start();
    crate::server::foreground(|| async move {
        let stop = CancellationToken::new();
        let signals = crate::server::wait_for_signal(stop.clone())?;
        let outcome = run(stop).await;
        drop(signals);
        outcome
    })
    .map_err(|e| format!("{name}: {e}"))
}

/// A client as a kubeconfig describes it.
fn client_of(kubeconfig: &Path) -> Result<Client, String> {
    client::kubeconfig::client(kubeconfig).map_err(|e| format!("--kubeconfig: {e}"))
}

/// Where the server is and who we are.
#[derive(Args)]
pub struct Api {
    /// The kubeconfig of this component.
    #[arg(long)]
    kubeconfig: PathBuf,
}

/// Who stands for election.
#[derive(Args)]
pub struct Leader {
    /// Work only while holding the lease of this component's name.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    leader_elect: bool,
}

impl Leader {
    /// The identity to stand under, as upstream's: host name and something that no other process has.
    fn identity(&self) -> Option<String> {
        let unique = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_else(|_| std::process::id().to_string());
        self.leader_elect.then(|| format!("{}_{}", crate::settings::host_name(), unique.trim()))
    }
}
