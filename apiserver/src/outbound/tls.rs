//! Whom to trust at the other end. A bundle of authorities, or without one those of the machine; as Go does, and webpki does not,
//! a certificate that is itself in the bundle is taken, too: self-signed webhooks are common.

use crate::http::body::BoxError;
use pki::Pair;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use x509_parser::time::ASN1Time;

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
    pub fn config(&self) -> Result<ClientConfig, BoxError> {
        let provider = pki::tls::provider();
        let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?.dangerous();
        let builder = if self.insecure {
            builder.with_custom_certificate_verifier(Arc::new(pki::any_server::AnyServer(provider)))
        } else {
            let given = if self.ca_bundle.is_empty() { system_bundle()? } else { self.ca_bundle.clone() };
            let pinned: Vec<_> = if self.ca_bundle.is_empty() { Vec::new() } else { pki::authority::certificates(&given)? };
            let mut roots = RootCertStore::empty();
            let (added, _) = roots.add_parsable_certificates(pki::authority::certificates(&given)?);
            if added == 0 {
                return Err("no usable certificate authority".into());
            }
            let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
            builder.with_custom_certificate_verifier(Arc::new(Bundle { webpki, pinned }))
        };
        let mut config = match &self.client {
            Some(p) => builder.with_client_auth_cert(p.certificates()?, p.private_key()?)?,
            None => builder.with_no_client_auth(),
        };
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

/// webpki's judgement, and the certificates of the bundle themselves.
#[derive(Debug)]
struct Bundle {
    webpki: Arc<WebPkiServerVerifier>,
    pinned: Vec<CertificateDer<'static>>,
}

/// Not before, and not after.
fn in_time(cert: &CertificateDer<'_>, now: UnixTime) -> bool {
    let now = i64::try_from(now.as_secs()).ok().and_then(|s| ASN1Time::from_timestamp(s).ok());
    match (x509_parser::parse_x509_certificate(cert), now) {
        (Ok((_, c)), Some(now)) => c.validity().is_valid_at(now),
        _ => false,
    }
}

impl ServerCertVerifier for Bundle {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judged = self.webpki.verify_server_cert(leaf, intermediates, name, ocsp, now);
        if judged.is_err() && self.pinned.contains(leaf) && in_time(leaf, now) {
            rustls::client::verify_server_name(&ParsedCertificate::try_from(leaf)?, name)?;
            return Ok(ServerCertVerified::assertion());
        }
        judged
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls12_signature(message, cert, dss)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, cert, dss)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}
