//! ImageLocality: prefers nodes that have the pod's images already, large and widely spread ones above all.

use crate::cache::{Cache, NodeInfo};
use crate::framework::{Cycle, MAX_SCORE, NodeScorer, ScorePlugin};
use crate::pod::PodInfo;

const MB: i64 = 1024 * 1024;
/// Below this, images are too small to matter.
const MIN_THRESHOLD: i64 = 23 * MB;
/// Per container; above this, more does not matter.
const MAX_THRESHOLD: i64 = 1000 * MB;

pub struct ImageLocality;

struct Scorer<'a> {
    cache: &'a Cache,
    images: Vec<String>,
    containers: i64,
}

/// The name with its tag, as nodes report it.
fn normalized(name: &str) -> String {
    let colon = name.rfind(':');
    if colon.is_none() || colon <= name.rfind('/') { format!("{name}:latest") } else { name.to_owned() }
}

impl ScorePlugin for ImageLocality {
    fn pre_score<'a>(&'a self, cycle: Cycle<'a>, pod: &'a PodInfo, _: &[usize]) -> Option<Box<dyn NodeScorer + 'a>> {
        let spec = pod.spec();
        let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
        let volumes = spec.volumes.iter().flatten().filter_map(|v| v.image.as_ref()?.reference.as_deref());
        let images: Vec<String> = containers
            .clone()
            .filter_map(|c| c.image.as_deref())
            .chain(volumes)
            .map(normalized)
            .filter(|i| cycle.cache.image_nodes(i) > 0)
            .collect();
        let containers = i64::try_from(containers.count()).unwrap_or(1);
        (!images.is_empty()).then(|| Box::new(Scorer { cache: cycle.cache, images, containers }) as _)
    }
}

impl NodeScorer for Scorer<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let total = self.cache.order.len() as f64;
        let spread = |i: &String| {
            let size = *node.images.get(i)?;
            Some((size as f64 * (self.cache.image_nodes(i) as f64 / total)) as i64)
        };
        let sum: i64 = self.images.iter().filter_map(spread).sum();
        let max = MAX_THRESHOLD * self.containers;
        MAX_SCORE * (sum.clamp(MIN_THRESHOLD, max) - MIN_THRESHOLD) / (max - MIN_THRESHOLD)
    }
}
