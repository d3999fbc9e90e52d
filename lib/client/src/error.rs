//! Why a request failed.

use machinery::Status;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server answered with a Status.
    #[error("{0}")]
    Api(#[from] Status),
    /// No answer: connection refused, reset, TLS failure, timeout.
    #[error("{action}: {source}")]
    Transport { action: String, source: crate::BoxError },
    /// The answer was not what was asked for.
    #[error("{action}: cannot read the answer: {message}")]
    Decode { action: String, message: String },
    /// A kubeconfig or certificate is unusable.
    #[error("{0}")]
    Config(String),
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Api(s) => Some(s),
            _ => None,
        }
    }
    pub fn is_not_found(&self) -> bool {
        self.status().is_some_and(Status::is_not_found)
    }
    pub fn is_conflict(&self) -> bool {
        self.status().is_some_and(Status::is_conflict)
    }
    pub fn is_already_exists(&self) -> bool {
        self.status().is_some_and(Status::is_already_exists)
    }
    pub fn is_forbidden(&self) -> bool {
        self.status().is_some_and(|s| s.is("Forbidden"))
    }
    pub fn is_invalid(&self) -> bool {
        self.status().is_some_and(|s| s.is("Invalid"))
    }
    pub fn is_expired(&self) -> bool {
        self.status().is_some_and(Status::is_expired)
    }
    /// Create in a namespace that is being deleted: not worth a retry.
    pub fn is_namespace_terminating(&self) -> bool {
        self.status().is_some_and(|s| {
            s.is("Forbidden")
                && s.details
                    .get("causes")
                    .and_then(|c| c.as_array())
                    .is_some_and(|c| c.iter().any(|c| c.get("reason").and_then(|r| r.as_str()) == Some("NamespaceTerminating")))
        })
    }
}
