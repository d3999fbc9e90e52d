//! NodeAffinity: `spec.nodeSelector` and node affinity, required and preferred.

use crate::cache::NodeInfo;
use crate::change::Change;
use crate::framework::{Cycle, FilterPlugin, NodeFilter, NodeScorer, PreFilter, ScorePlugin, normalize};
use crate::listers::Listers;
use crate::pod::PodInfo;
use crate::selectors::{NodeMatch, NodeTerm, preferred};
use crate::status::{Status, Verdict};

const NAME: &str = "NodeAffinity";

pub struct NodeAffinity;

struct Filter<'a>(&'a NodeMatch);
struct Scorer(Vec<(i64, NodeTerm)>);

impl FilterPlugin for NodeAffinity {
    fn name(&self) -> &'static str {
        NAME
    }
    fn pre_filter<'a>(&'a self, _: Cycle<'a>, pod: &'a PodInfo) -> PreFilter<'a> {
        if pod.node_match.is_empty() {
            return PreFilter::Skip;
        }
        let filter = Box::new(Filter(&pod.node_match));
        match pod.node_match.only_names() {
            None => PreFilter::Run(filter),
            Some(names) if names.is_empty() => PreFilter::Reject(Status::unresolvable(NAME, "pod affinity terms conflict")),
            Some(names) => PreFilter::Only(names.into_iter().map(str::to_owned).collect(), Some(filter)),
        }
    }
    fn may_help(&self, change: &Change, pod: &PodInfo, _: &Listers) -> bool {
        match change {
            Change::NodeAdded(n) => pod.node_match.matches(n),
            Change::NodeUpdated { old, new } => !pod.node_match.matches(old) && pod.node_match.matches(new),
            _ => false,
        }
    }
}

impl NodeFilter for Filter<'_> {
    fn filter(&self, node: &NodeInfo) -> Verdict {
        if self.0.matches(&node.node) {
            return Ok(());
        }
        Err(Status::unresolvable(NAME, "node(s) didn't match Pod's node affinity/selector"))
    }
}

impl ScorePlugin for NodeAffinity {
    fn pre_score<'a>(&'a self, _: Cycle<'a>, pod: &'a PodInfo, _: &[usize]) -> Option<Box<dyn NodeScorer + 'a>> {
        let affinity = pod.spec().affinity.as_ref()?.node_affinity.as_ref()?;
        let terms = preferred(affinity.preferred_during_scheduling_ignored_during_execution.as_ref()?);
        (!terms.is_empty()).then(|| Box::new(Scorer(terms)) as _)
    }
}

impl NodeScorer for Scorer {
    fn score(&self, node: &NodeInfo) -> i64 {
        self.0.iter().filter(|(_, t)| t.matches(&node.node)).map(|(w, _)| w).sum()
    }
    fn normalize(&self, scores: &mut [i64], _: &[usize]) {
        normalize(scores, false);
    }
}
