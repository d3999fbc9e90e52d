//! What a definition must satisfy. Versions that all say the same are reported at the top of `spec`, where upstream's internal form
//! has them. Upstream: apiextensions-apiserver/pkg/apis/apiextensions/validation.

use super::{is, schemas, versions};
use crate::structural::Schema;
use machinery::field::{Error, ErrorList, Path};
use machinery::validation::{dns1035_label, dns1123_subdomain};
use machinery::{Value, meta};

/// Errors of a definition, its metadata's form and its conversion aside; `old` for an update.
pub fn validate(crd: &Value, old: Option<&Value>, e: &mut ErrorList) {
    let null = Value::Null;
    let s = crd.get("spec").unwrap_or(&null);
    let root = Path::new("spec");
    group_and_scope(s, &root, e);
    schemas_are_there(s, old, &root, e);
    versions_alone(s, &root, e);
    let names = s.get("names").unwrap_or(&null);
    for k in ["plural", "singular", "kind", "listKind"] {
        if meta::str_at(names, &[k]).is_empty() {
            e.push(Error::required(&root.child("names").child(k), ""));
        }
    }
    check_names(names, &root.child("names"), e);
    each_version(crd, old, &root, e);
    if let Some(old) = old {
        let before = |path: &[&str]| meta::at(old, path).unwrap_or(&null).clone();
        let now = |path: &[&str]| meta::at(crd, path).unwrap_or(&null).clone();
        let mut immutable = |path: &[&str], at: Path| {
            if now(path) != before(path) {
                e.push(Error::invalid(&at, now(path), "field is immutable"));
            }
        };
        if is(old, "Established") {
            immutable(&["spec", "scope"], root.child("scope"));
            immutable(&["spec", "names", "kind"], root.child("names").child("kind"));
        }
        immutable(&["spec", "group"], root.child("group"));
        immutable(&["spec", "names", "plural"], root.child("names").child("plural"));
    }
    check_names(crd.pointer("/status/acceptedNames").unwrap_or(&null), &Path::new("status").child("acceptedNames"), e);
    stored_versions(crd, e);
    approval(crd, old, e);
    let preserved = |c: &Value| meta::bool_at(c, &["spec", "preserveUnknownFields"]);
    if preserved(crd) && !old.is_some_and(preserved) {
        let why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        e.push(Error::invalid(&root.child("preserveUnknownFields"), true, why));
    }
}

/// Errors of a definition's changed status.
pub fn validate_status(crd: &Value, e: &mut ErrorList) {
    let names = crd.pointer("/status/acceptedNames").unwrap_or(&Value::Null);
    check_names(names, &Path::new("status").child("acceptedNames"), e);
}

fn group_and_scope(s: &Value, root: &Path, e: &mut ErrorList) {
    let (group, at) = (meta::str_at(s, &["group"]), root.child("group"));
    let reasons = dns1123_subdomain(group);
    if group.is_empty() {
        e.push(Error::required(&at, ""));
    } else if !reasons.is_empty() {
        e.push(Error::invalid(&at, group, reasons.join(",")));
    } else if !group.contains('.') {
        e.push(Error::invalid(&at, group, "should be a domain with at least one dot"));
    }
    match meta::str_at(s, &["scope"]) {
        "" => e.push(Error::required(&root.child("scope"), "")),
        "Cluster" | "Namespaced" => {}
        other => e.push(Error::not_supported(&root.child("scope"), other, &["Cluster", "Namespaced"])),
    }
}

fn schema_of(version: &Value) -> Option<&Value> {
    version.pointer("/schema/openAPIV3Schema").filter(|s| s.is_object())
}

fn schemas_are_there(s: &Value, old: Option<&Value>, root: &Path, e: &mut ErrorList) {
    // What was stored without schemas may stay so.
    if old.is_some_and(|o| versions(o).iter().any(|v| schema_of(v).is_none())) {
        return;
    }
    for (i, v) in meta::list_at(s, &["versions"]).iter().enumerate() {
        if schema_of(v).is_none() {
            e.push(Error::required(&root.child("versions").index(i).child("schema").child("openAPIV3Schema"), ""));
        }
    }
}

