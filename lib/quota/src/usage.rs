//! What an object costs. Upstream: pkg/quota/v1/evaluator/core.

use crate::Scope;
use crate::resources::{self, Resources};
use machinery::Value;
use machinery::meta::{at, bool_at, i64_at, list_at, map_at, str_at};
use machinery::quantity::{Format, Quantity};
use machinery::time::{self, Timestamp};

const STORAGE_CLASS: &str = ".storageclass.storage.k8s.io/";
const DEVICE_CLASS: &str = ".deviceclass.resource.k8s.io/devices";
const COUNT_DEVICE_CLAIMS: &str = "count/resourceclaims.resource.k8s.io";
/// The most devices that one claim can get, and so what `allocationMode: All` is charged.
const MOST_DEVICES: i64 = 32;

/// How objects of one resource are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evaluator {
    Pods,
    Services,
    Claims,
    /// Claims of devices: their number, and the devices by class.
    DeviceClaims,
    /// Only the number of objects: `count/deployments.apps`, and for some core resources their plain name.
    Count(Vec<String>),
}

fn one() -> Quantity {
    number(1)
}

fn number(n: usize) -> Quantity {
    Quantity::new(i64::try_from(n).unwrap_or(i64::MAX), Format::DecimalSI)
}

/// Extended resources, as nodes' devices are.
fn extended(resource: &str) -> bool {
    resource.contains('/') && !resource.split('/').next().is_some_and(|d| d == "kubernetes.io" || d.ends_with(".kubernetes.io"))
}

/// Core resources that quotas also name without `count/`.
const PLAIN: [&str; 4] = ["configmaps", "secrets", "replicationcontrollers", "resourcequotas"];

impl Evaluator {
    pub fn of(group: &str, resource: &str) -> Self {
        match (group, resource) {
            ("", "pods") => Self::Pods,
            ("", "services") => Self::Services,
            ("", "persistentvolumeclaims") => Self::Claims,
            ("resource.k8s.io", "resourceclaims") => Self::DeviceClaims,
            ("", r) => {
                let mut names = vec![format!("count/{r}")];
                if PLAIN.contains(&r) {
                    names.push(r.to_owned());
                }
                Self::Count(names)
            }
            (g, r) => Self::Count(vec![format!("count/{r}.{g}")]),
        }
    }

    /// Group and resource of the objects that a quota's resource `name` is about, as (`apps`, `deployments`).
    pub fn subject(name: &str) -> Option<(&str, &str)> {
        let special = [(Self::Pods, "pods"), (Self::Services, "services"), (Self::Claims, "persistentvolumeclaims")];
        if let Some((_, resource)) = special.into_iter().find(|(e, _)| e.covers(name)) {
            return Some(("", resource));
        }
        if Self::DeviceClaims.covers(name) {
            return Some(("resource.k8s.io", "resourceclaims"));
        }
        match name.strip_prefix("count/") {
            Some(of) => Some(of.split_once('.').map_or(("", of), |(resource, group)| (group, resource))),
            None => PLAIN.contains(&name).then_some(("", name)),
        }
    }

    /// The quota's resource `name` is about these objects.
    pub fn covers(&self, name: &str) -> bool {
        match self {
            Self::Pods => {
                let rest = name.strip_prefix("requests.").or_else(|| name.strip_prefix("limits.")).unwrap_or(name);
                name == "pods"
                    || name == "count/pods"
                    || ["cpu", "memory", "ephemeral-storage"].contains(&rest)
                    || rest.starts_with("hugepages-")
                    || (name.starts_with("requests.") && extended(rest))
            }
            Self::Services => ["count/services", "services", "services.nodeports", "services.loadbalancers"].contains(&name),
            Self::Claims => {
                let of_claims = |n: &str| n == "persistentvolumeclaims" || n == "requests.storage";
                name == "count/persistentvolumeclaims"
                    || of_claims(name)
                    || name.split_once(STORAGE_CLASS).is_some_and(|(_, n)| of_claims(n))
            }
            Self::DeviceClaims => name == COUNT_DEVICE_CLAIMS || name.ends_with(DEVICE_CLASS),
            Self::Count(names) => names.iter().any(|n| n == name),
        }
    }

