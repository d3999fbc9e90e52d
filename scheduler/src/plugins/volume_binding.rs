//! VolumeBinding: claims that wait for their first consumer are bound, or provisioned, where the pod goes; claims that are bound keep
//! the pod where their volume can be reached.

use crate::cache::NodeInfo;
use crate::change::{Change, Storage};
use crate::framework::{Cycle, FilterPlugin, NodeFilter, PreBind, PreFilter, ReservePlugin};
use crate::listers::Listers;
use crate::pod::PodInfo;
use crate::resources::value;
use crate::selectors::{NodeMatch, compile, matches};
use crate::status::{Code, Status, Verdict};
use client::{Client, Object, Patch, reference_to};
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use parking_lot::Mutex;
use serde_json::json;
use smallvec::SmallVec;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

const NAME: &str = "VolumeBinding";
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";
/// `bindTimeoutSeconds`.
const BIND_TIMEOUT: Duration = Duration::from_secs(600);

type Claim = Arc<PersistentVolumeClaim>;
type Volume = Arc<PersistentVolume>;

/// What reservations hold until the API shows it.
#[derive(Default)]
struct Assumed {
    /// Volume name to the pod it is meant for.
    volumes: HashMap<String, Arc<str>>,
    /// Claim key to the pod and the node chosen for it.
    nodes: HashMap<String, (Arc<str>, String)>,
}

#[derive(Default)]
pub struct VolumeBinding {
    assumed: Mutex<Assumed>,
}

/// What is to be done on one node.
#[derive(Default)]
struct Plan {
    bind: Vec<(Claim, Volume)>,
    provision: Vec<Claim>,
}

struct Filter<'a> {
    plugin: &'a VolumeBinding,
    listers: &'a Listers,
    bound: Vec<Claim>,
    delayed: Vec<Claim>,
}

fn class_name(c: &PersistentVolumeClaim) -> &str {
    let old = c.annotation("volume.beta.kubernetes.io/storage-class");
    old.or_else(|| c.spec.as_ref()?.storage_class_name.as_deref()).unwrap_or("")
}

fn volume_class(v: &PersistentVolume) -> &str {
    let old = v.annotation("volume.beta.kubernetes.io/storage-class");
    old.or_else(|| v.spec.as_ref()?.storage_class_name.as_deref()).unwrap_or("")
}

fn volume_name(c: &PersistentVolumeClaim) -> &str {
    c.spec.as_ref().and_then(|s| s.volume_name.as_deref()).unwrap_or("")
}

fn is_bound(c: &PersistentVolumeClaim) -> bool {
    !volume_name(c).is_empty() && c.annotation(BIND_COMPLETED).is_some()
}

fn waits_for_consumer(class: &StorageClass) -> bool {
    class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer")
}

/// Whether a volume's node affinity allows a node.
fn reachable(v: &PersistentVolume, node: &Node) -> bool {
    let required = v.spec.as_ref().and_then(|s| s.node_affinity.as_ref()).and_then(|a| a.required.as_ref());
    required.is_none_or(|r| NodeMatch::of_terms(&r.node_selector_terms).matches(node))
}

fn requested(c: &PersistentVolumeClaim) -> i64 {
    let requests = c.spec.as_ref().and_then(|s| s.resources.as_ref()).and_then(|r| r.requests.as_ref());
    requests.and_then(|r| r.get("storage")).map_or(0, value)
}

fn capacity(v: &PersistentVolume) -> i64 {
    v.spec.as_ref().and_then(|s| s.capacity.as_ref()).and_then(|c| c.get("storage")).map_or(0, value)
}

