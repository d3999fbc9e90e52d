//! DefaultPreemption: when no node fits, looks for the node where evicting pods of lower priority does the least harm.

use crate::cache::NodeInfo;
use crate::cycle::Filters;
use crate::framework::Cycle;
use crate::pod::PodInfo;
use crate::selectors::{compile, matches};
use crate::status::{Code, Diagnosis, Status};
use client::Object;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

const NAME: &str = "DefaultPreemption";
/// Nodes to try, of all that may help.
const MIN_CANDIDATES_PERCENTAGE: usize = 10;
const MIN_CANDIDATES: usize = 100;

/// What preemption came to.
pub enum Preemption {
    /// It is not to be tried; the nomination stays. The text goes into the pod's condition.
    NotEligible(String),
    /// It would not help; a nomination is withdrawn.
    NotHelpful(String),
    /// These pods are to go from this node.
    Preempt { node: Arc<str>, victims: Vec<Arc<PodInfo>> },
}

struct Candidate {
    node: Arc<str>,
    victims: Vec<Arc<PodInfo>>,
    violations: usize,
}

/// Whether the scheduler itself is removing this pod.
fn terminating_by_preemption(p: &PodInfo) -> bool {
    let conditions = p.pod.status.as_ref().and_then(|s| s.conditions.as_ref());
    p.pod.metadata.deletion_timestamp.is_some()
        && conditions.is_some_and(|c| {
            c.iter().any(|c| {
                c.type_ == "DisruptionTarget" && c.status == "True" && c.reason.as_deref() == Some("PreemptionByScheduler")
            })
        })
}

/// Most important first: by priority, then the one that has run longest.
fn importance(p: &PodInfo) -> (Reverse<i32>, jiff::Timestamp) {
    (Reverse(p.priority), p.start_time().unwrap_or(jiff::Timestamp::MAX))
}

/// Looks for victims. `filters` are those of the failed cycle; `None` where PreFilter refused the pod.
pub fn preempt(
    cycle: Cycle<'_>,
    filters: Option<&mut Filters<'_>>,
    pod: &PodInfo,
    diagnosis: &Diagnosis,
    draw: impl FnOnce(usize) -> usize,
) -> Preemption {
    if pod.spec().preemption_policy.as_deref() == Some("Never") {
        return Preemption::NotEligible("preemption: not eligible due to preemptionPolicy=Never.".into());
    }
    if let Some(node) = cycle.cache.node(pod.nominated_node()) {
        let hopeless =
            diagnosis.statuses.get(&node.slot).or(diagnosis.absent.as_ref()).is_some_and(|s| s.code == Code::Unresolvable);
        if !hopeless && node.pods.iter().any(|p| p.priority < pod.priority && terminating_by_preemption(p)) {
            return Preemption::NotEligible("preemption: not eligible due to a terminating pod on the nominated node.".into());
        }
    }
    let mut failed = Diagnosis { nodes: cycle.cache.order.len(), ..Diagnosis::default() };
    let mut found: Vec<Candidate> = Vec::new();
    if let Some(filters) = filters {
        let promising: Vec<usize> =
            diagnosis.statuses.iter().filter(|(_, s)| s.code == Code::Unschedulable).map(|(slot, _)| *slot).collect();
        let n = promising.len();
        let wanted = (n * MIN_CANDIDATES_PERCENTAGE / 100).max(MIN_CANDIDATES).min(n);
        let offset = if n > 0 { draw(n) } else { 0 };
        let budgets = cycle.listers.disruption_budgets.list();
        for i in 0..n {
            if found.len() >= wanted && found.iter().any(|c| c.violations == 0) {
                break;
            }
            let node = &cycle.cache.nodes[promising[(offset + i) % n]];
            match victims_on(filters, pod, node, &budgets) {
                Ok(candidate) => found.push(candidate),
                Err(s) => drop(failed.statuses.insert(node.slot, s)),
            }
        }
    }
    match found.into_iter().min_by_key(harm) {
        Some(c) => Preemption::Preempt { node: c.node, victims: c.victims },
        None => {
            failed.absent = Some(Status::unresolvable(NAME, "Preemption is not helpful for scheduling"));
            Preemption::NotHelpful(format!("preemption: {}", failed.message()))
        }
    }
}

