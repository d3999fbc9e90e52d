//! ResourceQuota: hard limits and the scopes they count in.

use crate::at::{At, same, value_at};
use crate::print::{self, AGE, NAME, cells, col};
use crate::resources;
use crate::rules::Rules;
use crate::strategy::Column;
use machinery::field::ErrorList;
use machinery::{Value, meta};

static COLUMNS: [Column; 4] = [
    NAME,
    col("Request", "Request represents a minimum amount of cpu/memory that a container may consume."),
    col(
        "Limit",
        "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node.",
    ),
    AGE,
];

pub static RESOURCE_QUOTA: Rules = Rules {
    status: true,
    default: |obj| {
        for path in [["spec", "hard"], ["status", "hard"], ["status", "used"]] {
            if let Some(l) = obj.get_mut(path[0]).and_then(|o| o.get_mut(path[1])) {
                super::pod::defaults::resource_list(l);
            }
        }
    },
    validate: |root, old, e| {
        let spec = root.get("spec");
        amounts(spec.get("hard"), e);
        scopes(spec, e);
        scope_selector(spec, e);
        if let Some(old) = old {
            let set = |v: &Value| -> Vec<String> {
                let mut s = print::strings(v, &[]).into_iter().map(str::to_owned).collect::<Vec<_>>();
                s.sort();
                s.dedup();
                s
            };
            let (new, before) = (spec.get("scopes").v, value_at(old, &["spec", "scopes"]));
            if !same(new, before) && set(new) != set(before) {
                spec.get("scopes").invalid(e, crate::at::FIELD_IMMUTABLE);
            }
        }
    },
    validate_status: |root, _, e| {
        for list in ["hard", "used"] {
            amounts(root.at(&["status", list]), e);
        }
    },
    columns: &COLUMNS,
    cells: |obj, now| {
        let hard = meta::map_at(obj, &["status", "hard"]);
        let mut names: Vec<&String> = hard.keys().collect();
        names.sort();
        let (mut requests, mut limits) = (Vec::new(), Vec::new());
        for n in names {
            let used = meta::str_at(obj, &["status", "used", n]);
            let text = format!("{n}: {}/{}", if used.is_empty() { "0" } else { used }, hard[n].as_str().unwrap_or("0"));
            if n.starts_with("limits.") { limits.push(text) } else { requests.push(text) }
        }
        cells([print::name(obj), requests.join(", ").into(), limits.join(", ").into(), print::age(obj, now)])
    },
    ..Rules::BASE
};

fn amounts(list: At, e: &mut ErrorList) {
    for (name, q) in list.entries() {
        resources::resource_name(q, e, name);
        if !name.contains('/') && !resources::is_standard_quota(name) {
            q.invalid_value(e, name, "must be a standard resource for quota");
        }
        resources::quantity_value(q, e, name);
    }
}

const POD_SCOPES: [&str; 6] =
    ["Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "PriorityClass", "CrossNamespacePodAffinity"];

fn is_scope(s: &str) -> bool {
    POD_SCOPES.contains(&s) || s == "VolumeAttributesClass"
}

/// Whether a scope makes sense for what is counted.
fn applies(scope: &str, resource: &str) -> bool {
    let compute = ["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"].contains(&resource);
    match scope {
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => ["persistentvolumeclaims", "requests.storage"].contains(&resource),
        s if POD_SCOPES.contains(&s) => resource == "pods" || compute,
        _ => true,
    }
}

fn misapplied(spec: At, scope: &str) -> usize {
    spec.get("hard").entries().filter(|(k, _)| resources::is_standard_quota(k) && !applies(scope, k)).count()
}

fn conflicting(all: &[&str], at: At, e: &mut ErrorList) {
    for (a, b) in [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")] {
        if all.contains(&a) && all.contains(&b) {
            at.invalid(e, "conflicting scopes");
        }
    }
}

fn scopes(spec: At, e: &mut ErrorList) {
    let at = spec.get("scopes");
    let all: Vec<&str> = at.items().map(|s| s.str()).collect();
    for s in &all {
        if !is_scope(s) {
            at.invalid(e, "unsupported scope");
        }
        for _ in 0..misapplied(spec, s) {
            at.invalid(e, "unsupported scope applied to resource");
        }
    }
    conflicting(&all, at, e);
}

fn scope_selector(spec: At, e: &mut ErrorList) {
    let at = spec.at(&["scopeSelector", "matchExpressions"]);
    let mut all = Vec::new();
    for r in at.items() {
        let (scope, operator, values) = (r.get("scopeName").str(), r.get("operator"), r.get("values"));
        // Upstream reports at the list.
        let (at_operator, at_values) = (at.get("operator").with(operator.v), at.get("values").with(values.v));
        if !is_scope(scope) {
            at.get("scopeName").invalid_value(e, scope, "unsupported scope");
        }
        for _ in 0..misapplied(spec, scope) {
            at.invalid(e, "unsupported scope applied to resource");
        }
        if POD_SCOPES.contains(&scope) && scope != "PriorityClass" && operator.str() != "Exists" {
            at_operator.invalid_str(e, "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity");
        }
        match operator.str() {
            "In" | "NotIn" if values.is_empty() => {
                at_values.required(e, "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector")
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                at_values.invalid(e, "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector")
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => at_operator.invalid_str(e, "not a valid selector operator"),
        }
        all.push(scope);
    }
    conflicting(&all, spec.get("scopes"), e);
}