fn versions_alone(s: &Value, root: &Path, e: &mut ErrorList) {
    let list = meta::list_at(s, &["versions"]);
    let at = root.child("versions");
    let mut seen: Vec<&str> = Vec::new();
    for (i, v) in list.iter().enumerate() {
        let name = meta::str_at(v, &["name"]);
        let reasons = dns1035_label(name);
        if !reasons.is_empty() {
            e.push(Error::invalid(&at.index(i).child("name"), name, reasons.join(",")));
        }
        let warning = v.get("deprecationWarning").and_then(Value::as_str);
        let path = at.index(i).child("deprecationWarning");
        match warning {
            Some(w) if !meta::bool_at(v, &["deprecated"]) => {
                e.push(Error::invalid(&path, w, "can only be set for deprecated versions"));
            }
            Some(w) => {
                if w.len() > 256 {
                    e.push(Error::invalid(&path, w, "must be <= 256 characters long"));
                }
                if w.is_empty() {
                    e.push(Error::invalid(&path, w, "must not be an empty string"));
                }
                if let Some((i, _)) = w.char_indices().find(|(_, c)| c.is_control()) {
                    let why = format!("must only contain printable UTF-8 characters; non-printable character found at index {i}");
                    e.push(Error::invalid(&path, w, why));
                }
            }
            None => {}
        }
        seen.push(name);
    }
    let all = || s.get("versions").cloned().unwrap_or_default();
    if seen.iter().enumerate().any(|(i, n)| seen[..i].contains(n)) {
        e.push(Error::invalid(&at, all(), "must contain unique version names"));
    }
    if list.iter().filter(|v| meta::bool_at(v, &["storage"])).count() != 1 {
        e.push(Error::invalid(&at, all(), "must have exactly one version marked as storage version"));
    }
}

fn check_names(names: &Value, path: &Path, e: &mut ErrorList) {
    for k in ["plural", "singular", "kind", "listKind"] {
        let name = meta::str_at(names, &[k]);
        let mixed = k.to_lowercase().ends_with("kind");
        let reasons = dns1035_label(&if mixed { name.to_lowercase() } else { name.to_owned() });
        if !name.is_empty() && !reasons.is_empty() {
            let lead = if mixed { "may have mixed case, but should otherwise match: " } else { "" };
            e.push(Error::invalid(&path.child(k), name, format!("{lead}{}", reasons.join(","))));
        }
    }
    let mut labels = |k: &str| {
        for (i, n) in meta::list_at(names, &[k]).iter().enumerate() {
            let n = n.as_str().unwrap_or_default();
            let reasons = dns1035_label(n);
            if !reasons.is_empty() {
                e.push(Error::invalid(&path.child(k).index(i), n, reasons.join(",")));
            }
        }
    };
    labels("shortNames");
    let kind = meta::str_at(names, &["kind"]);
    let same = !kind.is_empty() && kind == meta::str_at(names, &["listKind"]);
    labels("categories");
    if same {
        e.push(Error::invalid(&path.child("listKind"), kind, "kind and listKind may not be the same"));
    }
}