    /// What an object costs at this time.
    pub fn usage(&self, obj: &Value, now: Timestamp) -> Resources {
        match self {
            Self::Pods => pod(obj, now),
            Self::Services => service(obj),
            Self::Claims => claim(obj),
            Self::DeviceClaims => device_claim(obj),
            Self::Count(names) => names.iter().map(|n| (n.clone(), one())).collect(),
        }
    }

    /// Whether a scope has the object; those of a kind that knows no scopes are in none.
    pub fn in_scope(&self, scope: &Scope<'_>, obj: &Value) -> bool {
        match (self, scope.name) {
            (Self::Pods, "Terminating") => terminating(obj),
            (Self::Pods, "NotTerminating") => !terminating(obj),
            (Self::Pods, "BestEffort") => best_effort(obj),
            (Self::Pods, "NotBestEffort") => !best_effort(obj),
            (Self::Pods, "PriorityClass") => scope.selects(str_at(obj, &["spec", "priorityClassName"])),
            (Self::Pods, "CrossNamespacePodAffinity") => cross_namespace_affinity(obj),
            (Self::Claims, "VolumeAttributesClass") => attributes_class(scope, obj),
            _ => false,
        }
    }
}

/// A claim is in the scope by any of the classes it has, had, or is to get.
fn attributes_class(scope: &Scope<'_>, claim: &Value) -> bool {
    let paths: [&[&str]; 3] = [
        &["spec", "volumeAttributesClassName"],
        &["status", "currentVolumeAttributesClassName"],
        &["status", "modifyVolumeStatus", "targetVolumeAttributesClassName"],
    ];
    let names: Vec<&str> = paths.into_iter().map(|p| str_at(claim, p)).filter(|n| !n.is_empty()).collect();
    if names.is_empty() { scope.selects("") } else { names.into_iter().any(|n| scope.selects(n)) }
}

/// Whether a pod still uses what it was given: not when it has ended, nor when its node does not end it in time.
fn is_active(p: &Value, now: Timestamp) -> bool {
    if matches!(str_at(p, &["status", "phase"]), "Failed" | "Succeeded") {
        return false;
    }
    let overdue = || {
        let deleted = time::parse(str_at(p, &["metadata", "deletionTimestamp"]))?;
        let grace = i64_at(p, &["metadata", "deletionGracePeriodSeconds"])?;
        Some(now.as_second() > deleted.as_second().saturating_add(grace))
    };
    overdue() != Some(true)
}

fn pod(p: &Value, now: Timestamp) -> Resources {
    let mut r = Resources::from([("count/pods".to_owned(), one())]);
    if !is_active(p, now) {
        return r;
    }
    r.insert("pods".into(), one());
    for (kind, prefix) in [("requests", "requests."), ("limits", "limits.")] {
        let mut list = resources::of_running_pod(p, kind);
        resources::add(&mut list, &resources::list(map_at(p, &["spec", "overhead"])));
        for (k, q) in list {
            let native = ["cpu", "memory", "ephemeral-storage"].contains(&k.as_str()) || k.starts_with("hugepages-");
            if kind == "requests" && native {
                r.insert(k.clone(), q);
            }
            if native || kind == "requests" {
                r.insert(format!("{prefix}{k}"), q);
            }
        }
    }
    r
}

