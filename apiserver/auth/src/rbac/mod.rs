//! Role-based access control: parsed rules, indexed bindings, decisions. Upstream: plugin/pkg/auth/authorizer/rbac and
//! pkg/registry/rbac/validation.

mod rule;

pub use rule::{Rule, uncovered};
