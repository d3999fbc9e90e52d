//! API errors as `v1.Status`, with upstream's reasons, codes and messages (apimachinery/pkg/api/errors).

use crate::field::ErrorList;
use crate::gvk::GroupResource;
use crate::quote::Quoted;
use serde_json::{Map, Value, json};
use std::fmt;

/// A failure as the API server reports it and as a client reads it back.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    pub code: u16,
    /// `NotFound`, `AlreadyExists`, …; empty is upstream's "unknown".
    pub reason: String,
    pub message: String,
    /// `details` of the Status: name, group, kind, uid, causes, retryAfterSeconds.
    pub details: Map<String, Value>,
    /// `metadata` of the Status: carries `continue` in an expired list.
    pub metadata: Map<String, Value>,
}

impl std::error::Error for Status {}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

fn details(gr: &GroupResource, name: &str) -> Map<String, Value> {
    let mut d = Map::new();
    for (k, v) in [("name", name), ("group", &gr.group), ("kind", &gr.resource)] {
        if !v.is_empty() {
            d.insert(k.into(), v.into());
        }
    }
    d
}

impl Status {
    pub fn new(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self { code, reason: reason.into(), message: message.into(), details: Map::new(), metadata: Map::new() }
    }
    fn about(code: u16, reason: &str, gr: &GroupResource, name: &str, message: String) -> Self {
        Self { details: details(gr, name), ..Self::new(code, reason, message) }
    }

    pub fn not_found(gr: &GroupResource, name: &str) -> Self {
        Self::about(404, "NotFound", gr, name, format!("{gr} {} not found", Quoted(name)))
    }
    pub fn already_exists(gr: &GroupResource, name: &str) -> Self {
        Self::about(409, "AlreadyExists", gr, name, format!("{gr} {} already exists", Quoted(name)))
    }
    pub fn conflict(gr: &GroupResource, name: &str, why: impl fmt::Display) -> Self {
        Self::about(409, "Conflict", gr, name, format!("Operation cannot be fulfilled on {gr} {}: {why}", Quoted(name)))
    }
    /// The conflict of an update with an old resourceVersion.
    pub fn modified(gr: &GroupResource, name: &str) -> Self {
        Self::conflict(gr, name, "the object has been modified; please apply your changes to the latest version and try again")
    }
    pub fn forbidden(gr: &GroupResource, name: &str, why: impl fmt::Display) -> Self {
        let message = if gr.resource.is_empty() {
            format!("forbidden: {why}")
        } else if name.is_empty() {
            format!("{gr} is forbidden: {why}")
        } else {
            format!("{gr} {} is forbidden: {why}", Quoted(name))
        };
        Self::about(403, "Forbidden", gr, name, message)
    }
    /// `gk.resource` holds the kind here, as upstream's NewInvalid takes a GroupKind.
    pub fn invalid(group: &str, kind: &str, name: &str, errs: &ErrorList) -> Self {
        let gk = GroupResource::new(group, kind);
        let mut seen: Vec<String> = Vec::new();
        for e in errs {
            let s = e.to_string();
            if !seen.contains(&s) {
                seen.push(s);
            }
        }
        let text = match seen.as_slice() {
            [] => "<nil>".to_owned(),
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let mut s = Self::about(422, "Invalid", &gk, name, format!("{gk} {} is invalid: {text}", Quoted(name)));
        let causes: Vec<Value> =
            errs.iter().map(|e| json!({"reason": e.kind.reason(), "message": e.body(), "field": e.field})).collect();
        if !causes.is_empty() {
            s.details.insert("causes".into(), causes.into());
        }
        s
    }
    pub fn bad_request(why: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", why)
    }
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }
    pub fn method_not_supported(gr: &GroupResource, action: &str) -> Self {
        Self::about(
            405,
            "MethodNotAllowed",
            gr,
            "",
            format!("{action} is not supported on resources of kind {}", Quoted(&gr.to_string())),
        )
    }
    pub fn internal(why: impl fmt::Display) -> Self {
        let mut s = Self::new(500, "InternalError", format!("Internal error occurred: {why}"));
        s.details.insert("causes".into(), json!([{"message": why.to_string()}]));
        s
    }
    pub fn gone(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        let mut s = Self::new(429, "TooManyRequests", message);
        if retry_after_seconds > 0 {
            s.details.insert("retryAfterSeconds".into(), retry_after_seconds.into());
        }
        s
    }
    pub fn service_unavailable(why: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", why)
    }
    pub fn too_large(why: impl Into<String>) -> Self {
        Self::new(413, "RequestEntityTooLarge", why)
    }

    pub fn is(&self, reason: &str) -> bool {
        self.reason == reason
    }
    pub fn is_not_found(&self) -> bool {
        self.is("NotFound")
    }
    pub fn is_already_exists(&self) -> bool {
        self.is("AlreadyExists")
    }
    pub fn is_conflict(&self) -> bool {
        self.is("Conflict")
    }
    /// A watch or list that must start anew: the revision is compacted.
    pub fn is_expired(&self) -> bool {
        self.code == 410
    }

    /// The Status object on the wire.
    pub fn to_value(&self) -> Value {
        let mut o = Map::new();
        o.insert("kind".into(), "Status".into());
        o.insert("apiVersion".into(), "v1".into());
        o.insert("metadata".into(), self.metadata.clone().into());
        o.insert("status".into(), "Failure".into());
        o.insert("message".into(), self.message.clone().into());
        if !self.reason.is_empty() {
            o.insert("reason".into(), self.reason.clone().into());
        }
        // Upstream's constructors of these two always make details, be there any or not.
        if !self.details.is_empty() || matches!(self.reason.as_str(), "NotFound" | "MethodNotAllowed") {
            o.insert("details".into(), self.details.clone().into());
        }
        o.insert("code".into(), self.code.into());
        o.into()
    }

    /// Reads a Status object; `None` if `v` is something else or a success.
    pub fn from_value(v: &Value) -> Option<Self> {
        if v.get("kind")?.as_str()? != "Status" || v.get("status")?.as_str()? != "Failure" {
            return None;
        }
        let text = |k: &str| v.get(k).and_then(Value::as_str).unwrap_or("").to_owned();
        let map = |k: &str| v.get(k).and_then(Value::as_object).cloned().unwrap_or_default();
        let code = v.get("code").and_then(Value::as_u64).and_then(|c| u16::try_from(c).ok()).unwrap_or(500);
        Some(Self { code, reason: text("reason"), message: text("message"), details: map("details"), metadata: map("metadata") })
    }
}
