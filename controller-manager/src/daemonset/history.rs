//! Revisions of a DaemonSet's template.

use super::{Controller, HASH, spec};
use crate::core::error::ignore_not_found;
use crate::core::history;
use crate::core::revision::template_hash;
use crate::{Error, Result};
use client::object::controller_reference;
use client::{DeleteOptions, Object, Patch};
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use machinery::labels::Selector;
use serde_json::json;
use std::collections::HashSet;

pub struct History {
    pub hash: String,
    old: Vec<ControllerRevision>,
}

impl Controller {
    /// The revision of the current template (made if missing) and the old ones.
    pub(super) async fn history(&self, ds: &DaemonSet, selector: &Selector) -> Result<History> {
        let data = history::template_patch(&spec(ds).template);
        let all = history::list(&self.ctx, &self.revisions, ds, selector).await?;
        let (mut current, old): (Vec<_>, Vec<_>) = all.into_iter().partition(|r| history::holds(r, &data));
        let next = old.iter().map(|r| r.revision).max().unwrap_or(0) + 1;
        let current = match current.pop() {
            None => self.snapshot(ds, data, next).await?,
            Some(keep) => {
                self.drop_doubles(ds, selector, &keep, &current).await?;
                if keep.revision < next { history::renumber(&self.ctx, &keep, next).await? } else { keep }
            }
        };
        let hash = current.label(HASH).unwrap_or(current.name()).to_owned();
        Ok(History { hash, old })
    }

    async fn snapshot(&self, ds: &DaemonSet, data: serde_json::Value, revision: i64) -> Result<ControllerRevision> {
        let collisions = ds.status.as_ref().and_then(|s| s.collision_count);
        let hash = template_hash(&spec(ds).template, collisions);
        let mut labels = spec(ds).template.metadata.as_ref().and_then(|m| m.labels.clone()).unwrap_or_default();
        labels.insert(HASH.into(), hash.clone());
        let new = ControllerRevision {
            metadata: ObjectMeta {
                name: Some(format!("{}-{hash}", ds.name())),
                namespace: ds.metadata.namespace.clone(),
                labels: Some(labels),
                annotations: ds.metadata.annotations.clone(),
                owner_references: Some(vec![controller_reference(ds)]),
                ..Default::default()
            },
            data: Some(RawExtension(data)),
            revision,
        };
        match history::create(&self.ctx, &new).await? {
            history::Created::Done(r) => Ok(r),
            history::Created::Collision => {
                let mut fresh: DaemonSet = self.ctx.client.get(ds.namespace(), ds.name()).await?;
                let status = fresh.status.get_or_insert_default();
                if status.collision_count != collisions {
                    return Err(Error::other("found a stale collision count; will retry until it is updated"));
                }
                status.collision_count = Some(collisions.unwrap_or(0) + 1);
                self.ctx.client.update_status(&fresh).await?;
                Err(Error::other(format!("revision name {} is taken by another template", new.name())))
            }
        }
    }

    /// Several revisions with the current template: pods go over to the newest, the others are deleted.
    async fn drop_doubles(
        &self,
        ds: &DaemonSet,
        selector: &Selector,
        keep: &ControllerRevision,
        doubles: &[ControllerRevision],
    ) -> Result {
        if doubles.is_empty() {
            return Ok(());
        }
        let hash = keep.label(HASH).unwrap_or("");
        for p in self.by_node(ds, selector, true).await?.values().flatten() {
            if p.label(HASH) != Some(hash) {
                let patch = Patch::Merge(json!({"metadata": {"labels": {HASH: hash}}}));
                self.ctx.client.patch::<Pod>(p.namespace(), p.name(), &patch).await?;
            }
        }
        for r in doubles {
            ignore_not_found(
                self.ctx.client.delete::<ControllerRevision>(r.namespace(), r.name(), &DeleteOptions::default()).await,
            )?;
        }
        Ok(())
    }

    pub(super) async fn cleanup_history(&self, ds: &DaemonSet, selector: &Selector, h: &History) -> Result {
        let limit = usize::try_from(spec(ds).revision_history_limit.unwrap_or(10)).unwrap_or(0);
        if h.old.len() <= limit {
            return Ok(());
        }
        let by_node = self.by_node(ds, selector, true).await?;
        let live: HashSet<&str> = by_node.values().flatten().filter_map(|p| p.label(HASH)).collect();
        let dead = h.old.iter().filter(|r| !live.contains(r.label(HASH).unwrap_or("")));
        for r in dead.take(h.old.len() - limit) {
            ignore_not_found(
                self.ctx.client.delete::<ControllerRevision>(r.namespace(), r.name(), &DeleteOptions::default()).await,
            )?;
        }
        Ok(())
    }
}