fn service(s: &Value) -> Resources {
    let ports = list_at(s, &["spec", "ports"]);
    let explicit = ports.iter().filter(|p| i64_at(p, &["nodePort"]).is_some_and(|n| n != 0)).count();
    let allocates =
        at(s, &["spec", "allocateLoadBalancerNodePorts"]).is_none() || bool_at(s, &["spec", "allocateLoadBalancerNodePorts"]);
    let (node_ports, balancers) = match str_at(s, &["spec", "type"]) {
        "NodePort" => (ports.len(), 0),
        "LoadBalancer" if allocates => (ports.len(), 1),
        "LoadBalancer" => (explicit, 1),
        _ => (0, 0),
    };
    Resources::from([
        ("count/services".to_owned(), one()),
        ("services".to_owned(), one()),
        ("services.nodeports".to_owned(), number(node_ports)),
        ("services.loadbalancers".to_owned(), number(balancers)),
    ])
}

fn claim(c: &Value) -> Resources {
    let mut r =
        Resources::from([("persistentvolumeclaims".to_owned(), one()), ("count/persistentvolumeclaims".to_owned(), one())]);
    let class = match str_at(c, &["metadata", "annotations", "volume.beta.kubernetes.io/storage-class"]) {
        "" => str_at(c, &["spec", "storageClassName"]),
        beta => beta,
    };
    let asked = resources::list(map_at(c, &["spec", "resources", "requests"])).remove("storage");
    let given = resources::list(map_at(c, &["status", "allocatedResources"])).remove("storage");
    let storage = asked.map(|a| given.filter(|g| *g > a).unwrap_or(a)).map(|mut q| {
        q.round_up(0);
        q
    });
    if !class.is_empty() {
        r.insert(format!("{class}{STORAGE_CLASS}persistentvolumeclaims"), one());
    }
    if let Some(q) = storage {
        r.insert("requests.storage".into(), q);
        if !class.is_empty() {
            r.insert(format!("{class}{STORAGE_CLASS}requests.storage"), q);
        }
    }
    r
}

/// Each request costs its devices; one with alternatives the most that any of them may cost, by class.
fn device_claim(claim: &Value) -> Resources {
    let mut total = Resources::from([(COUNT_DEVICE_CLAIMS.to_owned(), one())]);
    let cost = |request: &Value| {
        let devices = match str_at(request, &["allocationMode"]) {
            "ExactCount" => i64_at(request, &["count"]).unwrap_or(0),
            "All" => MOST_DEVICES,
            _ => 0,
        };
        (format!("{}{DEVICE_CLASS}", str_at(request, &["deviceClassName"])), Quantity::new(devices, Format::DecimalSI))
    };
    for request in list_at(claim, &["spec", "devices", "requests"]) {
        let mut most = Resources::new();
        for (class, devices) in list_at(request, &["firstAvailable"]).iter().chain(request.get("exactly")).map(cost) {
            resources::raise(&mut most, &Resources::from([(class, devices)]));
        }
        resources::add(&mut total, &most);
    }
    total
}

fn terminating(pod: &Value) -> bool {
    i64_at(pod, &["spec", "activeDeadlineSeconds"]).is_some_and(|s| s >= 0)
}

fn best_effort(pod: &Value) -> bool {
    let asks = |c: &Value| {
        ["requests", "limits"].iter().any(|k| {
            resources::list(map_at(c, &["resources", k])).iter().any(|(n, q)| (n == "cpu" || n == "memory") && !q.is_zero())
        })
    };
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let containers = ["initContainers", "containers"].into_iter().flat_map(|l| list_at(pod, &["spec", l]));
    !asks(spec) && !containers.into_iter().any(asks)
}

fn cross_namespace_affinity(pod: &Value) -> bool {
    let crosses = |t: &Value| !list_at(t, &["namespaces"]).is_empty() || at(t, &["namespaceSelector"]).is_some();
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let of = |l: &str| list_at(pod, &["spec", "affinity", kind, l]);
        of("requiredDuringSchedulingIgnoredDuringExecution").iter().any(crosses)
            || of("preferredDuringSchedulingIgnoredDuringExecution").iter().filter_map(|t| t.get("podAffinityTerm")).any(crosses)
    })
}

#[cfg(test)]
mod tests;
