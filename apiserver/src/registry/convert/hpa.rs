//! HorizontalPodAutoscaler between autoscaling/v1 and autoscaling/v2. What v1 has no fields for travels in annotations, as upstream
//! writes them (pkg/apis/autoscaling/v1/conversion.go).

use machinery::{Map, Value, json, meta};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// Fields of a metric by its type: where v2 has each, and v1's name for it. `spec` first, then `status`.
type Fields = &'static [(&'static [&'static str], &'static str)];

const SPEC: [(&str, Fields); 5] = [
    (
        "resource",
        &[
            (&["name"], "name"),
            (&["target", "averageUtilization"], "targetAverageUtilization"),
            (&["target", "averageValue"], "targetAverageValue"),
        ],
    ),
    (
        "containerResource",
        &[
            (&["name"], "name"),
            (&["container"], "container"),
            (&["target", "averageUtilization"], "targetAverageUtilization"),
            (&["target", "averageValue"], "targetAverageValue"),
        ],
    ),
    (
        "pods",
        &[
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "selector"),
            (&["target", "averageValue"], "targetAverageValue"),
        ],
    ),
    (
        "object",
        &[
            (&["describedObject"], "target"),
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "selector"),
            (&["target", "value"], "targetValue"),
            (&["target", "averageValue"], "averageValue"),
        ],
    ),
    (
        "external",
        &[
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "metricSelector"),
            (&["target", "value"], "targetValue"),
            (&["target", "averageValue"], "targetAverageValue"),
        ],
    ),
];

const STATUS: [(&str, Fields); 5] = [
    (
        "resource",
        &[
            (&["name"], "name"),
            (&["current", "averageUtilization"], "currentAverageUtilization"),
            (&["current", "averageValue"], "currentAverageValue"),
        ],
    ),
    (
        "containerResource",
        &[
            (&["name"], "name"),
            (&["container"], "container"),
            (&["current", "averageUtilization"], "currentAverageUtilization"),
            (&["current", "averageValue"], "currentAverageValue"),
        ],
    ),
    (
        "pods",
        &[
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "selector"),
            (&["current", "averageValue"], "currentAverageValue"),
        ],
    ),
    (
        "object",
        &[
            (&["describedObject"], "target"),
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "selector"),
            (&["current", "value"], "currentValue"),
            (&["current", "averageValue"], "averageValue"),
        ],
    ),
    (
        "external",
        &[
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "metricSelector"),
            (&["current", "value"], "currentValue"),
            (&["current", "averageValue"], "currentAverageValue"),
        ],
    ),
];

/// Quantities that v1 always has.
fn needed(kind: &str, spec: bool) -> Option<&'static str> {
    match (kind, spec) {
        ("pods", true) => Some("targetAverageValue"),
        ("object", true) => Some("targetValue"),
        ("resource" | "containerResource" | "pods", false) => Some("currentAverageValue"),
        ("object" | "external", false) => Some("currentValue"),
        _ => None,
    }
}

fn table(spec: bool) -> &'static [(&'static str, Fields)] {
    if spec { &SPEC } else { &STATUS }
}

fn metric_to_v1(metric: &Value, spec: bool) -> Value {
    let mut out = json!({"type": meta::str_at(metric, &["type"])});
    for (kind, fields) in table(spec) {
        let Some(source) = metric.get(*kind) else { continue };
        let mut m = Map::new();
        for (path, name) in *fields {
            if let Some(v) = meta::at(source, path) {
                m.insert((*name).to_owned(), v.clone());
            }
        }
        if let Some(n) = needed(kind, spec) {
            m.entry(n).or_insert_with(|| "0".into());
        }
        out[*kind] = m.into();
    }
    out
}

