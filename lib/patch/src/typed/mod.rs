//! Objects seen through their types, as structured-merge-diff sees them: compare, merge, remove items, list the fields set.

mod atomics;
mod compare;
mod merge;
mod node;
mod remove;
mod schema_change;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod to_set;
mod validate;

pub use atomics::atomics;
pub use compare::{Comparison, compare};
pub use merge::merge;
pub use remove::remove_items;
pub use schema_change::reconcile;
pub use to_set::{ensure_named_fields, to_set};
pub use validate::validate;

/// Why an object does not fit its type: paths and messages, printed as upstream prints them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors(pub Vec<(String, String)>);

impl Errors {
    pub(crate) fn one(path: &[crate::fieldset::Element], message: impl Into<String>) -> Self {
        Self(vec![(crate::fieldset::path_string(path), message.into())])
    }
}

impl std::error::Error for Errors {}

impl std::fmt::Display for Errors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let one = |(path, message): &(String, String)| {
            if path.is_empty() { message.clone() } else { format!("{path}: {message}") }
        };
        match self.0.as_slice() {
            [e] => f.write_str(&one(e)),
            many => {
                f.write_str("errors:")?;
                many.iter().try_for_each(|e| write!(f, "\n  {}", one(e)))
            }
        }
    }
}
