//! Client certificates: the common name is the user, organizations are its groups. Upstream:
//! apiserver/pkg/authentication/request/x509.

use crate::UserInfo;
use crate::user::EXTRA_CREDENTIAL_ID;
use parking_lot::Mutex;
use pki::tls::ClientVerifier;
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use x509_parser::certificate::X509Certificate;

/// A chain is verified once in so long; what else may change is the time, and the first certificates' ends are known.
const LIFETIME: Duration = Duration::from_secs(10);
const CAPACITY: usize = 4096;

/// A chain that was found good.
struct Known {
    verify_again: Instant,
    /// Seconds since the epoch.
    not_after: i64,
    user: UserInfo,
}

/// Certificates signed by the client authority.
pub struct X509 {
    verifier: ClientVerifier,
    /// By hash of the chain. A connection shows the same chain with each request, and a signature costs more to verify than most
    /// requests to serve.
    known: Mutex<HashMap<[u8; 32], Known>>,
}

impl X509 {
    /// `ca_pem` holds the authorities that may vouch for clients.
    pub fn new(ca_pem: &str) -> pki::Result<Self> {
        Ok(Self { verifier: ClientVerifier::new(ca_pem)?, known: Mutex::default() })
    }

    /// `None` if no certificate was shown or it has no common name.
    pub fn authenticate(&self, chain: &[CertificateDer<'_>]) -> Result<Option<UserInfo>, String> {
        if chain.is_empty() {
            return Ok(None);
        }
        let key = hash(chain);
        let (now, at) = (Instant::now(), jiff::Timestamp::now().as_second());
        if let Some(known) = self.known.lock().get(&key).filter(|k| k.verify_again > now && k.not_after >= at) {
            return Ok(Some(known.user.clone()));
        }
        self.verifier.verify(chain).map_err(|e| format!("verifying certificate failed: {e}"))?;
        let Some((user, not_after)) = read(chain)? else { return Ok(None) };
        let mut all = self.known.lock();
        if all.len() >= CAPACITY {
            all.clear();
        }
        all.insert(key, Known { verify_again: now + LIFETIME, not_after, user: user.clone() });
        Ok(Some(user))
    }
}

fn hash(chain: &[CertificateDer<'_>]) -> [u8; 32] {
    let mut h = Sha256::new();
    for certificate in chain {
        h.update((certificate.len() as u64).to_le_bytes());
        h.update(certificate);
    }
    h.finalize().into()
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, String> {
    x509_parser::parse_x509_certificate(der).map(|(_, cert)| cert).map_err(|e| format!("malformed certificate: {e}"))
}

/// Whom the first certificate names, and when the first of all ends.
fn read(chain: &[CertificateDer<'_>]) -> Result<Option<(UserInfo, i64)>, String> {
    let Some(leaf) = chain.first() else { return Ok(None) };
    let cert = parse(leaf)?;
    let text = |a: &x509_parser::x509::AttributeTypeAndValue<'_>| a.as_str().map(str::to_owned);
    let Some(name) = cert.subject().iter_common_name().last().and_then(|c| text(c).ok()).filter(|n| !n.is_empty()) else {
        return Ok(None);
    };
    let groups = cert.subject().iter_organization().map(text).collect::<Result<Vec<_>, _>>();
    let groups = groups.map_err(|e| format!("malformed certificate: {e}"))?;
    let fingerprint: String = Sha256::digest(leaf).iter().map(|b| format!("{b:02x}")).collect();
    let extra = [(EXTRA_CREDENTIAL_ID.to_owned(), vec![format!("X509SHA256={fingerprint}")])].into();
    let mut not_after = cert.validity().not_after.timestamp();
    // An intermediate that is malformed had no part in the verification.
    for other in chain[1..].iter().filter_map(|c| parse(c).ok()) {
        not_after = not_after.min(other.validity().not_after.timestamp());
    }
    Ok(Some((UserInfo { name, groups, extra, ..UserInfo::default() }, not_after)))
}

/// The common name of the first certificate, if the chain is vouched for.
pub(super) fn verified_common_name(verifier: &ClientVerifier, chain: &[CertificateDer<'_>]) -> Option<String> {
    verifier.verify(chain).ok()?;
    let (_, cert) = x509_parser::parse_x509_certificate(chain.first()?).ok()?;
    let name = cert.subject().iter_common_name().last()?.as_str().ok()?.to_owned();
    Some(name)
}
