//! What kinds with a pod template share: selector against labels, template defaults and warnings, replica counts.

use crate::at::{At, same, value_at};
use crate::core::pod::spec;
use crate::print::{self, AGE, CONTAINERS, IMAGES, NAME, cells, int, wide};
use crate::selectors;
use crate::strategy::{Column, PrinterRow};
use machinery::field::ErrorList;
use machinery::{Value, meta};

/// Columns of ReplicaSets and ReplicationControllers.
pub static REPLICA_COLUMNS: [Column; 8] =
    [NAME, int("Desired", ""), int("Current", ""), int("Ready", ""), AGE, CONTAINERS, IMAGES, wide("Selector", "")];

pub fn replica_cells(obj: &Value, selector: String, now: i64) -> PrinterRow {
    let [names, images] = print::containers(meta::list_at(obj, &["spec", "template", "spec", "containers"]));
    cells([
        print::name(obj),
        print::number(obj, &["spec", "replicas"]),
        print::number(obj, &["status", "replicas"]),
        print::number(obj, &["status", "readyReplicas"]),
        print::age(obj, now),
        names,
        images,
        selector.into(),
    ])
}

pub const MISMATCH: &str = "`selector` does not match template `labels`";

/// Runs `rule` on the pod spec of the template below `path`.
pub fn default_template(obj: &mut Value, path: &[&str], rule: fn(&mut Value)) {
    if !obj.is_object() {
        return;
    }
    // Template and spec are structs, not pointers: where there is none, its defaults are.
    let full: Vec<&str> = path.iter().copied().chain(["template", "spec"]).collect();
    meta::entry(obj, &full);
    let mut v = Some(obj);
    for p in full {
        v = v.and_then(|v| v.get_mut(p));
    }
    if let Some(spec) = v {
        rule(spec);
    }
}

/// A warning of names that are none for pods.
pub fn name_warning(root: At, old: Option<&Value>) -> Vec<String> {
    let reasons = crate::check::dns1123_label(machinery::meta::name(root.v));
    if old.is_some() || reasons.is_empty() {
        return Vec::new();
    }
    let advice = "this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended";
    vec![format!("metadata.name: {advice}: [{}]", reasons.join(" "))]
}

/// Warnings of a template, unless an update leaves it alone.
pub fn template_warnings(t: At, old: Option<&Value>, rule: fn(At) -> Vec<String>) -> Vec<String> {
    let unchanged =
        |o: &Value| [value_at(o, &["spec", "template"]), value_at(o, &["template"])].iter().any(|x| !x.is_null() && same(x, t.v));
    if old.is_some_and(unchanged) { Vec::new() } else { rule(t) }
}

/// `spec.selector`: required, not empty; `kind` names the kind in the message.
pub fn selector(s: At, e: &mut ErrorList, kind: &str) {
    let at = s.get("selector");
    if !at.present() {
        return at.required(e, "");
    }
    selectors::label_selector(at, e);
    if selectors::is_empty(at) {
        at.invalid(e, format!("empty selector is invalid for {kind}"));
    }
}

/// `spec.template`: its labels, its pods, which always restart.
pub fn template(s: At, old: Option<&Value>, e: &mut ErrorList, kind: &str) {
    let t = s.get("template");
    let labels = t.at(&["metadata", "labels"]);
    let matches = selectors::matches(s.get("selector").v, meta::map_at(t.v, &["metadata", "labels"]));
    match matches {
        None => s.get("selector").invalid(e, "invalid label selector"),
        Some(false) if !s.has("selector") || !selectors::is_empty(s.get("selector")) => labels.invalid(e, MISMATCH),
        Some(_) => {}
    }
    spec::template(t, e, old.map(|o| value_at(o, &["spec", "template"])));
    always_restarts(t, e, kind);
}

pub fn always_restarts(t: At, e: &mut ErrorList, kind: &str) {
    let policy = t.at(&["spec", "restartPolicy"]);
    if policy.str() != "Always" {
        policy.not_supported(e, &["Always"]);
    }
    let deadline = t.at(&["spec", "activeDeadlineSeconds"]);
    if deadline.present() {
        deadline.forbidden(e, format!("activeDeadlineSeconds in {kind} is not Supported"));
    }
}

/// The selector of a workload is what it is.
pub fn immutable_selector(root: At, old: &Value, e: &mut ErrorList) {
    root.at(&["spec", "selector"]).immutable(e, value_at(old, &["spec", "selector"]));
}

/// Counts are not negative, parts no more than the whole, and collisions only grow.
pub fn replica_status(root: At, old: &Value, e: &mut ErrorList, counts: &'static [&'static str]) {
    let s = root.get("status");
    for f in counts.iter().chain(&["observedGeneration", "collisionCount"]) {
        s.get(f).non_negative(e);
    }
    let replicas = s.get("replicas").int();
    if counts.contains(&"replicas") {
        for f in ["fullyLabeledReplicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"] {
            if counts.contains(&f) && s.get(f).int() > replicas {
                s.get(f).invalid(e, "cannot be greater than status.replicas");
            }
        }
        if s.get("availableReplicas").int() > s.get("readyReplicas").int() {
            let whole = if counts.contains(&"currentReplicas") { "status.readyReplicas" } else { "readyReplicas" };
            s.get("availableReplicas").invalid(e, format!("cannot be greater than {whole}"));
        }
    }
    if let Some(before) = meta::i64_at(old, &["status", "collisionCount"])
        && s.get("collisionCount").int() < before
    {
        s.get("collisionCount").invalid_value(e, s.get("collisionCount").int(), "cannot be decremented");
    }
}

/// A number or a percentage, not negative.
pub fn int_or_percent(at: At, e: &mut ErrorList) {
    if at.v.is_string() { at.check(e, machinery::validation::percent) } else { at.non_negative(e) }
}

/// The number itself, of a percentage as of a count.
pub fn int_or_percent_value(at: At) -> i64 {
    at.opt_int().unwrap_or_else(|| at.str().strip_suffix('%').and_then(|n| n.parse().ok()).unwrap_or(0))
}

pub fn at_most_100_percent(at: At, e: &mut ErrorList) {
    if at.v.is_string() && int_or_percent_value(at) > 100 {
        at.invalid(e, "must not be greater than 100%");
    }
}
