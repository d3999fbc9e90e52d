//! Resource lists of pods, as LimitRanger and ResourceQuota count them. Upstream: component-helpers/resource.

use machinery::meta::{list_at, map_at, str_at};
use machinery::quantity::{self, Quantity};
use machinery::{Map, Value};
use std::collections::BTreeMap;

pub(super) type Resources = BTreeMap<String, Quantity>;

/// Parses a resource list; what is no quantity is left to validation.
pub(super) fn list(m: &Map<String, Value>) -> Resources {
    m.iter().filter_map(|(k, v)| Some((k.clone(), quantity::from_value(v).ok()?))).collect()
}

pub(super) fn add(to: &mut Resources, more: &Resources) {
    for (k, q) in more {
        match to.get_mut(k) {
            Some(have) => have.add(q),
            None => {
                to.insert(k.clone(), *q);
            }
        }
    }
}

fn raise(to: &mut Resources, other: &Resources) {
    for (k, q) in other {
        if to.get(k).is_none_or(|have| have < q) {
            to.insert(k.clone(), *q);
        }
    }
}

/// What a pod needs at once (`kind` is `requests` or `limits`): containers and sidecars together, or the largest init step; pod-level
/// values override.
pub(super) fn of_pod(pod: &Value, kind: &str) -> Resources {
    let of = |c: &Value| list(map_at(c, &["resources", kind]));
    let mut total = Resources::new();
    for c in list_at(pod, &["spec", "containers"]) {
        add(&mut total, &of(c));
    }
    let (mut sidecars, mut init) = (Resources::new(), Resources::new());
    for c in list_at(pod, &["spec", "initContainers"]) {
        let own = of(c);
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