/// Whether `v` can serve `c`, wherever the pod is.
fn suits(v: &PersistentVolume, c: &PersistentVolumeClaim) -> bool {
    let (Some(vs), Some(cs)) = (&v.spec, &c.spec) else { return false };
    let mode = |m: &Option<String>| m.clone().unwrap_or_else(|| "Filesystem".into());
    let prebound = vs.claim_ref.as_ref();
    let ours = prebound.is_none_or(|r| {
        r.name.as_deref() == Some(c.name())
            && r.namespace.as_deref() == Some(c.namespace())
            && r.uid.as_deref().is_none_or(|u| u.is_empty() || u == c.uid())
    });
    let available = v.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Available");
    let modes = vs.access_modes.as_deref().unwrap_or_default();
    ours && (available || prebound.is_some())
        && v.metadata.deletion_timestamp.is_none()
        && volume_class(v) == class_name(c)
        && mode(&vs.volume_mode) == mode(&cs.volume_mode)
        && vs.volume_attributes_class_name.as_deref().unwrap_or("") == cs.volume_attributes_class_name.as_deref().unwrap_or("")
        && cs.access_modes.iter().flatten().all(|m| modes.contains(m))
        && capacity(v) >= requested(c)
        && cs.selector.as_ref().is_none_or(|s| matches(&compile(Some(s)), v.metadata.labels.as_ref()))
}

/// Whether a class may provision for a node.
fn topology_allows(class: &StorageClass, node: &Node) -> bool {
    let terms = class.allowed_topologies.as_deref().unwrap_or_default();
    terms.is_empty()
        || terms.iter().any(|t| {
            let expressions = t.match_label_expressions.as_deref().unwrap_or_default();
            !expressions.is_empty()
                && expressions.iter().all(|e| node.label(&e.key).is_some_and(|v| e.values.iter().any(|w| w == v)))
        })
}

/// Whether the driver says there is room for a claim near a node; drivers that do not track capacity are trusted.
fn has_capacity(listers: &Listers, class: &StorageClass, c: &PersistentVolumeClaim, node: &Node) -> bool {
    let driver = listers.csi_drivers.get_key(&class.provisioner);
    if driver.is_none_or(|d| d.spec.storage_capacity != Some(true)) {
        return true;
    }
    let size = requested(c);
    listers.csi_capacities.list().iter().any(|s| {
        let room = s.maximum_volume_size.as_ref().or(s.capacity.as_ref());
        s.storage_class_name == class.name()
            && room.is_some_and(|r| value(r) >= size)
            && s.node_topology.as_ref().is_some_and(|t| matches(&compile(Some(t)), node.metadata.labels.as_ref()))
    })
}

