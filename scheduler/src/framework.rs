//! The extension points of upstream's scheduling framework, as traits. A plugin implements those it takes part in.
//!
//! PreFilter and PreScore return the object that then filters or scores nodes: it is the plugin's cycle state, so a plugin that has
//! nothing to say about a pod costs nothing per node. QueueSort is the order in [`crate::queue`]; Permit and PostBind have no
//! default plugin, and out-of-tree plugins cannot be loaded, so they are not dispatched.

use crate::cache::{Cache, NodeInfo};
use crate::change::Change;
use crate::listers::Listers;
use crate::pod::PodInfo;
use crate::status::{Status, Verdict};
use client::Client;
use futures::future::BoxFuture;
use std::sync::Arc;

/// Highest score of one plugin before its weight.
pub const MAX_SCORE: i64 = 100;

/// What a scheduling cycle reads.
#[derive(Clone, Copy)]
pub struct Cycle<'a> {
    pub cache: &'a Cache,
    pub listers: &'a Listers,
}

/// Keeps a pod out of the active queue.
pub trait PreEnqueuePlugin: Send + Sync {
    fn name(&self) -> &'static str;
    /// `Err`: the pod waits; the message goes into its condition where the plugin is the one that gates it.
    fn pre_enqueue(&self, pod: &PodInfo) -> Verdict;
}

/// A plugin's word on a pod before any node is looked at.
pub enum PreFilter<'a> {
    /// Every node is fine.
    Skip,
    Run(Box<dyn NodeFilter + 'a>),
    /// Only these nodes can fit.
    Only(Vec<String>, Option<Box<dyn NodeFilter + 'a>>),
    Reject(Status),
}

pub trait FilterPlugin: Send + Sync {
    fn name(&self) -> &'static str;
    fn pre_filter<'a>(&'a self, cycle: Cycle<'a>, pod: &'a PodInfo) -> PreFilter<'a>;
    /// Whether `change` may let `pod`, which this plugin refused, be scheduled (a queueing hint).
    fn may_help(&self, change: &Change, pod: &PodInfo, listers: &Listers) -> bool;
}

/// Filters the nodes for one pod in one cycle.
pub trait NodeFilter: Send {
    fn filter(&self, node: &NodeInfo) -> Verdict;
    /// As if `added` were on `node` too.
    fn add_pod(&mut self, _added: &PodInfo, _node: &NodeInfo) {}
    /// As if `removed` were not on `node`; undoes `add_pod`.
    fn remove_pod(&mut self, _removed: &PodInfo, _node: &NodeInfo) {}
}

pub trait ScorePlugin: Send + Sync {
    /// `None`: this plugin has no preference for this pod.
    fn pre_score<'a>(&'a self, cycle: Cycle<'a>, pod: &'a PodInfo, nodes: &[usize]) -> Option<Box<dyn NodeScorer + 'a>>;
}

/// Scores the feasible nodes for one pod in one cycle.
pub trait NodeScorer: Send {
    fn score(&self, node: &NodeInfo) -> i64;
    /// Brings the scores of `nodes` (slots) into 0..=100.
    fn normalize(&self, _scores: &mut [i64], _nodes: &[usize]) {}
}

/// Sets something aside for a pod on the node chosen for it, and prepares it before the binding.
pub trait ReservePlugin: Send + Sync {
    fn reserve(&self, cycle: Cycle<'_>, pod: &PodInfo, node: &NodeInfo) -> Result<Option<Box<dyn PreBind>>, Status>;
    fn unreserve(&self, pod: &PodInfo);
}

/// Work to be done before a pod is bound. Runs outside of the scheduling loop.
pub trait PreBind: Send {
    fn run(self: Box<Self>, client: Client) -> BoxFuture<'static, Result<(), String>>;
}

/// Brings the largest score to 100, the others in proportion; `reverse` turns them round.
pub fn normalize(scores: &mut [i64], reverse: bool) {
    let max = scores.iter().copied().max().unwrap_or(0);
    for s in scores {
        let scaled = if max == 0 { 0 } else { MAX_SCORE * *s / max };
        *s = if reverse { MAX_SCORE - scaled } else { scaled };
    }
}

/// The plugins of a profile in the order they run.
pub struct Profile {
    pub pre_enqueue: Vec<Box<dyn PreEnqueuePlugin>>,
    pub filters: Vec<Box<dyn FilterPlugin>>,
    /// With their weights.
    pub scores: Vec<(Box<dyn ScorePlugin>, i64)>,
    pub reserves: Vec<Arc<dyn ReservePlugin>>,
}
