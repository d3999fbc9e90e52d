//! The scheduler's view of nodes and the pods on them, bound and assumed. The scheduling loop owns it, so a scheduling cycle reads
//! it in place: there is nothing to snapshot or to clone.

use crate::pod::{HostPort, PodInfo};
use crate::resources::Resources;
use crate::selectors::matches;
use client::Object;
use k8s_openapi::api::core::v1::Node;
use machinery::labels::Selector;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A node and the sums over its pods. What filters read first comes first.
#[derive(Clone, Debug, Default)]
pub struct NodeInfo {
    /// Its place in [`Cache::nodes`].
    pub slot: usize,
    /// False while pods are known on a node that is not.
    pub present: bool,
    pub unschedulable: bool,
    /// Some taint keeps pods off.
    pub has_hard_taints: bool,
    /// Some taint is `PreferNoSchedule`.
    pub has_soft_taints: bool,
    pub allocatable: Resources,
    pub requested: Resources,
    pub nonzero_cpu: i64,
    pub nonzero_memory: i64,
    pub node: Arc<Node>,
    pub name: Arc<str>,
    pub pods: Vec<Arc<PodInfo>>,
    pub ports: Vec<HostPort>,
    /// Pods here with any affinity or anti-affinity, and with required anti-affinity.
    pub affinity_pods: usize,
    pub required_anti_affinity_pods: usize,
    /// Image names and sizes.
    pub images: HashMap<String, i64>,
}

impl NodeInfo {
    pub fn add_pod(&mut self, p: &Arc<PodInfo>) {
        self.requested.add(&p.requests.exact);
        self.nonzero_cpu += p.requests.nonzero_cpu;
        self.nonzero_memory += p.requests.nonzero_memory;
        self.ports.extend(p.ports.iter().cloned());
        self.affinity_pods += usize::from(p.has_affinity());
        self.required_anti_affinity_pods += usize::from(!p.anti_affinity.is_empty());
        self.pods.push(p.clone());
    }

    pub fn remove_pod(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let at = self.pods.iter().position(|p| &*p.uid == uid)?;
        let p = self.pods.swap_remove(at);
        self.requested.sub(&p.requests.exact);
        self.nonzero_cpu -= p.requests.nonzero_cpu;
        self.nonzero_memory -= p.requests.nonzero_memory;
        for port in &p.ports {
            if let Some(i) = self.ports.iter().position(|q| q == port) {
                self.ports.swap_remove(i);
            }
        }
        self.affinity_pods -= usize::from(p.has_affinity());
        self.required_anti_affinity_pods -= usize::from(!p.anti_affinity.is_empty());
        Some(p)
    }

    pub fn label(&self, key: &str) -> Option<&str> {
        self.node.metadata.labels.as_ref()?.get(key).map(String::as_str)
    }

    fn set_node(&mut self, node: Arc<Node>) {
        let spec = node.spec.as_ref();
        self.present = true;
        self.unschedulable = spec.and_then(|s| s.unschedulable).unwrap_or(false);
        let has = |effects: &[&str]| {
            spec.and_then(|s| s.taints.as_ref()).is_some_and(|t| t.iter().any(|t| effects.contains(&t.effect.as_str())))
        };
        self.has_hard_taints = has(&["NoSchedule", "NoExecute"]);
        self.has_soft_taints = has(&["PreferNoSchedule"]);
        let status = node.status.as_ref();
        self.allocatable = Resources::from_list(status.and_then(|s| s.allocatable.as_ref()));
        self.images = status
            .and_then(|s| s.images.as_ref())
            .into_iter()
            .flatten()
            .flat_map(|i| i.names.iter().flatten().map(|n| (n.clone(), i.size_bytes.unwrap_or(0))))
            .collect();
        self.node = node;
    }
}

struct PodEntry {
    node: Arc<str>,
    assumed: bool,
}

/// Pods of a namespace that a selector picks, per node slot.
struct Matching {
    namespace: String,
    selector: Selector,
    counts: Vec<u32>,
    used: u64,
}

