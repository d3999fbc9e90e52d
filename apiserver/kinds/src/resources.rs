//! Names and quantities of resources: cpu, memory, huge pages, extended resources (pkg/apis/core/helper, component-helpers).

use crate::at::At;
use crate::check;
use machinery::field::ErrorList;
use machinery::quantity::{self, Quantity};
use machinery::{Map, Value};
use std::collections::BTreeMap;

const CONTAINER: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
const QUOTA: [&str; 19] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
];
const INTEGER: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

/// The quantity, `None` where it is none.
pub fn amount(v: &Value) -> Option<Quantity> {
    quantity::from_value(v).ok()
}

/// Zero, or no quantity at all.
pub fn is_zero(v: &Value) -> bool {
    amount(v).is_none_or(|q| q.is_zero())
}

pub fn is_negative(v: &Value) -> bool {
    amount(v).is_some_and(|q| q.sign() < 0)
}

/// Has a fraction.
pub fn is_fractional(v: &Value) -> bool {
    amount(v).is_some_and(|q| q.milli_value() % 1000 != 0)
}

pub fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-")
}
pub fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}
pub fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.") && check::qualified_name(&format!("requests.{name}")).is_empty()
}
pub fn overcommit_allowed(name: &str) -> bool {
    is_native(name) && !is_huge_page(name)
}
pub fn is_standard_quota(name: &str) -> bool {
    QUOTA.contains(&name) || is_huge_page(name) || name.starts_with("requests.hugepages-")
}
fn is_standard(name: &str) -> bool {
    is_standard_quota(name) || name == "storage"
}
fn is_integer(name: &str) -> bool {
    INTEGER.contains(&name) || is_extended(name)
}

/// `name` is a standard resource or a qualified name. True if fine.
pub fn resource_name(at: At, e: &mut ErrorList, name: &str) -> bool {
    let reasons = check::qualified_name(name);
    if !reasons.is_empty() {
        for r in reasons {
            at.invalid_value(e, name, r);
        }
        return false;
    }
    if !name.contains('/') && !is_standard(name) {
        at.invalid_value(e, name, "must be a standard resource type or fully qualified");
        return false;
    }
    true
}

pub fn container_resource_name(at: At, e: &mut ErrorList, name: &str) {
    resource_name(at, e, name);
    if !name.contains('/') {
        if !CONTAINER.contains(&name) && !is_huge_page(name) {
            at.invalid_value(e, name, "must be a standard resource for containers");
        }
    } else if !is_native(name) && !is_extended(name) {
        at.invalid_value(e, name, "doesn't follow extended resource name standard");
    }
}

pub fn pod_resource_name(at: At, e: &mut ErrorList, name: &str) {
    if resource_name(at, e, name) && !["cpu", "memory"].contains(&name) && !is_huge_page(name) {
        e.push(machinery::field::Error::not_supported(&at.path(), name, &["cpu", "hugepages-", "memory"]));
    }
}

/// Not negative, and whole for what is counted.
pub fn quantity_value(at: At, e: &mut ErrorList, name: &str) {
    if is_negative(at.v) {
        at.invalid(e, "must be greater than or equal to 0");
    }
    if is_integer(name) && is_fractional(at.v) {
        at.invalid(e, "must be an integer");
    }
}

/// Whether a container has a part of a huge page.
pub fn has_broken_huge_pages(spec: &Value) -> bool {
    let broken = |(name, q): (&String, &Value)| {
        let size = amount(&Value::from(name.trim_start_matches("hugepages-"))).map_or(0, |q| q.value());
        is_huge_page(name) && (size <= 0 || amount(q).map_or(0, |q| q.value()) % size != 0)
    };
    let lists = ["containers", "initContainers"];
    lists
        .iter()
        .flat_map(|l| machinery::meta::list_at(spec, &[l]))
        .any(|c| ["limits", "requests"].iter().any(|l| machinery::meta::map_at(c, &["resources", l]).iter().any(broken)))
}

fn huge_page_value(at: At, e: &mut ErrorList, name: &str) {
    let size = amount(&Value::from(name.trim_start_matches("hugepages-"))).map_or(0, |q| q.value());
    if size <= 0 || amount(at.v).map_or(0, |q| q.value()) % size != 0 {
        at.invalid(e, format!("{} is not positive integer multiple of {name}", at.str()));
    }
}

