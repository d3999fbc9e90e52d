//! NodeVolumeLimits: no more volumes of a CSI driver on a node than its CSINode allows.

use crate::cache::NodeInfo;
use crate::change::{Change, Storage};
use crate::framework::{Cycle, FilterPlugin, NodeFilter, PreFilter};
use crate::listers::Listers;
use crate::pod::PodInfo;
use crate::status::{Status, Verdict};
use std::collections::HashMap;

const NAME: &str = "NodeVolumeLimits";

pub struct NodeVolumeLimits;

/// Volume handle (or what stands for one) to driver.
type Handles = HashMap<String, String>;

struct Filter<'a> {
    listers: &'a Listers,
    wanted: Handles,
}

/// The CSI volumes a pod uses, including those still to be provisioned.
fn handles(pod: &PodInfo, listers: &Listers) -> Handles {
    let mut out = Handles::new();
    for (name, _) in &pod.claims {
        let Some(claim) = listers.claims.get(pod.namespace(), name) else { continue };
        let spec = claim.spec.as_ref();
        let volume = spec.and_then(|s| s.volume_name.as_deref()).filter(|v| !v.is_empty());
        match volume.and_then(|v| listers.volumes.get_key(v)) {
            Some(v) => {
                if let Some(csi) = v.spec.as_ref().and_then(|s| s.csi.as_ref()) {
                    out.insert(format!("{}/{}", csi.driver, csi.volume_handle), csi.driver.clone());
                }
            }
            None => {
                let class = spec.and_then(|s| s.storage_class_name.as_deref()).and_then(|c| listers.classes.get_key(c));
                if let Some(class) = class {
                    out.insert(format!("{}/{name}", pod.namespace()), class.provisioner.clone());
                }
            }
        }
    }
    out
}

impl FilterPlugin for NodeVolumeLimits {
    fn name(&self) -> &'static str {
        NAME
    }
    fn pre_filter<'a>(&'a self, cycle: Cycle<'a>, pod: &'a PodInfo) -> PreFilter<'a> {
        if pod.claims.is_empty() {
            return PreFilter::Skip;
        }
        let wanted = handles(pod, cycle.listers);
        if wanted.is_empty() {
            return PreFilter::Skip;
        }
        PreFilter::Run(Box::new(Filter { listers: cycle.listers, wanted }))
    }
    fn may_help(&self, change: &Change, pod: &PodInfo, listers: &Listers) -> bool {
        match change {
            Change::NodeAdded(_) => true,
            Change::PodRemoved(p) => !handles(p, listers).is_empty() && !pod.claims.is_empty(),
            Change::Storage(s) => matches!(s, Storage::CsiNode | Storage::Claim | Storage::VolumeAttachment),
            _ => false,
        }
    }
}

impl NodeFilter for Filter<'_> {
    fn filter(&self, node: &NodeInfo) -> Verdict {
        let Some(csi) = self.listers.csi_nodes.get_key(&node.name) else { return Ok(()) };
        let limit = |driver: &str| -> Option<usize> {
            let d = csi.spec.drivers.iter().find(|d| d.name == driver)?;
            usize::try_from(d.allocatable.as_ref()?.count?).ok()
        };
        if !self.wanted.values().any(|d| limit(d).is_some()) {
            return Ok(());
        }
        let mut used = Handles::new();
        for p in &node.pods {
            used.extend(handles(p, self.listers));
        }
        let mut drivers: HashMap<&str, usize> = HashMap::new();
        for (handle, driver) in &self.wanted {
            if !used.contains_key(handle) {
                *drivers.entry(driver).or_default() += 1;
            }
        }
        let over = |(driver, new): (&&str, &usize)| {
            limit(driver).is_some_and(|max| used.values().filter(|d| d == driver).count() + new > max)
        };
        if drivers.iter().any(over) {
            return Err(Status::unschedulable(NAME, "node(s) exceed max volume count"));
        }
        Ok(())
    }
}