/// Selectors whose matches are kept up to date; more are counted afresh.
const MAX_MATCHING: usize = 64;

impl Matching {
    fn update(&mut self, p: &PodInfo, slot: usize, add: bool) {
        let counted = p.pod.metadata.deletion_timestamp.is_none();
        if !counted || p.namespace() != self.namespace || !matches(&self.selector, p.labels()) {
            return;
        }
        if self.counts.len() <= slot {
            self.counts.resize(slot + 1, 0);
        }
        let n = &mut self.counts[slot];
        *n = if add { *n + 1 } else { n.saturating_sub(1) };
    }
}

/// All nodes and all pods on them.
#[derive(Default)]
pub struct Cache {
    /// Slots; freed ones are reused, `present` tells which are nodes.
    pub nodes: Vec<NodeInfo>,
    /// Present nodes in the order they are searched: zones take turns. As of the last `settle`.
    pub order: Vec<usize>,
    /// Nodes came, went or changed zones since then.
    unsettled: bool,
    index: HashMap<Arc<str>, usize>,
    free: Vec<usize>,
    pods: HashMap<Arc<str>, PodEntry>,
    /// On how many nodes an image is.
    image_nodes: HashMap<String, usize>,
    /// Pods with any (anti-)affinity, and with required anti-affinity, in the cluster.
    pub affinity_pods: usize,
    pub required_anti_affinity_pods: usize,
    matching: Mutex<Vec<Matching>>,
}

impl Cache {
    /// Calls `read` with how many pods of `namespace` that are not terminating `selector` matches, per node slot. Kept up to date
    /// from the first call on, since pods of one group come one after the other.
    pub fn with_matching<T>(&self, namespace: &str, selector: &Selector, read: impl FnOnce(&[u32]) -> T) -> T {
        let mut all = self.matching.lock();
        let newest = all.iter().map(|m| m.used).max().unwrap_or(0) + 1;
        let at = match all.iter().position(|m| m.namespace == namespace && m.selector == *selector) {
            Some(at) => at,
            None => {
                if all.len() >= MAX_MATCHING
                    && let Some(oldest) = (0..all.len()).min_by_key(|i| all[*i].used)
                {
                    all.swap_remove(oldest);
                }
                let mut m = Matching {
                    namespace: namespace.to_owned(),
                    selector: selector.clone(),
                    counts: vec![0; self.nodes.len()],
                    used: 0,
                };
                for node in &self.nodes {
                    node.pods.iter().for_each(|p| m.update(p, node.slot, true));
                }
                all.push(m);
                all.len() - 1
            }
        };
        let m = &mut all[at];
        m.used = newest;
        if m.counts.len() < self.nodes.len() {
            m.counts.resize(self.nodes.len(), 0);
        }
        read(&m.counts)
    }

    pub fn node(&self, name: &str) -> Option<&NodeInfo> {
        self.index.get(name).map(|i| &self.nodes[*i]).filter(|n| n.present)
    }
    pub fn present(&self) -> impl Iterator<Item = &NodeInfo> {
        self.order.iter().map(|i| &self.nodes[*i])
    }
    pub fn image_nodes(&self, name: &str) -> usize {
        self.image_nodes.get(name).copied().unwrap_or(0)
    }
    pub fn is_assumed(&self, uid: &str) -> bool {
        self.pods.get(uid).is_some_and(|p| p.assumed)
    }

    fn slot(&mut self, name: &str) -> usize {
        if let Some(i) = self.index.get(name) {
            return *i;
        }
        let name: Arc<str> = name.into();
        let info = NodeInfo { name: name.clone(), ..NodeInfo::default() };
        let slot = match self.free.pop() {
            Some(i) => {
                self.nodes[i] = info;
                i
            }
            None => {
                self.nodes.push(info);
                self.nodes.len() - 1
            }
        };
        self.nodes[slot].slot = slot;
        self.index.insert(name, slot);
        slot
    }

    fn release_if_unused(&mut self, slot: usize) {
        let n = &self.nodes[slot];
        if !n.present && n.pods.is_empty() {
            self.index.remove(&n.name);
            self.free.push(slot);
        }
    }

