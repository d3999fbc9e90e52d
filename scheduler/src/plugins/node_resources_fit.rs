//! NodeResourcesFit: a node must have what the pod requests left; nodes with more left are preferred (LeastAllocated).

use crate::cache::NodeInfo;
use crate::change::Change;
use crate::framework::{Cycle, FilterPlugin, MAX_SCORE, NodeFilter, NodeScorer, PreFilter, ScorePlugin};
use crate::listers::Listers;
use crate::pod::PodInfo;
use crate::resources::{PodRequests, Resources};
use crate::status::{Code, Status, Verdict};
use k8s_openapi::api::core::v1::Node;
use smallvec::SmallVec;

const NAME: &str = "NodeResourcesFit";

pub struct NodeResourcesFit;

struct Filter<'a>(&'a Resources);
struct Scorer<'a>(&'a PodRequests);

/// Everything that is lacking, and whether the node could not hold the pod even when empty.
fn lacking(want: &Resources, allocatable: &Resources, used: &Resources, pods: usize) -> Option<Status> {
    let mut reasons = SmallVec::new();
    let mut code = Code::Unschedulable;
    if i64::try_from(pods).unwrap_or(i64::MAX) >= allocatable.pods {
        reasons.push("Too many pods".into());
    }
    let mut check = |want: i64, allocatable: i64, used: i64, reason: &dyn Fn() -> std::borrow::Cow<'static, str>| {
        if want > 0 && want > allocatable - used {
            reasons.push(reason());
            if want > allocatable {
                code = Code::Unresolvable;
            }
        }
    };
    check(want.cpu, allocatable.cpu, used.cpu, &|| "Insufficient cpu".into());
    check(want.memory, allocatable.memory, used.memory, &|| "Insufficient memory".into());
    check(want.ephemeral, allocatable.ephemeral, used.ephemeral, &|| "Insufficient ephemeral-storage".into());
    for (name, amount) in &want.scalars {
        check(*amount, allocatable.scalar(name), used.scalar(name), &|| format!("Insufficient {name}").into());
    }
    (!reasons.is_empty()).then_some(Status { code, plugin: NAME, reasons })
}

impl FilterPlugin for NodeResourcesFit {
    fn name(&self) -> &'static str {
        NAME
    }
    fn pre_filter<'a>(&'a self, _: Cycle<'a>, pod: &'a PodInfo) -> PreFilter<'a> {
        PreFilter::Run(Box::new(Filter(&pod.requests.exact)))
    }
    fn may_help(&self, change: &Change, pod: &PodInfo, _: &Listers) -> bool {
        let want = &pod.requests.exact;
        let of = |n: &Node| Resources::from_list(n.status.as_ref().and_then(|s| s.allocatable.as_ref()));
        let fits = |r: &Resources| lacking(want, r, &Resources::default(), 0).is_none();
        match change {
            Change::NodeAdded(n) => fits(&of(n)),
            Change::NodeUpdated { old, new } => {
                let (old, new) = (of(old), of(new));
                fits(&new) && grew(want, &old, &new)
            }
            Change::PodRemoved(_) => true,
            Change::PodUpdated { old, new } => grew(want, &new.requests.exact, &old.requests.exact),
            _ => false,
        }
    }
}

/// Whether something that is wanted became more.
fn grew(want: &Resources, old: &Resources, new: &Resources) -> bool {
    new.pods > old.pods
        || want.cpu > 0 && new.cpu > old.cpu
        || want.memory > 0 && new.memory > old.memory
        || want.ephemeral > 0 && new.ephemeral > old.ephemeral
        || want.scalars.iter().any(|(n, v)| *v > 0 && new.scalar(n) > old.scalar(n))
}

impl NodeFilter for Filter<'_> {
    fn filter(&self, node: &NodeInfo) -> Verdict {
        let (want, have, used) = (self.0, &node.allocatable, &node.requested);
        let room = i64::try_from(node.pods.len()).unwrap_or(i64::MAX) < have.pods;
        if room
            && want.scalars.is_empty()
            && (want.cpu == 0 || want.cpu <= have.cpu - used.cpu)
            && (want.memory == 0 || want.memory <= have.memory - used.memory)
            && (want.ephemeral == 0 || want.ephemeral <= have.ephemeral - used.ephemeral)
        {
            return Ok(());
        }
        lacking(want, have, used, node.pods.len()).map_or(Ok(()), Err)
    }
}

impl ScorePlugin for NodeResourcesFit {
    fn pre_score<'a>(&'a self, _: Cycle<'a>, pod: &'a PodInfo, _: &[usize]) -> Option<Box<dyn NodeScorer + 'a>> {
        Some(Box::new(Scorer(&pod.requests)))
    }
}

/// The share of a resource that would be left, 0..=100.
fn left(requested: i64, capacity: i64) -> i64 {
    if requested > capacity { 0 } else { (capacity - requested) * MAX_SCORE / capacity }
}

impl NodeScorer for Scorer<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let parts = [
            (node.nonzero_cpu + self.0.nonzero_cpu, node.allocatable.cpu),
            (node.nonzero_memory + self.0.nonzero_memory, node.allocatable.memory),
        ];
        let (mut sum, mut n) = (0, 0);
        for (requested, capacity) in parts.into_iter().filter(|(_, c)| *c > 0) {
            sum += left(requested, capacity);
            n += 1;
        }
        if n == 0 { 0 } else { sum / n }
    }
}
