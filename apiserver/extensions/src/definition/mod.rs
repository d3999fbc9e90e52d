//! CustomResourceDefinitions as objects: defaults, preparation, validation, names, conditions. Upstream:
//! apiextensions-apiserver/pkg/apis/apiextensions and pkg/registry/customresourcedefinition.

pub mod names;
mod schemas;
mod validate;

pub use validate::{validate, validate_status};

use machinery::{Value, json, meta};

/// The finalizer under which a definition's objects are deleted.
pub const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Versions, as written.
pub fn versions(crd: &Value) -> &[Value] {
    meta::list_at(crd, &["spec", "versions"])
}

/// The name of the version that objects are stored in.
pub fn storage_version(crd: &Value) -> &str {
    versions(crd).iter().find(|v| meta::bool_at(v, &["storage"])).map_or("", |v| meta::str_at(v, &["name"]))
}

/// Orders versions as discovery lists them: released before beta before alpha, newer before older, then others by name.
pub fn compare_versions(a: &str, b: &str) -> std::cmp::Ordering {
    let rank = |v: &str| -> Option<(u8, u64, u64)> {
        let digits = |s: &str| s.find(|c: char| !c.is_ascii_digit()).unwrap_or(s.len());
        let rest = v.strip_prefix('v')?;
        let n = digits(rest);
        let major = rest[..n].parse().ok()?;
        match &rest[n..] {
            "" => Some((3, major, 0)),
            tail => {
                let (stage, minor) =
                    tail.strip_prefix("beta").map(|m| (2, m)).or_else(|| tail.strip_prefix("alpha").map(|m| (1, m)))?;
                Some((stage, major, minor.parse().ok()?))
            }
        }
    };
    match (rank(a), rank(b)) {
        (Some(x), Some(y)) => y.cmp(&x),
        (Some(_), None) => std::cmp::Ordering::Less,
        (None, Some(_)) => std::cmp::Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// The storage version joins `status.storedVersions`.
pub fn note_storage_version(crd: &mut Value) {
    let storage = storage_version(crd).to_owned();
    if storage.is_empty() {
        return;
    }
    let mut stored = meta::list_at(crd, &["status", "storedVersions"]).to_vec();
    if !stored.iter().any(|v| *v == storage.as_str()) {
        stored.push(storage.into());
        meta::set(crd, &["status", "storedVersions"], stored.into());
    }
}

/// The status of a new definition.
pub fn initial_status(crd: &mut Value) {
    meta::set(crd, &["status"], json!({"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": null}));
    note_storage_version(crd);
}

/// The condition of a type.
pub fn condition<'a>(crd: &'a Value, ty: &str) -> Option<&'a Value> {
    meta::list_at(crd, &["status", "conditions"]).iter().find(|c| meta::str_at(c, &["type"]) == ty)
}

/// Whether a condition is true.
pub fn is(crd: &Value, ty: &str) -> bool {
    condition(crd, ty).is_some_and(|c| meta::str_at(c, &["status"]) == "True")
}

/// Sets a condition; `now` counts if its status changes. True if it differs from what was there.
pub fn set_condition(crd: &mut Value, ty: &str, status: &str, reason: &str, message: &str, now: &str) -> bool {
    let mut new = json!({"type": ty, "status": status, "lastTransitionTime": now, "reason": reason, "message": message});
    let s = meta::entry(crd, &["status"]);
    let list = s.entry("conditions").or_insert_with(|| json!([]));
    if !list.is_array() {
        *list = json!([]);
    }
    let Value::Array(list) = list else { return false };
    match list.iter_mut().find(|c| meta::str_at(c, &["type"]) == ty) {
        None => {
            list.push(new);
            true
        }
        Some(old) => {
            if meta::str_at(old, &["status"]) == status {
                new["lastTransitionTime"] = old["lastTransitionTime"].clone();
            }
            let changed = *old != new;
            *old = new;
            changed
        }
    }
}
