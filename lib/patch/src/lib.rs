//! How one object becomes another: JSON patch, merge patch, strategic merge patch, server-side apply.
//!
//! Everything here is a function of its arguments, and bounded: hostile patches are refused, never expanded without limit.

pub mod fieldset;
pub mod json_patch;

pub mod managed;
pub mod merge;
pub mod strategic;

pub mod typed;

/// Deepest nesting that the engines follow; documents come from a JSON parser with a lower limit.
pub(crate) const MAX_DEPTH: usize = 200;
