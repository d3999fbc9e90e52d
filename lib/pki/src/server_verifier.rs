//! Judges of server certificates where webpki's judgement is not what is wanted.

use crate::{Error, Result, tls};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::result::Result as Judgement;
use std::sync::Arc;
use x509_parser::time::ASN1Time;

/// Takes a certificate that its judge takes and whose key the server proves to have.
#[derive(Debug)]
pub struct ServerVerifier {
    judge: Judge,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
enum Judge {
    /// Takes any certificate.
    Nobody,
    /// webpki's judgement, and the certificates of the bundle themselves.
    Bundle { webpki: Arc<WebPkiServerVerifier>, pinned: Vec<CertificateDer<'static>> },
}

impl ServerVerifier {
    /// Trusts any server. Where it is used, trust comes from elsewhere: kubelets of a server that was not told whom to trust
    /// (`--kubelet-certificate-authority`) sign their own, and a machine that joins checks what it read by its token.
    pub fn any_server() -> Self {
        Self { judge: Judge::Nobody, provider: tls::provider() }
    }

    /// Trusts servers that an authority vouches for and, as Go does and webpki does not, those whose own certificate is among
    /// `pinned`: self-signed webhooks are common.
    pub fn bundle(authorities: RootCertStore, pinned: Vec<CertificateDer<'static>>) -> Result<Self> {
        let provider = tls::provider();
        let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(authorities), provider.clone())
            .build()
            .map_err(|e| Error::Invalid(format!("server authority: {e}")))?;
        Ok(Self { judge: Judge::Bundle { webpki, pinned }, provider })
    }
}

/// Not before, and not after.
fn in_time(cert: &CertificateDer<'_>, now: UnixTime) -> bool {
    let now = i64::try_from(now.as_secs()).ok().and_then(|s| ASN1Time::from_timestamp(s).ok());
    match (x509_parser::parse_x509_certificate(cert), now) {
        (Ok((_, c)), Some(now)) => c.validity().is_valid_at(now),
        _ => false,
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Judgement<ServerCertVerified, rustls::Error> {
        let Judge::Bundle { webpki, pinned } = &self.judge else { return Ok(ServerCertVerified::assertion()) };
        let judged = webpki.verify_server_cert(leaf, intermediates, name, ocsp, now);
        if judged.is_err() && pinned.contains(leaf) && in_time(leaf, now) {
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
    ) -> Judgement<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Judgement<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
