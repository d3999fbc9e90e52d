//! PodTopologySpread: pods of a group evenly over zones, nodes and other domains; with upstream's default constraints for pods that
//! belong to a Service or a controller.

use crate::cache::{Cache, NodeInfo};
use crate::change::Change;
use crate::framework::{Cycle, FilterPlugin, MAX_SCORE, NodeFilter, NodeScorer, PreFilter, ScorePlugin};
use crate::listers::Listers;
use crate::pod::PodInfo;
use crate::selectors::{compile, has_untolerated, matches, with};
use crate::status::{Status, Verdict};
use client::Object;
use k8s_openapi::api::core::v1::TopologySpreadConstraint;
use machinery::labels::{Operator, Requirement, Selector};
use std::collections::{HashMap, HashSet};

const NAME: &str = "PodTopologySpread";
const HOSTNAME: &str = "kubernetes.io/hostname";

pub struct PodTopologySpread;

struct Constraint {
    max_skew: i64,
    key: String,
    selector: Selector,
    min_domains: usize,
    honor_affinity: bool,
    honor_taints: bool,
}

impl Constraint {
    fn compile(pod: &PodInfo, c: &TopologySpreadConstraint) -> Self {
        let mut selector = compile(c.label_selector.as_ref());
        for key in c.match_label_keys.iter().flatten() {
            if let Some(value) = pod.labels().and_then(|l| l.get(key)) {
                selector = with(&selector, key, Operator::In, value);
            }
        }
        Self {
            max_skew: c.max_skew.into(),
            key: c.topology_key.clone(),
            selector,
            min_domains: c.min_domains.and_then(|m| usize::try_from(m).ok()).unwrap_or(1),
            honor_affinity: c.node_affinity_policy.as_deref().unwrap_or("Honor") == "Honor",
            honor_taints: c.node_taints_policy.as_deref() == Some("Honor"),
        }
    }

    /// Whether pods on this node count.
    fn includes(&self, pod: &PodInfo, node: &NodeInfo) -> bool {
        let taints = || node.node.spec.as_ref().and_then(|s| s.taints.as_ref());
        (!self.honor_affinity || pod.node_match.matches(&node.node))
            && (!self.honor_taints || !has_untolerated(taints(), pod.tolerations()))
    }
    fn counts(&self, pod: &PodInfo, other: &PodInfo) -> bool {
        other.pod.metadata.deletion_timestamp.is_none()
            && other.namespace() == pod.namespace()
            && matches(&self.selector, other.labels())
    }
}

fn own(pod: &PodInfo, when: &str) -> Vec<Constraint> {
    let all = pod.spec().topology_spread_constraints.iter().flatten();
    all.filter(|c| c.when_unsatisfiable == when).map(|c| Constraint::compile(pod, c)).collect()
}

fn has_all_keys(constraints: &[Constraint], node: &NodeInfo) -> bool {
    constraints.iter().all(|c| node.label(&c.key).is_some())
}

struct Filter<'a> {
    pod: &'a PodInfo,
    constraints: Vec<Constraint>,
    /// Matching pods per domain, one map per constraint.
    domains: Vec<HashMap<String, i64>>,
}

impl Filter<'_> {
    fn update(&mut self, other: &PodInfo, node: &NodeInfo, by: i64) {
        if !has_all_keys(&self.constraints, node) {
            return;
        }
        for (c, domains) in self.constraints.iter().zip(&mut self.domains) {
            if c.counts(self.pod, other)
                && c.includes(self.pod, node)
                && let Some(n) = node.label(&c.key).and_then(|v| domains.get_mut(v))
            {
                *n += by;
            }
        }
    }
}

