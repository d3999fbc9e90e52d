//! The scale subresource shares `replicas` with the object behind it: ownership is shown on the Scale, and carried back.

use super::entries::{Entry, Id, Managers, Operation, decode, encode};
use crate::fieldset::{Element, Set};
use machinery::Value;

const SCALE_VERSION: &str = "autoscaling/v1";

fn path(fields: &[&str]) -> Vec<Element> {
    fields.iter().map(|f| Element::field(f)).collect()
}
fn only(fields: &[&str]) -> Set {
    let mut s = Set::new();
    s.insert(&path(fields));
    s
}

/// `managedFields` of the Scale: those entries of the object that own its replicas, in the Scale's terms.
///
/// `replicas` is where the object (at `api_version`) keeps them, `["spec", "replicas"]`. Entries at other versions are left out.
pub fn to_scale(entries: &[Value], api_version: &str, replicas: &[&str]) -> Option<Value> {
    let mut out = Managers::new();
    for (id, e) in decode(entries).ok()? {
        if e.api_version == api_version && e.fields.has(&path(replicas)) {
            out.insert(
                at_version(id, SCALE_VERSION),
                Entry { api_version: SCALE_VERSION.into(), fields: only(&["spec", "replicas"]), ..e },
            );
        }
    }
    encode(&out)
}

/// `managedFields` of the object after a write of its Scale: whoever no longer owns replicas there loses them here, new owners
/// are added.
///
/// Upstream compares owners by an identifier that holds the version, so that an unchanged updater is split in two and loses its
/// time; here it stays as it was.
pub fn from_scale(entries: &[Value], scale_entries: &[Value], api_version: &str, replicas: &[&str]) -> Option<Value> {
    let parent = decode(entries).unwrap_or_default();
    let mut scale: Managers =
        decode(scale_entries).unwrap_or_default().into_iter().map(|(id, e)| (at_version(id, api_version), e)).collect();
    let mut out = Managers::new();
    for (id, mut e) in parent.into_iter().filter(|(_, e)| e.api_version == api_version) {
        if e.fields.has(&path(replicas)) && scale.remove(&id).is_none() {
            e.fields.subtract(&only(replicas));
        }
        if !e.fields.is_empty() {
            out.insert(id, e);
        }
    }
    for (id, e) in scale {
        if e.fields.has(&path(&["spec", "replicas"])) {
            let entry =
                out.entry(id).or_insert(Entry { api_version: api_version.into(), fields: Set::new(), time: String::new() });
            entry.fields.union_with(&only(replicas));
            entry.time = e.time;
        }
    }
    encode(&out)
}

fn at_version(id: Id, version: &str) -> Id {
    if id.operation == Operation::Apply { id } else { Id { api_version: version.into(), ..id } }
}
