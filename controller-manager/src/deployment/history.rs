//! The revision history limit: old sets without pods are deleted, lowest revision first.

use super::revision::by_creation;
use super::{Controller, annotations, set_replicas, spec};
use crate::Result;
use crate::core::error::ignore_not_found;
use client::{DeleteOptions, Object};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

impl Controller {
    pub(super) async fn cleanup(&self, d: &Deployment, old: &[ReplicaSet]) -> Result {
        let limit = spec(d).revision_history_limit.unwrap_or(10);
        if limit == i32::MAX {
            return Ok(());
        }
        let mut candidates: Vec<&ReplicaSet> = old.iter().filter(|rs| !rs.is_terminating()).collect();
        let excess = candidates.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        candidates.sort_by(|a, b| match (annotations::revision(*a), annotations::revision(*b)) {
            (Some(x), Some(y)) if x != y => x.cmp(&y),
            _ => by_creation(a, b),
        });
        for rs in candidates.into_iter().take(excess) {
            let status = rs.status.clone().unwrap_or_default();
            let unobserved = rs.metadata.generation.unwrap_or(0) > status.observed_generation.unwrap_or(0);
            if status.replicas != 0 || set_replicas(rs) != 0 || unobserved {
                continue;
            }
            ignore_not_found(self.ctx.client.delete::<ReplicaSet>(rs.namespace(), rs.name(), &DeleteOptions::default()).await)?;
        }
        Ok(())
    }
}
