//! What the server does to `metadata` of every object, whatever its kind (apiserver/pkg/registry/rest/{meta,create,update}.go).

use crate::context::RequestCx;
use crate::resources::Entry;
use machinery::field::{Error, ErrorList, Path};
use machinery::{Status, Value, meta, time};

/// Now, as `metav1.Time`.
pub fn now() -> String {
    time::format(time::Timestamp::now())
}

/// Removes what a client may not set on a new object.
pub fn wipe_system_fields(obj: &mut Value) {
    if let Some(m) = obj.get_mut("metadata").and_then(Value::as_object_mut) {
        for f in ["creationTimestamp", "uid", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
            m.remove(f);
        }
    }
}

/// Time of creation and identity of a new object.
pub fn fill_system_fields(obj: &mut Value) {
    let m = meta::entry(obj, &["metadata"]);
    m.insert("creationTimestamp".into(), now().into());
    m.insert("uid".into(), uuid::Uuid::new_v4().to_string().into());
}

/// The object's namespace is the request's, or becomes it.
pub fn ensure_namespace(obj: &mut Value, namespaced: bool, request_namespace: &str) -> Result<(), Status> {
    let expected = if namespaced { request_namespace } else { "" };
    let actual = meta::namespace(obj);
    if actual == expected {
        if let Some(m) = obj.get_mut("metadata").and_then(Value::as_object_mut)
            && m.get("namespace").and_then(Value::as_str) == Some("")
        {
            m.remove("namespace");
        }
        return Ok(());
    }
    if actual.is_empty() {
        meta::set(obj, &["metadata", "namespace"], expected.into());
        return Ok(());
    }
    if expected.is_empty() {
        meta::remove(obj, &["metadata", "namespace"]);
        return Ok(());
    }
    Err(Status::bad_request("the namespace of the provided object does not match the namespace sent on the request"))
}

/// The name in the object is the one in the path.
pub fn check_name(obj: &Value, name: &str) -> Result<(), Status> {
    let actual = meta::name(obj);
    if actual.is_empty() {
        return Err(Status::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )));
    }
    if actual != name {
        return Err(Status::bad_request(format!(
            "the name of the object ({actual}) does not match the name on the URL ({name})"
        )));
    }
    Ok(())
}

/// Owner references that say the same are kept once.
pub fn dedup_owner_references(cx: &RequestCx, obj: &mut Value, after_admission: bool) {
    let Some(owners) = obj.get_mut("metadata").and_then(|m| m.get_mut("ownerReferences")).and_then(Value::as_array_mut) else {
        return;
    };
    let mut seen: Vec<(Value, Value)> = Vec::new();
    let mut duplicates: Vec<String> = Vec::new();
    owners.retain(|o| {
        let key = (o["uid"].clone(), o.clone());
        if seen.contains(&key) {
            duplicates.push(key.0.as_str().unwrap_or("").to_owned());
            return false;
        }
        seen.push(key);
        true
    });
    if !duplicates.is_empty() {
        let when = if after_admission { " after mutating admission happens" } else { "" };
        cx.warn(format!(
            ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, and may reject \
             such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
            duplicates.join(", ")
        ));
    }
}

fn no_name_rule(_: &str, _: bool) -> Vec<String> {
    Vec::new()
}

/// Validates metadata of a new object, names by the rules of the kind.
pub fn validate_create(entry: &Entry, obj: &Value) -> ErrorList {
    let path = Path::new("metadata");
    let mut errs = ErrorList::new();
    let generate = meta::str_at(obj, &["metadata", "generateName"]);
    if !generate.is_empty() {
        let p = path.child("generateName");
        errs.extend(entry.strategy.validate_name(generate, true).into_iter().map(|m| Error::invalid(&p, generate, m)));
    }
    let name = meta::name(obj);
    if !name.is_empty() {
        let p = path.child("name");
        errs.extend(entry.strategy.validate_name(name, false).into_iter().map(|m| Error::invalid(&p, name, m)));
    }
    errs.extend(machinery::objectmeta::validate(obj, entry.namespaced(), no_name_rule, &path));
    errs
}

/// Validates metadata of a changed object.
pub fn validate_update(entry: &Entry, obj: &Value, old: &Value) -> ErrorList {
    let path = Path::new("metadata");
    let mut errs = machinery::objectmeta::validate(obj, entry.namespaced(), machinery::validation::path_segment_name, &path);
    for e in machinery::objectmeta::validate_update(obj, old, &path) {
        if !errs.contains(&e) {
            errs.push(e);
        }
    }
    errs
}

/// What an update can't change: identity, creation, deletion.
pub fn keep_system_fields(obj: &mut Value, old: &Value) {
    let old_meta = old.get("metadata").and_then(Value::as_object);
    let Some(old_meta) = old_meta else { return };
    let m = meta::entry(obj, &["metadata"]);
    if m.get("uid").and_then(Value::as_str).unwrap_or("").is_empty()
        && let Some(uid) = old_meta.get("uid")
    {
        m.insert("uid".into(), uid.clone());
    }
    for f in ["creationTimestamp", "deletionTimestamp"] {
        if let Some(v) = old_meta.get(f).filter(|v| !v.is_null()) {
            m.insert(f.into(), v.clone());
        }
    }
    if let Some(g) = old_meta.get("deletionGracePeriodSeconds").filter(|g| !g.is_null())
        && m.get("deletionGracePeriodSeconds").is_none_or(Value::is_null)
    {
        m.insert("deletionGracePeriodSeconds".into(), g.clone());
    }
}

/// Generation of a changed object: one more when anything but metadata and status differs.
pub fn bump_generation(obj: &mut Value, old: &Value, with_status: bool) {
    let differs = |key: &str| obj.get(key) != old.get(key);
    let keys = |v: &Value| v.as_object().map(|m| m.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    let mut all = keys(obj);
    all.extend(keys(old));
    if all
        .iter()
        .any(|k| !matches!(k.as_str(), "metadata" | "kind" | "apiVersion") && (with_status || k != "status") && differs(k))
    {
        let g = meta::i64_at(old, &["metadata", "generation"]).unwrap_or(0);
        meta::set(obj, &["metadata", "generation"], (g + 1).into());
    }
}
