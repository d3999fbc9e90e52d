//! What callers may ask of a list, a watch or a write, and how lists answer.

use crate::object::Object;
use machinery::{Status, Value, field};
use std::sync::Arc;
use std::time::Duration;
use store::Revision;

/// Whether an object is selected, judged by its labels and selectable fields.
pub type SelectorFn = Arc<dyn Fn(&Object) -> bool + Send + Sync>;

/// Which part of the resource a request is about. Narrowing here is cheaper than in a selector, so give a field selector's exact
/// `metadata.name` or `metadata.namespace` here too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// `None`: all namespaces, or a cluster-scoped resource.
    pub namespace: Option<String>,
    pub name: Option<String>,
}

/// `resourceVersionMatch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionMatch {
    Exact,
    NotOlderThan,
}

/// A list request. The front has validated the combination (upstream's ValidateListOptions).
#[derive(Clone, Default)]
pub struct ListOptions {
    pub scope: Scope,
    /// `None` selects everything.
    pub selector: Option<SelectorFn>,
    /// As the client wrote it: empty, `0`, or a revision.
    pub resource_version: String,
    pub version_match: Option<VersionMatch>,
    /// 0: no limit.
    pub limit: usize,
    /// The `continue` token, or empty.
    pub continue_token: String,
}

/// A list: objects in key order.
#[derive(Debug, Default)]
pub struct List {
    pub items: Vec<Arc<Object>>,
    /// `metadata.resourceVersion` of the list.
    pub revision: Revision,
    /// `metadata.continue`; empty when complete.
    pub continue_token: String,
    pub remaining_item_count: Option<u64>,
}

/// `sendInitialEvents`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SendInitialEvents {
    /// Not given: an unset or `0` resourceVersion begins with the current objects as ADDED, any other continues after it.
    #[default]
    Unset,
    /// Current objects as ADDED, then (if bookmarks are allowed) a bookmark that says so, then changes.
    Yes,
    /// Changes only.
    No,
}

/// A watch request.
#[derive(Clone, Default)]
pub struct WatchOptions {
    pub scope: Scope,
    pub selector: Option<SelectorFn>,
    /// As the client wrote it: empty, `0`, or a revision.
    pub resource_version: String,
    pub send_initial_events: SendInitialEvents,
    pub allow_bookmarks: bool,
    /// The caller ends the watch after this long; a last bookmark comes two seconds before.
    pub timeout: Option<Duration>,
}

/// Conditions on the object as found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preconditions {
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

/// What an update makes of an object.
#[derive(Debug)]
pub struct Update {
    pub value: Value,
    /// Time to live from now; `None`: for ever (also when it had one).
    pub ttl: Option<Duration>,
}

impl From<Value> for Update {
    fn from(value: Value) -> Self {
        Self { value, ttl: None }
    }
}

/// Reads a resourceVersion parameter; empty is 0, as for upstream's versioner.
pub fn parse_version(text: &str) -> Result<Revision, Status> {
    if text.is_empty() {
        return Ok(0);
    }
    let why = match text.parse::<Revision>() {
        Ok(v) if !text.starts_with('+') => return Ok(v),
        Err(e) if *e.kind() == std::num::IntErrorKind::PosOverflow => "value out of range",
        _ => "invalid syntax",
    };
    let detail = format!("strconv.ParseUint: parsing {text:?}: {why}");
    let err = field::Error::new(field::ErrorType::Invalid, &field::Path::new("resourceVersion"), text, detail);
    Err(Status::bad_request(format!("invalid resource version: {err}")))
}
