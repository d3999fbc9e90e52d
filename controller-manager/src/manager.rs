//! The table of controllers and the task that runs them.

use crate::{Config, Context};
use client::{Client, Informers};
use futures::future::BoxFuture;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

type Start = fn(Context) -> BoxFuture<'static, ()>;

struct Controller {
    /// The name in `--controllers`.
    name: &'static str,
    /// Its account in kube-system.
    account: &'static str,
    by_default: bool,
    start: Start,
}

macro_rules! controllers {
    ($($name:literal $account:literal $run:path),+ $(,)?) => {
        &[$(Controller { name: $name, account: $account, by_default: true, start: |ctx| Box::pin($run(ctx)) }),+]
    };
}

const CONTROLLERS: &[Controller] = controllers![
    "bootstrap-signer-controller" "bootstrap-signer" crate::bootstrap::signer::run,
    "token-cleaner-controller" "token-cleaner" crate::bootstrap::token_cleaner::run,
    "certificatesigningrequest-approving-controller" "certificate-controller" crate::certificates::approver::run,
    "certificatesigningrequest-signing-controller" "certificate-controller" crate::certificates::signer::run,
    "certificatesigningrequest-cleaner-controller" "certificate-controller" crate::certificates::cleaner::run,
    "kubelet-serving-approving-controller" "kubelet-serving-approver" crate::certificates::serving::run,
    "daemonset-controller" "daemon-set-controller" crate::daemonset::run,
    "deployment-controller" "deployment-controller" crate::deployment::run,
    "replicaset-controller" "replicaset-controller" crate::replicaset::run,
    "replicationcontroller-controller" "replication-controller" crate::replicaset::run_replication_controllers,
    "disruption-controller" "disruption-controller" crate::disruption::run,
    "clusterrole-aggregation-controller" "clusterrole-aggregation-controller" crate::clusterrole::run,
    "endpoints-controller" "endpoint-controller" crate::endpoints::run,
    "endpointslice-controller" "endpointslice-controller" crate::endpointslice::run,
    "endpointslice-mirroring-controller" "endpointslicemirroring-controller" crate::endpointslice::mirroring::run,
    "garbage-collector-controller" "generic-garbage-collector" crate::garbagecollector::run,
    "horizontal-pod-autoscaler-controller" "horizontal-pod-autoscaler" crate::podautoscaler::run,
    "job-controller" "job-controller" crate::job::run,
    "ttl-after-finished-controller" "ttl-after-finished-controller" crate::job::ttl::run,
    "cronjob-controller" "cronjob-controller" crate::cronjob::run,
    "namespace-controller" "namespace-controller" crate::namespace::run,
    "node-lifecycle-controller" "node-controller" crate::node::lifecycle::run,
    "taint-eviction-controller" "node-controller" crate::node::eviction::run,
    "node-ipam-controller" "node-controller" crate::node::ipam::run,
    "pod-garbage-collector-controller" "pod-garbage-collector" crate::node::pod_gc::run,
    "node-load-balancer-controller" "service-controller" crate::nodeloadbalancer::run,
    "root-ca-certificate-publisher-controller" "root-ca-cert-publisher" crate::rootca::run,
    "resourcequota-controller" "resourcequota-controller" crate::resourcequota::run,
    "statefulset-controller" "statefulset-controller" crate::statefulset::run,
    "persistentvolume-binder-controller" "persistent-volume-binder" crate::volume::run,
    "persistentvolumeclaim-protection-controller" "pvc-protection-controller" crate::volume::protection::run_claims,
    "persistentvolume-protection-controller" "pv-protection-controller" crate::volume::protection::run_volumes,
    "volumeattributesclass-protection-controller" "volumeattributesclass-protection-controller" crate::volume::class_protection::run,
    "ephemeral-volume-controller" "ephemeral-volume-controller" crate::volume::ephemeral::run,
    "local-path-provisioner-controller" "persistent-volume-binder" crate::volume::local_path::run,
    "validatingadmissionpolicy-status-controller" "validatingadmissionpolicy-status-controller" crate::policystatus::run,
    "service-cidr-controller" "service-cidrs-controller" crate::servicecidr::run,
    "serviceaccount-controller" "service-account-controller" crate::serviceaccount::run,
];

/// What is wrong with the configuration.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("--controllers: {0:?} is not a known controller; known are: {1}")]
    UnknownController(String, String),
    #[error("--cluster-cidr: {0}")]
    ClusterCidr(String),
}

/// The controllers of one process, not started yet.
pub struct Manager {
    ctx: Context,
    enabled: Vec<&'static Controller>,
}

/// Checks the configuration and prepares the controllers it names.
pub fn build(config: Config, client: Client) -> Result<Manager, BuildError> {
    for c in &config.controllers {
        let name = c.strip_prefix('-').unwrap_or(c);
        if name != "*" && !CONTROLLERS.iter().any(|k| k.name == name) {
            let known: Vec<&str> = CONTROLLERS.iter().map(|k| k.name).collect();
            return Err(BuildError::UnknownController(name.to_owned(), known.join(", ")));
        }
    }
    if config.allocate_node_cidrs {
        let ranges = crate::node::ipam::parse(&config).map_err(BuildError::ClusterCidr)?;
        if ranges.is_empty() {
            return Err(BuildError::ClusterCidr("--allocate-node-cidrs needs it".into()));
        }
    }
    let enabled = CONTROLLERS.iter().filter(|c| config.enables(c.name, c.by_default)).collect();
    let client = client.with_user_agent("kube-controller-manager/v1.36.3");
    let clock = config.clock;
    let informers = Informers::new(client.clone());
    Ok(Manager { ctx: Context { client, informers, clock, config: Arc::new(config) }, enabled })
}

impl Manager {
    /// Names of the controllers that will run.
    pub fn controllers(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.enabled.iter().map(|c| c.name)
    }

    /// Runs until `shutdown`; then stops every controller. A controller that panics is started again.
    pub fn run(self, shutdown: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(self.run_until(shutdown))
    }

    async fn run_until(self, shutdown: CancellationToken) {
        let mut tasks = JoinSet::new();
        for c in &self.enabled {
            let mut ctx = self.ctx.clone();
            if let Some(client_for) = &ctx.config.client_for {
                ctx.client = client_for(c.account);
            }
            ctx.client = ctx.client.with_user_agent(&format!("kube-controller-manager/v1.36.3/{}", c.account));
            let (name, start) = (c.name, c.start);
            tasks.spawn(async move {
                loop {
                    let mut once = JoinSet::new();
                    once.spawn(start(ctx.clone()));
                    match once.join_next().await {
                        Some(Err(e)) if e.is_panic() => {
                            tracing::error!(controller = name, error = %e, "controller panicked, restarting")
                        }
                        _ => return,
                    }
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                }
            });
        }
        shutdown.cancelled().await;
        tasks.shutdown().await;
    }
}

/// Keeps a controller alive for as long as its future is polled: the workers end when this is dropped.
pub(crate) async fn forever(mut workers: JoinSet<()>) {
    while workers.join_next().await.is_some() {}
}
