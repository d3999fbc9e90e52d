//! What objects cost a namespace's quotas. The API server's admission charges by it before an object is stored, and the quota
//! controller counts by it, so the two cannot disagree. Upstream: pkg/quota/v1/evaluator/core and component-helpers/resource.

pub mod resources;
mod scope;
mod usage;

pub use resources::Resources;
pub use scope::{Scope, scopes};
pub use usage::Evaluator;
