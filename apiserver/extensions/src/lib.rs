//! Custom resources without IO: what a CustomResourceDefinition may say, and what follows from it for its objects. Structural
//! schemas, pruning, defaulting, validation with upstream's messages, printer columns, OpenAPI.

mod columns;
mod defaults;
pub mod definition;
mod embedded;
mod jsonpath;
mod lists;
mod pattern;
mod prune;
pub mod publish;
mod rules;
mod structural;
mod values;
mod version;

pub use columns::Column;
pub use structural::{Additional, Schema};
pub use version::{Decoded, Scale, SelectableField, Version};
