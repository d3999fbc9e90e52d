//! ControllerRevisions: the past templates of StatefulSets and DaemonSets (pkg/controller/history).

use super::claim::{self, Claim};
use super::error::ignore_not_found;
use super::revision::prune_empty;
use crate::{Context, Result};
use client::object::controller_reference;
use client::{DeleteOptions, Informer, Object, Patch};
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use machinery::labels::Selector;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// FNV-1, not 1a: what upstream hashes revisions with.
fn fnv32(data: &[u8]) -> u32 {
    data.iter().fold(0x811c_9dc5_u32, |h, b| h.wrapping_mul(0x0100_0193) ^ u32::from(*b))
}

/// The template as a patch that restores it.
pub fn template_patch(template: &PodTemplateSpec) -> Value {
    let mut t = serde_json::to_value(template).unwrap_or_default();
    t["$patch"] = "replace".into();
    json!({"spec": {"template": t}})
}

/// The hash in a revision's name.
pub fn hash(data: &Value, collisions: Option<i32>) -> String {
    let mut bytes = data.to_string().into_bytes();
    if let Some(n) = collisions {
        bytes.extend_from_slice(n.to_string().as_bytes());
    }
    machinery::hash::safe_encode(&fnv32(&bytes).to_string())
}

pub fn data(r: &ControllerRevision) -> Value {
    r.data.as_ref().map_or(Value::Null, |d| d.0.clone())
}

/// The template that a revision holds.
pub fn template(r: &ControllerRevision) -> Option<PodTemplateSpec> {
    let mut t = data(r).pointer("/spec/template")?.clone();
    t.as_object_mut()?.remove("$patch");
    serde_json::from_value(t).ok()
}

fn same(a: &Value, b: &Value) -> bool {
    let normal = |v: &Value| {
        let mut v = v.clone();
        prune_empty(&mut v);
        v
    };
    a == b || normal(a) == normal(b)
}

pub fn holds(r: &ControllerRevision, data_of: &Value) -> bool {
    same(&data(r), data_of)
}

/// Ascending; equal numbers by age, then name.
pub fn sort(revisions: &mut [ControllerRevision]) {
    let created = |r: &ControllerRevision| r.metadata.creation_timestamp.as_ref().map(|t| t.0);
    revisions.sort_by(|a, b| {
        a.revision.cmp(&b.revision).then_with(|| created(a).cmp(&created(b))).then_with(|| a.name().cmp(b.name()))
    });
}

/// A new revision of `parent`, named by its content.
pub fn new<K: Object>(
    parent: &K,
    labels: BTreeMap<String, String>,
    data: Value,
    revision: i64,
    collisions: Option<i32>,
    hash_label: &str,
) -> ControllerRevision {
    let hash = hash(&data, collisions);
    let mut labels = labels;
    labels.insert(hash_label.to_owned(), hash.clone());
    let prefix: String = parent.name().chars().take(223).collect();
    ControllerRevision {
        metadata: ObjectMeta {
            name: Some(format!("{prefix}-{hash}")),
            namespace: Some(parent.namespace().to_owned()),
            labels: Some(labels),
            annotations: parent.meta().annotations.clone(),
            owner_references: Some(vec![controller_reference(parent)]),
            ..Default::default()
        },
        data: Some(RawExtension(data)),
        revision,
    }
}

/// The revisions `parent` owns, after adoption and release.
pub async fn list<K: Object>(
    ctx: &Context,
    informer: &Informer<ControllerRevision>,
    parent: &K,
    selector: &Selector,
) -> Result<Vec<ControllerRevision>> {
    let candidates = claim::candidates(informer, parent);
    let owned: Vec<Arc<ControllerRevision>> = Claim::new(&ctx.client, parent, selector).run(candidates, |_| true).await?;
    let mut revisions: Vec<ControllerRevision> = owned.iter().map(|r| ControllerRevision::clone(r)).collect();
    sort(&mut revisions);
    Ok(revisions)
}

pub enum Created {
    Done(ControllerRevision),
    /// Its name is taken by another content.
    Collision,
}

pub async fn create(ctx: &Context, r: &ControllerRevision) -> Result<Created> {
    match ctx.client.create(r.namespace(), r).await {
        Ok(created) => Ok(Created::Done(created)),
        Err(e) if e.is_already_exists() => {
            let existing: ControllerRevision = ctx.client.get(r.namespace(), r.name()).await?;
            Ok(if holds(&existing, &data(r)) { Created::Done(existing) } else { Created::Collision })
        }
        Err(e) => Err(e.into()),
    }
}

/// Gives a revision a new number: its content is current again.
pub async fn renumber(ctx: &Context, r: &ControllerRevision, revision: i64) -> Result<ControllerRevision> {
    let patch = Patch::Merge(json!({"revision": revision}));
    Ok(ctx.client.patch(r.namespace(), r.name(), &patch).await?)
}

/// Deletes the oldest revisions over the limit, except those in `live`.
pub async fn truncate(ctx: &Context, revisions: &[ControllerRevision], live: &[&str], limit: usize) -> Result {
    let dead: Vec<&ControllerRevision> = revisions.iter().filter(|r| !live.contains(&r.name())).collect();
    for r in dead.iter().take(dead.len().saturating_sub(limit)) {
        ignore_not_found(ctx.client.delete::<ControllerRevision>(r.namespace(), r.name(), &DeleteOptions::default()).await)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn fnv_is_version_one() {
        // Values of Go's hash/fnv New32.
        assert_eq!(super::fnv32(b""), 0x811c_9dc5);
        assert_eq!(super::fnv32(b"foobar"), 0x31f0_b262);
    }
}
