//! The two strategies.

use super::arithmetic;
use super::status::complete;
use super::{Controller, replicas, set_replicas};
use crate::Result;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

impl Controller {
    /// New pods up as surge allows, old pods down as availability allows.
    pub(super) async fn rolling(&self, d: &mut Deployment, list: Vec<ReplicaSet>) -> Result {
        let mut sets = self.revisions(d, list, true).await?;
        let total = arithmetic::sum(sets.all());
        if let Some(new) = &mut sets.new {
            let current = set_replicas(new);
            let size = if current > replicas(d) { replicas(d) } else { arithmetic::new_set_replicas(d, total, current) };
            if current != replicas(d) && self.scale_set(d, new, size, false).await? {
                return self.update_rollout_status(d, &sets).await;
            }
        }
        if self.scale_down_old(d, &mut sets).await? > 0 {
            return self.update_rollout_status(d, &sets).await;
        }
        if complete(d, &d.status.clone().unwrap_or_default()) {
            self.cleanup(d, &sets.old).await?;
        }
        self.update_rollout_status(d, &sets).await
    }

    /// All old pods gone, then all new ones up.
    pub(super) async fn recreate(&self, d: &mut Deployment, list: Vec<ReplicaSet>) -> Result {
        let mut sets = self.revisions(d, list, false).await?;
        let mut scaled = false;
        for rs in sets.old.iter_mut().filter(|rs| set_replicas(rs) > 0) {
            scaled |= self.scale_set(d, rs, 0, false).await?;
        }
        if scaled || self.old_pods_running(&sets) {
            return self.update_rollout_status(d, &sets).await;
        }
        if sets.new.is_none() {
            sets = self.revisions(d, sets.old, true).await?;
        }
        if let Some(new) = &mut sets.new {
            self.scale_set(d, new, replicas(d), false).await?;
        }
        if complete(d, &d.status.clone().unwrap_or_default()) {
            self.cleanup(d, &sets.old).await?;
        }
        self.update_rollout_status(d, &sets).await
    }
}