fn metric_to_v2(metric: &Value, spec: bool) -> Value {
    let mut out = json!({"type": meta::str_at(metric, &["type"])});
    for (kind, fields) in table(spec) {
        let Some(source) = metric.get(*kind) else { continue };
        let mut m = json!({});
        for (path, name) in *fields {
            if let Some(v) = source.get(*name).filter(|v| !v.is_null()) {
                meta::set(&mut m, path, v.clone());
            }
        }
        if spec {
            let target = |f: &str| meta::at(&m, &["target", f]).is_some();
            let zero = meta::str_at(&m, &["target", "value"]) == "0";
            let by = match *kind {
                "resource" | "containerResource" if target("averageUtilization") => "Utilization",
                "object" if !target("averageValue") => "Value",
                "external" if target("value") => "Value",
                _ => "AverageValue",
            };
            if *kind == "object" && by == "AverageValue" && zero {
                meta::remove(&mut m, &["target", "value"]);
            }
            meta::set(&mut m, &["target", "type"], by.into());
        }
        out[*kind] = m;
    }
    out
}

/// The utilization of a metric that v1 has a field for.
fn cpu_utilization<'a>(metric: &'a Value, at: &str) -> Option<&'a Value> {
    let is_cpu = meta::str_at(metric, &["type"]) == "Resource" && meta::str_at(metric, &["resource", "name"]) == "cpu";
    if is_cpu { meta::at(metric, &["resource", at, "averageUtilization"]) } else { None }
}

/// Every key's first letter in upper or lower case: the annotation of behavior shows upstream's internal type.
fn recase(v: &Value, upper: bool) -> Value {
    match v {
        Value::Object(m) => m
            .iter()
            .map(|(k, v)| {
                let (first, rest) = k.split_at_checked(1).unwrap_or((k, ""));
                let first = if upper { first.to_ascii_uppercase() } else { first.to_ascii_lowercase() };
                (first + rest, recase(v, upper))
            })
            .filter(|(_, v)| upper || !v.is_null())
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(l) => l.iter().map(|v| recase(v, upper)).collect(),
        other => other.clone(),
    }
}

fn drop_annotations(obj: &mut Value) {
    for a in [METRICS, CURRENT_METRICS, CONDITIONS, BEHAVIOR] {
        meta::remove(obj, &["metadata", "annotations", a]);
    }
    if meta::at(obj, &["metadata", "annotations"]).is_some_and(|a| a.as_object().is_some_and(Map::is_empty)) {
        meta::remove(obj, &["metadata", "annotations"]);
    }
}

/// A v2 object as v1.
pub fn to_v1(mut obj: Value) -> Value {
    drop_annotations(&mut obj);
    let list = |path: &[&str]| meta::list_at(&obj, path).to_vec();
    let (metrics, current, conditions) =
        (list(&["spec", "metrics"]), list(&["status", "currentMetrics"]), list(&["status", "conditions"]));
    let behavior = meta::at(&obj, &["spec", "behavior"]).cloned();
    for path in [["spec", "metrics"], ["spec", "behavior"], ["status", "currentMetrics"], ["status", "conditions"]] {
        meta::remove(&mut obj, &path);
    }
    if let Some(target) = metrics.iter().find_map(|m| cpu_utilization(m, "target")) {
        meta::set(&mut obj, &["spec", "targetCPUUtilizationPercentage"], target.clone());
    }
    if let Some(now) = current.iter().filter_map(|m| cpu_utilization(m, "current")).next_back() {
        meta::set(&mut obj, &["status", "currentCPUUtilizationPercentage"], now.clone());
    }
    if meta::at(&obj, &["status"]).is_some_and(Value::is_object) && meta::at(&obj, &["status", "currentReplicas"]).is_none() {
        meta::set(&mut obj, &["status", "currentReplicas"], 0.into());
    }
    let others = metrics.iter().filter(|m| cpu_utilization(m, "target").is_none()).map(|m| metric_to_v1(m, true));
    let annotations = [
        (METRICS, others.collect::<Vec<_>>()),
        (CURRENT_METRICS, current.iter().map(|m| metric_to_v1(m, false)).collect()),
        (CONDITIONS, conditions),
    ];
    for (name, values) in annotations {
        if !values.is_empty() {
            meta::set(&mut obj, &["metadata", "annotations", name], Value::from(values).to_string().into());
        }
    }
    if let Some(b) = behavior {
        meta::set(&mut obj, &["metadata", "annotations", BEHAVIOR], recase(&b, true).to_string().into());
    }
    meta::set(&mut obj, &["apiVersion"], "autoscaling/v1".into());
    obj
}

