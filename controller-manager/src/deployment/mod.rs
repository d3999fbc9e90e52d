//! Deployments: roll ReplicaSets over to the newest template (pkg/controller/deployment).

mod annotations;
mod arithmetic;
mod conditions;
mod history;
mod revision;
mod rollback;
mod rollout;
mod scale;
mod status;

use crate::core::claim::{self, CONTROLLER_INDEX, Claim};
use crate::core::error::unless_namespace_ends;
use crate::core::follow::resolve;
use crate::core::{pod, selectors};
use crate::manager::forever;
use crate::{Context, Error, Result, synced};
use client::{EventType, Informer, InformerEvent, Object, Recorder, WorkQueue, reference_to};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::sync::Arc;

/// The label that tells one revision's pods from another's.
pub const HASH_LABEL: &str = "pod-template-hash";

struct Controller {
    ctx: Context,
    deployments: Arc<Informer<Deployment>>,
    sets: Arc<Informer<ReplicaSet>>,
    pods: Arc<Informer<Pod>>,
    queue: WorkQueue<String>,
    recorder: Recorder,
}

/// The ReplicaSets of one sync: the one of the current template, and the others.
pub(crate) struct Sets {
    pub new: Option<ReplicaSet>,
    pub old: Vec<ReplicaSet>,
}

impl Sets {
    fn all(&self) -> impl Iterator<Item = &ReplicaSet> {
        self.old.iter().chain(&self.new)
    }
}

pub async fn run(ctx: Context) {
    let deployments = ctx.informers.of::<Deployment>();
    let sets = ctx.informers.of::<ReplicaSet>();
    let pods = ctx.informers.of::<Pod>();
    claim::index_pods(&pods);
    sets.add_index(CONTROLLER_INDEX, claim::controller_index::<ReplicaSet>);
    let queue = WorkQueue::new();
    let recorder = ctx.recorder("deployment-controller");
    let workers = ctx.config.concurrent_syncs;
    let c = Arc::new(Controller { ctx, deployments, sets, pods, queue: queue.clone(), recorder });
    c.watch();
    synced!(c.deployments, c.sets, c.pods);
    forever(queue.run("deployment", workers, move |key: String| {
        let c = c.clone();
        async move { c.sync(&key).await }
    }))
    .await;
}

pub(crate) fn spec(d: &Deployment) -> &DeploymentSpec {
    static NONE: std::sync::LazyLock<DeploymentSpec> = std::sync::LazyLock::new(DeploymentSpec::default);
    d.spec.as_ref().unwrap_or(&NONE)
}
pub(crate) fn replicas(d: &Deployment) -> i32 {
    spec(d).replicas.unwrap_or(1)
}
pub(crate) fn set_replicas(rs: &ReplicaSet) -> i32 {
    rs.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
}
pub(crate) fn strategy(d: &Deployment) -> &str {
    spec(d).strategy.as_ref().and_then(|s| s.type_.as_deref()).unwrap_or("RollingUpdate")
}

impl Controller {
    fn watch(self: &Arc<Self>) {
        let queue = self.queue.clone();
        self.deployments.add_handler(move |e| match e {
            InformerEvent::Added(d) | InformerEvent::Updated { new: d, .. } | InformerEvent::Deleted(d) => queue.add(d.key()),
        });
        let (queue, deployments) = (self.queue.clone(), self.deployments.clone());
        self.sets.add_handler(move |e| {
            let owner = |rs: &ReplicaSet| {
                if let Some(d) = rs.controller().and_then(|r| resolve(&deployments, rs.namespace(), r)) {
                    queue.add(d.key());
                }
            };
            let orphan = |rs: &ReplicaSet| {
                for d in deployments.list_namespace(rs.namespace()) {
                    let matches = |s: &machinery::labels::Selector| {
                        !s.is_everything() && selectors::matches(s, rs.metadata.labels.as_ref())
                    };
                    if selectors::from_label_selector(Some(&spec(&d).selector)).is_ok_and(|s| matches(&s)) {
                        queue.add(d.key());
                    }
                }
            };
            match e {
                InformerEvent::Added(rs) if rs.controller().is_none() && !rs.is_terminating() => orphan(rs),
                InformerEvent::Added(rs) | InformerEvent::Deleted(rs) => owner(rs),
                InformerEvent::Updated { old, new } => {
                    let moved = old.controller() != new.controller();
                    if moved {
                        owner(old);
                    }
                    if new.controller().is_some() {
                        owner(new);
                    } else if moved || old.metadata.labels != new.metadata.labels {
                        orphan(new);
                    }
                }
            }
        });
        let (queue, deployments, sets) = (self.queue.clone(), self.deployments.clone(), self.sets.clone());
        // A Recreate rollout waits for the last old pod to go.
        self.pods.add_handler(move |e| {
            let InformerEvent::Deleted(p) = e else { return };
            let Some(rs) = p.controller().and_then(|r| resolve(&sets, p.namespace(), r)) else { return };
            if let Some(d) = rs.controller().and_then(|r| resolve(&deployments, p.namespace(), r))
                && strategy(&d) == "Recreate"
            {
                queue.add(d.key());
            }
        });
    }

