//! rustls configurations. Servers ask for a client certificate but leave judging it to the authenticator, as upstream does: a wrong
//! one is answered with 401, not with a broken handshake; and two authorities (clients, front proxies) may vouch.

use crate::{Pair, Result, ServerVerifier, authority};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme};
use std::sync::{Arc, PoisonError};

/// The one cryptography provider of the whole program.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: std::sync::LazyLock<Arc<CryptoProvider>> =
        std::sync::LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    PROVIDER.clone()
}

/// A server's configuration, with HTTP/2 and HTTP/1.1. `client_cas` are named to clients as the authorities to choose a
/// certificate by; whatever a client shows is proved to be its own, and judged by `ClientVerifier`.
pub fn server_config(server: &Pair, client_cas: &[&str]) -> Result<ServerConfig> {
    let certificate = ServerCertificate::default();
    certificate.set(server)?;
    changing_server_config(Arc::new(certificate), client_cas)
}

/// A server's configuration whose certificate may change, or come later: until then, handshakes fail.
pub fn changing_server_config(certificate: Arc<ServerCertificate>, client_cas: &[&str]) -> Result<ServerConfig> {
    let mut hints = Vec::new();
    for pem in client_cas {
        hints.extend(roots(pem)?.subjects());
    }
    let mut c = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(Arc::new(Offered { hints, provider: provider() }))
        .with_cert_resolver(certificate);
    c.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(c)
}

/// What a server shows of itself at the moment.
#[derive(Debug, Default)]
pub struct ServerCertificate(std::sync::RwLock<Option<Arc<CertifiedKey>>>);

impl ServerCertificate {
    /// New connections get this certificate.
    pub fn set(&self, pair: &Pair) -> Result<()> {
        let key = CertifiedKey::from_der(pair.certificates()?, pair.private_key()?, &provider())?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(key));
        Ok(())
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A client's configuration: trusts `ca_pem`, shows `client` if given.
pub fn client_config(ca_pem: &str, client: Option<&Pair>) -> Result<ClientConfig> {
    verifying_client_config(ServerVerifier::bundle(roots(ca_pem)?, Vec::new())?, client)
}

/// A client's configuration by its verifier; shows `client` if given.
pub fn verifying_client_config(verifier: ServerVerifier, client: Option<&Pair>) -> Result<ClientConfig> {
    let b = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut c = match client {
        Some(p) => b.with_client_auth_cert(p.certificates()?, p.private_key()?)?,
        None => b.with_no_client_auth(),
    };
    c.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(c)
}

fn roots(pem: &str) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    for c in authority::certificates(pem)? {
        store.add(c)?;
    }
    Ok(store)
}

/// Judges the certificate a client showed: signed by this authority, for client authentication, not expired.
#[derive(Debug)]
pub struct ClientVerifier(Arc<dyn ClientCertVerifier>);

impl ClientVerifier {
    pub fn new(ca_pem: &str) -> Result<Self> {
        let v = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca_pem)?), provider())
            .build()
            .map_err(|e| crate::Error::Invalid(format!("client authority: {e}")))?;
        Ok(Self(v))
    }

    /// The first certificate is the client's, the rest are intermediates.
    pub fn verify(&self, chain: &[CertificateDer<'_>]) -> std::result::Result<(), Error> {
        let (leaf, rest) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
        self.0.verify_client_cert(leaf, rest, UnixTime::now()).map(|_| ())
    }
}

/// Takes any certificate whose key the client proves to have.
#[derive(Debug)]
struct Offered {
    hints: Vec<DistinguishedName>,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for Offered {
    fn client_auth_mandatory(&self) -> bool {
        false
    }
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }
    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> std::result::Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
