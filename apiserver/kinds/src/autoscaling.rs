//! HorizontalPodAutoscaler (autoscaling/v2, its storage version).

use crate::at::{At, set_default, value_at};
use crate::print::{self, AGE, NAME, cells, col};
use crate::resources;
use crate::rules::Rules;
use crate::strategy::Column;
use crate::{check, selectors};
use machinery::field::ErrorList;
use machinery::validation::path_segment_name;
use machinery::{GroupVersion, Value, json, meta};

static COLUMNS: [Column; 7] =
    [NAME, col("Reference", ""), col("Targets", ""), col("MinPods", ""), col("MaxPods", ""), col("Replicas", ""), AGE];

pub static HORIZONTAL_POD_AUTOSCALER: Rules = Rules {
    generation: false,
    default,
    validate,
    validate_status: |root, _, e| {
        for f in ["currentReplicas", "desiredReplicas"] {
            root.get("status").get(f).non_negative(e);
        }
    },
    columns: &COLUMNS,
    cells: |obj, now| {
        let reference = format!(
            "{}/{}",
            meta::str_at(obj, &["spec", "scaleTargetRef", "kind"]),
            meta::str_at(obj, &["spec", "scaleTargetRef", "name"])
        );
        let min = meta::i64_at(obj, &["spec", "minReplicas"]).map_or_else(|| "<unset>".to_owned(), |n| n.to_string());
        cells([
            print::name(obj),
            reference.into(),
            targets(obj).into(),
            min.into(),
            print::number(obj, &["spec", "maxReplicas"]),
            print::number(obj, &["status", "currentReplicas"]),
            print::age(obj, now),
        ])
    },
    ..Rules::WITH_STATUS
};

