//! `kube-scheduler`: the scheduler alone.

use super::{Api, Leader, Logging};
use clap::Args;

#[derive(Args)]
pub struct Flags {
    #[command(flatten)]
    api: Api,
    #[command(flatten)]
    leader: Leader,
    /// Port of health and metrics; 0 is the only one that is built: none.
    #[arg(long, value_parser = clap::value_parser!(u16).range(0..=0))]
    secure_port: Option<u16>,
    #[command(flatten)]
    logging: Logging,
}

pub fn run(flags: &Flags) -> Result<(), String> {
    let config = scheduler::Config { leader_election: flags.leader.identity(), ..Default::default() };
    super::foreground("kube-scheduler", &flags.logging, |stop| async move {
        let client = super::client_of(&flags.api.kubeconfig)?;
        scheduler::build(config, client).run(stop).await;
        Ok(())
    })
}
