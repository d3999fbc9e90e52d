//! TaintToleration: keeps pods off nodes whose `NoSchedule` or `NoExecute` taints they do not tolerate, and prefers nodes with few
//! untolerated `PreferNoSchedule` taints.

use crate::cache::NodeInfo;
use crate::change::Change;
use crate::framework::{Cycle, FilterPlugin, NodeFilter, NodeScorer, PreFilter, ScorePlugin, normalize};
use crate::listers::Listers;
use crate::pod::PodInfo;
use crate::selectors::{has_untolerated, tolerates};
use crate::status::{Status, Verdict};
use k8s_openapi::api::core::v1::{Node, Taint, Toleration};

const NAME: &str = "TaintToleration";

pub struct TaintToleration;

struct Filter<'a>(&'a [Toleration]);
struct Scorer<'a>(Vec<&'a Toleration>);

fn taints(node: &Node) -> Option<&Vec<Taint>> {
    node.spec.as_ref()?.taints.as_ref()
}

impl FilterPlugin for TaintToleration {
    fn name(&self) -> &'static str {
        NAME
    }
    fn pre_filter<'a>(&'a self, _: Cycle<'a>, pod: &'a PodInfo) -> PreFilter<'a> {
        PreFilter::Run(Box::new(Filter(pod.tolerations())))
    }
    fn may_help(&self, change: &Change, pod: &PodInfo, _: &Listers) -> bool {
        let fits = |n: &Node| !has_untolerated(taints(n), pod.tolerations());
        match change {
            Change::NodeAdded(n) => fits(n),
            Change::NodeUpdated { old, new } => !fits(old) && fits(new),
            _ => false,
        }
    }
}

impl NodeFilter for Filter<'_> {
    fn filter(&self, node: &NodeInfo) -> Verdict {
        if node.has_hard_taints && has_untolerated(taints(&node.node), self.0) {
            return Err(Status::unresolvable(NAME, "node(s) had untolerated taint(s)"));
        }
        Ok(())
    }
}

impl ScorePlugin for TaintToleration {
    fn pre_score<'a>(&'a self, cycle: Cycle<'a>, pod: &'a PodInfo, nodes: &[usize]) -> Option<Box<dyn NodeScorer + 'a>> {
        // Without such taints all nodes score the same.
        if !nodes.iter().any(|n| cycle.cache.nodes[*n].has_soft_taints) {
            return None;
        }
        let soft = |t: &&Toleration| matches!(t.effect.as_deref().unwrap_or(""), "" | "PreferNoSchedule");
        Some(Box::new(Scorer(pod.tolerations().iter().filter(soft).collect())))
    }
}

impl NodeScorer for Scorer<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let untolerated = |t: &&Taint| t.effect == "PreferNoSchedule" && !self.0.iter().any(|tol| tolerates(tol, t));
        let n = taints(&node.node).into_iter().flatten().filter(untolerated).count();
        i64::try_from(n).unwrap_or(i64::MAX)
    }
    fn normalize(&self, scores: &mut [i64], _: &[usize]) {
        normalize(scores, true);
    }
}