    /// Adds or updates a node; its slot.
    pub fn set_node(&mut self, node: Arc<Node>) -> usize {
        let slot = self.slot(node.name());
        let old = std::mem::take(&mut self.nodes[slot].images);
        self.count_images(old.keys(), false);
        let n = &mut self.nodes[slot];
        let zone_before = n.present.then(|| zone(&n.node));
        n.set_node(node);
        let zone_changed = zone_before.as_ref() != Some(&zone(&n.node));
        let images: Vec<String> = n.images.keys().cloned().collect();
        self.count_images(images.iter(), true);
        self.unsettled |= zone_changed;
        slot
    }

    pub fn remove_node(&mut self, name: &str) {
        let Some(slot) = self.index.get(name).copied() else { return };
        let images = std::mem::take(&mut self.nodes[slot].images);
        self.count_images(images.keys(), false);
        let n = &mut self.nodes[slot];
        n.present = false;
        n.node = Arc::default();
        self.release_if_unused(slot);
        self.unsettled = true;
    }

    fn count_images<'a>(&mut self, names: impl Iterator<Item = &'a String>, add: bool) {
        for name in names {
            let n = self.image_nodes.entry(name.clone()).or_default();
            if add {
                *n += 1;
            } else {
                *n = n.saturating_sub(1);
                if *n == 0 {
                    self.image_nodes.remove(name);
                }
            }
        }
    }

    /// Puts `order` right: once after many changes of nodes, as when thousands are seen for the first time. Zones are interleaved,
    /// so that a search that stops early has seen all of them (upstream's node tree).
    pub fn settle(&mut self) {
        if !std::mem::take(&mut self.unsettled) {
            return;
        }
        let mut zones: BTreeMap<(String, String), Vec<usize>> = BTreeMap::new();
        for n in self.nodes.iter().filter(|n| n.present) {
            zones.entry(zone(&n.node)).or_default().push(n.slot);
        }
        let longest = zones.values().map(Vec::len).max().unwrap_or(0);
        self.order.clear();
        for i in 0..longest {
            self.order.extend(zones.values().filter_map(|z| z.get(i)));
        }
    }

    fn attach(&mut self, p: &Arc<PodInfo>, node: &str, assumed: bool) {
        let slot = self.slot(node);
        self.nodes[slot].add_pod(p);
        self.matching.get_mut().iter_mut().for_each(|m| m.update(p, slot, true));
        self.affinity_pods += usize::from(p.has_affinity());
        self.required_anti_affinity_pods += usize::from(!p.anti_affinity.is_empty());
        self.pods.insert(p.uid.clone(), PodEntry { node: self.nodes[slot].name.clone(), assumed });
    }

    /// Counts a pod on a node before its binding is written.
    pub fn assume(&mut self, p: &Arc<PodInfo>, node: &str) {
        self.remove_pod(&p.uid);
        self.attach(p, node, true);
    }

    /// A pod that the API says is bound: replaces the assumed one.
    pub fn set_pod(&mut self, p: &Arc<PodInfo>) {
        self.remove_pod(&p.uid);
        self.attach(p, p.node_name(), false);
    }

    pub fn remove_pod(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let entry = self.pods.remove(uid)?;
        let slot = *self.index.get(&entry.node)?;
        let p = self.nodes[slot].remove_pod(uid)?;
        self.matching.get_mut().iter_mut().for_each(|m| m.update(&p, slot, false));
        self.affinity_pods -= usize::from(p.has_affinity());
        self.required_anti_affinity_pods -= usize::from(!p.anti_affinity.is_empty());
        self.release_if_unused(slot);
        Some(p)
    }

    /// Takes back an assumption. A pod meanwhile known to be bound stays.
    pub fn forget(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        self.is_assumed(uid).then(|| self.remove_pod(uid)).flatten()
    }
}

fn zone(node: &Node) -> (String, String) {
    let label = |keys: [&str; 2]| keys.iter().find_map(|k| node.label(k)).unwrap_or("").to_owned();
    (
        label(["topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region"]),
        label(["topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"]),
    )
}
