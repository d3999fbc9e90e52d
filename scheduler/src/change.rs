//! Changes of the cluster that may make a refused pod schedulable. Each plugin says which of them help the pods it refused.

use crate::pod::PodInfo;
use k8s_openapi::api::core::v1::Node;
use std::sync::Arc;

/// What changed.
#[derive(Clone, Debug)]
pub enum Change {
    NodeAdded(Arc<Node>),
    NodeUpdated {
        old: Arc<Node>,
        new: Arc<Node>,
    },
    NodeDeleted,
    /// A pod now counts on a node.
    PodAssigned(Arc<PodInfo>),
    /// A pod on a node changed labels or shrank.
    PodUpdated {
        old: Arc<PodInfo>,
        new: Arc<PodInfo>,
    },
    /// A pod left a node, by deletion, termination or a failed binding.
    PodRemoved(Arc<PodInfo>),
    Namespace,
    Storage(Storage),
}

/// Which kind of storage object changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    Claim,
    Volume,
    Class,
    CsiNode,
    CsiDriver,
    CsiStorageCapacity,
    VolumeAttachment,
}
