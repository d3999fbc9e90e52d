//! PersistentVolumeClaim: its spec (which templates share), what may change when, and its columns.

use crate::at::{At, same, same_at, set_default, value_at};
use crate::print::{self, AGE, NAME, cells, col, wide};
use crate::strategy::{Column, Context, PrinterRow, Strategy};
use crate::{check, diff, names, resources, selectors};
use machinery::field::{Error, ErrorList, Path};
use machinery::{Map, Value, json, meta};

pub struct PersistentVolumeClaim;

pub const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// Defaults of a claim's spec.
pub fn default_spec(spec: &mut Map<String, Value>) {
    if spec.get("volumeMode").is_none_or(Value::is_null) {
        spec.insert("volumeMode".into(), "Filesystem".into());
    }
    if let Some(r) = spec.get_mut("resources") {
        super::pod::defaults::resource_requirements(r);
    }
}

/// Access modes: known ones, and ReadWriteOncePod alone.
pub fn access_modes(at: At, e: &mut ErrorList, none: &str) {
    if at.is_empty() {
        at.required(e, none);
    }
    let (mut once_pod, mut other) = (false, false);
    for m in at.items() {
        // Upstream reports at the list.
        if !ACCESS_MODES.contains(&m.str()) {
            at.with(m.v).not_supported(e, &ACCESS_MODES);
        }
        if m.str() == "ReadWriteOncePod" { once_pod = true } else { other = true }
    }
    if once_pod && other {
        at.forbidden(e, "may not use ReadWriteOncePod with other access modes");
    }
}

/// Validates a claim's spec; `stored` claims keep what once was valid.
pub fn claim_spec(spec: At, e: &mut ErrorList, stored: bool) {
    access_modes(spec.get("accessModes"), e, "at least 1 access mode is required");
    if spec.has("selector") {
        selectors::label_selector(spec.get("selector"), e);
    }
    let storage = spec.at(&["resources", "requests", "storage"]);
    if storage.present() {
        let at = spec.at(&["resources"]).key("storage").with(storage.v);
        if resources::amount(storage.v).is_some_and(|q| q.sign() <= 0) {
            at.invalid(e, "must be greater than zero");
        }
    } else {
        spec.at(&["resources"]).key("storage").required(e, "");
    }
    spec.get("storageClassName").check_if_set(e, names::subdomain);
    if spec.has("volumeMode") {
        spec.get("volumeMode").one_of(e, &["Block", "Filesystem"]);
    }
    for f in ["dataSource", "dataSourceRef"] {
        let at = spec.get(f);
        if at.present() {
            at.get("name").need(e, "");
            at.get("kind").need(e, "");
            let group = at.get("apiGroup");
            if group.is_empty() && at.get("kind").str() != "PersistentVolumeClaim" {
                at.invalid(e, "must be 'PersistentVolumeClaim' when referencing the default apiGroup");
            }
            group.check_if_set(e, check::dns1123_subdomain);
            at.get("namespace").check_if_set(e, check::dns1123_label);
        }
    }
    if spec.has("dataSource")
        && spec.has("dataSourceRef")
        && !spec.at(&["dataSourceRef", "namespace"]).present()
        && !same(spec.get("dataSource").v, spec.get("dataSourceRef").v)
    {
        spec.with(spec.get("dataSource").v).invalid(e, "must match dataSourceRef");
    }
    if !stored {
        spec.get("volumeAttributesClassName").check_if_set(e, names::subdomain);
    }
}

/// A claim's data source in both of its fields (pkg/api/persistentvolumeclaim NormalizeDataSources).
fn normalize_data_sources(obj: &mut Value) {
    let (a, b) = (value_at(obj, &["spec", "dataSource"]).clone(), value_at(obj, &["spec", "dataSourceRef"]).clone());
    if !a.is_null() && b.is_null() {
        meta::set(obj, &["spec", "dataSourceRef"], a);
    } else if a.is_null() && !b.is_null() && b.get("namespace").is_none_or(Value::is_null) {
        meta::set(obj, &["spec", "dataSource"], b);
    }
}

