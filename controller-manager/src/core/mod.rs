//! What several controllers share: expectations, adoption, pods from templates, selectors.

pub mod batch;
pub mod claim;
pub mod consistency;
pub mod discovery;
pub mod error;
pub mod expectations;
pub mod follow;
pub mod history;
pub mod intstr;
pub mod node;
pub mod pod;
pub mod pod_control;
pub mod pod_ranking;
pub mod revision;
pub mod selectors;
