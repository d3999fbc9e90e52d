//! Validation of `metadata`, on create and on update, as apimachinery/pkg/api/validation does it for every kind.

use crate::field::{Error, ErrorList, Path};
use crate::gvk::{GroupVersion, GroupVersionKind};
use crate::labels::validate_labels;
use crate::meta::{bool_at, i64_at, list_at, map_at, str_at};
use crate::quote::Quoted;
use crate::validation::{self, NameFn};
use serde_json::{Map, Value};

/// Keys and values of all annotations together.
pub const TOTAL_ANNOTATION_SIZE_LIMIT: usize = 256 << 10;

/// The detail of a changed immutable field.
pub const FIELD_IMMUTABLE: &str = "field is immutable";

/// Longest `fieldManager`.
pub const FIELD_MANAGER_MAX: usize = 128;

/// `ValidateObjectMeta` of `obj.metadata`; `path` is usually `metadata`.
pub fn validate(obj: &Value, namespaced: bool, name_fn: NameFn, path: &Path) -> ErrorList {
    let meta = obj.get("metadata").unwrap_or(&Value::Null);
    let mut errs = ErrorList::new();
    let generate = str_at(meta, &["generateName"]);
    if !generate.is_empty() {
        let p = path.child("generateName");
        errs.extend(name_fn(generate, true).into_iter().map(|m| Error::invalid(&p, generate, m)));
    }
    let name = str_at(meta, &["name"]);
    let p = path.child("name");
    if name.is_empty() {
        errs.push(Error::required(&p, "name or generateName is required"));
    } else {
        errs.extend(name_fn(name, false).into_iter().map(|m| Error::invalid(&p, name, m)));
    }
    let namespace = str_at(meta, &["namespace"]);
    let p = path.child("namespace");
    if !namespaced {
        if !namespace.is_empty() {
            errs.push(Error::forbidden(&p, "not allowed on this type"));
        }
    } else if namespace.is_empty() {
        errs.push(Error::required(&p, ""));
    } else {
        errs.extend(validation::dns1123_label(namespace).into_iter().map(|m| Error::invalid(&p, namespace, m)));
    }
    let generation = i64_at(meta, &["generation"]).unwrap_or(0);
    if generation < 0 {
        errs.push(Error::invalid(&path.child("generation"), generation, "must be greater than or equal to 0"));
    }
    errs.extend(validate_labels(map_at(meta, &["labels"]), &path.child("labels")));
    errs.extend(validate_annotations(map_at(meta, &["annotations"]), &path.child("annotations")));
    errs.extend(validate_owner_references(list_at(meta, &["ownerReferences"]), &path.child("ownerReferences")));
    errs.extend(validate_finalizers(list_at(meta, &["finalizers"]), &path.child("finalizers")));
    errs.extend(validate_managed_fields(list_at(meta, &["managedFields"]), &path.child("managedFields")));
    errs
}

