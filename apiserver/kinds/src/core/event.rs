//! Event: one object behind two groups. Stored as core/v1; `to_events_v1` and `from_events_v1` rename its fields.

use crate::at::At;
use crate::names::NameRule;
use crate::print::{self, cells, col, since, wide};
use crate::rules::Rules;
use crate::strategy::Column;
use crate::table::NAME_DESCRIPTION;
use machinery::field::ErrorList;
use machinery::{Value, meta};

static COLUMNS: [Column; 10] = [
    col("Last Seen", ""),
    col("Type", ""),
    col("Reason", ""),
    col("Object", ""),
    wide("Subobject", ""),
    wide("Source", ""),
    col("Message", ""),
    wide("First Seen", ""),
    wide("Count", ""),
    Column { name: "Name", kind: "string", format: "name", description: NAME_DESCRIPTION, priority: 1 },
];

pub static EVENT: Rules = Rules {
    name: NameRule::PathSegment,
    create_on_update: true,
    validate,
    fields: &[
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ],
    columns: &COLUMNS,
    cells: |obj, now| {
        let at = |path: &[&str]| meta::str_at(obj, path);
        let series = meta::at(obj, &["series"]);
        let either = |a: &[&str], b: &[&str]| if at(a).is_empty() { since(at(b), now) } else { since(at(a), now) };
        let first = either(&["firstTimestamp"], &["eventTime"]);
        let mut last = if at(&["lastTimestamp"]).is_empty() { first.clone() } else { since(at(&["lastTimestamp"]), now) };
        let mut count = meta::i64_at(obj, &["count"]).unwrap_or(0).max(1);
        if let Some(s) = series {
            last = since(meta::str_at(s, &["lastObservedTime"]), now);
            count = meta::i64_at(s, &["count"]).unwrap_or(0);
        }
        let (kind, name) = (at(&["involvedObject", "kind"]).to_lowercase(), at(&["involvedObject", "name"]));
        let object = if name.is_empty() { kind } else { format!("{kind}/{name}") };
        let pick = |a: &'static [&'static str], b: &'static [&'static str]| if at(a).is_empty() { at(b) } else { at(a) };
        let component = pick(&["source", "component"], &["reportingComponent"]);
        let instance = pick(&["source", "host"], &["reportingInstance"]);
        let source = if instance.is_empty() { component.to_owned() } else { format!("{component}, {instance}") };
        cells([
            last.into(),
            at(&["type"]).into(),
            at(&["reason"]).into(),
            object.into(),
            at(&["involvedObject", "fieldPath"]).into(),
            source.into(),
            at(&["message"]).trim().into(),
            first.into(),
            count.into(),
            print::name(obj),
        ])
    },
    ..Rules::BASE
};

fn validate(root: At, _old: Option<&Value>, e: &mut ErrorList) {
    // Cluster-scoped objects report into `default` or `kube-system`; all others into their own namespace.
    let (own, theirs) = (root.at(&["metadata", "namespace"]), root.at(&["involvedObject", "namespace"]));
    if theirs.is_empty() {
        if !["", "default", "kube-system"].contains(&own.str()) {
            theirs.invalid_str(e, "does not match event.namespace");
        }
    } else if theirs.str() != own.str() {
        theirs.invalid_str(e, "does not match event.namespace");
    }
    if root.has("series") && root.at(&["series", "count"]).int() < 2 && !root.get("eventTime").is_empty() {
        root.at(&["series", "count"]).invalid_value(e, root.at(&["series", "count"]).int(), "should be at least 2");
    }
    if root.get("eventTime").is_empty() {
        return;
    }
    for (f, max) in [("reportingInstance", 128), ("action", 128), ("reason", 128), ("message", 1024)] {
        if root.get(f).len() > max {
            root.get(f).invalid(e, format!("can have at most {max} characters"));
        }
    }
    root.get("reportingComponent").need(e, "");
    for f in ["reportingInstance", "action", "reason"] {
        root.get(f).need(e, "");
    }
}

/// Fields with one name in core/v1 and another in events.k8s.io/v1.
const NAMES: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

fn rename(obj: &mut Value, api_version: &str, names: impl Iterator<Item = (&'static str, &'static str)>) {
    let Some(m) = obj.as_object_mut() else { return };
    for (from, to) in names {
        if let Some(v) = m.remove(from) {
            m.insert(to.into(), v);
        }
    }
    m.insert("apiVersion".into(), api_version.into());
}

/// A core/v1 Event as events.k8s.io/v1.
pub fn to_events_v1(obj: &mut Value) {
    rename(obj, "events.k8s.io/v1", NAMES.into_iter());
}

/// An events.k8s.io/v1 Event as core/v1.
pub fn from_events_v1(obj: &mut Value) {
    rename(obj, "v1", NAMES.into_iter().map(|(core, events)| (events, core)));
}
