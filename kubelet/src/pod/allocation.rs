//! What pods were given of the node's CPU and memory. It follows their specs, except while a resize does not fit: then the pod keeps
//! what it has, and its condition PodResizePending says why (upstream pkg/kubelet/allocation).
//!
//! Unlike upstream, nothing is written to disk: a pod's status tells an agent that starts anew what the pod had. Deferred resizes are
//! all tried again whenever room is made, in no order of priority.

use super::spec;
use crate::admission::Rejection;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// The resources of one pod: of its containers that can be resized, and its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Allocation {
    containers: BTreeMap<String, ResourceRequirements>,
    pod: Option<ResourceRequirements>,
}

/// An init container that ends is not resized.
fn resizable(pod: &Pod) -> impl Iterator<Item = &Container> {
    spec::containers(pod).iter().chain(spec::init_containers(pod).iter().filter(|c| spec::is_sidecar(c)))
}

impl Allocation {
    /// What the spec asks for.
    pub fn wanted(pod: &Pod) -> Self {
        let containers = resizable(pod).map(|c| (c.name.clone(), c.resources.clone().unwrap_or_default()));
        Self { containers: containers.collect(), pod: spec::spec(pod).resources.clone() }
    }

    /// What an agent before this one gave the pod: its status says so where containers were made, else its spec.
    pub fn restored(pod: &Pod) -> Self {
        let mut a = Self::wanted(pod);
        let status = spec::status(pod);
        let told = |s: &&ContainerStatus| s.container_id.is_some() && s.resources.is_some();
        for s in status.container_statuses.iter().chain(&status.init_container_statuses).flatten().filter(told) {
            if let Some(own) = a.containers.get_mut(&s.name) {
                own.requests = s.allocated_resources.clone();
                own.limits = s.resources.as_ref().and_then(|r| r.limits.clone());
            }
        }
        a
    }

    /// The pod as if its spec asked for this.
    pub fn apply(&self, pod: &Pod) -> Pod {
        let mut pod = pod.clone();
        let Some(s) = &mut pod.spec else { return pod };
        s.resources.clone_from(&self.pod);
        for c in s.containers.iter_mut().chain(s.init_containers.iter_mut().flatten()) {
            if let Some(r) = self.containers.get(&c.name) {
                c.resources = Some(r.clone());
            }
        }
        pod
    }

    /// The same amounts, however they are written.
    pub fn same(&self, other: &Self) -> bool {
        let empty = ResourceRequirements::default();
        let pods = |a: &Self| a.pod.clone().unwrap_or_default();
        let names = |a: &Self| a.containers.keys().cloned().collect::<Vec<_>>();
        equal(&pods(self), &pods(other))
            && names(self) == names(other)
            && self.containers.iter().all(|(n, r)| equal(r, other.containers.get(n).unwrap_or(&empty)))
    }
}

fn equal(a: &ResourceRequirements, b: &ResourceRequirements) -> bool {
    fn amounts(m: Option<&BTreeMap<String, Quantity>>) -> BTreeMap<&str, i64> {
        m.into_iter().flatten().map(|(n, q)| (n.as_str(), spec::quantity(q).milli_value())).collect()
    }
    amounts(a.requests.as_ref()) == amounts(b.requests.as_ref()) && amounts(a.limits.as_ref()) == amounts(b.limits.as_ref())
}

/// The allocations of this node's pods. One resize is decided at a time.
#[derive(Default)]
pub struct Allocations(Mutex<Table>);

#[derive(Default)]
struct Table {
    pods: HashMap<String, Allocation>,
    /// Pods whose resize waits for room.
    deferred: HashSet<String>,
}

/// What became of a pod's wish.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It has what it asks for, as before.
    Unchanged,
    /// It was given what it asks for.
    Given,
    /// Not possible here at all: why.
    Infeasible(String),
    /// Not possible now: why.
    Deferred(String),
}