fn class(obj: &Value) -> &str {
    meta::annotations(obj)
        .get(BETA_CLASS)
        .and_then(Value::as_str)
        .unwrap_or_else(|| meta::str_at(obj, &["spec", "storageClassName"]))
}

/// `RWO,ROX` in upstream's order.
pub fn access_modes_text(modes: &[Value]) -> String {
    let has = |m: &str| modes.iter().any(|x| x.as_str() == Some(m));
    [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")]
        .iter()
        .filter(|(m, _)| has(m))
        .map(|(_, s)| *s)
        .collect::<Vec<_>>()
        .join(",")
}

static COLUMNS: [Column; 9] = [
    NAME,
    col("Status", ""),
    col("Volume", ""),
    col("Capacity", ""),
    col("Access Modes", ""),
    col("StorageClass", "StorageClass of the pvc"),
    col("VolumeAttributesClass", "VolumeAttributesClass of the pvc"),
    AGE,
    wide("VolumeMode", ""),
];

impl Strategy for PersistentVolumeClaim {
    fn default(&self, obj: &mut Value) {
        set_default(obj, &["status", "phase"], "Pending");
        default_spec(meta::entry(obj, &["spec"]));
    }
    fn prepare_for_create(&self, _: &Context, obj: &mut Value) {
        meta::set(obj, &["status"], json!({"phase": "Pending"}));
        normalize_data_sources(obj);
    }
    fn validate(&self, _: &Context, obj: &Value) -> ErrorList {
        let mut e = ErrorList::new();
        claim_spec(At::root(obj).get("spec"), &mut e, false);
        e
    }
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::check(names::NameRule::Subdomain, name, prefix)
    }
    fn prepare_for_update(&self, _: &Context, obj: &mut Value, old: &Value) {
        crate::at::copy_from(obj, old, &["status"]);
        normalize_data_sources(obj);
    }
    fn validate_update(&self, _: &Context, obj: &Value, old: &Value) -> ErrorList {
        let mut e = ErrorList::new();
        claim_spec(At::root(obj).get("spec"), &mut e, true);
        update(obj, old, &mut e);
        e
    }
    fn validate_status_update(&self, _: &Context, obj: &Value, _old: &Value) -> ErrorList {
        let mut e = ErrorList::new();
        let root = At::root(obj);
        if root.at(&["spec", "accessModes"]).is_empty() {
            root.at(&["Spec", "accessModes"]).required(&mut e, "");
        }
        for (_, q) in root.at(&["status", "capacity"]).entries() {
            if resources::is_negative(q.v) {
                q.invalid(&mut e, "must be a valid resource quantity");
            }
        }
        const STATES: [&str; 5] = [
            "ControllerResizeInProgress",
            "ControllerResizeInfeasible",
            "NodeResizePending",
            "NodeResizeInProgress",
            "NodeResizeInfeasible",
        ];
        let states = root.at(&["status", "allocatedResourceStatuses"]);
        for (k, v) in states.entries() {
            if !STATES.contains(&v.str()) {
                e.push(Error::not_supported(&states.path(), k, &STATES));
            }
        }
        e
    }
    fn selectable_fields(&self, obj: &Value) -> Vec<(&'static str, String)> {
        vec![("name", meta::name(obj).into())]
    }
    fn selectable_field_names(&self) -> &'static [&'static str] {
        &["name"]
    }
    fn columns(&self) -> &'static [Column] {
        &COLUMNS
    }
    fn row(&self, obj: &Value, now: i64) -> PrinterRow {
        let bound = !meta::str_at(obj, &["spec", "volumeName"]).is_empty();
        let phase = if meta::deletion_timestamp(obj).is_some() { "Terminating" } else { meta::str_at(obj, &["status", "phase"]) };
        let (modes, capacity) = if bound {
            (
                access_modes_text(meta::list_at(obj, &["status", "accessModes"])),
                meta::str_at(obj, &["status", "capacity", "storage"]),
            )
        } else {
            (String::new(), "")
        };
        let attributes = meta::at(obj, &["spec", "volumeAttributesClassName"]).and_then(Value::as_str).unwrap_or("<unset>");
        let mode = meta::at(obj, &["spec", "volumeMode"]).and_then(Value::as_str).unwrap_or("<unset>");
        let capacity = if bound && capacity.is_empty() { "0" } else { capacity };
        cells([
            print::name(obj),
            phase.into(),
            print::text(obj, &["spec", "volumeName"]),
            capacity.into(),
            modes.into(),
            class(obj).into(),
            attributes.into(),
            print::age(obj, now),
            mode.into(),
        ])
    }
}

