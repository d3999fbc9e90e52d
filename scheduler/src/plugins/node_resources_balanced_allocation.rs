//! NodeResourcesBalancedAllocation: prefers nodes where the pod brings the use of CPU and memory closer to each other.

use crate::cache::NodeInfo;
use crate::framework::{Cycle, MAX_SCORE, NodeScorer, ScorePlugin};
use crate::pod::PodInfo;
use crate::resources::Resources;

pub struct NodeResourcesBalancedAllocation;

struct Scorer<'a>(&'a Resources);

impl ScorePlugin for NodeResourcesBalancedAllocation {
    fn pre_score<'a>(&'a self, _: Cycle<'a>, pod: &'a PodInfo, _: &[usize]) -> Option<Box<dyn NodeScorer + 'a>> {
        let want = &pod.requests.exact;
        // Best-effort pods leave the balance as it is.
        (want.cpu > 0 || want.memory > 0).then(|| Box::new(Scorer(want)) as _)
    }
}

/// 100 for the same share of CPU and memory in use, 50 for all of one and nothing of the other.
fn balance(cpu: i64, memory: i64, allocatable: &Resources) -> i64 {
    let share = |used: i64, of: i64| (used as f64 / of as f64).min(1.0);
    let deviation = if allocatable.cpu == 0 || allocatable.memory == 0 {
        0.0
    } else {
        ((share(cpu, allocatable.cpu) - share(memory, allocatable.memory)) / 2.0).abs()
    };
    ((1.0 - deviation) * MAX_SCORE as f64) as i64
}

impl NodeScorer for Scorer<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let used = &node.requested;
        let with = balance(used.cpu + self.0.cpu, used.memory + self.0.memory, &node.allocatable);
        let without = balance(used.cpu, used.memory, &node.allocatable);
        MAX_SCORE / 2 + (MAX_SCORE / 2 + with - without) / 2
    }
}
