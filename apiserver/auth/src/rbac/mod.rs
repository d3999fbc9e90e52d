//! Role-based access control: parsed rules, indexed bindings, decisions. Upstream: plugin/pkg/auth/authorizer/rbac and
//! pkg/registry/rbac/validation.

pub mod bootstrap;
mod escalation;
mod rule;
mod store;

pub use escalation::check_write;
pub use rule::{Rule, uncovered};
pub use store::RbacStore;

/// The API group of all of it.
pub const GROUP: &str = "rbac.authorization.k8s.io";

#[cfg(test)]
mod tests;
