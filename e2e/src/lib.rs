//! What end-to-end tests stand on: a lab (network namespaces without a way out, a private mount namespace), images made from
//! the distribution's packages, and stock kubectl.

pub mod command;
pub mod components;
pub mod image;
pub mod lab;
pub mod machine;
pub mod namespace;
pub mod registry;
pub mod suite;

pub use command::{Output, run};
pub use lab::Lab;
pub use machine::Machine;
pub use namespace::Namespace;
