//! Nominated pods: those that preemption made room for on a node, and that wait for it.

use crate::pod::PodInfo;
use crate::queue::Uid;
use std::collections::HashMap;
use std::sync::Arc;

#[derive(Default)]
pub struct Nominator {
    by_node: HashMap<String, Vec<Arc<PodInfo>>>,
    node_of: HashMap<Uid, String>,
}

impl Nominator {
    /// An empty node withdraws the nomination.
    pub fn set(&mut self, pod: &Arc<PodInfo>, node: &str) {
        self.remove(&pod.uid);
        if !node.is_empty() {
            self.by_node.entry(node.to_owned()).or_default().push(pod.clone());
            self.node_of.insert(pod.uid.clone(), node.to_owned());
        }
    }
    pub fn remove(&mut self, uid: &str) {
        let Some(node) = self.node_of.remove(uid) else { return };
        if let Some(pods) = self.by_node.get_mut(&node) {
            pods.retain(|p| &*p.uid != uid);
            if pods.is_empty() {
                self.by_node.remove(&node);
            }
        }
    }
    pub fn node_of(&self, uid: &str) -> Option<&str> {
        self.node_of.get(uid).map(String::as_str)
    }
    /// Pods nominated to `node` that come before `pod`.
    pub fn ahead_of<'a>(&'a self, pod: &'a PodInfo, node: &str) -> impl Iterator<Item = &'a Arc<PodInfo>> {
        // The common case, no nominations at all, must cost nothing per node.
        let pods = if self.by_node.is_empty() { None } else { self.by_node.get(node) };
        pods.into_iter().flatten().filter(|p| p.priority >= pod.priority && p.uid != pod.uid)
    }
    /// Pods nominated to `node` that come after `pod`.
    pub fn behind(&self, pod: &PodInfo, node: &str) -> Vec<Arc<PodInfo>> {
        self.by_node.get(node).into_iter().flatten().filter(|p| p.priority < pod.priority).cloned().collect()
    }
}
