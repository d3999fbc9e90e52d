//! One request as the handlers see it, after the filters.

use crate::http::{Accept, Format, Query, RequestInfo, negotiate};
use crate::resources::Entry;
use auth::UserInfo;
use http::{HeaderMap, Method};
use machinery::Status;
use parking_lot::Mutex;

/// Encodings of objects.
pub const OBJECT_FORMATS: &[Format] = &[Format::Json, Format::Yaml, Format::Protobuf];

pub struct RequestCx {
    pub method: Method,
    pub info: RequestInfo,
    pub query: Query,
    pub headers: HeaderMap,
    pub user: UserInfo,
    warnings: Mutex<Vec<String>>,
}

impl RequestCx {
    pub fn new(method: Method, info: RequestInfo, query: Query, headers: HeaderMap, user: UserInfo) -> Self {
        Self { method, info, query, headers, user, warnings: Mutex::new(Vec::new()) }
    }

    /// Adds a message for the `Warning` header; each text once.
    pub fn warn(&self, message: impl Into<String>) {
        let message = message.into();
        let mut warnings = self.warnings.lock();
        if !message.is_empty() && !warnings.contains(&message) {
            warnings.push(message);
        }
    }

    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.warnings.lock())
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("")
    }

    /// What the client takes, among objects, Tables and metadata.
    pub fn accept(&self) -> Result<Accept, Status> {
        negotiate::negotiate(&self.headers, &self.query, OBJECT_FORMATS, true)
    }

    /// As [`Self::accept`], of an entry's objects: custom resources have no protobuf form.
    pub fn accept_of(&self, entry: &Entry) -> Result<Accept, Status> {
        let accept = self.accept()?;
        if entry.custom.is_none() || accept.format != Format::Protobuf || accept.transform.is_some() {
            return Ok(accept);
        }
        negotiate::negotiate(&self.headers, &self.query, &[Format::Json, Format::Yaml], true)
    }

    /// As [`Self::accept`], without Tables and the like.
    pub fn accept_plain(&self) -> Result<Accept, Status> {
        negotiate::negotiate(&self.headers, &self.query, OBJECT_FORMATS, false)
    }

    /// How to answer a failure: as negotiated, or in JSON.
    pub fn accept_status(&self) -> Option<Accept> {
        let a = self.accept().ok()?;
        Some(Accept { transform: None, beta: false, ..a })
    }

    /// The field manager of a write: as given, or the first part of the user agent.
    pub fn field_manager(&self) -> String {
        match self.query.str("fieldManager") {
            "" => {
                let ua = self.header("user-agent").split('/').next().unwrap_or("");
                let printable: String =
                    ua.chars().filter(|c| !c.is_control()).take(machinery::objectmeta::FIELD_MANAGER_MAX).collect();
                if printable.is_empty() { "unknown".into() } else { printable }
            }
            m => m.to_owned(),
        }
    }
}
