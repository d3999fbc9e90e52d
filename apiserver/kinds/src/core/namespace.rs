//! Namespace: the `kubernetes` finalizer, phases, the name label.

use crate::at::{At, copy_from, list_mut, set_default};
use crate::check;
use crate::names::{self, NameRule};
use crate::print::{self, AGE, NAME, cells, col};
use crate::strategy::{Column, Context, PrinterRow, Strategy};
use machinery::field::{Error, ErrorList, Path};
use machinery::{Value, json, meta};

pub struct Namespace;

const FINALIZER: &str = "kubernetes";
static COLUMNS: [Column; 3] = [NAME, col("Status", "The status of the namespace"), AGE];

fn finalizer(at: At, e: &mut ErrorList) {
    at.check(e, check::qualified_name);
    if !at.str().contains('/') && !["kubernetes", "orphan", "foregroundDeletion"].contains(&at.str()) {
        at.invalid_str(e, "name is neither a standard finalizer name nor is it fully qualified");
    }
}

impl Strategy for Namespace {
    fn default(&self, obj: &mut Value) {
        let name = meta::name(obj).to_owned();
        if !name.is_empty() {
            meta::entry(obj, &["metadata", "labels"]).insert("kubernetes.io/metadata.name".into(), name.into());
        }
        if obj.is_object() {
            set_default(obj, &["status", "phase"], "Active");
        }
    }
    fn prepare_for_create(&self, _: &Context, obj: &mut Value) {
        meta::set(obj, &["status"], json!({"phase": "Active"}));
        let mut finalizers = meta::list_at(obj, &["spec", "finalizers"]).to_vec();
        if !finalizers.iter().any(|f| f == FINALIZER) {
            finalizers.push(FINALIZER.into());
        }
        meta::set(obj, &["spec", "finalizers"], finalizers.into());
        // A name that was generated only now has no label yet.
        self.default(obj);
    }
    fn validate(&self, _: &Context, obj: &Value) -> ErrorList {
        let mut e = ErrorList::new();
        let at = At::root(obj).at(&["spec", "finalizers"]);
        for f in at.items() {
            finalizer(at.with(f.v), &mut e);
        }
        e
    }
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::check(NameRule::Label, name, prefix)
    }
    fn prepare_for_update(&self, cx: &Context, obj: &mut Value, old: &Value) {
        copy_from(obj, old, &["status"]);
        // Finalizers change through `finalize` alone, which changes nothing else of the spec.
        if cx.subresource != "finalize" {
            copy_from(obj, old, &["spec", "finalizers"]);
        }
        self.default(obj);
    }
    fn validate_update(&self, cx: &Context, obj: &Value, _old: &Value) -> ErrorList {
        let mut e = ErrorList::new();
        if cx.subresource == "finalize" {
            for f in At::root(obj).at(&["spec", "finalizers"]).items() {
                finalizer(f, &mut e);
            }
        }
        e
    }
    fn prepare_for_status_update(&self, _: &Context, obj: &mut Value, old: &Value) {
        copy_from(obj, old, &["spec"]);
        for c in list_mut(obj, &["status", "conditions"]).filter(|c| c.is_object()) {
            set_default(c, &["lastTransitionTime"], Value::Null);
        }
    }
    fn validate_status_update(&self, _: &Context, obj: &Value, _old: &Value) -> ErrorList {
        let mut e = ErrorList::new();
        let phase = meta::str_at(obj, &["status", "phase"]);
        let path = Path::new("status").child("Phase");
        if meta::deletion_timestamp(obj).is_none() {
            if phase != "Active" {
                e.push(Error::invalid(&path, phase, "may only be 'Active' if `deletionTimestamp` is empty"));
            }
        } else if phase != "Terminating" {
            e.push(Error::invalid(&path, phase, "may only be 'Terminating' if `deletionTimestamp` is not empty"));
        }
        e
    }
    fn selectable_fields(&self, obj: &Value) -> Vec<(&'static str, String)> {
        vec![("name", meta::name(obj).into()), ("status.phase", meta::str_at(obj, &["status", "phase"]).into())]
    }
    fn selectable_field_names(&self) -> &'static [&'static str] {
        &["name", "status.phase"]
    }
    fn columns(&self) -> &'static [Column] {
        &COLUMNS
    }
    fn row(&self, obj: &Value, now: i64) -> PrinterRow {
        cells([print::name(obj), print::text(obj, &["status", "phase"]), print::age(obj, now)])
    }
}
