//! What a plugin says of a pod on a node, and the message that sums up what all of them said.

use smallvec::SmallVec;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Why a pod was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// A failure inside the scheduler; the pod is tried again after its back-off.
    Error,
    /// Refused; removing other pods may help.
    Unschedulable,
    /// Refused; preemption cannot help.
    Unresolvable,
}

/// A refusal. Reasons are upstream's texts; most are static.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub code: Code,
    pub plugin: &'static str,
    pub reasons: SmallVec<[Cow<'static, str>; 1]>,
}

/// A plugin's answer: accepted, or why not.
pub type Verdict = Result<(), Status>;

impl Status {
    pub fn new(code: Code, plugin: &'static str, reason: impl Into<Cow<'static, str>>) -> Self {
        let mut reasons = SmallVec::new();
        reasons.push(reason.into());
        Self { code, plugin, reasons }
    }
    pub fn unschedulable(plugin: &'static str, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Unschedulable, plugin, reason)
    }
    pub fn unresolvable(plugin: &'static str, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Unresolvable, plugin, reason)
    }
    pub fn error(plugin: &'static str, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Error, plugin, reason)
    }
    pub fn message(&self) -> String {
        self.reasons.join(", ")
    }
}

/// Why no node fits a pod.
#[derive(Clone, Debug, Default)]
pub struct Diagnosis {
    /// Nodes in the cluster.
    pub nodes: usize,
    /// What refused the pod, per node slot that was looked at.
    pub statuses: BTreeMap<usize, Status>,
    /// What holds for every other node.
    pub absent: Option<Status>,
    /// Set when a PreFilter plugin refused the pod for all nodes.
    pub pre_filter: Option<String>,
    /// What preemption has to say.
    pub post_filter: String,
    /// The plugins whose events may make the pod schedulable.
    pub plugins: Vec<&'static str>,
}

impl Diagnosis {
    pub fn add_plugin(&mut self, plugin: &'static str) {
        if !self.plugins.contains(&plugin) {
            self.plugins.push(plugin);
        }
    }

    /// The message of events and conditions: `0/3 nodes are available: 1 Insufficient cpu, 2 …`.
    pub fn message(&self) -> String {
        let mut out = format!("0/{} nodes are available:", self.nodes);
        if let Some(m) = &self.pre_filter {
            out.push_str(&format!(" {m}."));
        } else {
            let mut histogram: BTreeMap<&str, usize> = BTreeMap::new();
            for reason in self.statuses.values().flat_map(|s| &s.reasons) {
                *histogram.entry(reason).or_default() += 1;
            }
            let rest = self.nodes.saturating_sub(self.statuses.len());
            if rest > 0 {
                for reason in self.absent.iter().flat_map(|s| &s.reasons) {
                    *histogram.entry(reason).or_default() += rest;
                }
            }
            let mut parts: Vec<String> = histogram.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
            parts.sort();
            if !parts.is_empty() {
                out.push_str(&format!(" {}.", parts.join(", ")));
            }
        }
        if !self.post_filter.is_empty() {
            out.push(' ');
            out.push_str(&self.post_filter);
        }
        out
    }
}
