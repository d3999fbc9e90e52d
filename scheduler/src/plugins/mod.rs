//! The default plugins, one module each, with upstream's order and weights.

pub mod default_preemption;
mod dynamic_resources;
mod image_locality;
mod inter_pod_affinity;
mod node_affinity;
mod node_name;
mod node_ports;
mod node_resources_balanced_allocation;
mod node_resources_fit;
mod node_unschedulable;
mod node_volume_limits;
mod pod_topology_spread;
mod scheduling_gates;
mod taint_toleration;
#[cfg(test)]
mod tests;
mod volume_binding;
mod volume_restrictions;
mod volume_zone;

use crate::framework::Profile;
use std::sync::Arc;

/// The default profile.
pub fn default_profile() -> Profile {
    let volume_binding = Arc::new(volume_binding::VolumeBinding::default());
    Profile {
        pre_enqueue: vec![Box::new(scheduling_gates::SchedulingGates)],
        filters: vec![
            Box::new(node_unschedulable::NodeUnschedulable),
            Box::new(node_name::NodeName),
            Box::new(taint_toleration::TaintToleration),
            Box::new(node_affinity::NodeAffinity),
            Box::new(node_ports::NodePorts),
            Box::new(node_resources_fit::NodeResourcesFit),
            Box::new(volume_restrictions::VolumeRestrictions),
            Box::new(node_volume_limits::NodeVolumeLimits),
            Box::new(volume_binding.clone()),
            Box::new(volume_zone::VolumeZone),
            Box::new(pod_topology_spread::PodTopologySpread),
            Box::new(inter_pod_affinity::InterPodAffinity),
            Box::new(dynamic_resources::DynamicResources),
        ],
        scores: vec![
            (Box::new(taint_toleration::TaintToleration), 3),
            (Box::new(node_affinity::NodeAffinity), 2),
            (Box::new(node_resources_fit::NodeResourcesFit), 1),
            (Box::new(pod_topology_spread::PodTopologySpread), 2),
            (Box::new(inter_pod_affinity::InterPodAffinity), 2),
            (Box::new(node_resources_balanced_allocation::NodeResourcesBalancedAllocation), 1),
            (Box::new(image_locality::ImageLocality), 1),
        ],
        reserves: vec![Arc::new(volume_binding)],
    }
}
