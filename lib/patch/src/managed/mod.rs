//! `metadata.managedFields`: who owns which field. Server-side apply, and the bookkeeping of every other write.
//!
//! Behaviour is that of apimachinery/pkg/util/managedfields over structured-merge-diff. One thing is simpler: entries recorded at
//! another version of the API are compared without conversion, which is right where the fields keep their paths.

mod apply;
mod conflict;
mod entries;
mod scale;
#[cfg(test)]
mod tests;
mod timestamps;
mod update;

pub use apply::apply;
pub use scale::{from_scale, to_scale};
pub use timestamps::ignore_timestamps;
pub use update::update;

use crate::fieldset::Set;
use machinery::time::Timestamp;
use schema::types::Typed;
use std::sync::LazyLock;

/// What an operation needs to know beside the objects.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub typed: Typed<'a>,
    /// `?fieldManager=`, or what the server made of the user agent; empty is recorded as `unknown`.
    pub manager: &'a str,
    /// `apps/v1`: the version that the request speaks.
    pub api_version: &'a str,
    /// `""`, `status`, `scale`, …
    pub subresource: &'a str,
    /// Paths that this endpoint resets (`status` on the main endpoint, `spec` on the status one); never owned through it.
    pub reset_fields: Option<&'a Set>,
    pub now: Timestamp,
}

/// Fields that nobody owns: identity, and what the server writes itself.
static STRIPPED: LazyLock<Set> = LazyLock::new(|| {
    Set::of_fields(&[
        "apiVersion",
        "kind",
        "metadata",
        "metadata.name",
        "metadata.namespace",
        "metadata.creationTimestamp",
        "metadata.selfLink",
        "metadata.uid",
        "metadata.clusterName",
        "metadata.generation",
        "metadata.managedFields",
        "metadata.resourceVersion",
    ])
});