fn default(obj: &mut Value) {
    set_default(obj, &["spec", "minReplicas"], 1);
    if meta::list_at(obj, &["spec", "metrics"]).is_empty() {
        let cpu = json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]);
        meta::set(obj, &["spec", "metrics"], cpu);
    }
    if meta::at(obj, &["spec", "behavior"]).is_none() {
        return;
    }
    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    let up = json!({"stabilizationWindowSeconds": 0, "selectPolicy": "Max",
        "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}, percent]});
    let down = json!({"selectPolicy": "Max", "policies": [percent]});
    for (side, rules) in [("scaleUp", up), ("scaleDown", down)] {
        let Value::Object(rules) = rules else { continue };
        for (k, v) in rules {
            set_default(obj, &["spec", "behavior", side, &k], v);
        }
    }
}

fn reference(r: At, e: &mut ErrorList, check_version: bool, need_group: bool) {
    for f in ["kind", "name"] {
        if r.get(f).need(e, "") {
            r.get(f).messages(e, path_segment_name(r.get(f).str(), false));
        }
    }
    let version = r.get("apiVersion");
    match GroupVersion::parse(version.str()) {
        _ if !check_version => {}
        None => version.invalid_str(e, format!("unexpected GroupVersion string: {}", version.str())),
        Some(gv) if need_group && gv.group.is_empty() => version.invalid_str(e, "apiVersion must specify API group"),
        Some(_) => {}
    }
}

fn validate(root: At, old: Option<&Value>, e: &mut ErrorList) {
    let s = root.get("spec");
    let (min, max) = (s.get("minReplicas"), s.get("maxReplicas"));
    if min.opt_int().is_some_and(|n| n < 1) {
        min.invalid(e, "must be greater than or equal to 1");
    }
    match max.int() {
        0 => max.required(e, "must be set and greater than 0"),
        n if n < 0 => max.invalid(e, "must be greater than or equal to 1"),
        _ => {}
    }
    if min.opt_int().is_some_and(|n| max.int() < n) {
        max.invalid_value(e, max.int(), "must be greater than or equal to `minReplicas`");
    }
    let target = s.get("scaleTargetRef");
    let unchanged =
        |o: &Value| ["apiVersion", "kind"].iter().all(|f| crate::at::same_at(root.v, o, &["spec", "scaleTargetRef", f]));
    reference(target, e, !old.is_some_and(unchanged), target.get("kind").str() != "ReplicationController");
    s.get("metrics").items().for_each(|m| metric(m, e));
    for side in ["scaleUp", "scaleDown"] {
        if let Some(rules) = s.at(&["behavior", side]).some() {
            scaling_rules(rules, e);
        }
    }
}

fn scaling_rules(r: At, e: &mut ErrorList) {
    let (window, policies) = (r.get("stabilizationWindowSeconds"), r.get("policies"));
    if window.int() < 0 {
        window.invalid(e, "must be greater than or equal to zero");
    }
    if window.int() > 3600 {
        window.invalid(e, "must be less than or equal to 3600");
    }
    if r.has("selectPolicy") {
        r.get("selectPolicy").one_of(e, &["Max", "Min", "Disabled"]);
    }
    policies.need(e, "must specify at least one Policy");
    for p in policies.items() {
        p.get("type").one_of(e, &["Pods", "Percent"]);
        p.get("value").positive(e);
        p.get("periodSeconds").positive(e);
        if p.get("periodSeconds").int() > 1800 {
            p.get("periodSeconds").invalid(e, "must be less than or equal to 1800");
        }
    }
    if resources::is_negative(r.get("tolerance").v) {
        r.get("tolerance").invalid(e, "must be greater than or equal to 0");
    }
}

/// Type and the field that carries it.
const SOURCES: [(&str, &str); 5] = [
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];

fn metric(m: At, e: &mut ErrorList) {
    let kind = m.get("type");
    kind.need(e, "must specify a metric source type");
    let types: Vec<&str> = SOURCES.iter().map(|(t, _)| *t).collect();
    kind.one_of(e, &types);
    if kind.is_empty() {
        kind.one_of(e, &types); // upstream says it twice
    }
    let present: Vec<&str> = SOURCES.iter().map(|(_, f)| *f).filter(|f| m.has(f)).collect();
    if let Some(first) = present.first() {
        source(m.get(first), first, e);
    }
    let expected = SOURCES.iter().find(|(t, _)| *t == kind.str()).map(|(_, f)| *f);
    if let Some(f) = expected.filter(|f| !m.has(f)) {
        m.get(f).required(e, "must populate information for the given metric source");
    }
    if present.len() != 1 {
        for f in present.iter().filter(|f| Some(**f) != expected) {
            m.get(f).forbidden(e, "must populate the given metric source only");
        }
    }
}

fn source(s: At, kind: &str, e: &mut ErrorList) {
    let target = s.get("target");
    let (value, average, utilization) = (target.get("value"), target.get("averageValue"), target.get("averageUtilization"));
    match kind {
        "object" | "external" | "pods" => {
            if kind == "object" {
                reference(s.get("describedObject"), e, true, false);
            }
            let name = s.at(&["metric", "name"]);
            if name.need(e, "must specify a metric name") {
                name.messages(e, path_segment_name(name.str(), false));
            }
            selectors::label_selector(s.at(&["metric", "selector"]), e);
        }
        _ => {
            let name = s.get("name");
            if name.need(e, "must specify a resource name") && kind == "containerResource" {
                resources::container_resource_name(name, e, name.str());
            }
            if kind == "containerResource" && s.get("container").need(e, "must specify a container") {
                s.get("container").check(e, check::dns1123_label);
            }
        }
    }
    let kind_at = target.get("type");
    kind_at.need(e, "must specify a metric target type");
    if !["Utilization", "Value", "AverageValue"].contains(&kind_at.str()) {
        kind_at.invalid_str(e, "must be either Utilization, Value, or AverageValue");
    }
    for q in [value, average] {
        if q.present() && resources::amount(q.v).is_some_and(|a| a.sign() <= 0) {
            q.invalid(e, "must be positive");
        }
    }
    if utilization.opt_int().is_some_and(|n| n < 1) {
        utilization.invalid(e, "must be greater than 0");
    }
    match kind {
        "object" if !value.present() && !average.present() => {
            average.required(e, "must set either a target value or averageValue")
        }
        "external" if !value.present() && !average.present() => {
            average.required(e, "must set either a target value for metric or a per-pod target");
        }
        "external" if value.present() && average.present() => {
            value.forbidden(e, "may not set both a target value for metric and a per-pod target");
        }
        "pods" if !average.present() => average.required(e, "must specify a positive target averageValue"),
        "resource" | "containerResource" => match (utilization.present(), average.present()) {
            (false, false) => utilization.required(e, "must set either a target raw value or a target utilization"),
            (true, true) => average.forbidden(e, "may not set both a target raw value and a target utilization"),
            _ => {}
        },
        _ => {}
    }
}

/// `cpu: 10%/80%, 3/5 (avg)`.
fn targets(obj: &Value) -> String {
    let specs = meta::list_at(obj, &["spec", "metrics"]);
    let current = meta::list_at(obj, &["status", "currentMetrics"]);
    let one = |i: usize, spec: &Value| -> String {
        let Some((_, field)) = SOURCES.iter().find(|(t, _)| *t == meta::str_at(spec, &["type"])) else {
            return "<unknown type>".into();
        };
        let target = value_at(spec, &[field, "target"]);
        let now = current.get(i).map_or(&Value::Null, |s| value_at(s, &[field, "current"]));
        let or_unknown = |f: &str| meta::at(now, &[f]).map_or_else(|| "<unknown>".to_owned(), print::int_or_string);
        let percent = |v: &Value| meta::i64_at(v, &["averageUtilization"]).map(|n| format!("{n}%"));
        let resource = field.ends_with("esource");
        let prefix = if resource { format!("{}: ", meta::str_at(spec, &[field, "name"])) } else { String::new() };
        match meta::at(target, &["averageValue"]).map(print::int_or_string) {
            Some(want) if resource || *field == "pods" => format!("{prefix}{}/{want}", or_unknown("averageValue")),
            Some(want) => format!("{}/{want} (avg)", or_unknown("averageValue")),
            None if resource => {
                format!("{prefix}{}/{}", percent(now).unwrap_or("<unknown>".into()), percent(target).unwrap_or("<auto>".into()))
            }
            None => format!("{}/{}", or_unknown("value"), meta::at(target, &["value"]).map_or("0".into(), print::int_or_string)),
        }
    };
    let list: Vec<String> = specs.iter().enumerate().map(|(i, s)| one(i, s)).collect();
    match list.len() {
        0 => print::NONE.into(),
        n if n > 2 => format!("{} + {} more...", list[..2].join(", "), n - 2),
        _ => list.join(", "),
    }
}
