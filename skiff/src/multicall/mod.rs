//! Every upstream component by its own name: `skiff kube-apiserver …`, or a link of that name to this binary, runs the one component
//! as a process of its own, under upstream's flags, against peers that may be stock. A flag that is neither here nor in
//! `upstream_flags` is not built, and refused.

mod accounts;
mod component_config;
mod health;
pub mod kube_apiserver;
pub mod kube_controller_manager;
pub mod kube_proxy;
pub mod kube_scheduler;
pub mod kubelet;
mod node_identity;
mod upstream_flags;

use clap::Args;
use client::{Client, Clock, HttpsConfig};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const NAMES: &[&str] = &["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet"];

/// What `--version` of each of them says of the Kubernetes that they are.
pub const VERSION: &str = "v1.36.3";

/// The command line as if the component had been named as a command: a link `kubelet` with `--v=2` is `skiff kubelet --v=2`. An error
/// for what a component is asked and does not have.
pub fn arguments() -> Result<Vec<OsString>, String> {
    let mut args: Vec<OsString> = std::env::args_os().collect();
    let called = args.first().and_then(|a| Path::new(a).file_name()).and_then(|n| n.to_str()).map(str::to_owned);
    if let Some(name) = called.filter(|n| NAMES.contains(&n.as_str())) {
        args.insert(1, name.into());
    }
    let component = args.get(1).and_then(|a| a.to_str()).filter(|n| NAMES.contains(n)).map(str::to_owned);
    match component {
        Some(name) => {
            let rest = upstream_flags::take(&name, args.split_off(2).into_iter())?;
            args.extend(rest);
            Ok(args)
        }
        None => Ok(args),
    }
}

/// Whether a component is asked which Kubernetes it is of, rather than this program which version it has.
pub fn asks_for_version(arguments: &[OsString]) -> bool {
    let component = arguments.get(1).and_then(|a| a.to_str()).is_some_and(|n| NAMES.contains(&n));
    component && arguments.iter().skip(2).any(|a| a == "--version" || a == "--version=true")
}

/// A Go duration in a flag.
fn duration(text: &str) -> Result<Duration, String> {
    ::kubelet::config::parse_duration(text).ok_or_else(|| format!("{text:?} is no duration such as 5m or 1h30m"))
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

/// Where the server is and who we are.
#[derive(Args)]
pub struct Api {
    /// The kubeconfig of this component.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Address of the API server, in place of the kubeconfig's.
    #[arg(long)]
    master: Option<String>,
}

impl Api {
    /// The connection that the kubeconfig describes; `configured` is that of the component's file.
    fn connection(&self, configured: Option<&Path>) -> Result<HttpsConfig, String> {
        let path = self.kubeconfig.as_deref().or(configured).ok_or("--kubeconfig is needed")?;
        let mut config = client::kubeconfig::load(path).map_err(|e| format!("--kubeconfig: {e}"))?;
        if let Some(server) = self.master.as_ref().filter(|m| !m.is_empty()) {
            config.server.clone_from(server);
        }
        Ok(config)
    }

    fn client(&self, configured: Option<&Path>) -> Result<Client, String> {
        let transport = client::HttpsTransport::new(self.connection(configured)?);
        Ok(Client::new(Arc::new(transport.map_err(|e| format!("--kubeconfig: {e}"))?)))
    }
}

/// Who stands for election.
#[derive(Args)]
pub struct Leader {
    /// Work only while holding the lease of this component's name [default: true].
    #[arg(long, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    leader_elect: Option<bool>,
    /// How long others wait after the leader's last sign.
    #[arg(long, default_value = "15s", value_parser = duration)]
    leader_elect_lease_duration: Duration,
    /// How long a leader tries to renew before it gives up.
    #[arg(long, default_value = "10s", value_parser = duration)]
    leader_elect_renew_deadline: Duration,
    /// Time between two tries.
    #[arg(long, default_value = "2s", value_parser = duration)]
    leader_elect_retry_period: Duration,
    /// Name of the lease [default: this component's].
    #[arg(long)]
    leader_elect_resource_name: Option<String>,
    /// Namespace of the lease.
    #[arg(long, default_value = "kube-system")]
    leader_elect_resource_namespace: String,
}

impl Leader {
    /// Whether to stand at all: the flag decides, then the file, then upstream's default.
    fn wanted(&self, configured: Option<bool>) -> bool {
        self.leader_elect.or(configured).unwrap_or(true)
    }

    /// Runs `work`, once leading if `elect`. A lost lease is an error, as upstream's components end then.
    async fn lead<F: Future<Output = ()>>(
        &self,
        elect: bool,
        name: &str,
        client: &Client,
        stop: &CancellationToken,
        work: impl FnOnce() -> F,
    ) -> Result<(), String> {
        if !elect {
            work().await;
            return Ok(());
        }
        let name = self.leader_elect_resource_name.as_deref().unwrap_or(name);
        let mut election = client::leader::Election::new(&self.leader_elect_resource_namespace, name, &identity());
        election.lease_duration = self.leader_elect_lease_duration;
        election.renew_deadline = self.leader_elect_renew_deadline;
        election.retry_period = self.leader_elect_retry_period;
        tokio::select! {
            () = election.run(client, Clock::System, work) => {}
            () = stop.cancelled() => {}
        }
        if stop.is_cancelled() { Ok(()) } else { Err("leader election lost".into()) }
    }
}

/// The identity to stand under, as upstream's: host name and something that no other process has.
fn identity() -> String {
    let unique = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_else(|_| std::process::id().to_string());
    format!("{}_{}", crate::settings::host_name(), unique.trim())
}