/// `ValidateObjectMetaUpdate` of two objects.
pub fn validate_update(new: &Value, old: &Value, path: &Path) -> ErrorList {
    let null = Value::Null;
    let (new, old) = (new.get("metadata").unwrap_or(&null), old.get("metadata").unwrap_or(&null));
    let mut errs = ErrorList::new();
    if crate::meta::at(old, &["deletionTimestamp"]).is_some() {
        let had = list_at(old, &["finalizers"]);
        let mut extra: Vec<&str> =
            list_at(new, &["finalizers"]).iter().filter(|f| !had.contains(f)).filter_map(Value::as_str).collect();
        extra.sort_unstable();
        extra.dedup();
        if !extra.is_empty() {
            let shown: Vec<String> = extra.iter().map(|f| Quoted(f).to_string()).collect();
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                shown.join(", ")
            );
            errs.push(Error::forbidden(&path.child("finalizers"), detail));
        }
    }
    if str_at(new, &["resourceVersion"]).is_empty() {
        errs.push(Error::invalid(&path.child("resourceVersion"), "", "must be specified for an update"));
    }
    let generation = |m: &Value| i64_at(m, &["generation"]).unwrap_or(0);
    if generation(new) < generation(old) {
        errs.push(Error::invalid(&path.child("generation"), generation(new), "must not be decremented"));
    }
    // Absent strings print as "", absent times and numbers as null.
    for (field, absent) in [
        ("name", Value::from("")),
        ("namespace", Value::from("")),
        ("uid", Value::from("")),
        ("creationTimestamp", Value::Null),
        ("deletionTimestamp", Value::Null),
        ("deletionGracePeriodSeconds", Value::Null),
    ] {
        let get = |m: &Value| m.get(field).filter(|v| !v.is_null()).unwrap_or(&absent).clone();
        errs.extend(validate_immutable(&get(new), &get(old), &path.child(field)));
    }
    errs.extend(validate_labels(map_at(new, &["labels"]), &path.child("labels")));
    errs.extend(validate_annotations(map_at(new, &["annotations"]), &path.child("annotations")));
    errs.extend(validate_owner_references(list_at(new, &["ownerReferences"]), &path.child("ownerReferences")));
    errs.extend(validate_managed_fields(list_at(new, &["managedFields"]), &path.child("managedFields")));
    errs
}

/// `field is immutable`, unless the values are equal.
pub fn validate_immutable(new: &Value, old: &Value, path: &Path) -> Option<Error> {
    (new != old).then(|| Error::invalid(path, new.clone(), FIELD_IMMUTABLE))
}

/// Keys (case does not matter) and the size of all together.
pub fn validate_annotations(annotations: &Map<String, Value>, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let mut size = 0;
    for (k, v) in annotations {
        errs.extend(validation::qualified_name(&k.to_lowercase()).into_iter().map(|m| Error::invalid(path, k.as_str(), m)));
        size += k.len() + v.as_str().map_or(0, str::len);
    }
    if size > TOTAL_ANNOTATION_SIZE_LIMIT {
        errs.push(Error::too_long(path, TOTAL_ANNOTATION_SIZE_LIMIT));
    }
    errs
}

fn validate_owner_references(refs: &[Value], path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let mut controller: Option<String> = None;
    for r in refs {
        let (api_version, kind, name) = (str_at(r, &["apiVersion"]), str_at(r, &["kind"]), str_at(r, &["name"]));
        let gv = GroupVersion::parse(api_version).unwrap_or_default();
        if gv.version.is_empty() {
            errs.push(Error::invalid(&path.child("apiVersion"), api_version, "version must not be empty"));
        }
        for (field, value) in [("kind", kind), ("name", name), ("uid", str_at(r, &["uid"]))] {
            if value.is_empty() {
                errs.push(Error::invalid(&path.child(field), value, "must not be empty"));
            }
        }
        if api_version == "v1" && kind == "Event" {
            let gvk = GroupVersionKind::new(gv.group, gv.version, kind);
            errs.push(Error::invalid(path, r.clone(), format!("{gvk} is disallowed from being an owner")));
        }
        if bool_at(r, &["controller"]) {
            let this = format!("{kind}/{name}");
            match &controller {
                Some(first) => {
                    let detail = format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
                    );
                    errs.push(Error::invalid(path, refs.to_vec(), detail));
                }
                None => controller = Some(this),
            }
        }
    }
    errs
}

fn validate_finalizers(finalizers: &[Value], path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    for f in finalizers.iter().filter_map(Value::as_str) {
        errs.extend(validation::qualified_name(f).into_iter().map(|m| Error::invalid(path, f, m)));
    }
    let has = |name: &str| finalizers.iter().any(|f| f == name);
    if has("foregroundDeletion") && has("orphan") {
        let detail = "finalizer orphan and foregroundDeletion cannot be both set";
        errs.push(Error::invalid(path, finalizers.to_vec(), detail));
    }
    errs
}

