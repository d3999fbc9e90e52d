//! The default plugins, one module each, with upstream's order and weights.

mod image_locality;
mod node_affinity;
mod node_name;
mod node_ports;
mod node_resources_balanced_allocation;
mod node_resources_fit;
mod node_unschedulable;
mod scheduling_gates;
mod taint_toleration;

use crate::framework::Profile;

/// The default profile.
pub fn default_profile() -> Profile {
    Profile {
        pre_enqueue: vec![Box::new(scheduling_gates::SchedulingGates)],
        filters: vec![
            Box::new(node_unschedulable::NodeUnschedulable),
            Box::new(node_name::NodeName),
            Box::new(taint_toleration::TaintToleration),
            Box::new(node_affinity::NodeAffinity),
            Box::new(node_ports::NodePorts),
            Box::new(node_resources_fit::NodeResourcesFit),
        ],
        scores: vec![
            (Box::new(taint_toleration::TaintToleration), 3),
            (Box::new(node_affinity::NodeAffinity), 2),
            (Box::new(node_resources_fit::NodeResourcesFit), 1),
            (Box::new(node_resources_balanced_allocation::NodeResourcesBalancedAllocation), 1),
            (Box::new(image_locality::ImageLocality), 1),
        ],
        reserves: Vec::new(),
    }
}
