//! Resource lists of pods, as LimitRanger and ResourceQuota count them. Upstream: component-helpers/resource.

use machinery::meta::{list_at, map_at, str_at};
use machinery::quantity::{self, Quantity};
use machinery::{Map, Value};
use std::collections::BTreeMap;

/// Quantities by the name of the resource.
pub type Resources = BTreeMap<String, Quantity>;

/// Parses a resource list; what is no quantity is left to validation.
pub fn list(m: &Map<String, Value>) -> Resources {
    m.iter().filter_map(|(k, v)| Some((k.clone(), quantity::from_value(v).ok()?))).collect()
}

/// Adds each of `more`.
pub fn add(to: &mut Resources, more: &Resources) {
    for (k, q) in more {
        match to.get_mut(k) {
            Some(have) => have.add(q),
            None => {
                to.insert(k.clone(), *q);
            }
        }
    }
}

pub(crate) fn raise(to: &mut Resources, other: &Resources) {
    for (k, q) in other {
        if to.get(k).is_none_or(|have| have < q) {
            to.insert(k.clone(), *q);
        }
    }
}

/// What a pod's spec asks for at once (`kind` is `requests` or `limits`): containers and sidecars together, or the largest init step;
/// pod-level values override.
pub fn of_pod(pod: &Value, kind: &str) -> Resources {
    total(pod, kind, |c, _| list(map_at(c, &["resources", kind])))
}

/// The same for a pod that may be in the middle of a resize: what it asks for or still has, whichever is more.
pub fn of_running_pod(pod: &Value, kind: &str) -> Resources {
    let infeasible = list_at(pod, &["status", "conditions"])
        .iter()
        .any(|c| str_at(c, &["type"]) == "PodResizePending" && str_at(c, &["reason"]) == "Infeasible");
    total(pod, kind, |c, statuses| {
        let wanted = list(map_at(c, &["resources", kind]));
        let status = list_at(pod, &["status", statuses]).iter().find(|s| str_at(s, &["name"]) == str_at(c, &["name"]));
        let Some(status) = status else { return wanted };
        let mut has = list(map_at(status, &["resources", kind]));
        if kind == "requests" {
            raise(&mut has, &list(map_at(status, &["allocatedResources"])));
        }
        if has.is_empty() || infeasible && kind == "requests" {
            return if has.is_empty() { wanted } else { has };
        }
        raise(&mut has, &wanted);
        has
    })
}

fn total(pod: &Value, kind: &str, of: impl Fn(&Value, &str) -> Resources) -> Resources {
    let mut total = Resources::new();
    for c in list_at(pod, &["spec", "containers"]) {
        add(&mut total, &of(c, "containerStatuses"));
    }
    let (mut sidecars, mut init) = (Resources::new(), Resources::new());
    for c in list_at(pod, &["spec", "initContainers"]) {
        let own = of(c, "initContainerStatuses");
        let mut step = sidecars.clone();
        add(&mut step, &own);
        if str_at(c, &["restartPolicy"]) == "Always" {
            add(&mut total, &own);
            sidecars = step.clone();
        }
        raise(&mut init, &step);
    }
    raise(&mut total, &init);
    for (k, q) in list(map_at(pod, &["spec", "resources", kind])) {
        if k == "cpu" || k == "memory" || k.starts_with("hugepages-") {
            total.insert(k, q);
        }
    }
    total
}
