//! The current and the update revision.

use super::{Controller, identity, spec};
use crate::Result;
use crate::core::history::{self, Created};
use client::Object;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use std::sync::Arc;

/// What a StatefulSet is moving from and to.
pub struct Revisions {
    pub all: Vec<ControllerRevision>,
    pub current: ControllerRevision,
    pub update: ControllerRevision,
    pub collisions: i32,
}

impl Revisions {
    pub fn current_template(&self, set: &StatefulSet) -> PodTemplateSpec {
        history::template(&self.current).unwrap_or_else(|| spec(set).template.clone())
    }
}

impl Controller {
    pub(super) async fn find_revisions(&self, set: &StatefulSet, all: Vec<ControllerRevision>) -> Result<Revisions> {
        let status = set.status.clone().unwrap_or_default();
        let mut collisions = status.collision_count.unwrap_or(0);
        let data = history::template_patch(&spec(set).template);
        let next = all.last().map_or(1, |r| r.revision + 1);
        let equal = all.iter().rev().find(|r| history::holds(r, &data));
        let update = match equal {
            Some(r) if r.revision + 1 == next => r.clone(),
            Some(r) => history::renumber(&self.ctx, r, next).await?,
            None => {
                let labels = spec(set).template.metadata.as_ref().and_then(|m| m.labels.clone()).unwrap_or_default();
                loop {
                    let r =
                        history::new(set, labels.clone(), data.clone(), next, Some(collisions), "controller.kubernetes.io/hash");
                    match history::create(&self.ctx, &r).await? {
                        Created::Done(r) => break r,
                        Created::Collision => collisions += 1,
                    }
                }
            }
        };
        let current = all.iter().find(|r| Some(r.name()) == status.current_revision.as_deref()).unwrap_or(&update).clone();
        Ok(Revisions { all, current, update, collisions })
    }

    pub(super) async fn truncate(&self, set: &StatefulSet, pods: &[Arc<Pod>], r: &Revisions) -> Result {
        let mut live: Vec<&str> = pods.iter().map(|p| identity::revision(p)).collect();
        live.extend([r.current.name(), r.update.name()]);
        let limit = usize::try_from(spec(set).revision_history_limit.unwrap_or(10)).unwrap_or(0);
        history::truncate(&self.ctx, &r.all, &live, limit).await
    }
}
