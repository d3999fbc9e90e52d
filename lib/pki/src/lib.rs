//! Certificate authorities, certificates, kubeconfigs and service-account keys.
//!
//! Everything on disk is as kubeadm lays it out (`ca.crt`, `apiserver.key`, `sa.pub`, `admin.conf`, …), so that people and stock
//! components find it. Keys and kubeconfigs are mode 0600 and replaced atomically.
#![forbid(unsafe_code)]

pub mod authority;
pub mod bootstrap;
pub mod cluster;
pub mod csr;
pub mod files;
pub mod kubeconfig;
pub mod server_verifier;
pub mod service_account;
pub mod tls;

pub use authority::{Authority, Identity, Pair};
pub use cluster::{ClusterPki, ClusterSpec};
pub use server_verifier::ServerVerifier;
pub use service_account::{SigningKey, VerifyingKey};

use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{action} {path}: {source}")]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{path}: {message}")]
    Content { path: PathBuf, message: String },
    #[error("{0}")]
    Invalid(String),
    #[error("making a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("setting up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
    pub(crate) fn content(path: impl Into<PathBuf>, message: impl ToString) -> Self {
        Self::Content { path: path.into(), message: message.to_string() }
    }
}