impl FilterPlugin for PodTopologySpread {
    fn name(&self) -> &'static str {
        NAME
    }
    fn pre_filter<'a>(&'a self, cycle: Cycle<'a>, pod: &'a PodInfo) -> PreFilter<'a> {
        let constraints = own(pod, "DoNotSchedule");
        if constraints.is_empty() {
            return PreFilter::Skip;
        }
        let mut domains = vec![HashMap::new(); constraints.len()];
        for (c, domains) in constraints.iter().zip(&mut domains) {
            cycle.cache.with_matching(pod.namespace(), &c.selector, |matching| {
                for node in cycle.cache.present() {
                    if has_all_keys(&constraints, node)
                        && c.includes(pod, node)
                        && let Some(value) = node.label(&c.key)
                    {
                        *domains.entry(value.to_owned()).or_insert(0i64) += i64::from(matching[node.slot]);
                    }
                }
            });
        }
        PreFilter::Run(Box::new(Filter { pod, constraints, domains }))
    }
    fn may_help(&self, change: &Change, pod: &PodInfo, _: &Listers) -> bool {
        let concerns = |p: &PodInfo| own(pod, "DoNotSchedule").iter().any(|c| c.counts(pod, p));
        match change {
            Change::NodeAdded(_) | Change::NodeDeleted => true,
            Change::NodeUpdated { old, new } => {
                old.metadata.labels != new.metadata.labels
                    || old.spec.as_ref().and_then(|s| s.taints.as_ref()) != new.spec.as_ref().and_then(|s| s.taints.as_ref())
            }
            Change::PodAssigned(p) | Change::PodRemoved(p) => p.namespace() == pod.namespace() && concerns_labels(pod, p),
            Change::PodUpdated { old, new } => concerns(old) != concerns(new),
            _ => false,
        }
    }
}

/// As `counts`, for a pod that may be terminating by now.
fn concerns_labels(pod: &PodInfo, other: &PodInfo) -> bool {
    own(pod, "DoNotSchedule").iter().any(|c| matches(&c.selector, other.labels()))
}

impl NodeFilter for Filter<'_> {
    fn filter(&self, node: &NodeInfo) -> Verdict {
        for (c, domains) in self.constraints.iter().zip(&self.domains) {
            let Some(value) = node.label(&c.key) else {
                let reason = "node(s) didn't match pod topology spread constraints (missing required label)";
                return Err(Status::unresolvable(NAME, reason));
            };
            let fewest = if domains.len() < c.min_domains { 0 } else { domains.values().copied().min().unwrap_or(0) };
            let itself = i64::from(matches(&c.selector, self.pod.labels()));
            if domains.get(value).copied().unwrap_or(0) + itself - fewest > c.max_skew {
                return Err(Status::unschedulable(NAME, "node(s) didn't match pod topology spread constraints"));
            }
        }
        Ok(())
    }
    fn add_pod(&mut self, added: &PodInfo, node: &NodeInfo) {
        self.update(added, node, 1);
    }
    fn remove_pod(&mut self, removed: &PodInfo, node: &NodeInfo) {
        self.update(removed, node, -1);
    }
}

/// What Services and the controller of a pod select it by.
fn group_selector(pod: &PodInfo, listers: &Listers) -> Option<Selector> {
    let labels = pod.labels()?;
    let mut all: Vec<Requirement> = Vec::new();
    for service in listers.services.list_namespace(pod.namespace()) {
        let selector = service.spec.as_ref().and_then(|s| s.selector.as_ref()).filter(|s| !s.is_empty());
        if let Some(s) = selector.filter(|s| s.iter().all(|(k, v)| labels.get(k) == Some(v))) {
            all.extend(s.iter().filter_map(|(k, v)| Requirement::new(k, Operator::Equals, vec![v.clone()]).ok()));
        }
    }
    if let Some(owner) = pod.pod.controller() {
        let (ns, name) = (pod.namespace(), owner.name.as_str());
        let selector = match owner.kind.as_str() {
            "ReplicaSet" => listers.replica_sets.get(ns, name).and_then(|r| Some(compile(Some(&r.spec.as_ref()?.selector)))),
            "StatefulSet" => listers.stateful_sets.get(ns, name).and_then(|s| Some(compile(Some(&s.spec.as_ref()?.selector)))),
            "ReplicationController" => listers.replication_controllers.get(ns, name).and_then(|r| {
                let pairs = r.spec.as_ref()?.selector.clone()?;
                let equals = |(k, v): (String, String)| Requirement::new(&k, Operator::Equals, vec![v]).ok();
                Some(Selector::new(pairs.into_iter().filter_map(equals).collect()))
            }),
            _ => None,
        };
        all.extend(selector.iter().flat_map(|s| s.requirements().to_vec()));
    }
    (!all.is_empty()).then(|| Selector::new(all))
}

