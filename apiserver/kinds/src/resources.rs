//! Names and quantities of resources: cpu, memory, huge pages, extended resources (pkg/apis/core/helper, component-helpers).

use crate::at::At;
use crate::check;
use machinery::field::ErrorList;
use machinery::{Map, Value};
use std::collections::BTreeMap;

const CONTAINER: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
const QUOTA: [&str; 19] = [
    "cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory", "requests.storage", "requests.ephemeral-storage",
    "limits.cpu", "limits.memory", "limits.ephemeral-storage", "pods", "resourcequotas", "services", "replicationcontrollers",
    "secrets", "persistentvolumeclaims", "configmaps", "services.nodeports", "services.loadbalancers",
];
const INTEGER: [&str; 9] = [
    "pods", "resourcequotas", "services", "replicationcontrollers", "secrets", "configmaps", "persistentvolumeclaims",
    "services.nodeports", "services.loadbalancers",
];

/// A quantity in billionths, enough for every suffix; `None` where it is none. Saturates.
pub fn amount(v: &Value) -> Option<i128> {
    let number;
    let s = match v {
        Value::String(s) => s.trim(),
        Value::Number(n) => {
            number = n.to_string();
            number.as_str()
        }
        _ => return None,
    };
    let (negative, s) = match s.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, s.strip_prefix('+').unwrap_or(s)),
    };
    let end = s.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(s.len());
    let (digits, suffix) = s.split_at(end);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let (two, ten): (u32, i32) = match suffix {
        "" => (0, 0),
        "n" => (0, -9),
        "u" => (0, -6),
        "m" => (0, -3),
        "k" => (0, 3),
        "M" => (0, 6),
        "G" => (0, 9),
        "T" => (0, 12),
        "P" => (0, 15),
        "E" => (0, 18),
        "Ki" => (10, 0),
        "Mi" => (20, 0),
        "Gi" => (30, 0),
        "Ti" => (40, 0),
        "Pi" => (50, 0),
        "Ei" => (60, 0),
        _ => (0, suffix.strip_prefix(['e', 'E'])?.parse().ok().filter(|x: &i32| x.abs() < 40)?),
    };
    let text: String = whole.chars().chain(fraction.chars()).collect();
    let mut value: i128 = if text.len() > 36 { i128::MAX } else { text.parse().unwrap_or(0) };
    value = value.saturating_mul(1i128 << two);
    let scale = 9 + ten - i32::try_from(fraction.len()).unwrap_or(i32::MAX);
    let factor = 10i128.checked_pow(scale.unsigned_abs()).unwrap_or(i128::MAX);
    // Fractions round up, as Quantity does when it canonicalizes.
    value = if scale >= 0 { value.saturating_mul(factor) } else { value / factor + i128::from(value % factor != 0) };
    Some(if negative { -value } else { value })
}

/// `amount`, zero where absent.
pub fn amount_or_zero(v: Option<&Value>) -> i128 {
    v.and_then(amount).unwrap_or(0)
}

pub fn is_zero(v: &Value) -> bool {
    amount(v).unwrap_or(0) == 0
}

/// A sum as a quantity string, with the suffix family of memory or cpu.
pub fn quantity_text(nanos: i128) -> String {
    const ONE: i128 = 1_000_000_000;
    if nanos % ONE != 0 {
        return if nanos % 1_000_000 == 0 { format!("{}m", nanos / 1_000_000) } else { format!("{nanos}n") };
    }
    let n = nanos / ONE;
    for (shift, suffix) in [(60u32, "Ei"), (50, "Pi"), (40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")] {
        if n != 0 && n % (1i128 << shift) == 0 {
            return format!("{}{suffix}", n >> shift);
        }
    }
    n.to_string()
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
    let Some(n) = amount(at.v) else { return };
    if n < 0 {
        at.invalid(e, "must be greater than or equal to 0");
    }
    if is_integer(name) && n % 1_000_000_000 != 0 {
        at.invalid(e, "must be an integer");
    }
}

fn huge_page_value(at: At, e: &mut ErrorList, name: &str) {
    let size = amount(&Value::from(name.trim_start_matches("hugepages-"))).unwrap_or(0);
    if size <= 0 || amount(at.v).unwrap_or(0) % size != 0 {
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
                        let (r, l) = (amount(q.v).unwrap_or(0), amount(limit).unwrap_or(0));
                        let limit_text = limit.as_str().unwrap_or("");
                        if r != l && !overcommit_allowed(name) {
                            requests.invalid_value(e, q.v.clone(), format!("must be equal to {name} limit of {limit_text}"));
                        } else if r > l {
                            requests.invalid_value(e, q.v.clone(), format!("must be less than or equal to {name} limit of {limit_text}"));
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
            err.detail = format!("must be one of the names in pod.spec.resourceClaims{}", if sorted.is_empty() { " which is empty".to_owned() } else { format!(": {}", sorted.join(", ")) });
            e.push(err);
        }
    }
}

/// Sums by resource name.
pub type Totals = BTreeMap<String, i128>;

fn add(to: &mut Totals, list: &Map<String, Value>) {
    for (k, v) in list {
        let slot = to.entry(k.clone()).or_default();
        *slot = slot.saturating_add(amount(v).unwrap_or(0));
    }
}

fn max(to: &mut Totals, other: &Totals) {
    for (k, v) in other {
        let slot = to.entry(k.clone()).or_insert(*v);
        *slot = (*slot).max(*v);
    }
}

/// What the containers of a pod need together: the sum of containers and sidecars, or an init container's moment if that is more.
/// `which` is `requests` or `limits`.
pub fn aggregate(spec: &Value, which: &str) -> Totals {
    let list = |c: &Value| machinery::meta::map_at(c, &["resources", which]).clone();
    let (mut total, mut sidecars, mut init) = (Totals::new(), Totals::new(), Totals::new());
    for c in machinery::meta::list_at(spec, &["containers"]) {
        add(&mut total, &list(c));
    }
    for c in machinery::meta::list_at(spec, &["initContainers"]) {
        let moment = if machinery::meta::str_at(c, &["restartPolicy"]) == "Always" {
            add(&mut total, &list(c));
            add(&mut sidecars, &list(c));
            sidecars.clone()
        } else {
            let mut t = sidecars.clone();
            add(&mut t, &list(c));
            t
        };
        max(&mut init, &moment);
    }
    max(&mut total, &init);
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts() {
        for (text, want) in [("1", Some(1_000_000_000)), ("100m", Some(100_000_000)), ("1Ki", Some(1_024_000_000_000)), ("1.5", Some(1_500_000_000)), ("1e3", Some(1_000_000_000_000)), ("-2", Some(-2_000_000_000)), ("0.5Gi", Some(536_870_912_000_000_000)), ("x", None), ("", None), ("1e99", None)] {
            assert_eq!(amount(&Value::from(text)), want, "{text}");
        }
        assert_eq!(quantity_text(1_073_741_824_000_000_000), "1Gi");
        assert_eq!(quantity_text(250_000_000), "250m");
    }
}
