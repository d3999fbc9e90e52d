//! Bootstrap tokens, by which machines join: the signatures on `cluster-info` that prove it to a token's holder, and the removal of
//! tokens that have expired (pkg/controller/bootstrap).

pub mod signer;
pub mod token_cleaner;

use client::{Informer, Informers, ListOptions, Object};
use k8s_openapi::api::core::v1::Secret;
use std::sync::Arc;

const NAMESPACE: &str = "kube-system";
const TYPE: &str = "bootstrap.kubernetes.io/token";

/// The tokens, and no other secret.
fn tokens(informers: &Informers) -> Arc<Informer<Secret>> {
    informers.with(NAMESPACE, ListOptions { field_selector: format!("type={TYPE}"), ..Default::default() })
}

fn text(secret: &Secret, key: &str) -> String {
    let raw = secret.data.as_ref().and_then(|d| d.get(key));
    raw.map(|v| String::from_utf8_lossy(&v.0).into_owned()).unwrap_or_default()
}

/// When the token expires. `Err`: what is written there is no time, which counts as expired.
fn expiration(secret: &Secret) -> Result<Option<jiff::Timestamp>, String> {
    match text(secret, "expiration") {
        t if t.is_empty() => Ok(None),
        t => t.parse().map(Some).map_err(|_| format!("unparseable expiration time {t:?} of secret {}", secret.name())),
    }
}
