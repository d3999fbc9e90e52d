//! InterPodAffinity: pods near or far from other pods, required and preferred, by what the pod asks and by what pods already placed
//! ask of it.

use crate::cache::{Cache, NodeInfo};
use crate::change::Change;
use crate::framework::{Cycle, FilterPlugin, MAX_SCORE, NodeFilter, NodeScorer, PreFilter, ScorePlugin};
use crate::listers::Listers;
use crate::pod::{AffinityTerm, PodInfo};
use crate::selectors::matches;
use crate::status::{Status, Verdict};
use std::collections::HashMap;

const NAME: &str = "InterPodAffinity";
/// Weight of a required affinity that a placed pod has to the new one.
const HARD_AFFINITY_WEIGHT: i64 = 1;

pub struct InterPodAffinity;

/// How many pods match, by topology key and value.
type Counts = HashMap<(String, String), i64>;

/// Whether `pod` is one that `term` speaks of.
fn speaks_of(term: &AffinityTerm, pod: &PodInfo, listers: &Listers) -> bool {
    let namespace = pod.namespace();
    let by_selector = || {
        !term.namespace_selector.is_nothing()
            && (term.namespace_selector.is_everything()
                || listers
                    .namespaces
                    .get_key(namespace)
                    .is_some_and(|n| matches(&term.namespace_selector, n.metadata.labels.as_ref())))
    };
    (term.namespaces.iter().any(|n| n == namespace) || by_selector()) && matches(&term.selector, pod.labels())
}

fn speak_of(terms: &[AffinityTerm], pod: &PodInfo, listers: &Listers) -> bool {
    !terms.is_empty() && terms.iter().all(|t| speaks_of(t, pod, listers))
}

fn count(counts: &mut Counts, term: &AffinityTerm, node: &NodeInfo, by: i64) {
    let Some(value) = node.label(&term.topology_key) else { return };
    let key = (term.topology_key.clone(), value.to_owned());
    let n = counts.entry(key.clone()).or_default();
    *n += by;
    if *n == 0 {
        counts.remove(&key);
    }
}

struct Filter<'a> {
    pod: &'a PodInfo,
    listers: &'a Listers,
    /// Placed pods whose anti-affinity keeps this pod away.
    existing_anti: Counts,
    /// Placed pods that all affinity terms speak of.
    affinity: Counts,
    /// Placed pods that an anti-affinity term speaks of.
    anti: Counts,
}

impl Filter<'_> {
    fn update(&mut self, placed: &PodInfo, node: &NodeInfo, by: i64) {
        for t in placed.anti_affinity.iter().filter(|t| speaks_of(t, self.pod, self.listers)) {
            count(&mut self.existing_anti, t, node, by);
        }
        if speak_of(&self.pod.affinity, placed, self.listers) {
            for t in &self.pod.affinity {
                count(&mut self.affinity, t, node, by);
            }
        }
        for t in self.pod.anti_affinity.iter().filter(|t| speaks_of(t, placed, self.listers)) {
            count(&mut self.anti, t, node, by);
        }
    }

    fn affinity_holds(&self, node: &NodeInfo) -> bool {
        let mut all = true;
        for t in &self.pod.affinity {
            let Some(value) = node.label(&t.topology_key) else { return false };
            all &= self.affinity.get(&(t.topology_key.clone(), value.to_owned())).is_some_and(|n| *n > 0);
        }
        // The first of a group of pods that want to be together may go anywhere.
        all || self.affinity.is_empty() && speak_of(&self.pod.affinity, self.pod, self.listers)
    }
}

