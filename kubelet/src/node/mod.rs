//! The Node object: registration, status, lease.

pub mod lease;
pub mod machine;
pub mod register;
pub mod status;
