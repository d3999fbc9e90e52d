//! Finding or making the ReplicaSet of the current template, and numbering it.

use super::conditions::{self, PROGRESSING};
use super::{Controller, HASH_LABEL, Sets, annotations, arithmetic, spec};
use crate::Result;
use crate::core::revision::{equal_ignoring_label, template_hash};
use client::object::controller_reference;
use client::{EventType, Object};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

const MAX_NAME: usize = 253;

/// Oldest first; equal times by name.
pub fn by_creation(a: &ReplicaSet, b: &ReplicaSet) -> std::cmp::Ordering {
    let t = |rs: &ReplicaSet| rs.metadata.creation_timestamp.as_ref().map(|t| t.0);
    t(a).cmp(&t(b)).then_with(|| a.name().cmp(b.name()))
}

fn has_template_of(rs: &ReplicaSet, d: &Deployment) -> bool {
    rs.spec.as_ref().and_then(|s| s.template.as_ref()).is_some_and(|t| equal_ignoring_label(t, &spec(d).template, HASH_LABEL))
}

impl Controller {
    /// Splits the sets into new and old and brings the new one's revision up to date; makes it if `create`.
    pub(super) async fn revisions(&self, d: &mut Deployment, mut list: Vec<ReplicaSet>, create: bool) -> Result<Sets> {
        list.sort_by(by_creation);
        let found = list.iter().position(|rs| has_template_of(rs, d)).map(|i| list.remove(i));
        let old = list;
        let next = old.iter().filter_map(annotations::revision).max().unwrap_or(0).max(0) + 1;
        let new = match found {
            Some(rs) => Some(self.existing(d, rs, next).await?),
            None if create => Some(self.create(d, &old, next).await?),
            None => None,
        };
        Ok(Sets { new, old })
    }

    async fn existing(&self, d: &mut Deployment, mut rs: ReplicaSet, next: i64) -> Result<ReplicaSet> {
        let min_ready = spec(d).min_ready_seconds;
        let changed = annotations::update_new_set(d, &mut rs, next);
        let rs_spec = rs.spec.get_or_insert_default();
        if changed || rs_spec.min_ready_seconds.unwrap_or(0) != min_ready.unwrap_or(0) {
            rs_spec.min_ready_seconds = min_ready;
            return Ok(self.ctx.client.update(&rs).await?);
        }
        let revision = rs.annotation(annotations::REVISION).unwrap_or("").to_owned();
        let mut changed = set_revision(d, &revision);
        if conditions::deadline(d).is_some() && d.status.as_ref().and_then(|s| conditions::get(s, PROGRESSING)).is_none() {
            let message = format!("Found new replica set {:?}", rs.name());
            let c = conditions::new(PROGRESSING, "True", "FoundNewReplicaSet", message, self.ctx.clock.time());
            conditions::set(d.status.get_or_insert_default(), c);
            changed = true;
        }
        if changed {
            self.write_status(d).await?;
        }
        Ok(rs)
    }

    async fn create(&self, d: &mut Deployment, old: &[ReplicaSet], next: i64) -> Result<ReplicaSet> {
        let mut rs = new_set(d);
        let size = arithmetic::new_set_replicas(d, arithmetic::sum(old), 0);
        rs.spec.get_or_insert_default().replicas = Some(size);
        annotations::update_new_set(d, &mut rs, next);
        annotations::set_sizes(&mut rs, d);
        let created = match self.ctx.client.create(d.namespace(), &rs).await {
            Ok(created) => created,
            Err(e) if e.is_already_exists() => {
                let existing: ReplicaSet = self.ctx.client.get(d.namespace(), rs.name()).await?;
                let ours = existing.controller().is_some_and(|r| r.uid == d.uid());
                if ours && has_template_of(&existing, d) {
                    if set_revision(d, &next.to_string()) {
                        self.write_status(d).await?;
                    }
                    return Ok(existing);
                }
                // Another template with this hash: the next attempt adds the collision count to it.
                let status = d.status.get_or_insert_default();
                status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
                self.write_status(d).await?;
                return Err(e.into());
            }
            Err(e) if e.is_namespace_terminating() => return Err(e.into()),
            Err(e) => {
                let message = format!("Failed to create new replica set {:?}: {e}", rs.name());
                if conditions::deadline(d).is_some() {
                    let c =
                        conditions::new(PROGRESSING, "False", "ReplicaSetCreateError", message.clone(), self.ctx.clock.time());
                    conditions::set(d.status.get_or_insert_default(), c);
                    // The creation failure is the one to report.
                    let _ = self.write_status(d).await;
                }
                self.event(d, EventType::Warning, "ReplicaSetCreateError", message);
                return Err(e.into());
            }
        };
        if size > 0 {
            let message = format!("Scaled up replica set {} from 0 to {size}", created.name());
            self.event(d, EventType::Normal, "ScalingReplicaSet", message);
        }
        let mut changed = set_revision(d, &next.to_string());
        if conditions::deadline(d).is_some() {
            let message = format!("Created new replica set {:?}", created.name());
            let c = conditions::new(PROGRESSING, "True", "NewReplicaSetCreated", message, self.ctx.clock.time());
            conditions::set(d.status.get_or_insert_default(), c);
            changed = true;
        }
        if changed {
            self.write_status(d).await?;
        }
        Ok(created)
    }
}

/// Notes the revision on the Deployment (written with its status, which keeps annotations); true if changed.
fn set_revision(d: &mut Deployment, revision: &str) -> bool {
    let a = d.metadata.annotations.get_or_insert_default();
    if a.get(annotations::REVISION).is_some_and(|r| r == revision) {
        return false;
    }
    a.insert(annotations::REVISION.to_owned(), revision.to_owned());
    true
}

fn new_set(d: &Deployment) -> ReplicaSet {
    let mut template = spec(d).template.clone();
    let hash = template_hash(&template, d.status.as_ref().and_then(|s| s.collision_count));
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(HASH_LABEL.to_owned(), hash.clone());
    let labels = labels.clone();
    let mut selector = spec(d).selector.clone();
    selector.match_labels.get_or_insert_default().insert(HASH_LABEL.to_owned(), hash.clone());
    let base: String = d.name().chars().take(MAX_NAME - 1 - hash.len()).collect();
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{base}-{hash}")),
            namespace: d.metadata.namespace.clone(),
            owner_references: Some(vec![controller_reference(d)]),
            labels: Some(labels),
            ..Default::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(0),
            min_ready_seconds: spec(d).min_ready_seconds,
            selector,
            template: Some(template),
        }),
        status: None,
    }
}