/// The smallest set of pods on a node that must go, trying to keep the most important ones.
fn victims_on(
    filters: &mut Filters<'_>,
    pod: &PodInfo,
    node: &NodeInfo,
    budgets: &[Arc<PodDisruptionBudget>],
) -> Result<Candidate, Status> {
    let mut node = node.clone();
    let mut lower: Vec<Arc<PodInfo>> = node.pods.iter().filter(|p| p.priority < pod.priority).cloned().collect();
    if lower.is_empty() {
        return Err(Status::unresolvable(NAME, "No preemption victims found for incoming pod"));
    }
    for p in &lower {
        node.remove_pod(&p.uid);
        filters.remove_pod(p, &node);
    }
    let mut fits = filters.check(&node);
    let mut victims = Vec::new();
    let mut violations = 0;
    if fits.is_ok() {
        lower.sort_by_key(|p| importance(p));
        let (violating, others) = split_by_budget(&lower, budgets);
        let violating_count = violating.len();
        for (i, p) in violating.into_iter().chain(others).enumerate() {
            node.add_pod(&p);
            filters.add_pod(&p, &node);
            if filters.check(&node).is_err() {
                node.remove_pod(&p.uid);
                filters.remove_pod(&p, &node);
                violations += usize::from(i < violating_count);
                victims.push(p);
            }
        }
        victims.sort_by_key(|p| importance(p));
        if victims.is_empty() {
            fits = Err(Status::unresolvable(NAME, "No preemption victims found for incoming pod"));
        }
    } else {
        victims.clone_from(&lower);
    }
    // The filters go on to the next node: what was taken away comes back.
    for p in &victims {
        filters.add_pod(p, &node);
    }
    fits.map(|()| Candidate { node: node.name.clone(), victims, violations })
}

/// Pods whose eviction a disruption budget forbids, and the others.
fn split_by_budget(pods: &[Arc<PodInfo>], budgets: &[Arc<PodDisruptionBudget>]) -> (Vec<Arc<PodInfo>>, Vec<Arc<PodInfo>>) {
    let mut allowed: BTreeMap<usize, i32> = BTreeMap::new();
    let (mut violating, mut others) = (Vec::new(), Vec::new());
    for p in pods {
        let mut violates = false;
        for (i, b) in budgets.iter().enumerate() {
            if p.labels().is_none_or(|l| l.is_empty()) || b.namespace() != p.namespace() {
                continue;
            }
            let selector = compile(b.spec.as_ref().and_then(|s| s.selector.as_ref()));
            let status = b.status.as_ref();
            let already = status.and_then(|s| s.disrupted_pods.as_ref()).is_some_and(|d| d.contains_key(p.name()));
            if selector.is_everything() || !matches(&selector, p.labels()) || already {
                continue;
            }
            let left = allowed.entry(i).or_insert_with(|| status.and_then(|s| s.disruptions_allowed).unwrap_or(0));
            *left -= 1;
            violates |= *left < 0;
        }
        if violates { &mut violating } else { &mut others }.push(p.clone());
    }
    (violating, others)
}

/// Least harm first: broken budgets, the highest priority hit, the sum of priorities, the number of pods; then the node whose most
/// important victims started last.
fn harm(c: &Candidate) -> (usize, i32, i64, usize, Reverse<jiff::Timestamp>) {
    let highest = c.victims.iter().map(|p| p.priority).max().unwrap_or(i32::MIN);
    let sum = c.victims.iter().map(|p| i64::from(p.priority) + i64::from(i32::MAX) + 1).sum();
    let top = c.victims.iter().filter(|p| p.priority == highest);
    let started = top.filter_map(|p| p.start_time()).min().unwrap_or(jiff::Timestamp::MAX);
    (c.violations, highest, sum, c.victims.len(), Reverse(started))
}
