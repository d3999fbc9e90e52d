//! Configuration, under the names of KubeSchedulerConfiguration.

use client::Clock;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Config {
    /// `profiles[0].schedulerName`: pods that name another scheduler are not ours.
    pub scheduler_name: String,
    /// `percentageOfNodesToScore`; 0 adapts it to the size of the cluster.
    pub percentage_of_nodes_to_score: u8,
    /// `podInitialBackoffSeconds`.
    pub pod_initial_backoff: Duration,
    /// `podMaxBackoffSeconds`.
    pub pod_max_backoff: Duration,
    /// `leaderElection.leaderElect` and the identity to stand under. `None`: this is the only scheduler.
    pub leader_election: Option<String>,
    pub clock: Clock,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            scheduler_name: "default-scheduler".into(),
            percentage_of_nodes_to_score: 0,
            pod_initial_backoff: Duration::from_secs(1),
            pod_max_backoff: Duration::from_secs(10),
            leader_election: None,
            clock: Clock::System,
        }
    }
}
