//! LimitRange: minima, maxima and defaults that agree with one another.

use crate::at::{At, list_mut};
use crate::print::{self, NAME, cells, col};
use crate::resources;
use crate::rules::Rules;
use crate::strategy::Column;
use machinery::field::ErrorList;
use machinery::quantity::Quantity;
use machinery::{Value, meta};
use std::collections::BTreeSet;

static COLUMNS: [Column; 2] = [NAME, col("Created At", crate::table::CREATED_DESCRIPTION)];

pub static LIMIT_RANGE: Rules = Rules {
    default: |obj| list_mut(obj, &["spec", "limits"]).filter(|l| l.is_object()).for_each(default_item),
    create: |obj, _| {
        if meta::name(obj).is_empty() {
            let uid = meta::uid(obj).to_owned();
            meta::set(obj, &["metadata", "name"], uid.into());
        }
    },
    validate: |root, _, e| {
        let mut seen = Vec::new();
        for l in root.at(&["spec", "limits"]).items() {
            item(l, e, seen.contains(&l.get("type").str()));
            seen.push(l.get("type").str());
        }
    },
    columns: &COLUMNS,
    cells: |obj, _| cells([print::name(obj), print::text(obj, &["metadata", "creationTimestamp"])]),
    ..Rules::BASE
};

/// Defaults of a container limit: the limit from max, the request from the limit, then from min.
fn default_item(l: &mut Value) {
    for list in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
        if let Some(v) = l.get_mut(list) {
            super::pod::defaults::resource_list(v);
        }
    }
    if meta::str_at(l, &["type"]) != "Container" {
        return;
    }
    for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
        let source = meta::map_at(l, &[from]).clone();
        let target = meta::entry(l, &[to]);
        for (k, v) in source {
            target.entry(k).or_insert(v);
        }
    }
    for list in ["default", "defaultRequest"] {
        if meta::map_at(l, &[list]).is_empty() {
            meta::remove(l, &[list]);
        }
    }
}

fn item(l: At, e: &mut ErrorList, twice: bool) {
    let kind = l.get("type");
    let reasons = crate::check::qualified_name(kind.str());
    if reasons.is_empty() && !kind.str().contains('/') && !["Pod", "Container", "PersistentVolumeClaim"].contains(&kind.str()) {
        kind.invalid_str(e, "must be a standard limit type or fully qualified");
    }
    kind.messages(e, reasons);
    if twice {
        kind.duplicate(e);
    }
    let of_pods = matches!(kind.str(), "Pod" | "Container");
    let mut keys = BTreeSet::new();
    for list in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
        if kind.str() == "Pod" && list.starts_with("default") {
            if !l.get(list).is_empty() {
                l.get(list).forbidden(e, "may not be specified when `type` is 'Pod'");
            }
            continue;
        }
        for (k, q) in l.get(list).entries() {
            if of_pods {
                resources::container_resource_name(q, e, k);
            } else {
                resources::resource_name(q, e, k);
            }
            keys.insert(k);
        }
    }
    if kind.str() == "PersistentVolumeClaim" && !l.get("min").has("storage") && !l.get("max").has("storage") {
        l.get("limits").required(e, "either minimum or maximum storage value is required, but neither was provided");
    }
    for k in keys {
        consistent(l, k, e);
    }
}

fn consistent(l: At, k: &str, e: &mut ErrorList) {
    let get = |list: &'static str| -> Option<Quantity> {
        (kind_allows(l, list)).then(|| l.get(list).v.get(k).and_then(resources::amount)).flatten()
    };
    let (min, max, default, request, ratio) =
        (get("min"), get("max"), get("default"), get("defaultRequest"), get("maxLimitRequestRatio"));
    let mut greater =
        |a: Option<Quantity>, an: &str, b: Option<Quantity>, bn: &str, list: &'static str, value: Option<Quantity>| {
            if let (Some(a), Some(b), Some(value)) = (a, b, value)
                && a > b
            {
                l.get(list).key(k).invalid_value(e, value.to_string(), format!("{an} value {a} is greater than {bn} value {b}"));
            }
        };
    greater(min, "min", max, "max", "min", min);
    greater(min, "min", request, "default request", "defaultRequest", request);
    greater(request, "default request", max, "max", "defaultRequest", request);
    greater(request, "default request", default, "default limit", "defaultRequest", request);
    greater(min, "min", default, "default", "default", min);
    greater(default, "default", max, "max", "default", max);
    let at = l.get("maxLimitRequestRatio").key(k);
    if let Some(r) = ratio {
        if r.as_f64() < 1.0 {
            at.invalid(e, format!("ratio {r} is less than 1"));
        }
        if let (Some(min), Some(max)) = (min, max) {
            let limit = max.as_f64() / min.as_f64();
            if r.as_f64() > limit {
                at.invalid(e, format!("ratio {r} is greater than max/min = {limit:.6}"));
            }
        }
    }
    if let (Some(d), Some(r)) = (default, request)
        && !resources::overcommit_allowed(k)
        && d != r
    {
        l.get("defaultRequest").key(k).invalid(e, format!("default value {d} must equal to defaultRequest value {r} in {k}"));
    }
}

fn kind_allows(l: At, list: &str) -> bool {
    l.get("type").str() != "Pod" || !list.starts_with("default")
}
