//! Whom to trust at the other end: a bundle of authorities, or without one those of the machine.

use crate::http::body::BoxError;
use pki::{Pair, ServerVerifier};
use rustls::{ClientConfig, RootCertStore};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Where the machine's authorities are, by distribution (Go's crypto/x509/root_linux.go).
const SYSTEM_BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// How a peer is verified, and what is shown to it.
#[derive(Clone, Default)]
pub struct Trust {
    /// PEM; empty: the machine's.
    pub ca_bundle: String,
    /// `insecureSkipTLSVerify`.
    pub insecure: bool,
    /// The certificate that proves who we are.
    pub client: Option<Arc<Pair>>,
}

/// Without keys and bundles: this ends up in logs.
impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trust").field("insecure", &self.insecure).finish_non_exhaustive()
    }
}

impl PartialEq for Trust {
    fn eq(&self, o: &Self) -> bool {
        let same_client = match (&self.client, &o.client) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        self.ca_bundle == o.ca_bundle && self.insecure == o.insecure && same_client
    }
}

impl Eq for Trust {}

impl Hash for Trust {
    fn hash<H: Hasher>(&self, h: &mut H) {
        self.ca_bundle.hash(h);
        self.insecure.hash(h);
    }
}

impl Trust {
    /// The configuration of connections to the peer. A bundle that is given may hold the peer's very certificate.
    pub fn config(&self) -> Result<ClientConfig, BoxError> {
        let verifier = if self.insecure {
            ServerVerifier::any_server()
        } else {
            let given = if self.ca_bundle.is_empty() { system_bundle()? } else { self.ca_bundle.clone() };
            let pinned: Vec<_> = if self.ca_bundle.is_empty() { Vec::new() } else { pki::authority::certificates(&given)? };
            let mut roots = RootCertStore::empty();
            let (added, _) = roots.add_parsable_certificates(pki::authority::certificates(&given)?);
            if added == 0 {
                return Err("no usable certificate authority".into());
            }
            ServerVerifier::bundle(roots, pinned)?
        };
        let mut config = pki::tls::verifying_client_config(verifier, self.client.as_deref())?;
        // One request per connection at a time spreads them over the endpoints, and connections can be upgraded.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn system_bundle() -> Result<String, BoxError> {
    SYSTEM_BUNDLES
        .iter()
        .find_map(|p| std::fs::read_to_string(p).ok())
        .ok_or_else(|| "x509: certificate signed by unknown authority (no caBundle, and this machine has no authorities)".into())
}