/// A v1 object as v2.
pub fn to_v2(mut obj: Value) -> Value {
    let said = |name: &str| serde_json::from_str::<Value>(meta::str_at(&obj, &["metadata", "annotations", name])).ok();
    let listed = |name: &str| said(name).and_then(|v| v.as_array().cloned());
    let (others, current, conditions) = (listed(METRICS), listed(CURRENT_METRICS), listed(CONDITIONS));
    let behavior = said(BEHAVIOR).map(|b| recase(&b, false)).filter(|b| b.as_object().is_some_and(|m| !m.is_empty()));
    let utilization = |kind: &str, n: Value| json!({"type": "Resource", "resource": {"name": "cpu", kind: n}});
    let target = meta::remove(&mut obj, &["spec", "targetCPUUtilizationPercentage"]);
    let now = meta::remove(&mut obj, &["status", "currentCPUUtilizationPercentage"]);
    let mut metrics: Vec<Value> = others.iter().flatten().map(|m| metric_to_v2(m, true)).collect();
    if let Some(n) = target.filter(|n| !n.is_null()) {
        metrics.push(utilization("target", json!({"type": "Utilization", "averageUtilization": n})));
    }
    if !metrics.is_empty() {
        meta::set(&mut obj, &["spec", "metrics"], metrics.into());
    }
    if let Some(b) = behavior {
        meta::set(&mut obj, &["spec", "behavior"], b);
    }
    let current = match (current, now.filter(|n| !n.is_null())) {
        (Some(list), _) => Some(list.iter().map(|m| metric_to_v2(m, false)).collect()),
        (None, Some(n)) => Some(vec![utilization("current", json!({"averageUtilization": n}))]),
        (None, None) => None,
    };
    if let Some(list) = current {
        meta::set(&mut obj, &["status", "currentMetrics"], list.into());
    }
    if let Some(list) = conditions {
        meta::set(&mut obj, &["status", "conditions"], list.into());
    }
    drop_annotations(&mut obj);
    meta::set(&mut obj, &["apiVersion"], "autoscaling/v2".into());
    obj
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_on_the_way_through_v1() {
        let v2 = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "h", "annotations": {"mine": "x"}},
            "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}, "minReplicas": 1, "maxReplicas": 3,
                "metrics": [
                    {"type": "Pods", "pods": {"metric": {"name": "rps", "selector": {"matchLabels": {"a": "b"}}},
                        "target": {"type": "AverageValue", "averageValue": "100"}}},
                    {"type": "Object", "object": {"describedObject": {"kind": "Service", "name": "s"}, "metric": {"name": "q"},
                        "target": {"type": "AverageValue", "averageValue": "5"}}},
                    {"type": "External", "external": {"metric": {"name": "e"}, "target": {"type": "Value", "value": "7"}}},
                    {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}},
                    {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}}],
                "behavior": {"scaleUp": {"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}]}}},
            "status": {"currentReplicas": 2, "conditions": [{"type": "AbleToScale", "status": "True"}],
                "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 30, "averageValue": "3m"}}}]}});
        let v1 = to_v1(v2.clone());
        assert_eq!(v1["spec"]["targetCPUUtilizationPercentage"], 60);
        assert_eq!(v1["status"]["currentCPUUtilizationPercentage"], 30);
        let annotation = |n: &str| serde_json::from_str::<Value>(v1["metadata"]["annotations"][n].as_str().unwrap()).unwrap();
        assert_eq!(annotation(METRICS)[1]["object"]["targetValue"], "0");
        assert_eq!(annotation(BEHAVIOR)["ScaleUp"]["Policies"][0]["PeriodSeconds"], 15);
        assert_eq!(v1["spec"].get("metrics"), None);
        assert_eq!(to_v2(v1), v2);
        let plain = json!({"apiVersion": "autoscaling/v1", "spec": {"maxReplicas": 3}});
        assert_eq!(to_v2(plain.clone()), json!({"apiVersion": "autoscaling/v2", "spec": {"maxReplicas": 3}}));
        assert_eq!(to_v1(to_v2(plain.clone())), plain);
    }
}
