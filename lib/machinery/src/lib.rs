//! The vocabulary of the API: objects and their metadata, names, selectors, quantities, field errors, Status.
//!
//! No IO and no async here: everything is a function of its arguments.

pub mod field;
pub mod gvk;
pub mod meta;
pub mod status;

pub use gvk::{GroupResource, GroupVersion, GroupVersionKind, GroupVersionResource};
pub use serde_json::{Map, Value, json};
pub use status::Status;
