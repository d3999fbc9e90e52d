//! Store failures as API errors, in upstream's words (apiserver/pkg/storage/errors, etcd3/errors.go).

use machinery::{GroupResource, Status, json};
use store::Revision;

const CONTINUE_EXPIRED: &str = "The provided continue parameter is too old to display a consistent list result. You can start a \
     new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the \
     results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or \
     deleted between the time the first chunk was returned and now may show up in the list.";

/// What was being done: the word upstream uses for it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    Get,
    List,
    Create,
    Update,
    Delete,
    Watch,
}

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Watch => "watch",
        }
    }
}

/// An error that is not about the object's state: the caller handles `Conflict`.
pub(crate) fn from_store(gr: &GroupResource, op: Operation, e: &store::Error) -> Status {
    match e {
        store::Error::Unavailable { message, .. } => {
            tracing::warn!(resource = %gr, operation = op.as_str(), message, "store unavailable");
            let mut s = server_timeout(gr, op.as_str());
            s.message = format!("{} ({message})", s.message);
            s
        }
        store::Error::Compacted { .. } => Status::gone("The resourceVersion for the provided list is too old."),
        store::Error::Future { requested, current } => too_large_version(*requested, *current, 0),
        store::Error::TooLarge { .. } => Status::too_large(e.to_string()),
        store::Error::Conflict { .. } | store::Error::Corrupt(_) => Status::internal(e),
    }
}

fn server_timeout(gr: &GroupResource, operation: &str) -> Status {
    let message = format!("The {operation} operation against {gr} could not be completed at this time, please try again.");
    let mut s = Status::new(500, "ServerTimeout", message);
    for (k, v) in [("name", operation), ("group", &gr.group), ("kind", &gr.resource)] {
        if !v.is_empty() {
            s.details.insert(k.into(), v.into());
        }
    }
    s.details.insert("retryAfterSeconds".into(), 2.into());
    s
}

/// A revision that this server has not reached in time.
pub(crate) fn too_large_version(requested: Revision, current: Revision, retry_after: u32) -> Status {
    let mut s = Status::new(504, "Timeout", format!("Timeout: Too large resource version: {requested}, current: {current}"));
    s.details.insert("causes".into(), json!([{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]));
    if retry_after > 0 {
        s.details.insert("retryAfterSeconds".into(), retry_after.into());
    }
    s
}

/// An expired continue token; the answer carries one that goes on with the present state.
pub(crate) fn continue_expired(token: String) -> Status {
    let mut s = Status::gone(CONTINUE_EXPIRED);
    s.metadata.insert("continue".into(), token.into());
    s
}
