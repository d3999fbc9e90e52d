//! JSON bytes to the object tree, as upstream's decoder and encoder together would leave them: unknown fields pruned (and
//! named, for `fieldValidation`), types checked with Go's wording, zero values dropped or written as Go's `omitempty` says,
//! times and quantities in canonical form.
//!
//! Behaviour follows sigs.k8s.io/json (case-sensitive names, strict errors in document order) and apimachinery's types.

mod leaf;
mod normalize;
mod parse;
#[cfg(test)]
mod tests;

pub(crate) use normalize::{SCHEMA, finish};
pub use normalize::{complete, normalize};
pub use parse::parse;

use crate::types::Typed;
use machinery::quote::Quoted;
use serde_json::Value;
use std::fmt;

/// Bodies above this are refused before parsing; etcd's own limit is lower, upstream's request limit is the same.
pub const MAX_BYTES: usize = 3 * 1024 * 1024;

/// Upstream reports no more strict errors than this.
const MAX_PROBLEMS: usize = 100;

/// Whether unknown and duplicate fields are collected (`fieldValidation` Warn and Strict) or passed over (Ignore).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Lenient,
    Strict,
}

/// A field that strict decoding objects to. `Display` gives upstream's words: `unknown field "spec.foo"`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Problem {
    Unknown(String),
    Duplicate(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Unknown(path) => write!(f, "unknown field {}", Quoted(path)),
            Problem::Duplicate(path) => write!(f, "duplicate field {}", Quoted(path)),
        }
    }
}

/// `strict decoding error: unknown field "a", duplicate field "b"`.
pub fn strict_error(problems: &[Problem]) -> String {
    let list: Vec<String> = problems.iter().map(Problem::to_string).collect();
    format!("strict decoding error: {}", list.join(", "))
}

/// Input that is not JSON, or not of the type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Go's words for malformed JSON.
    #[error("{0}")]
    Syntax(String),
    /// Go's words for a value of another type: `json: cannot unmarshal …`, or what the type's own parser said.
    #[error("{0}")]
    Type(String),
    #[error("Request entity too large: limit is {MAX_BYTES}")]
    TooLarge,
}

/// Decodes `bytes` as a `typed` object.
pub fn decode(bytes: &[u8], typed: Typed<'_>, mode: Mode) -> Result<(Value, Vec<Problem>), DecodeError> {
    parse::typed(bytes, typed, mode)
}
