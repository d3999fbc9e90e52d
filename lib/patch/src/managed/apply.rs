//! Server-side apply: a configuration is laid over the live object, what it no longer names is removed, and what others own is a
//! conflict unless forced.

use super::conflict::{self, Conflicts};
use super::entries::{Entry, Id, Managers, Operation, decode, encode};
use super::update::{compare, take_ownership};
use super::{Request, STRIPPED};
use crate::fieldset::Set;
use crate::typed::{self, ensure_named_fields, merge, remove_items, to_set, validate};
use machinery::meta::{self, list_at, str_at};
use machinery::{Map, Status, Value};

/// The manager of fields that were set before the object's first apply.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";
/// kubectl's default manager, which may take over what client-side apply recorded.
const KUBECTL: &str = "kubectl";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The object after the apply, with its `managedFields`. `live` is `None` on create.
///
/// The result is neither pruned nor defaulted. Errors are Statuses with upstream's codes and messages: 409 for conflicts, 400 for
/// a wrong version or `managedFields` in the configuration, 500 for a configuration that does not fit the type.
pub fn apply(live: Option<&Value>, applied: &Value, force: bool, req: &Request) -> Result<Value, Status> {
    let applied_version = str_at(applied, &["apiVersion"]);
    if applied_version != req.api_version {
        let (slash, kind) = (if applied_version.contains('/') { "" } else { "/" }, str_at(applied, &["kind"]));
        return Err(Status::bad_request(format!("invalid object type: {slash}{applied_version}, Kind={kind}")));
    }
    if meta::at(applied, &["metadata", "managedFields"]).is_some() {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let mut fresh = Map::new();
    for k in ["apiVersion", "kind"] {
        fresh.insert(k.into(), applied.get(k).cloned().unwrap_or_default());
    }
    let mut live = live.cloned().unwrap_or(Value::Object(fresh));
    let entries = list_at(&live, &["metadata", "managedFields"]);
    let mut managers = decode(entries).map_err(|e| failed(format!("failed to decode managed fields: {e}")))?;
    meta::remove(&mut live, &["metadata", "managedFields"]);
    for e in managers.values_mut() {
        typed::reconcile(&mut e.fields, req.typed);
    }
    validate(applied, req.typed)
        .map_err(|e| failed(format!("failed to create typed patch object ({}): {e}", describe(applied))))?;
    if managers.is_empty() {
        let empty = Value::Object(Map::new());
        let changes = compare(&empty, &live, req).map_err(typing_failed)?;
        take_ownership(&mut managers, changes, BEFORE_FIRST_APPLY, req);
    }

    let id = req.id(req.manager, Operation::Apply);
    let (mut object, mut managers) = match attempt(&live, applied, &managers, &id, force, req)? {
        Ok(done) => done,
        Err(conflicts) if req.manager == KUBECTL => take_over(&live, applied, &managers, &id, conflicts, req)?,
        Err(conflicts) => return Err(conflict::status(&conflicts)),
    };
    if object != live
        && let Some(e) = managers.get_mut(&id)
    {
        e.time = machinery::time::format(req.now);
    }
    if req.manager == KUBECTL && !str_at(&object, &["metadata", "annotations", LAST_APPLIED]).is_empty() {
        set_last_applied(&mut object, applied);
    }
    if let Some(list) = encode(&managers) {
        meta::set(&mut object, &["metadata", "managedFields"], list);
    }
    Ok(object)
}

fn failed(message: String) -> Status {
    Status::new(500, "", message)
}
fn typing_failed(e: typed::Errors) -> Status {
    failed(format!("failed to compare objects: {e}"))
}
/// `default/web; apps/v1, Kind=Deployment`.
fn describe(obj: &Value) -> String {
    let (version, kind) = (str_at(obj, &["apiVersion"]), str_at(obj, &["kind"]));
    let slash = if version.contains('/') { "" } else { "/" };
    format!("{}/{}; {slash}{version}, Kind={kind}", meta::namespace(obj), meta::name(obj))
}

type Outcome = Result<(Value, Managers), Conflicts>;

/// One apply; the inner error is a conflict, which a force may override.
fn attempt(live: &Value, applied: &Value, managers: &Managers, id: &Id, force: bool, req: &Request) -> Result<Outcome, Status> {
    let mut managers = managers.clone();
    let merged = merge(live, applied, req.typed).map_err(|e| failed(format!("failed to merge config: {e}")))?;
    let mut set = to_set(applied, req.typed).map_err(|e| failed(format!("failed to get field set: {e}")))?;
    if let Some(reset) = req.reset_fields {
        set.subtract_recursive(reset);
    }
    let time = managers.get(id).map(|e| e.time.clone()).unwrap_or_default();
    let entry = Entry { api_version: req.api_version.into(), fields: set, time };
    let last = managers.insert(id.clone(), entry);
    let object = match last {
        Some(last) if !last.fields.is_empty() => {
            prune(&merged, &managers, &last.fields, req).map_err(|e| failed(format!("failed to prune fields: {e}")))?
        }
        _ => merged,
    };
    let changes = compare(live, &object, req).map_err(typing_failed)?;
    let (changed, removed) = changes.into_changed_and_removed();
    let mut conflicts = Conflicts::new();
    for (other, e) in managers.iter_mut().filter(|(other, _)| *other != id) {
        let conflict = e.fields.intersection(&changed);
        if !conflict.is_empty() {
            conflicts.insert(other.clone(), conflict);
        }
        e.fields.subtract(&changed);
        e.fields.subtract(&removed);
    }
    if !force && !conflicts.is_empty() {
        return Ok(Err(conflicts));
    }
    if let Some(e) = managers.get_mut(id) {
        e.fields.subtract(&STRIPPED);
    }
    managers.retain(|_, e| !e.fields.is_empty());
    Ok(Ok((object, managers)))
}

/// `merged` without what this manager applied before and nobody applies or owns now.
fn prune(merged: &Value, managers: &Managers, last: &Set, req: &Request) -> Result<Value, typed::Errors> {
    let named = |s: &Set| ensure_named_fields(s, req.typed);
    let last = named(last);
    let pruned = remove_items(merged, &last, req.typed);
    let merged_set = named(&to_set(merged, req.typed)?);

    // What somebody owns comes back.
    let mut owned = Set::new();
    for e in managers.values() {
        owned.union_with(&e.fields);
    }
    let keep = named(&to_set(&pruned, req.typed)?).union(&named(&owned));
    let pruned = remove_items(merged, &merged_set.clone().difference(&keep), req.typed);

    // And what was removed only because it hung below something removed.
    let pruned_set = named(&to_set(&pruned, req.typed)?);
    Ok(remove_items(merged, &merged_set.difference(&pruned_set).intersection(&last), req.typed))
}

/// kubectl moving from client-side apply: fields that still are as the last-applied annotation says are no conflict.
fn take_over(
    live: &Value,
    applied: &Value,
    managers: &Managers,
    id: &Id,
    mut conflicts: Conflicts,
    req: &Request,
) -> Result<(Value, Managers), Status> {
    if let Some(allowed) = unchanged_since_last_applied(live, req) {
        for set in conflicts.values_mut() {
            set.subtract(&allowed);
        }
        conflicts.retain(|_, set| !set.is_empty());
        if conflicts.is_empty()
            && let Ok(done) = attempt(live, applied, managers, id, true, req)?
        {
            return Ok(done);
        }
    }
    Err(conflict::status(&conflicts))
}

fn unchanged_since_last_applied(live: &Value, req: &Request) -> Option<Set> {
    let text = str_at(live, &["metadata", "annotations", LAST_APPLIED]);
    let last: Value = serde_json::from_str(text).ok()?;
    if str_at(&last, &["apiVersion"]) != req.api_version || validate(&last, req.typed).is_err() {
        return None;
    }
    let set = to_set(&last, req.typed).ok()?;
    let c = typed::compare(&last, live, req.typed).ok()?;
    Some(set.difference(&c.modified).difference(&c.added).difference(&c.removed))
}

/// Keeps the annotation of client-side apply in step, so that a user may go back to it.
fn set_last_applied(object: &mut Value, applied: &Value) {
    let mut config = applied.clone();
    if let Some(m) = config.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        m.remove(LAST_APPLIED);
    }
    let annotations = meta::entry(object, &["metadata", "annotations"]);
    annotations.insert(LAST_APPLIED.into(), format!("{config}\n").into());
    let size: usize = annotations.iter().map(|(k, v)| k.len() + v.as_str().map_or(0, str::len)).sum();
    if size > machinery::objectmeta::TOTAL_ANNOTATION_SIZE_LIMIT {
        annotations.remove(LAST_APPLIED);
    }
}