fn validate_managed_fields(entries: &[Value], path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    for (i, e) in entries.iter().enumerate() {
        let p = path.index(i);
        let operation = str_at(e, &["operation"]);
        if operation != "Apply" && operation != "Update" {
            errs.push(Error::invalid(&p.child("operation"), operation, "must be `Apply` or `Update`"));
        }
        let fields_type = str_at(e, &["fieldsType"]);
        if !fields_type.is_empty() && fields_type != "FieldsV1" {
            errs.push(Error::invalid(&p.child("fieldsType"), fields_type, "must be `FieldsV1`"));
        }
        errs.extend(validate_field_manager(str_at(e, &["manager"]), &p.child("manager")));
        if str_at(e, &["subresource"]).len() > 256 {
            errs.push(Error::too_long(&p.child("subresource"), 256));
        }
    }
    errs
}

/// `?fieldManager=`: printable and at most 128 bytes.
pub fn validate_field_manager(manager: &str, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    if manager.len() > FIELD_MANAGER_MAX {
        errs.push(Error::too_long(path, FIELD_MANAGER_MAX));
    }
    for (i, c) in manager.char_indices().filter(|(_, c)| !crate::quote::is_print(*c)) {
        let detail = format!("invalid character U+{:04X} (at position {i})", c as u32);
        errs.push(Error::invalid(path, manager, detail));
    }
    errs
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn text(errs: &ErrorList) -> Vec<String> {
        errs.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn create() {
        let p = Path::new("metadata");
        for (case, meta, namespaced, want) in [
            ("good", json!({"name": "a", "namespace": "b", "generateName": "a-"}), true, &[][..]),
            (
                "nothing",
                json!({}),
                true,
                &["metadata.name: Required value: name or generateName is required", "metadata.namespace: Required value"],
            ),
            (
                "namespace",
                json!({"name": "a", "namespace": "b"}),
                false,
                &["metadata.namespace: Forbidden: not allowed on this type"],
            ),
            (
                "owner",
                json!({"name": "a", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "x"}]}),
                false,
                &["metadata.ownerReferences.uid: Invalid value: \"\": must not be empty"],
            ),
            (
                "finalizers",
                json!({"name": "a", "finalizers": ["orphan", "foregroundDeletion"]}),
                false,
                &[
                    "metadata.finalizers: Invalid value: [\"orphan\",\"foregroundDeletion\"]: finalizer orphan and foregroundDeletion cannot be both set",
                ],
            ),
            (
                "annotations",
                json!({"name": "a", "annotations": {"A/B": "x".repeat(TOTAL_ANNOTATION_SIZE_LIMIT)}}),
                false,
                &["metadata.annotations: Too long: may not be more than 262144 bytes"],
            ),
        ] {
            let errs = validate(&json!({"metadata": meta}), namespaced, validation::name_is_dns_subdomain, &p);
            assert_eq!(text(&errs), want, "{case}");
        }
    }

    #[test]
    fn update() {
        let p = Path::new("metadata");
        let old = json!({"metadata": {"name": "a", "uid": "1", "resourceVersion": "5", "creationTimestamp": "2026-01-01T00:00:00Z", "generation": 2, "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["x/y"]}});
        for (case, patch, want) in [
            ("same", json!({}), &[][..]),
            (
                "version",
                json!({"resourceVersion": ""}),
                &["metadata.resourceVersion: Invalid value: \"\": must be specified for an update"],
            ),
            ("uid", json!({"uid": "2"}), &["metadata.uid: Invalid value: \"2\": field is immutable"]),
            (
                "created",
                json!({"creationTimestamp": null}),
                &["metadata.creationTimestamp: Invalid value: null: field is immutable"],
            ),
            ("generation", json!({"generation": 1}), &["metadata.generation: Invalid value: 1: must not be decremented"]),
            (
                "finalizer",
                json!({"finalizers": ["x/y", "n/b", "n/a"]}),
                &[
                    "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"n/a\", \"n/b\"}",
                ],
            ),
        ] {
            let mut new = old.clone();
            for (k, v) in patch.as_object().expect("an object") {
                new["metadata"][k] = v.clone();
            }
            assert_eq!(text(&validate_update(&new, &old, &p)), want, "{case}");
        }
    }
}