impl Allocations {
    /// Notes what a pod was admitted with.
    pub fn admit(&self, pod: &Pod) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        self.0.lock().pods.entry(uid).or_insert_with(|| Allocation::restored(pod));
    }

    /// The pod with what it was given in place of what it asks for.
    pub fn of(&self, pod: &Arc<Pod>) -> Arc<Pod> {
        let table = self.0.lock();
        match table.pods.get(pod.metadata.uid.as_deref().unwrap_or("")) {
            Some(a) if *a != Allocation::wanted(pod) => Arc::new(a.apply(pod)),
            _ => pod.clone(),
        }
    }

    /// Gives the pod what it asks for if `fits` allows that; answers it as it is to run.
    pub fn decide(&self, pod: &Arc<Pod>, fits: impl FnOnce(&Deciding<'_>) -> Result<(), Rejection>) -> (Arc<Pod>, Verdict) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let mut table = self.0.lock();
        let wanted = Allocation::wanted(pod);
        let had = table.pods.entry(uid.clone()).or_insert_with(|| Allocation::restored(pod)).clone();
        table.deferred.remove(&uid);
        if had.same(&wanted) {
            table.pods.insert(uid, wanted);
            return (pod.clone(), Verdict::Unchanged);
        }
        if spec::is_static(pod) {
            let why = "In-place resize of static-pods is not supported".to_owned();
            return (Arc::new(had.apply(pod)), Verdict::Infeasible(why));
        }
        match fits(&Deciding(&table)) {
            Ok(()) => {
                table.pods.insert(uid, wanted);
                (pod.clone(), Verdict::Given)
            }
            Err(r) => {
                table.deferred.insert(uid);
                (Arc::new(had.apply(pod)), Verdict::Deferred(r.message))
            }
        }
    }

    /// Forgets a pod that is over.
    pub fn release(&self, uid: &str) {
        let mut table = self.0.lock();
        table.pods.remove(uid);
        table.deferred.remove(uid);
    }

    /// Pods whose resize may fit now that others have less.
    pub fn deferred(&self) -> Vec<String> {
        self.0.lock().deferred.iter().cloned().collect()
    }
}

/// The table while a resize is decided.
pub struct Deciding<'a>(&'a Table);

impl Deciding<'_> {
    pub fn of(&self, pod: &Arc<Pod>) -> Arc<Pod> {
        match self.0.pods.get(pod.metadata.uid.as_deref().unwrap_or("")) {
            Some(a) => Arc::new(a.apply(pod)),
            None => pod.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(cpu: &str, limit: &str, status: serde_json::Value) -> Arc<Pod> {
        let r = json!({"requests": {"cpu": cpu}, "limits": {"cpu": limit}});
        let p = json!({"metadata": {"uid": "u"}, "spec": {"containers": [{"name": "c", "resources": r}]}, "status": status});
        Arc::new(serde_json::from_value(p).expect("pod"))
    }

    fn full(_: &Deciding<'_>) -> Result<(), Rejection> {
        Err(Rejection::new("OutOfcpu", "no room"))
    }

    #[test]
    fn resizes() {
        let none = || json!({});
        let before = json!({"containerStatuses": [{"name": "c", "containerID": "x://1", "image": "", "imageID": "", "ready": true,
            "restartCount": 0, "allocatedResources": {"cpu": "1"}, "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}}]});
        for (name, first, then, room, want, runs) in [
            ("nothing changed", pod("1", "2", none()), pod("1", "2", none()), false, Verdict::Unchanged, "1"),
            ("written differently", pod("1", "2", none()), pod("1000m", "2", none()), false, Verdict::Unchanged, "1000m"),
            ("fits", pod("1", "2", none()), pod("2", "2", none()), true, Verdict::Given, "2"),
            ("does not fit", pod("1", "2", none()), pod("2", "2", none()), false, Verdict::Deferred("no room".into()), "1"),
            (
                "agent started anew",
                pod("2", "2", before.clone()),
                pod("2", "2", before),
                false,
                Verdict::Deferred("no room".into()),
                "1",
            ),
        ] {
            let all = Allocations::default();
            all.admit(&first);
            let (runs_as, got) = all.decide(&then, |t| if room { Ok(()) } else { full(t) });
            assert_eq!(got, want, "{name}");
            let request =
                |p: &Pod| spec::containers(p)[0].resources.as_ref().and_then(|r| r.requests.as_ref()).map(|m| m["cpu"].0.clone());
            assert_eq!(request(&runs_as).as_deref(), Some(runs), "{name}");
            assert_eq!(request(&all.of(&then)).as_deref(), Some(runs), "{name}: as others see it");
            assert_eq!(all.deferred().is_empty(), !matches!(want, Verdict::Deferred(_)), "{name}");
        }
    }
}