fn update(obj: &Value, old: &Value, e: &mut ErrorList) {
    let (mut new_spec, mut old_spec) = (value_at(obj, &["spec"]).clone(), value_at(old, &["spec"]).clone());
    let bound = meta::str_at(old, &["status", "phase"]) == "Bound";
    let spec_path = Path::new("spec");
    // Binding fills the name once; a claim without a class may get one.
    if meta::str_at(&old_spec, &["volumeName"]).is_empty() {
        crate::at::copy_from(&mut new_spec, &old_spec, &["volumeName"]);
    }
    let class_of = |o: &Value| meta::at(o, &["storageClassName"]).and_then(Value::as_str).map(str::to_owned);
    let old_annotation = meta::annotations(old).get(BETA_CLASS).and_then(Value::as_str);
    if class_of(&old_spec).is_none() && class_of(&new_spec).is_some_and(|c| old_annotation.is_none_or(|a| a == c)) {
        crate::at::copy_from(&mut new_spec, &old_spec, &["storageClassName"]);
    } else if old_annotation != meta::annotations(obj).get(BETA_CLASS).and_then(Value::as_str) {
        e.push(Error::invalid(
            &Path::new("metadata").child("annotations").child(BETA_CLASS),
            meta::annotations(obj).get(BETA_CLASS).cloned().unwrap_or("".into()),
            crate::at::FIELD_IMMUTABLE,
        ));
    }
    if bound {
        if !meta::map_at(&new_spec, &["resources", "requests"]).is_empty() {
            crate::at::copy_from(&mut new_spec, &old_spec, &["resources", "requests", "storage"]);
        }
        crate::at::copy_from(&mut new_spec, &old_spec, &["volumeAttributesClassName"]);
    }
    // A cross-namespace source that was dropped on the way in stays out of the comparison.
    if !same(&new_spec, &old_spec) {
        old_spec.sort_all_objects();
        new_spec.sort_all_objects();
        e.push(Error::forbidden(
            &spec_path,
            format!(
                "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n{}",
                diff::unified(&old_spec, &new_spec)
            ),
        ));
    }
    let size = |o: &Value, p: &[&str]| resources::amount(value_at(o, p));
    let (new_size, old_size) =
        (size(obj, &["spec", "resources", "requests", "storage"]), size(old, &["spec", "resources", "requests", "storage"]));
    if new_size < old_size && new_size <= size(old, &["status", "capacity", "storage"]) {
        e.push(Error::forbidden(
            &spec_path.child("resources").child("requests").child("storage"),
            "field can not be less than status.capacity",
        ));
    }
    if !same_at(obj, old, &["spec", "volumeMode"]) {
        e.push(Error::invalid(
            &Path::new("volumeMode"),
            value_at(obj, &["spec", "volumeMode"]).clone(),
            crate::at::FIELD_IMMUTABLE,
        ));
    }
    if !same_at(obj, old, &["spec", "volumeAttributesClassName"])
        && meta::at(old, &["status", "currentVolumeAttributesClassName"]).is_some()
    {
        let path = spec_path.child("volumeAttributesClassName");
        match meta::at(obj, &["spec", "volumeAttributesClassName"]).and_then(Value::as_str) {
            None => e.push(Error::forbidden(
                &path,
                "update to nil is forbidden when status.currentVolumeAttributesClassName is not nil",
            )),
            Some("") => e.push(Error::forbidden(
                &path,
                "update to empty string is forbidden when status.currentVolumeAttributesClassName is not nil",
            )),
            Some(_) => {}
        }
    }
}
