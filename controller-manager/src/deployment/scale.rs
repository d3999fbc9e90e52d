//! Scaling: one set at a time in a rollout, all in proportion when the Deployment's size changes.

use super::arithmetic::{self, is_saturated, max_surge, proportion};
use super::revision::by_creation;
use super::{Controller, Sets, annotations, replicas, set_replicas, spec, strategy};
use crate::Result;
use client::{EventType, Object};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

impl Controller {
    /// A change of size, or a paused Deployment: no rollout.
    pub(super) async fn sync_scale(&self, d: &mut Deployment, list: Vec<ReplicaSet>) -> Result {
        let mut sets = self.revisions(d, list, false).await?;
        self.scale_all(d, &mut sets).await?;
        if spec(d).paused == Some(true) && super::rollback::requested(d).is_none() {
            self.cleanup(d, &sets.old).await?;
        }
        self.update_status_only(d, &sets).await
    }

    async fn scale_all(&self, d: &Deployment, sets: &mut Sets) -> Result {
        let active = sets.all().filter(|rs| set_replicas(rs) > 0).count();
        if active <= 1 {
            let only = if active == 1 {
                sets.old.iter_mut().chain(&mut sets.new).find(|rs| set_replicas(rs) > 0)
            } else {
                // The newest, if there is any.
                sets.old.sort_by(|a, b| by_creation(b, a));
                sets.new.as_mut().or(sets.old.first_mut())
            };
            if let Some(rs) = only {
                self.scale_set(d, rs, replicas(d), false).await?;
            }
            return Ok(());
        }
        if is_saturated(d, sets.new.as_ref()) {
            for rs in sets.old.iter_mut().filter(|rs| set_replicas(rs) > 0) {
                self.scale_set(d, rs, 0, false).await?;
            }
            return Ok(());
        }
        if strategy(d) == "RollingUpdate" {
            self.scale_in_proportion(d, sets).await?;
        }
        Ok(())
    }

    async fn scale_in_proportion(&self, d: &Deployment, sets: &mut Sets) -> Result {
        let mut active: Vec<&mut ReplicaSet> =
            sets.old.iter_mut().chain(&mut sets.new).filter(|rs| set_replicas(rs) > 0).collect();
        let total: i32 = active.iter().map(|rs| set_replicas(rs)).sum();
        let allowed = if replicas(d) > 0 { replicas(d) + max_surge(d) } else { 0 };
        let to_add = allowed - total;
        // Larger sets first; of equal ones newer first when growing, older first when shrinking.
        active.sort_by(|a, b| {
            let age = if to_add > 0 { by_creation(b, a) } else { by_creation(a, b) };
            set_replicas(b).cmp(&set_replicas(a)).then(age)
        });
        let mut added = 0;
        let mut sizes: Vec<i32> = Vec::with_capacity(active.len());
        for rs in &active {
            let share = proportion(rs, d, to_add, added);
            added += share;
            sizes.push(set_replicas(rs) + share);
        }
        if to_add != 0
            && let Some(first) = sizes.first_mut()
        {
            *first = (*first + to_add - added).max(0);
        }
        for (rs, size) in active.into_iter().zip(sizes) {
            self.scale_set(d, rs, size, true).await?;
        }
        Ok(())
    }

    /// Sets one ReplicaSet's size; true if it changed.
    pub(super) async fn scale_set(&self, d: &Deployment, rs: &mut ReplicaSet, size: i32, force: bool) -> Result<bool> {
        let before = set_replicas(rs);
        if !force && before == size {
            return Ok(false);
        }
        let mut copy = rs.clone();
        let annotated = annotations::set_sizes(&mut copy, d);
        if before == size && !annotated {
            return Ok(false);
        }
        copy.spec.get_or_insert_default().replicas = Some(size);
        *rs = self.ctx.client.update(&copy).await?;
        if before == size {
            return Ok(false);
        }
        let way = if before < size { "up" } else { "down" };
        let message = format!("Scaled {way} replica set {} from {before} to {size}", rs.name());
        self.event(d, EventType::Normal, "ScalingReplicaSet", message);
        Ok(true)
    }

    /// Scales each active old set down, unhealthy pods first, as far as availability allows. Returns how many pods went.
    pub(super) async fn scale_down_old(&self, d: &Deployment, sets: &mut Sets) -> Result<i32> {
        let Some(new) = &sets.new else { return Ok(0) };
        if arithmetic::sum(&sets.old) == 0 {
            return Ok(0);
        }
        let min_available = replicas(d) - arithmetic::max_unavailable(d);
        let new_unavailable = set_replicas(new) - arithmetic::available(new);
        let most = arithmetic::sum(sets.all()) - min_available - new_unavailable;
        if most <= 0 {
            return Ok(0);
        }
        let new_available = arithmetic::available(new);
        sets.old.sort_by(by_creation);
        let mut cleaned = 0;
        for rs in sets.old.iter_mut().filter(|rs| set_replicas(rs) > 0) {
            let unhealthy = set_replicas(rs) - arithmetic::available(rs);
            let count = unhealthy.min(most - cleaned);
            if count > 0 {
                let size = set_replicas(rs) - count;
                self.scale_set(d, rs, size, false).await?;
                cleaned += count;
            }
        }
        let spare = sets.old.iter().filter(|rs| set_replicas(rs) > 0).map(arithmetic::available).sum::<i32>() + new_available
            - min_available;
        let mut scaled = 0;
        for rs in sets.old.iter_mut().filter(|rs| set_replicas(rs) > 0) {
            let count = set_replicas(rs).min(spare - scaled);
            if count > 0 {
                let size = set_replicas(rs) - count;
                self.scale_set(d, rs, size, false).await?;
                scaled += count;
            }
        }
        Ok(cleaned + scaled)
    }
}
