//! Authentication, RBAC and Node authorization, service-account tokens.
#![forbid(unsafe_code)]

pub mod authz;
pub mod objects;
pub mod rbac;
pub mod user;

pub use authz::{Attributes, Authorizer, Decision, Verdict};
pub use objects::ObjectGetter;
pub use user::UserInfo;