    async fn sync(&self, key: &str) -> Result {
        unless_namespace_ends(self.sync_deployment(key).await)
    }

    async fn sync_deployment(&self, key: &str) -> Result {
        let Some(cached) = self.deployments.get_key(key) else { return Ok(()) };
        let mut d = Deployment::clone(&cached);
        if spec(&d).selector == LabelSelector::default() {
            let message = "This deployment is selecting all pods. A non-empty selector is required.";
            self.recorder.event(&reference_to(&d), EventType::Warning, "SelectingAll", message);
            let generation = d.metadata.generation;
            let status = d.status.get_or_insert_default();
            if status.observed_generation < generation {
                status.observed_generation = generation;
                self.ctx.client.update_status(&d).await?;
            }
            return Ok(());
        }
        let list = self.owned_sets(&d).await?;
        if d.is_terminating() {
            let sets = self.revisions(&mut d, list, false).await?;
            return self.update_status_only(&d, &sets).await;
        }
        self.check_paused(&mut d).await?;
        if spec(&d).paused == Some(true) {
            return self.sync_scale(&mut d, list).await;
        }
        if rollback::requested(&d).is_some() {
            return self.rollback(&mut d, list).await;
        }
        // Asked of the sets as they are after the revision was brought up to date, as upstream does.
        let sets = self.revisions(&mut d, list, false).await?;
        let wanted = replicas(&d);
        let scaling = sets
            .all()
            .filter(|rs| set_replicas(rs) > 0)
            .any(|rs| annotations::desired(rs).is_some_and(|desired| desired != wanted));
        let list: Vec<ReplicaSet> = sets.old.into_iter().chain(sets.new).collect();
        if scaling {
            return self.sync_scale(&mut d, list).await;
        }
        match strategy(&d) {
            "Recreate" => self.recreate(&mut d, list).await,
            "RollingUpdate" => self.rolling(&mut d, list).await,
            other => Err(Error::other(format!("unexpected deployment strategy type: {other}"))),
        }
    }

    async fn owned_sets(&self, d: &Deployment) -> Result<Vec<ReplicaSet>> {
        let selector = selectors::from_label_selector(Some(&spec(d).selector))
            .map_err(|e| Error::other(format!("deployment {} has invalid label selector: {e}", d.key())))?;
        let candidates = claim::candidates(&self.sets, d);
        let owned = Claim::new(&self.ctx.client, d, &selector).run(candidates, |_| true).await?;
        Ok(owned.iter().map(|rs| ReplicaSet::clone(rs)).collect())
    }

    /// Pods of any set but the new one that may still run.
    fn old_pods_running(&self, sets: &Sets) -> bool {
        sets.old.iter().any(|rs| rs.status.as_ref().is_some_and(|s| s.replicas > 0) || self.has_live_pods(rs))
    }
    fn has_live_pods(&self, rs: &ReplicaSet) -> bool {
        claim::controlled(&self.pods, rs).iter().any(|p| !pod::is_terminal(p))
    }

    fn event(&self, d: &Deployment, kind: EventType, reason: &str, message: String) {
        self.recorder.event(&reference_to(d), kind, reason, message);
    }

    /// Writes the status and takes over the new version.
    async fn write_status(&self, d: &mut Deployment) -> Result {
        *d = self.ctx.client.update_status(d).await?;
        Ok(())
    }
}
