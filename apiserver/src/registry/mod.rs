//! The generic registry: what every resource does alike, driven by its schema row and its strategy.
//! Upstream: apiserver/pkg/registry/generic/registry/store.go and apiserver/pkg/endpoints/handlers.

pub mod codec;
pub mod convert;
mod create;
pub mod delete;
mod deletecollection;
mod get;
mod list;
pub mod managed;
pub mod metadata;
pub mod options;
mod patch;
pub mod protobuf;
mod selectors;
mod table;
mod update;
mod watch;

pub use create::{create, store_new};
pub use delete::delete;
pub use deletecollection::delete_collection;
pub use get::get;
pub use list::list;
pub use patch::patch;
pub use table::include;
pub use update::{Target, attributes, replace, update};
pub use watch::watch;