/// The cluster's default constraints.
fn defaults(pod: &PodInfo, listers: &Listers) -> Vec<Constraint> {
    let Some(selector) = group_selector(pod, listers) else { return Vec::new() };
    let constraint = |key: &str, max_skew| Constraint {
        max_skew,
        key: key.to_owned(),
        selector: selector.clone(),
        min_domains: 1,
        honor_affinity: true,
        honor_taints: false,
    };
    vec![constraint(HOSTNAME, 3), constraint("topology.kubernetes.io/zone", 5)]
}

struct Scorer<'a> {
    cache: &'a Cache,
    pod: &'a PodInfo,
    constraints: Vec<Constraint>,
    domains: Vec<HashMap<String, i64>>,
    weights: Vec<f64>,
    ignored: HashSet<usize>,
}

impl ScorePlugin for PodTopologySpread {
    fn pre_score<'a>(&'a self, cycle: Cycle<'a>, pod: &'a PodInfo, nodes: &[usize]) -> Option<Box<dyn NodeScorer + 'a>> {
        let has_own = pod.spec().topology_spread_constraints.as_ref().is_some_and(|c| !c.is_empty());
        let constraints = if has_own { own(pod, "ScheduleAnyway") } else { defaults(pod, cycle.listers) };
        if constraints.is_empty() {
            return None;
        }
        let lacks = |n: &NodeInfo| has_own && !has_all_keys(&constraints, n);
        let ignored: HashSet<usize> = nodes.iter().copied().filter(|n| lacks(&cycle.cache.nodes[*n])).collect();
        let (mut domains, mut weights) = (Vec::new(), Vec::new());
        for c in &constraints {
            let mut here: HashMap<String, i64> = HashMap::new();
            if c.key == HOSTNAME {
                weights.push(((nodes.len() - ignored.len() + 2) as f64).ln());
                domains.push(here);
                continue;
            }
            for slot in nodes.iter().filter(|n| !ignored.contains(n)) {
                if let Some(v) = cycle.cache.nodes[*slot].label(&c.key) {
                    here.entry(v.to_owned()).or_default();
                }
            }
            weights.push(((here.len() + 2) as f64).ln());
            cycle.cache.with_matching(pod.namespace(), &c.selector, |matching| {
                for node in cycle.cache.present().filter(|n| matching[n.slot] > 0 && !lacks(n) && c.includes(pod, n)) {
                    if let Some(n) = node.label(&c.key).and_then(|v| here.get_mut(v)) {
                        *n += i64::from(matching[node.slot]);
                    }
                }
            });
            domains.push(here);
        }
        Some(Box::new(Scorer { cache: cycle.cache, pod, constraints, domains, weights, ignored }))
    }
}

impl NodeScorer for Scorer<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        if self.ignored.contains(&node.slot) {
            return 0;
        }
        let mut score = 0.0;
        for ((c, domains), weight) in self.constraints.iter().zip(&self.domains).zip(&self.weights) {
            let Some(value) = node.label(&c.key) else { continue };
            let n = if c.key == HOSTNAME {
                self.cache.with_matching(self.pod.namespace(), &c.selector, |m| i64::from(m[node.slot]))
            } else {
                domains.get(value).copied().unwrap_or(0)
            };
            score += n as f64 * weight + (c.max_skew - 1) as f64;
        }
        score.round() as i64
    }

    fn normalize(&self, scores: &mut [i64], nodes: &[usize]) {
        let counted = || scores.iter().zip(nodes).filter(|(_, n)| !self.ignored.contains(n)).map(|(s, _)| *s);
        let (min, max) = (counted().min().unwrap_or(0), counted().max().unwrap_or(0));
        for (s, n) in scores.iter_mut().zip(nodes) {
            *s = match max {
                _ if self.ignored.contains(n) => 0,
                0 => MAX_SCORE,
                _ => MAX_SCORE * (max + min - *s) / max,
            };
        }
    }
}
