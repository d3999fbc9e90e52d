//! Client certificates: the common name is the user, organizations are its groups. Upstream:
//! apiserver/pkg/authentication/request/x509.

use crate::UserInfo;
use crate::user::EXTRA_CREDENTIAL_ID;
use pki::tls::ClientVerifier;
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};

/// Certificates signed by the client authority.
pub struct X509(ClientVerifier);

impl X509 {
    /// `ca_pem` holds the authorities that may vouch for clients.
    pub fn new(ca_pem: &str) -> pki::Result<Self> {
        Ok(Self(ClientVerifier::new(ca_pem)?))
    }

    /// `None` if no certificate was shown or it has no common name.
    pub fn authenticate(&self, chain: &[CertificateDer<'_>]) -> Result<Option<UserInfo>, String> {
        let Some(leaf) = chain.first() else { return Ok(None) };
        self.0.verify(chain).map_err(|e| format!("verifying certificate failed: {e}"))?;
        let (_, cert) = x509_parser::parse_x509_certificate(leaf).map_err(|e| format!("malformed certificate: {e}"))?;
        let text = |a: &x509_parser::x509::AttributeTypeAndValue<'_>| a.as_str().map(str::to_owned);
        let Some(name) = cert.subject().iter_common_name().last().and_then(|c| text(c).ok()).filter(|n| !n.is_empty()) else {
            return Ok(None);
        };
        let groups = cert.subject().iter_organization().map(text).collect::<Result<Vec<_>, _>>();
        let groups = groups.map_err(|e| format!("malformed certificate: {e}"))?;
        let fingerprint: String = Sha256::digest(leaf).iter().map(|b| format!("{b:02x}")).collect();
        let extra = [(EXTRA_CREDENTIAL_ID.to_owned(), vec![format!("X509SHA256={fingerprint}")])].into();
        Ok(Some(UserInfo { name, groups, extra, ..UserInfo::default() }))
    }
}

/// The common name of the first certificate, if the chain is vouched for.
pub(super) fn verified_common_name(verifier: &ClientVerifier, chain: &[CertificateDer<'_>]) -> Option<String> {
    verifier.verify(chain).ok()?;
    let (_, cert) = x509_parser::parse_x509_certificate(chain.first()?).ok()?;
    let name = cert.subject().iter_common_name().last()?.as_str().ok()?.to_owned();
    Some(name)
}
