//! networking.k8s.io and discovery.k8s.io.

pub mod addresses;
pub mod endpoint_slice;
pub mod ingress;
pub mod network_policy;