impl FilterPlugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        NAME
    }
    fn pre_filter<'a>(&'a self, cycle: Cycle<'a>, pod: &'a PodInfo) -> PreFilter<'a> {
        let own = !pod.affinity.is_empty() || !pod.anti_affinity.is_empty();
        if !own && cycle.cache.required_anti_affinity_pods == 0 {
            return PreFilter::Skip;
        }
        let mut filter =
            Filter { pod, listers: cycle.listers, existing_anti: Counts::new(), affinity: Counts::new(), anti: Counts::new() };
        for node in cycle.cache.present().filter(|n| own || n.required_anti_affinity_pods > 0) {
            for placed in node.pods.iter().filter(|p| own || !p.anti_affinity.is_empty()) {
                filter.update(placed, node, 1);
            }
        }
        if !own && filter.existing_anti.is_empty() { PreFilter::Skip } else { PreFilter::Run(Box::new(filter)) }
    }
    fn may_help(&self, change: &Change, pod: &PodInfo, listers: &Listers) -> bool {
        match change {
            Change::NodeAdded(_) | Change::Namespace => true,
            Change::NodeUpdated { old, new } => old.metadata.labels != new.metadata.labels,
            Change::PodAssigned(p) => speak_of(&pod.affinity, p, listers),
            Change::PodUpdated { old, new } => {
                old.labels() != new.labels()
                    && (speak_of(&pod.affinity, new, listers) || pod.anti_affinity.iter().any(|t| speaks_of(t, old, listers)))
            }
            Change::PodRemoved(p) => {
                pod.anti_affinity.iter().any(|t| speaks_of(t, p, listers))
                    || p.anti_affinity.iter().any(|t| speaks_of(t, pod, listers))
            }
            _ => false,
        }
    }
}

impl NodeFilter for Filter<'_> {
    fn filter(&self, node: &NodeInfo) -> Verdict {
        if !self.affinity_holds(node) {
            return Err(Status::unresolvable(NAME, "node(s) didn't match pod affinity rules"));
        }
        let hit = |t: &AffinityTerm| {
            node.label(&t.topology_key)
                .is_some_and(|v| self.anti.get(&(t.topology_key.clone(), v.to_owned())).is_some_and(|n| *n > 0))
        };
        if !self.anti.is_empty() && self.pod.anti_affinity.iter().any(hit) {
            return Err(Status::unschedulable(NAME, "node(s) didn't match pod anti-affinity rules"));
        }
        let kept_away = |((key, value), n): (&(String, String), &i64)| *n > 0 && node.label(key) == Some(value);
        if self.existing_anti.iter().any(kept_away) {
            return Err(Status::unschedulable(NAME, "node(s) didn't satisfy existing pods anti-affinity rules"));
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

struct Scorer(Counts);

fn weigh(cache: &Cache, listers: &Listers, pod: &PodInfo) -> Counts {
    let own = !pod.preferred_affinity.is_empty() || !pod.preferred_anti_affinity.is_empty();
    let mut scores = Counts::new();
    for node in cache.present().filter(|n| own || n.affinity_pods > 0) {
        for placed in node.pods.iter().filter(|p| own || p.has_affinity()) {
            let mut add = |terms: &[AffinityTerm], of: &PodInfo, weight: &dyn Fn(&AffinityTerm) -> i64| {
                for t in terms.iter().filter(|t| speaks_of(t, of, listers)) {
                    count(&mut scores, t, node, weight(t));
                }
            };
            add(&pod.preferred_affinity, placed, &|t| t.weight);
            add(&pod.preferred_anti_affinity, placed, &|t| -t.weight);
            add(&placed.affinity, pod, &|_| HARD_AFFINITY_WEIGHT);
            add(&placed.preferred_affinity, pod, &|t| t.weight);
            add(&placed.preferred_anti_affinity, pod, &|t| -t.weight);
        }
    }
    scores
}

impl ScorePlugin for InterPodAffinity {
    fn pre_score<'a>(&'a self, cycle: Cycle<'a>, pod: &'a PodInfo, _: &[usize]) -> Option<Box<dyn NodeScorer + 'a>> {
        if pod.preferred_affinity.is_empty() && pod.preferred_anti_affinity.is_empty() && cycle.cache.affinity_pods == 0 {
            return None;
        }
        let scores = weigh(cycle.cache, cycle.listers, pod);
        (!scores.is_empty()).then(|| Box::new(Scorer(scores)) as _)
    }
}

impl NodeScorer for Scorer {
    fn score(&self, node: &NodeInfo) -> i64 {
        self.0.iter().filter(|((key, value), _)| node.label(key) == Some(value)).map(|(_, n)| n).sum()
    }
    fn normalize(&self, scores: &mut [i64], _: &[usize]) {
        let (min, max) = (scores.iter().copied().min().unwrap_or(0), scores.iter().copied().max().unwrap_or(0));
        for s in scores {
            *s = if max > min { (MAX_SCORE as f64 * ((*s - min) as f64 / (max - min) as f64)) as i64 } else { 0 };
        }
    }
}
