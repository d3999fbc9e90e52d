//! Every write that is no apply: whoever changes a field owns it from then on, and others lose it.

use super::entries::{Entry, Managers, Operation, cap, decode, encode};
use super::{Request, STRIPPED};
use crate::fieldset::Set;
use crate::typed::{self, Comparison};
use machinery::meta::{self, list_at};
use machinery::{Map, Value};
use std::collections::btree_map::Entry::{Occupied, Vacant};

/// `new` with its `managedFields` brought up to date. `live` is `None` on create.
///
/// Entries that the client sent are taken over on the main endpoint: an explicit `[]` or `[{}]` clears them, entries that do not
/// decode are ignored. Where tracking fails (the object does not fit its type), `managedFields` is dropped, as upstream drops it.
pub fn update(live: Option<&Value>, mut new: Value, req: &Request) -> Value {
    let empty = Value::Object(Map::new());
    let live = live.unwrap_or(&empty);
    let sent = meta::remove(&mut new, &["metadata", "managedFields"]).filter(|v| !v.is_null());
    let before = list_at(live, &["metadata", "managedFields"]);

    // Nothing was ever tracked on an object that exists: it stays so until the first apply.
    let untracked = |managers: &Managers| managers.is_empty() && !meta::uid(live).is_empty();
    let Ok(changes) = compare(live, &new, req) else { return new };
    let same_entries =
        !req.subresource.is_empty() || sent.as_ref().is_none_or(|s| s.as_array().is_some_and(|s| s == before && !s.is_empty()));
    if changes.is_same() && same_entries && !before.is_empty() && decodes(before) {
        meta::set(&mut new, &["metadata", "managedFields"], before.to_vec().into());
        return new;
    }

    let mut managers = starting_point(sent.as_ref(), before, req);
    if untracked(&managers) {
        return new;
    }
    take_ownership(&mut managers, changes, req.manager, req);
    cap(&mut managers);
    if let Some(list) = encode(&managers) {
        meta::set(&mut new, &["metadata", "managedFields"], list);
    }
    new
}

/// Cheaper than decoding: entries written by this server have these fields, and their sets decoded before.
fn decodes(list: &[Value]) -> bool {
    list.iter().all(|e| {
        meta::str_at(e, &["fieldsType"]) == "FieldsV1"
            && !meta::str_at(e, &["apiVersion"]).is_empty()
            && matches!(meta::str_at(e, &["operation"]), "Apply" | "Update")
    })
}

/// The entries that hold before this write.
fn starting_point(sent: Option<&Value>, before: &[Value], req: &Request) -> Managers {
    let old = || decode(before).unwrap_or_default();
    if !req.subresource.is_empty() {
        return old();
    }
    match sent.and_then(Value::as_array).map(Vec::as_slice) {
        Some([]) => Managers::new(),
        Some([one]) if one.as_object().is_some_and(|m| m.values().all(Value::is_null)) => Managers::new(),
        Some(list) => match decode(list) {
            Ok(m) if !m.is_empty() => m,
            _ => old(),
        },
        None => old(),
    }
}

/// What changed, without what the server writes itself or this endpoint resets.
pub(super) fn compare(live: &Value, new: &Value, req: &Request) -> Result<Comparison, typed::Errors> {
    let mut c = typed::compare(live, new, req.typed)?;
    if let Some(reset) = req.reset_fields {
        c.exclude(reset);
    }
    // Nobody owns these, so leaving them out early changes no set, and a write that changes nothing is seen to change nothing.
    for s in [&mut c.removed, &mut c.modified, &mut c.added] {
        s.subtract(&STRIPPED);
    }
    Ok(c)
}

/// Gives the changed fields to `manager`, and takes them from all others.
pub(super) fn take_ownership(managers: &mut Managers, c: Comparison, manager: &str, req: &Request) {
    let (changed, removed) = c.into_changed_and_removed();
    for e in managers.values_mut() {
        typed::reconcile(&mut e.fields, req.typed);
        e.fields.subtract(&changed);
        e.fields.subtract(&removed);
    }
    managers.retain(|_, e| !e.fields.is_empty());
    if changed.is_empty() {
        return;
    }
    own(managers, changed, manager, req);
}

fn own(managers: &mut Managers, fields: Set, manager: &str, req: &Request) {
    let time = machinery::time::format(req.now);
    let api_version = req.api_version.into();
    match managers.entry(req.id(manager, Operation::Update)) {
        Vacant(slot) => {
            slot.insert(Entry { api_version, fields, time });
        }
        Occupied(mut slot) => {
            let entry = slot.get_mut();
            entry.api_version = api_version;
            entry.fields.union_with(&fields);
            entry.time = time;
        }
    }
}
