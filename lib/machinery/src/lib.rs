//! The vocabulary of the API: objects and their metadata, names, selectors, quantities, field errors, Status.
//!
//! No IO and no async here: everything is a function of its arguments.

pub mod component_config;
pub mod duration;
pub mod field;
pub mod fields;
pub mod gvk;
pub mod hash;
pub mod intstr;
pub mod labels;
pub mod meta;
pub mod names;
pub mod objectmeta;
pub mod quantity;
pub mod quote;
pub mod status;
pub mod time;
pub mod validation;

pub use gvk::{GroupResource, GroupVersion, GroupVersionKind, GroupVersionResource};
pub use serde_json::{Map, Value, json};
pub use status::Status;