impl VolumeBinding {
    /// The claims of a pod, bound and waiting for it.
    fn claims(&self, listers: &Listers, pod: &PodInfo) -> Result<(Vec<Claim>, Vec<Claim>), Status> {
        let (mut bound, mut delayed, mut immediate) = (Vec::new(), Vec::new(), false);
        let refuse = |message: String| Err(Status::unresolvable(NAME, message));
        for (name, ephemeral) in &pod.claims {
            let Some(claim) = listers.claims.get(pod.namespace(), name) else {
                return refuse(match ephemeral {
                    true => format!("waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}"),
                    false => format!("persistentvolumeclaim {name:?} not found"),
                });
            };
            if claim.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Lost") {
                let volume = volume_name(&claim);
                return refuse(format!("persistentvolumeclaim {name:?} bound to non-existent persistentvolume {volume:?}"));
            }
            if claim.metadata.deletion_timestamp.is_some() {
                return refuse(format!("persistentvolumeclaim {name:?} is being deleted"));
            }
            if *ephemeral && claim.controller().is_none_or(|o| o.uid != *pod.uid) {
                let (ns, pod) = (pod.namespace(), pod.name());
                return refuse(format!("PVC {ns}/{name} was not created for pod {ns}/{pod} (pod is not owner)"));
            }
            if is_bound(&claim) {
                bound.push(claim);
            } else if volume_name(&claim).is_empty()
                && listers.classes.get_key(class_name(&claim)).is_some_and(|c| waits_for_consumer(&c))
            {
                delayed.push(claim);
            } else {
                immediate = true;
            }
        }
        if immediate {
            return refuse("pod has unbound immediate PersistentVolumeClaims".into());
        }
        delayed.sort_by_key(|c| requested(c));
        Ok((bound, delayed))
    }

    /// What would have to be done for the claims that wait, on this node; else what stands against it.
    fn plan(&self, listers: &Listers, bound: &[Claim], delayed: &[Claim], node: &Node) -> Result<Plan, Status> {
        let mut reasons: SmallVec<[std::borrow::Cow<'static, str>; 1]> = SmallVec::new();
        let (mut conflict, mut missing, mut unmatched, mut no_room) = (false, false, false, false);
        for c in bound {
            match listers.volumes.get_key(volume_name(c)) {
                None => missing = true,
                Some(v) => conflict |= !reachable(&v, node),
            }
        }
        let mut plan = Plan::default();
        let assumed = self.assumed.lock();
        let mut taken: HashSet<String> = HashSet::new();
        for c in delayed {
            let chosen = assumed.nodes.get(&c.key()).map(|(_, n)| n.as_str()).or(c.annotation(SELECTED_NODE));
            if chosen.is_some_and(|n| n != node.name()) {
                unmatched = true;
                break;
            }
            let free = |v: &Volume| {
                suits(v, c) && reachable(v, node) && !taken.contains(v.name()) && !assumed.volumes.contains_key(v.name())
            };
            // A volume reserved for this claim by name comes first, then the smallest.
            let rank = |v: &Volume| (v.spec.as_ref().is_none_or(|s| s.claim_ref.is_none()), capacity(v));
            let found = chosen.is_none().then(|| listers.volumes.list().into_iter().filter(free).min_by_key(rank)).flatten();
            if let Some(v) = found {
                taken.insert(v.name().to_owned());
                plan.bind.push((c.clone(), v));
                continue;
            }
            let Some(class) = listers.classes.get_key(class_name(c)) else {
                return Err(Status::error(NAME, format!("failed to find storage class {:?}", class_name(c))));
            };
            if class.provisioner.is_empty() || class.provisioner == NO_PROVISIONER || !topology_allows(&class, node) {
                unmatched = true;
                break;
            }
            if !has_capacity(listers, &class, c, node) {
                no_room = true;
                break;
            }
            plan.provision.push(c.clone());
        }
        let mut say = |yes: bool, reason: &'static str| {
            if yes {
                reasons.push(reason.into());
            }
        };
        say(conflict, "node(s) didn't match PersistentVolume's node affinity");
        say(unmatched, "node(s) didn't find available persistent volumes to bind");
        say(no_room, "node(s) did not have enough free storage");
        say(missing, "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)");
        if reasons.is_empty() { Ok(plan) } else { Err(Status { code: Code::Unresolvable, plugin: NAME, reasons }) }
    }

    /// Lets go of what the API shows by now.
    fn settle(&self, listers: &Listers) {
        let mut assumed = self.assumed.lock();
        let open = |v: &PersistentVolume| v.spec.as_ref().is_some_and(|s| s.claim_ref.is_none());
        assumed.volumes.retain(|name, _| listers.volumes.get_key(name).is_some_and(|v| open(&v)));
        assumed
            .nodes
            .retain(|key, _| listers.claims.get_key(key).is_some_and(|c| !is_bound(&c) && c.annotation(SELECTED_NODE).is_none()));
    }
}

impl FilterPlugin for Arc<VolumeBinding> {
    fn name(&self) -> &'static str {
        NAME
    }
    fn pre_filter<'a>(&'a self, cycle: Cycle<'a>, pod: &'a PodInfo) -> PreFilter<'a> {
        if pod.claims.is_empty() {
            return PreFilter::Skip;
        }
        match self.claims(cycle.listers, pod) {
            Err(s) => PreFilter::Reject(s),
            Ok((bound, delayed)) => PreFilter::Run(Box::new(Filter { plugin: self, listers: cycle.listers, bound, delayed })),
        }
    }
    fn may_help(&self, change: &Change, _: &PodInfo, _: &Listers) -> bool {
        match change {
            Change::NodeAdded(_) => true,
            Change::NodeUpdated { old, new } => old.metadata.labels != new.metadata.labels,
            Change::Storage(s) => *s != Storage::VolumeAttachment,
            _ => false,
        }
    }
}

impl NodeFilter for Filter<'_> {
    fn filter(&self, node: &NodeInfo) -> Verdict {
        self.plugin.plan(self.listers, &self.bound, &self.delayed, &node.node).map(drop)
    }
}

