//! Amounts of compute resources, and what a pod requests: sidecars, init containers, overhead, pod-level requests and resizes
//! (component-helpers/resource).

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use machinery::quantity::Quantity;
use std::collections::BTreeMap;

type List = BTreeMap<String, ApiQuantity>;

/// What a container without a request counts for in scores.
pub const DEFAULT_MILLI_CPU: i64 = 100;
pub const DEFAULT_MEMORY: i64 = 200 << 20;

/// CPU in millicores, memory and ephemeral storage in bytes, everything else by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    pub cpu: i64,
    pub memory: i64,
    pub ephemeral: i64,
    /// `pods`; nodes' allocatable only.
    pub pods: i64,
    /// Extended resources, hugepages and attachable volumes, ordered by name.
    pub scalars: Vec<(String, i64)>,
}

/// The value of a quantity in units, rounded up; 0 for one that cannot be read (admission refuses those).
pub fn value(q: &ApiQuantity) -> i64 {
    q.0.parse::<Quantity>().map_or(0, |q| q.value())
}

fn amount(name: &str, q: &ApiQuantity) -> i64 {
    let Ok(q) = q.0.parse::<Quantity>() else { return 0 };
    if name == "cpu" { q.milli_value() } else { q.value() }
}

fn is_scalar(name: &str) -> bool {
    name.contains('/') || name.starts_with("hugepages-") || name.starts_with("attachable-volumes-")
}

impl Resources {
    pub fn from_list(list: Option<&List>) -> Self {
        let mut out = Self::default();
        for (name, q) in list.into_iter().flatten() {
            out.set(name, amount(name, q));
        }
        out
    }
    pub fn scalar(&self, name: &str) -> i64 {
        self.scalars.binary_search_by(|(n, _)| n.as_str().cmp(name)).map_or(0, |i| self.scalars[i].1)
    }
    fn scalar_mut(&mut self, name: &str) -> &mut i64 {
        let i = match self.scalars.binary_search_by(|(n, _)| n.as_str().cmp(name)) {
            Ok(i) => i,
            Err(i) => {
                self.scalars.insert(i, (name.to_owned(), 0));
                i
            }
        };
        &mut self.scalars[i].1
    }
    fn set(&mut self, name: &str, amount: i64) {
        match name {
            "cpu" => self.cpu = amount,
            "memory" => self.memory = amount,
            "ephemeral-storage" => self.ephemeral = amount,
            "pods" => self.pods = amount,
            _ if is_scalar(name) => *self.scalar_mut(name) = amount,
            _ => {}
        }
    }
    pub fn add(&mut self, other: &Self) {
        self.cpu = self.cpu.saturating_add(other.cpu);
        self.memory = self.memory.saturating_add(other.memory);
        self.ephemeral = self.ephemeral.saturating_add(other.ephemeral);
        for (n, v) in &other.scalars {
            let s = self.scalar_mut(n);
            *s = s.saturating_add(*v);
        }
    }
    pub fn sub(&mut self, other: &Self) {
        self.cpu = self.cpu.saturating_sub(other.cpu);
        self.memory = self.memory.saturating_sub(other.memory);
        self.ephemeral = self.ephemeral.saturating_sub(other.ephemeral);
        for (n, v) in &other.scalars {
            let s = self.scalar_mut(n);
            *s = s.saturating_sub(*v);
        }
    }
    pub fn max(&mut self, other: &Self) {
        self.cpu = self.cpu.max(other.cpu);
        self.memory = self.memory.max(other.memory);
        self.ephemeral = self.ephemeral.max(other.ephemeral);
        for (n, v) in &other.scalars {
            let s = self.scalar_mut(n);
            *s = (*s).max(*v);
        }
    }
}

/// A pod's requests: as they are, and with defaults for containers that ask for no CPU or memory (for scores).
#[derive(Clone, Debug, Default)]
pub struct PodRequests {
    pub exact: Resources,
    pub nonzero_cpu: i64,
    pub nonzero_memory: i64,
}

struct Sums {
    with_defaults: bool,
}

/// A pending resize counts for the larger of what is asked, granted and in effect; one that can never fit counts for the latter two.
fn effective(list: Option<&List>, status: Option<&ContainerStatus>, infeasible: bool) -> Resources {
    let spec = Resources::from_list(list);
    let Some((s, actuated)) = status.and_then(|s| Some((s, s.resources.as_ref()?))) else { return spec };
    let mut out = Resources::from_list(actuated.requests.as_ref());
    out.max(&Resources::from_list(s.allocated_resources.as_ref()));
    if !infeasible {
        out.max(&spec);
    }
    out
}

impl Sums {
    fn container(&self, c: &Container, status: Option<&ContainerStatus>, infeasible: bool) -> Resources {
        let list = c.resources.as_ref().and_then(|r| r.requests.as_ref());
        let mut out = effective(list, status, infeasible);
        if self.with_defaults {
            let has = |name: &str| list.is_some_and(|l| l.contains_key(name));
            if !has("cpu") && out.cpu == 0 {
                out.cpu = DEFAULT_MILLI_CPU;
            }
            if !has("memory") && out.memory == 0 {
                out.memory = DEFAULT_MEMORY;
            }
        }
        out
    }

    fn pod(&self, pod: &Pod) -> Resources {
        let Some(spec) = &pod.spec else { return Resources::default() };
        let status = pod.status.as_ref();
        let infeasible = status
            .and_then(|s| s.conditions.as_ref())
            .is_some_and(|c| c.iter().any(|c| c.type_ == "PodResizePending" && c.reason.as_deref() == Some("Infeasible")));
        let find =
            |list: Option<&Vec<ContainerStatus>>, name: &str| list.and_then(|l| l.iter().find(|s| s.name == name)).cloned();
        let mut total = Resources::default();
        for c in &spec.containers {
            let cs = find(status.and_then(|s| s.container_statuses.as_ref()), &c.name);
            total.add(&self.container(c, cs.as_ref(), infeasible));
        }
        let mut sidecars = Resources::default();
        let mut init = Resources::default();
        for c in spec.init_containers.iter().flatten() {
            let mut using;
            if c.restart_policy.as_deref() == Some("Always") {
                let cs = find(status.and_then(|s| s.init_container_statuses.as_ref()), &c.name);
                let own = self.container(c, cs.as_ref(), infeasible);
                total.add(&own);
                sidecars.add(&own);
                using = sidecars.clone();
            } else {
                using = self.container(c, None, infeasible);
                using.add(&sidecars);
            }
            init.max(&using);
        }
        total.max(&init);
        for (name, q) in spec.resources.as_ref().and_then(|r| r.requests.as_ref()).into_iter().flatten() {
            if name == "cpu" || name == "memory" || name.starts_with("hugepages-") {
                total.set(name, amount(name, q));
            }
        }
        total.add(&Resources::from_list(spec.overhead.as_ref()));
        total
    }
}

/// Computes a pod's requests.
pub fn pod_requests(pod: &Pod) -> PodRequests {
    let exact = Sums { with_defaults: false }.pod(pod);
    let nonzero = Sums { with_defaults: true }.pod(pod);
    PodRequests { exact, nonzero_cpu: nonzero.cpu, nonzero_memory: nonzero.memory }
}
