//! One scheduling cycle: filter the nodes for a pod, score those that fit, pick one.

use crate::cache::NodeInfo;
use crate::framework::{Cycle, NodeFilter, PreFilter, Profile};
use crate::nominator::Nominator;
use crate::pod::PodInfo;
use crate::status::{Code, Diagnosis, Status, Verdict};
use std::collections::BTreeSet;

/// Fewer nodes than this are all searched.
const MIN_FEASIBLE_TO_FIND: usize = 100;
const MIN_FEASIBLE_PERCENTAGE: usize = 5;

/// Why a cycle chose no node.
#[derive(Debug)]
pub enum Failure {
    NoNodes,
    Unfit(Box<Diagnosis>),
    Error(String),
}

/// The filters that have something to say about one pod.
pub struct Filters<'a> {
    pub pod: &'a PodInfo,
    pub nominator: &'a Nominator,
    filters: Vec<Box<dyn NodeFilter + 'a>>,
    /// Node names and the plugins that restricted the search to them.
    only: Option<(BTreeSet<String>, Vec<&'static str>)>,
}

impl<'a> Filters<'a> {
    /// Runs PreFilter.
    pub fn new(profile: &'a Profile, cycle: Cycle<'a>, nominator: &'a Nominator, pod: &'a PodInfo) -> Result<Self, Status> {
        let mut filters = Vec::with_capacity(profile.filters.len());
        let mut only: Option<(BTreeSet<String>, Vec<&'static str>)> = None;
        for plugin in &profile.filters {
            match plugin.pre_filter(cycle, pod) {
                PreFilter::Skip => {}
                PreFilter::Run(f) => filters.push(f),
                PreFilter::Reject(status) => return Err(status),
                PreFilter::Only(names, filter) => {
                    filters.extend(filter);
                    let names: BTreeSet<String> = names.into_iter().collect();
                    let (set, by) = only.get_or_insert_with(|| (names.clone(), Vec::new()));
                    set.retain(|n| names.contains(n));
                    by.push(plugin.name());
                    if set.is_empty() {
                        by.sort_unstable();
                        let together = if by.len() > 1 { " simultaneously" } else { "" };
                        let noun =
                            if by.len() > 1 { format!("plugins [{}]", by.join(" ")) } else { format!("plugin [{}]", by[0]) };
                        let message = format!("node(s) didn't satisfy {noun}{together}");
                        return Err(Status::unresolvable(plugin.name(), message));
                    }
                }
            }
        }
        if let Some((_, by)) = &mut only {
            by.sort_unstable();
        }
        Ok(Self { pod, nominator, filters, only })
    }

    fn run(&self, node: &NodeInfo) -> Verdict {
        self.filters.iter().try_for_each(|f| f.filter(node))
    }

    pub fn add_pod(&mut self, added: &PodInfo, node: &NodeInfo) {
        self.filters.iter_mut().for_each(|f| f.add_pod(added, node));
    }
    pub fn remove_pod(&mut self, removed: &PodInfo, node: &NodeInfo) {
        self.filters.iter_mut().for_each(|f| f.remove_pod(removed, node));
    }

    /// Filters a node; where pods of the same or higher priority are nominated to it, with and without them.
    pub fn check(&mut self, node: &NodeInfo) -> Verdict {
        let nominator = self.nominator;
        let mut ahead = nominator.ahead_of(self.pod, &node.name).peekable();
        if ahead.peek().is_some() {
            let ahead: Vec<_> = ahead.collect();
            let mut crowded = node.clone();
            for p in &ahead {
                crowded.add_pod(p);
                self.add_pod(p, &crowded);
            }
            let verdict = self.run(&crowded);
            for p in &ahead {
                self.remove_pod(p, &crowded);
            }
            verdict?;
        }
        self.run(node)
    }
}

/// How many feasible nodes are enough.
fn enough(nodes: usize, percentage: usize) -> usize {
    if nodes < MIN_FEASIBLE_TO_FIND {
        return nodes;
    }
    let percentage = match percentage {
        0 => 50usize.saturating_sub(nodes / 125).max(MIN_FEASIBLE_PERCENTAGE),
        p => p.min(100),
    };
    (nodes * percentage / 100).max(MIN_FEASIBLE_TO_FIND)
}

/// Finds the slots of nodes that fit, from `start` in the search order on, and moves `start` past what was searched.
pub fn feasible(
    cycle: Cycle<'_>,
    filters: &mut Filters<'_>,
    percentage: usize,
    start: &mut usize,
) -> Result<Vec<usize>, Failure> {
    let order = &cycle.cache.order;
    let mut diagnosis = Diagnosis { nodes: order.len(), ..Diagnosis::default() };
    let nominated = filters.pod.nominated_node();
    if let Some(node) = (!nominated.is_empty()).then(|| cycle.cache.node(nominated)).flatten()
        && filters.check(node).is_ok()
    {
        return Ok(vec![node.slot]);
    }
    let listed: Vec<usize>;
    let candidates: &[usize] = match &filters.only {
        None => order,
        Some((names, by)) => {
            let reason = format!("node(s) didn't satisfy plugin(s) [{}]", by.join(" "));
            diagnosis.absent = Some(Status::unresolvable(by[0], reason));
            by.iter().for_each(|p| diagnosis.add_plugin(p));
            listed = names.iter().filter_map(|n| cycle.cache.node(n)).map(|n| n.slot).collect();
            &listed
        }
    };
    let wanted = enough(candidates.len(), percentage);
    let mut found = Vec::with_capacity(wanted);
    let mut searched = 0;
    for i in 0..candidates.len() {
        if found.len() == wanted {
            break;
        }
        let node = &cycle.cache.nodes[candidates[(*start + i) % candidates.len()]];
        searched += 1;
        match filters.check(node) {
            Ok(()) => found.push(node.slot),
            Err(s) if s.code == Code::Error => return Err(Failure::Error(s.message())),
            Err(s) => {
                diagnosis.add_plugin(s.plugin);
                diagnosis.statuses.insert(node.slot, s);
            }
        }
    }
    *start = (*start + searched) % order.len().max(1);
    if found.is_empty() { Err(Failure::Unfit(Box::new(diagnosis))) } else { Ok(found) }
}

/// The best of several feasible nodes; equal ones are drawn by lot.
pub fn best(profile: &Profile, cycle: Cycle<'_>, pod: &PodInfo, nodes: &[usize], mut draw: impl FnMut(usize) -> usize) -> usize {
    let mut totals = vec![0i64; nodes.len()];
    let mut scores = vec![0i64; nodes.len()];
    for (plugin, weight) in &profile.scores {
        let Some(scorer) = plugin.pre_score(cycle, pod, nodes) else { continue };
        for (score, slot) in scores.iter_mut().zip(nodes) {
            *score = scorer.score(&cycle.cache.nodes[*slot]);
        }
        scorer.normalize(&mut scores, nodes);
        for (total, score) in totals.iter_mut().zip(&scores) {
            *total += score * weight;
        }
    }
    let max = totals.iter().copied().max().unwrap_or(0);
    let ties: Vec<usize> = totals.iter().zip(nodes).filter(|(t, _)| **t == max).map(|(_, n)| *n).collect();
    match ties.len() {
        0 => nodes[0],
        1 => ties[0],
        n => ties[draw(n) % n],
    }
}
