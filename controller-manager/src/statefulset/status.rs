//! Counting pods into a status.

use super::identity::revision;
use super::revisions::Revisions;
use super::{Controller, min_ready, replicas, spec};
use crate::Result;
use crate::core::pod;
use client::Object;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::Pod;

fn some(n: i32) -> Option<i32> {
    (n != 0).then_some(n)
}

pub fn is_created(p: &Pod) -> bool {
    !pod::phase(p).is_empty()
}

impl Controller {
    /// The status that these pods make.
    pub(super) fn count<'a>(
        &self,
        set: &StatefulSet,
        r: &Revisions,
        pods: impl Iterator<Item = &'a Pod> + Clone,
    ) -> StatefulSetStatus {
        let now = self.ctx.now();
        let count = |f: &dyn Fn(&Pod) -> bool| i32::try_from(pods.clone().filter(|p| f(p)).count()).unwrap_or(i32::MAX);
        let ready = |p: &Pod| pod::phase(p) == "Running" && pod::is_ready(p);
        let at = |p: &Pod, name: &str| is_created(p) && !p.is_terminating() && revision(p) == name;
        let old = set.status.clone().unwrap_or_default();
        StatefulSetStatus {
            observed_generation: set.metadata.generation,
            replicas: count(&is_created),
            ready_replicas: some(count(&ready)),
            // Pointer-free in Go but not omitted when zero.
            available_replicas: Some(count(&|p| ready(p) && pod::is_available(p, min_ready(set), now))),
            current_replicas: some(count(&|p| at(p, r.current.name()))),
            updated_replicas: some(count(&|p| at(p, r.update.name()))),
            current_revision: Some(r.current.name().to_owned()),
            update_revision: Some(r.update.name().to_owned()),
            collision_count: Some(r.collisions),
            conditions: old.conditions,
        }
    }

    pub(super) async fn write_status(&self, set: &StatefulSet, status: &mut StatefulSetStatus) -> Result {
        let all = |n: Option<i32>| n.unwrap_or(0) == replicas(set);
        let rolling = spec(set).update_strategy.as_ref().and_then(|u| u.type_.as_deref()).unwrap_or("RollingUpdate");
        if rolling == "RollingUpdate" && all(status.updated_replicas) && all(status.ready_replicas) && all(Some(status.replicas))
        {
            status.current_replicas = status.updated_replicas;
            status.current_revision.clone_from(&status.update_revision);
        }
        let old = set.status.clone().unwrap_or_default();
        let n = |v: Option<i32>| v.unwrap_or(0);
        let same = status.observed_generation <= old.observed_generation
            && status.replicas == old.replicas
            && n(status.current_replicas) == n(old.current_replicas)
            && n(status.ready_replicas) == n(old.ready_replicas)
            && n(status.updated_replicas) == n(old.updated_replicas)
            && status.current_revision == old.current_revision
            && n(status.available_replicas) == n(old.available_replicas)
            && status.update_revision == old.update_revision;
        if same {
            return Ok(());
        }
        let mut new = StatefulSet { status: Some(status.clone()), ..set.clone() };
        match self.ctx.client.update_status(&new).await {
            Err(e) if e.is_conflict() => {
                let fresh: StatefulSet = self.ctx.client.get(set.namespace(), set.name()).await?;
                new.metadata = fresh.metadata;
                self.ctx.client.update_status(&new).await?;
            }
            other => drop(other?),
        }
        Ok(())
    }
}
