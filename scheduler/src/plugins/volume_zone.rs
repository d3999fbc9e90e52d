//! VolumeZone: a bound volume that is labelled with a zone or region keeps the pod in it.

use crate::cache::NodeInfo;
use crate::change::Change;
use crate::framework::{Cycle, FilterPlugin, NodeFilter, PreFilter};
use crate::listers::Listers;
use crate::pod::PodInfo;
use crate::status::{Status, Verdict};
use client::Object;

const NAME: &str = "VolumeZone";
/// Label keys of volumes, with the older or newer name of the same on nodes.
const KEYS: [(&str, &str); 4] = [
    ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"),
    ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region"),
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
];

pub struct VolumeZone;

/// Keys, and the values that will do.
struct Filter(Vec<((&'static str, &'static str), Vec<String>)>);

impl FilterPlugin for VolumeZone {
    fn name(&self) -> &'static str {
        NAME
    }
    fn pre_filter<'a>(&'a self, cycle: Cycle<'a>, pod: &'a PodInfo) -> PreFilter<'a> {
        let mut wanted = Vec::new();
        for (name, _) in &pod.claims {
            let claim = cycle.listers.claims.get(pod.namespace(), name);
            let volume = claim.as_ref().and_then(|c| c.spec.as_ref()?.volume_name.as_deref());
            let Some(volume) = volume.and_then(|v| cycle.listers.volumes.get_key(v)) else { continue };
            for keys in KEYS {
                if let Some(value) = volume.label(keys.0) {
                    wanted.push((keys, value.split("__").map(str::to_owned).collect()));
                }
            }
        }
        if wanted.is_empty() { PreFilter::Skip } else { PreFilter::Run(Box::new(Filter(wanted))) }
    }
    fn may_help(&self, change: &Change, _: &PodInfo, _: &Listers) -> bool {
        match change {
            Change::NodeAdded(_) | Change::Storage(_) => true,
            Change::NodeUpdated { old, new } => old.metadata.labels != new.metadata.labels,
            _ => false,
        }
    }
}

impl NodeFilter for Filter {
    fn filter(&self, node: &NodeInfo) -> Verdict {
        if !KEYS.iter().any(|(key, _)| node.label(key).is_some()) {
            return Ok(());
        }
        let fits = |((key, other), values): &((&str, &str), Vec<String>)| {
            node.label(key).or_else(|| node.label(other)).is_some_and(|v| values.iter().any(|w| w == v))
        };
        if self.0.iter().all(fits) {
            return Ok(());
        }
        Err(Status::unresolvable(NAME, "node(s) had no available volume zone"))
    }
}