/// `resources` of a container (or of a pod, by another `name_rule`).
pub fn requirements(at: At, e: &mut ErrorList, name_rule: fn(At, &mut ErrorList, &str), claims: &[&str], divisible: bool) {
    let (limits, requests) = (at.get("limits"), at.get("requests"));
    let (mut compute, mut huge) = (false, false);
    for (map, is_request) in [(limits, false), (requests, true)] {
        for (name, q) in map.entries() {
            name_rule(q, e, name);
            quantity_value(q, e, name);
            if is_request {
                let limit = limits.v.get(name).filter(|l| !l.is_null());
                match limit {
                    Some(limit) => {
                        let (r, l) = (amount(q.v), amount(limit));
                        let limit_text = limit.as_str().unwrap_or("");
                        if r != l && !overcommit_allowed(name) {
                            requests.invalid_value(e, q.v.clone(), format!("must be equal to {name} limit of {limit_text}"));
                        } else if r > l {
                            requests.invalid_value(
                                e,
                                q.v.clone(),
                                format!("must be less than or equal to {name} limit of {limit_text}"),
                            );
                        }
                    }
                    None if !overcommit_allowed(name) => limits.required(e, "Limit must be set for non overcommitable resources"),
                    None => {}
                }
            }
            if is_huge_page(name) {
                huge = true;
                if divisible {
                    huge_page_value(q, e, name);
                }
            }
            compute |= name == "cpu" || name == "memory";
        }
    }
    if huge && !compute {
        at.forbidden(e, "HugePages require cpu or memory");
    }
    claim_names(at.get("claims"), e, claims);
}

/// `resources.claims`: names of the pod's claims, each with at most one use per request.
fn claim_names(at: At, e: &mut ErrorList, pod_claims: &[&str]) {
    let mut seen: Vec<String> = Vec::new();
    for c in at.items() {
        let name = c.get("name").str();
        if name.is_empty() {
            c.required(e, "");
            continue;
        }
        let request = c.get("request");
        let key = if request.is_empty() { name.to_owned() } else { format!("{name}/{}", request.str()) };
        if seen.iter().any(|s| s == name) {
            e.push(machinery::field::Error::duplicate(&c.path(), name));
        } else {
            request.check_if_set(e, check::dns1123_label);
            if seen.contains(&key) {
                e.push(machinery::field::Error::duplicate(&c.path(), key.as_str()));
            } else if request.is_empty() {
                for _ in seen.iter().filter(|s| s.split_once('/').is_some_and(|(n, _)| n == name)) {
                    e.push(machinery::field::Error::duplicate(&c.path(), name));
                }
            }
            seen.push(key);
        }
        if !pod_claims.contains(&name) {
            let mut err = machinery::field::Error::not_found(&c.path(), name);
            let mut sorted = pod_claims.to_vec();
            sorted.sort_unstable();
            err.detail = format!(
                "must be one of the names in pod.spec.resourceClaims{}",
                if sorted.is_empty() { " which is empty".to_owned() } else { format!(": {}", sorted.join(", ")) }
            );
            e.push(err);
        }
    }
}

/// Sums by resource name.
pub type Totals = BTreeMap<String, Quantity>;

fn add(to: &mut Totals, list: &Map<String, Value>) {
    for (k, q) in list.iter().filter_map(|(k, v)| Some((k, amount(v)?))) {
        match to.get_mut(k) {
            Some(sum) => sum.add(&q),
            None => {
                to.insert(k.clone(), q);
            }
        }
    }
}

fn max(to: &mut Totals, other: &Totals) {
    for (k, v) in other {
        if to.get(k).is_none_or(|have| have < v) {
            to.insert(k.clone(), *v);
        }
    }
}

/// What the containers of a pod need together: the sum of containers and sidecars, or an init container's moment if that is more.
/// `which` is `requests` or `limits`.
pub fn aggregate(spec: &Value, which: &str) -> Totals {
    fn list<'a>(c: &'a Value, which: &str) -> &'a Map<String, Value> {
        machinery::meta::map_at(c, &["resources", which])
    }
    let (mut total, mut sidecars, mut init) = (Totals::new(), Totals::new(), Totals::new());
    for c in machinery::meta::list_at(spec, &["containers"]) {
        add(&mut total, list(c, which));
    }
    for c in machinery::meta::list_at(spec, &["initContainers"]) {
        let moment = if machinery::meta::str_at(c, &["restartPolicy"]) == "Always" {
            add(&mut total, list(c, which));
            add(&mut sidecars, list(c, which));
            sidecars.clone()
        } else {
            let mut t = sidecars.clone();
            add(&mut t, list(c, which));
            t
        };
        max(&mut init, &moment);
    }
    max(&mut total, &init);
    total
}