impl ReservePlugin for Arc<VolumeBinding> {
    fn reserve(&self, cycle: Cycle<'_>, pod: &PodInfo, node: &NodeInfo) -> Result<Option<Box<dyn PreBind>>, Status> {
        if pod.claims.is_empty() {
            return Ok(None);
        }
        self.settle(cycle.listers);
        let (bound, delayed) = self.claims(cycle.listers, pod)?;
        let plan = self.plan(cycle.listers, &bound, &delayed, &node.node)?;
        if plan.bind.is_empty() && plan.provision.is_empty() {
            return Ok(None);
        }
        let mut assumed = self.assumed.lock();
        for (_, v) in &plan.bind {
            assumed.volumes.insert(v.name().to_owned(), pod.uid.clone());
        }
        for c in &plan.provision {
            assumed.nodes.insert(c.key(), (pod.uid.clone(), node.name.to_string()));
        }
        let claims = cycle.listers.claims.clone();
        Ok(Some(Box::new(Bind { plan, node: node.name.to_string(), claims, changed: cycle.listers.claims_changed.subscribe() })))
    }
    fn unreserve(&self, pod: &PodInfo) {
        let mut assumed = self.assumed.lock();
        assumed.volumes.retain(|_, uid| **uid != *pod.uid);
        assumed.nodes.retain(|_, (uid, _)| **uid != *pod.uid);
    }
}

/// Writes the plan and waits until the volume controller has carried it out.
struct Bind {
    plan: Plan,
    node: String,
    claims: Arc<client::Informer<PersistentVolumeClaim>>,
    changed: tokio::sync::watch::Receiver<u64>,
}

impl Bind {
    async fn carry_out(mut self, client: Client) -> Result<(), String> {
        for (c, v) in &self.plan.bind {
            let mut v = (**v).clone();
            let mut reference = reference_to(&**c);
            reference.api_version = Some("v1".into());
            if let Some(spec) = &mut v.spec
                && spec.claim_ref.as_ref().is_none_or(|r| r.uid.as_deref() != Some(c.uid()))
            {
                if spec.claim_ref.is_none() {
                    v.metadata.annotations.get_or_insert_default().insert(BOUND_BY_CONTROLLER.into(), "yes".into());
                }
                spec.claim_ref = Some(reference);
                client.update(&v).await.map_err(|e| format!("binding volumes: {e}"))?;
            }
        }
        for c in self.plan.provision.iter().filter(|c| c.annotation(SELECTED_NODE).is_none()) {
            let patch = Patch::Merge(json!({
                "metadata": {
                    "annotations": {SELECTED_NODE: self.node},
                    "uid": c.uid(),
                    "resourceVersion": c.resource_version(),
                }
            }));
            client
                .patch::<PersistentVolumeClaim>(c.namespace(), c.name(), &patch)
                .await
                .map_err(|e| format!("binding volumes: {e}"))?;
        }
        let waiting: Vec<Claim> =
            self.plan.bind.iter().map(|(c, _)| c.clone()).chain(self.plan.provision.iter().cloned()).collect();
        loop {
            self.changed.mark_unchanged();
            let mut done = true;
            for c in &waiting {
                let now = self.claims.get(c.namespace(), c.name());
                let Some(now) = now.filter(|n| n.uid() == c.uid()) else {
                    return Err(format!("binding volumes: pvc {:?} was deleted", c.key()));
                };
                // A provisioner that cannot serve this node takes its choice back. Our own write may not be seen yet.
                let seen = now.resource_version() != c.resource_version();
                let provisioned_here = self.plan.provision.iter().any(|p| p.uid() == c.uid());
                if seen && provisioned_here && !is_bound(&now) && now.annotation(SELECTED_NODE) != Some(&self.node) {
                    return Err(format!("binding volumes: selectedNode annotation reset for PVC {:?}", c.name()));
                }
                done &= is_bound(&now);
            }
            if done {
                return Ok(());
            }
            if self.changed.changed().await.is_err() {
                return Err("binding volumes: the scheduler is stopping".into());
            }
        }
    }
}

impl PreBind for Bind {
    fn run(self: Box<Self>, client: Client) -> BoxFuture<'static, Result<(), String>> {
        Box::pin(async move {
            match tokio::time::timeout(BIND_TIMEOUT, self.carry_out(client)).await {
                Ok(outcome) => outcome,
                Err(_) => Err("binding volumes: context deadline exceeded".into()),
            }
        })
    }
}