/// A part that every version may have: checked once at the top if all say the same, else in each.
fn each_version(crd: &Value, old: Option<&Value>, root: &Path, e: &mut ErrorList) {
    let list = versions(crd);
    let shared = |key: &str| {
        let first = list.first().and_then(|v| v.get(key)).filter(|v| !v.is_null());
        first.filter(|f| list.iter().all(|v| v.get(key) == Some(*f)))
    };
    let status_of = |v: &Value| v.pointer("/subresources/status").is_some_and(|s| !s.is_null());
    let parts = |key: &'static str, top: &str| -> Vec<(Value, Path, usize)> {
        match shared(key) {
            Some(v) => vec![(v.clone(), root.child(top), 0)],
            None => list
                .iter()
                .enumerate()
                .filter_map(|(i, v)| Some((v.get(key)?.clone(), root.child("versions").index(i).child(key), i)))
                .filter(|(v, ..)| !v.is_null())
                .collect(),
        }
    };
    for (schema, path, i) in parts("schema", "validation") {
        let any_status = if shared("schema").is_some() { list.iter().any(status_of) } else { status_of(&list[i]) };
        let unchanged = old.is_some_and(|o| {
            versions(o).iter().any(|v| v.get("name") == list[i].get("name") && v.get("schema") == list[i].get("schema"))
        });
        if let Some(s) = schema.get("openAPIV3Schema").filter(|s| s.is_object()) {
            schemas::validate(s, any_status, unchanged, &path.child("openAPIV3Schema"), e);
        }
    }
    for (sub, path, _) in parts("subresources", "subresources") {
        subresources(&sub, &path, e);
    }
    for (columns, path, _) in parts("additionalPrinterColumns", "additionalPrinterColumns") {
        for (i, c) in columns.as_array().into_iter().flatten().enumerate() {
            column(c, &path.index(i), e);
        }
    }
    for (fields, path, i) in parts("selectableFields", "selectableFields") {
        if let Some(s) = schema_of(&list[i]).and_then(|s| Schema::new(s).ok()) {
            selectable(fields.as_array().map_or(&[], Vec::as_slice), &s, &path, e);
        }
    }
}

fn simple_path(s: &str, path: &Path, e: &mut ErrorList) -> bool {
    if s.starts_with('.') {
        return true;
    }
    e.push(Error::invalid(path, s, "must be a simple json path starting with ."));
    false
}

fn subresources(sub: &Value, path: &Path, e: &mut ErrorList) {
    let Some(scale) = sub.get("scale").filter(|s| s.is_object()) else { return };
    for (key, below, word) in
        [("specReplicasPath", ".spec.", ".spec"), ("statusReplicasPath", ".status.", ".status"), ("labelSelectorPath", "", "")]
    {
        let at = path.child(&format!("scale.{key}"));
        let p = meta::str_at(scale, &[key]);
        if p.is_empty() {
            if !below.is_empty() {
                e.push(Error::required(&at, ""));
            }
        } else if simple_path(p, &at, e) {
            if !below.is_empty() && !p.starts_with(below) {
                e.push(Error::invalid(&at, p, format!("should be a json path under {word}")));
            } else if below.is_empty() && !p.starts_with(".spec.") && !p.starts_with(".status.") {
                e.push(Error::invalid(&at, p, "should be a json path under either .spec or .status"));
            }
        }
    }
}

const COLUMN_TYPES: &str = "boolean,date,integer,number,string";
const COLUMN_FORMATS: [&str; 9] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password", "name"];

fn column(c: &Value, path: &Path, e: &mut ErrorList) {
    let text = |k: &str| meta::str_at(c, &[k]);
    if text("name").is_empty() {
        e.push(Error::required(&path.child("name"), ""));
    }
    let one_of = format!("must be one of {COLUMN_TYPES}");
    if text("type").is_empty() {
        e.push(Error::required(&path.child("type"), one_of));
    } else if !COLUMN_TYPES.split(',').any(|t| t == text("type")) {
        e.push(Error::invalid(&path.child("type"), text("type"), one_of));
    }
    if !text("format").is_empty() && !COLUMN_FORMATS.contains(&text("format")) {
        let mut formats = COLUMN_FORMATS;
        formats.sort_unstable();
        e.push(Error::invalid(&path.child("format"), text("format"), format!("must be one of {}", formats.join(","))));
    }
    if text("jsonPath").is_empty() {
        e.push(Error::required(&path.child("JSONPath"), ""));
    } else {
        simple_path(text("jsonPath"), &path.child("JSONPath"), e);
    }
}

