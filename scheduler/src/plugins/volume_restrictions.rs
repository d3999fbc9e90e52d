//! VolumeRestrictions: a claim with ReadWriteOncePod is for one pod at a time; disks that attach to one node for writing are not shared.

use crate::cache::NodeInfo;
use crate::change::{Change, Storage};
use crate::framework::{Cycle, FilterPlugin, NodeFilter, PreFilter};
use crate::listers::Listers;
use crate::pod::PodInfo;
use crate::status::{Status, Verdict};
use k8s_openapi::api::core::v1::Volume;
use std::collections::HashSet;

const NAME: &str = "VolumeRestrictions";

pub struct VolumeRestrictions;

struct Filter<'a> {
    pod: &'a PodInfo,
    /// Claims of the pod with ReadWriteOncePod.
    exclusive: HashSet<String>,
    /// Uses of those by other pods.
    conflicts: i64,
    disks: bool,
}

impl Filter<'_> {
    fn uses(&self, other: &PodInfo) -> i64 {
        if other.namespace() != self.pod.namespace() {
            return 0;
        }
        let n = other.claims.iter().filter(|(c, _)| self.exclusive.contains(c)).count();
        i64::try_from(n).unwrap_or(i64::MAX)
    }
}

fn has_disk(v: &Volume) -> bool {
    v.gce_persistent_disk.is_some() || v.aws_elastic_block_store.is_some() || v.iscsi.is_some() || v.rbd.is_some()
}

/// Whether two volumes are the same disk and cannot be attached at once.
fn conflict(a: &Volume, b: &Volume) -> bool {
    let read_only = |x: Option<bool>, y: Option<bool>| x == Some(true) && y == Some(true);
    if let (Some(x), Some(y)) = (&a.gce_persistent_disk, &b.gce_persistent_disk) {
        return x.pd_name == y.pd_name && !read_only(x.read_only, y.read_only);
    }
    if let (Some(x), Some(y)) = (&a.aws_elastic_block_store, &b.aws_elastic_block_store) {
        return x.volume_id == y.volume_id;
    }
    if let (Some(x), Some(y)) = (&a.iscsi, &b.iscsi) {
        return x.iqn == y.iqn && !read_only(x.read_only, y.read_only);
    }
    if let (Some(x), Some(y)) = (&a.rbd, &b.rbd) {
        let pool = |p: &Option<String>| p.clone().unwrap_or_else(|| "rbd".into());
        return x.monitors.iter().any(|m| y.monitors.contains(m))
            && pool(&x.pool) == pool(&y.pool)
            && x.image == y.image
            && !read_only(x.read_only, y.read_only);
    }
    false
}

impl FilterPlugin for VolumeRestrictions {
    fn name(&self) -> &'static str {
        NAME
    }
    fn pre_filter<'a>(&'a self, cycle: Cycle<'a>, pod: &'a PodInfo) -> PreFilter<'a> {
        let disks = pod.spec().volumes.iter().flatten().any(has_disk);
        let mut exclusive = HashSet::new();
        for (name, _) in pod.claims.iter().filter(|(_, ephemeral)| !ephemeral) {
            let Some(claim) = cycle.listers.claims.get(pod.namespace(), name) else {
                return PreFilter::Reject(Status::unresolvable(NAME, format!("persistentvolumeclaim {name:?} not found")));
            };
            let modes = claim.spec.as_ref().and_then(|s| s.access_modes.as_ref());
            if modes.is_some_and(|m| m.iter().any(|m| m == "ReadWriteOncePod")) {
                exclusive.insert(name.clone());
            }
        }
        if !disks && exclusive.is_empty() {
            return PreFilter::Skip;
        }
        let mut filter = Filter { pod, exclusive, conflicts: 0, disks };
        if !filter.exclusive.is_empty() {
            filter.conflicts = cycle.cache.present().flat_map(|n| &n.pods).map(|p| filter.uses(p)).sum();
        }
        PreFilter::Run(Box::new(filter))
    }
    fn may_help(&self, change: &Change, pod: &PodInfo, _: &Listers) -> bool {
        match change {
            Change::NodeAdded(_) => true,
            Change::PodRemoved(p) => {
                p.namespace() == pod.namespace() && p.claims.iter().any(|c| pod.claims.contains(c))
                    || p.spec().volumes.iter().flatten().any(has_disk)
            }
            Change::Storage(s) => *s == Storage::Claim,
            _ => false,
        }
    }
}

impl NodeFilter for Filter<'_> {
    fn filter(&self, node: &NodeInfo) -> Verdict {
        let volumes = |p: &PodInfo| p.spec().volumes.clone().unwrap_or_default();
        if self.disks {
            let mine = volumes(self.pod);
            let clash = |p: &PodInfo| volumes(p).iter().any(|v| mine.iter().any(|m| conflict(m, v)));
            if node.pods.iter().any(|p| clash(p)) {
                return Err(Status::unschedulable(NAME, "node(s) had no available disk"));
            }
        }
        if self.conflicts > 0 {
            let reason = "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod";
            return Err(Status::unschedulable(NAME, reason));
        }
        Ok(())
    }
    fn add_pod(&mut self, added: &PodInfo, _: &NodeInfo) {
        self.conflicts += self.uses(added);
    }
    fn remove_pod(&mut self, removed: &PodInfo, _: &NodeInfo) {
        self.conflicts -= self.uses(removed);
    }
}
