//! `kube-scheduler`: the scheduler alone.

use super::component_config::SchedulerFile;
use super::health::Secure;
use super::{Api, Leader, Logging};
use clap::Args;
use client::Clock;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Args)]
pub struct Flags {
    #[command(flatten)]
    api: Api,
    /// A file with a KubeSchedulerConfiguration.
    #[arg(long)]
    config: Option<PathBuf>,
    #[command(flatten)]
    leader: Leader,
    #[command(flatten)]
    secure: Secure,
    #[command(flatten)]
    logging: Logging,
}

/// Upstream's port of health.
const PORT: u16 = 10259;

pub fn run(flags: &Flags) -> Result<(), String> {
    let file = flags.config.as_deref().map(SchedulerFile::read).transpose().map_err(|e| format!("kube-scheduler: {e}"))?;
    let file = file.unwrap_or_default();
    let defaults = scheduler::Config::default();
    let seconds = |s: Option<u64>, d: Duration| s.filter(|s| *s > 0).map_or(d, Duration::from_secs);
    let config = scheduler::Config {
        scheduler_name: file.scheduler_name.unwrap_or(defaults.scheduler_name),
        percentage_of_nodes_to_score: file.percentage_of_nodes_to_score.and_then(|p| p.try_into().ok()).unwrap_or_default(),
        pod_initial_backoff: seconds(file.pod_initial_backoff_seconds, defaults.pod_initial_backoff),
        pod_max_backoff: seconds(file.pod_max_backoff_seconds, defaults.pod_max_backoff),
        leader_election: None,
        clock: Clock::System,
    };
    let elect = flags.leader.wanted(file.leader_elect);
    super::foreground("kube-scheduler", &flags.logging, |stop| async move {
        let client = flags.api.client(file.kubeconfig.as_deref())?;
        flags.secure.serve(PORT).await?;
        let scheduler = scheduler::build(config, client.clone());
        flags.leader.lead(elect, "kube-scheduler", &client, &stop, || scheduler.run(stop.clone())).await
    })
}
