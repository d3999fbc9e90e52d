//! Authentication, RBAC and Node authorization, service-account tokens.
#![forbid(unsafe_code)]

pub mod authn;
pub mod authz;
pub mod node;
pub mod objects;
pub mod pod_names;
pub mod rbac;
pub mod review;
pub mod token;
pub mod user;

pub use authn::{Authenticator, Tokens};
pub use authz::{Attributes, Authorizer, Decision, Verdict};
pub use objects::ObjectGetter;
pub use user::UserInfo;