const MAX_SELECTABLE: usize = 8;

fn selectable(fields: &[Value], schema: &Schema, path: &Path, e: &mut ErrorList) {
    let mut seen: Vec<&str> = Vec::new();
    for (i, f) in fields.iter().enumerate() {
        let at = path.index(i).child("jsonPath");
        let text = meta::str_at(f, &["jsonPath"]);
        if text.is_empty() {
            e.push(Error::required(&at, ""));
            continue;
        }
        let mut node = Some(schema);
        let steps: Vec<&str> = text.trim_start_matches('.').split('.').collect();
        for step in &steps {
            node = node.and_then(|n| n.properties.get(*step));
        }
        if !text.starts_with('.') || text.contains('[') {
            let why = "is an invalid path: expected [ or . but got: ".to_owned() + text.split(['.', '[']).next().unwrap_or("");
            e.push(Error::invalid(&at, text, why));
            continue;
        }
        if steps.first() == Some(&"metadata") {
            e.push(Error::invalid(&at, text, "must not point to fields in metadata"));
            continue;
        }
        let Some(node) = node else {
            e.push(Error::invalid(&at, text, "is an invalid path: does not refer to a valid field"));
            continue;
        };
        if !matches!(node.ty.as_str(), "string" | "boolean" | "integer") {
            let why = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            e.push(Error::invalid(&at, text, why));
        }
        if seen.contains(&text) {
            e.push(Error::duplicate(&at, text));
        } else {
            seen.push(text);
        }
    }
    if seen.len() > MAX_SELECTABLE {
        e.push(Error::too_many(path, seen.len(), MAX_SELECTABLE));
    }
}

fn stored_versions(crd: &Value, e: &mut ErrorList) {
    let stored = meta::list_at(crd, &["status", "storedVersions"]);
    let path = Path::new("status").child("storedVersions");
    if stored.is_empty() {
        let shown = meta::at(crd, &["status", "storedVersions"]).cloned().unwrap_or_default();
        e.push(Error::invalid(&path, shown, "must have at least one stored version"));
        return;
    }
    let has = |name: &str| stored.iter().any(|s| s == name);
    for v in versions(crd) {
        let name = meta::str_at(v, &["name"]);
        if meta::bool_at(v, &["storage"]) && !has(name) {
            e.push(Error::invalid(&path, stored.to_vec(), format!("must have the storage version {name}")));
        }
    }
    for (i, s) in stored.iter().enumerate() {
        let name = s.as_str().unwrap_or_default();
        if !versions(crd).iter().any(|v| meta::str_at(v, &["name"]) == name) {
            let why = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage \
                 migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            );
            e.push(Error::invalid(&path.index(i), name, why));
        }
    }
}

const APPROVED: &str = "api-approved.kubernetes.io";

/// Groups of the community need a link to where their API was approved.
fn approval(crd: &Value, old: Option<&Value>, e: &mut ErrorList) {
    let group = meta::str_at(crd, &["spec", "group"]);
    if !(group.ends_with(".k8s.io") || group.ends_with(".kubernetes.io") || group == "k8s.io" || group == "kubernetes.io") {
        return;
    }
    let state = |c: &Value| {
        let text = meta::annotations(c).get(APPROVED).and_then(Value::as_str).unwrap_or_default().to_owned();
        let ok = text.starts_with("unapproved") || text.contains("://");
        (ok, text)
    };
    let (ok, text) = state(crd);
    if ok || old.is_some_and(|o| state(o).0 == ok && state(o).1.is_empty() == text.is_empty()) {
        return;
    }
    let path = Path::new("metadata").child("annotations").key(APPROVED);
    e.push(if text.is_empty() {
        Error::required(&path, "protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111")
    } else {
        let why = "protected groups must have approval annotation \"api-approved.kubernetes.io\" with either a URL or a reason starting with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111";
        Error::invalid(&path, text, why)
    });
}
