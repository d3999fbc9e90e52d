//! A certificate authority and the certificates it signs. ECDSA P-256 throughout: small, and quick to make and verify.

use crate::files::{self, PRIVATE, PUBLIC};
use crate::{Error, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};
use x509_parser::extensions::GeneralName;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long authorities live.
pub const AUTHORITY_LIFETIME: Duration = Duration::from_secs(10 * 365 * DAY.as_secs());
/// How long the certificates of components live.
pub const LEAF_LIFETIME: Duration = Duration::from_secs(365 * DAY.as_secs());
/// Certificates begin to be valid a little before now, for clocks that are a little late.
const BACKDATE: Duration = Duration::from_secs(300);

/// Whom a certificate is for, and what.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    pub common_name: String,
    /// Organizations: the user's groups.
    pub organizations: Vec<String>,
    pub dns_names: Vec<String>,
    pub ips: Vec<IpAddr>,
    pub server: bool,
    pub client: bool,
}

impl Identity {
    /// A user with its groups.
    pub fn client(common_name: &str, organizations: &[&str]) -> Self {
        Self {
            common_name: common_name.into(),
            organizations: organizations.iter().map(|s| (*s).to_owned()).collect(),
            client: true,
            ..Self::default()
        }
    }

    /// A server with the names and addresses it is reached by.
    pub fn server(common_name: &str, dns_names: &[String], ips: &[IpAddr]) -> Self {
        Self {
            common_name: common_name.into(),
            dns_names: dns_names.to_vec(),
            ips: ips.to_vec(),
            server: true,
            ..Self::default()
        }
    }

    pub fn with_organization(mut self, organization: &str) -> Self {
        self.organizations.push(organization.into());
        self
    }

    /// Subject and names alone.
    pub(crate) fn request(&self) -> Result<CertificateParams> {
        let mut p = CertificateParams::default();
        p.distinguished_name = name(&self.common_name, &self.organizations);
        for d in &self.dns_names {
            p.subject_alt_names.push(SanType::DnsName(d.as_str().try_into()?));
        }
        p.subject_alt_names.extend(self.ips.iter().map(|ip| SanType::IpAddress(*ip)));
        Ok(p)
    }

    fn params(&self) -> Result<CertificateParams> {
        let mut p = self.request()?;
        p.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        if self.server {
            p.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        if self.client {
            p.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        }
        p.use_authority_key_identifier_extension = true;
        Ok(p)
    }
}

fn name(common_name: &str, organizations: &[String]) -> DistinguishedName {
    let mut dn = DistinguishedName::new();
    for o in organizations {
        dn.push(DnType::OrganizationName, o.as_str());
    }
    dn.push(DnType::CommonName, common_name);
    dn
}

/// A certificate and its private key, in PEM.
#[derive(Clone)]
pub struct Pair {
    pub cert: String,
    pub key: String,
}

impl Pair {
    pub fn read(cert: &Path, key: &Path) -> Result<Self> {
        Ok(Self { cert: files::read(cert)?, key: files::read(key)? })
    }

    /// Key first: a certificate on disk always has its key.
    pub fn write(&self, cert: &Path, key: &Path) -> Result<()> {
        files::write_atomic(key, self.key.as_bytes(), PRIVATE)?;
        files::write_atomic(cert, self.cert.as_bytes(), PUBLIC)
    }

    /// Whether the certificate is of this user and has every name and address that is needed.
    pub fn is_for(&self, id: &Identity) -> Result<bool> {
        let der = self.certificates()?.remove(0);
        let (_, leaf) =
            x509_parser::parse_x509_certificate(&der).map_err(|e| Error::Invalid(format!("malformed certificate: {e}")))?;
        if leaf.subject().iter_common_name().next().and_then(|c| c.as_str().ok()) != Some(&id.common_name) {
            return Ok(false);
        }
        let sans = leaf.subject_alternative_name().ok().flatten();
        let sans: &[GeneralName<'_>] = sans.as_ref().map_or(&[], |s| &s.value.general_names);
        let octets = |ip: &IpAddr| match ip {
            IpAddr::V4(a) => a.octets().to_vec(),
            IpAddr::V6(a) => a.octets().to_vec(),
        };
        Ok(id.dns_names.iter().all(|d| sans.iter().any(|s| matches!(s, GeneralName::DNSName(x) if x == d)))
            && id.ips.iter().all(|ip| sans.iter().any(|s| matches!(s, GeneralName::IPAddress(x) if *x == octets(ip)))))
    }

    pub fn certificates(&self) -> Result<Vec<CertificateDer<'static>>> {
        certificates(&self.cert)
    }

    pub fn private_key(&self) -> Result<PrivateKeyDer<'static>> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(|e| Error::Invalid(format!("no usable private key: {e}")))
    }
}

/// All certificates of a PEM text; an error where there is none.
pub fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>> {
    let certs: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match certs {
        Ok(c) if c.is_empty() => Err(Error::Invalid("no certificate in PEM form".into())),
        Ok(c) => Ok(c),
        Err(e) => Err(Error::Invalid(format!("malformed PEM: {e}"))),
    }
}

/// End of validity of the first certificate of a PEM text, in seconds since the epoch.
pub fn not_after(pem: &str) -> Result<i64> {
    Ok(validity(pem)?.1)
}

/// Begin and end of validity of the first certificate of a PEM text, in seconds since the epoch.
pub fn validity(pem: &str) -> Result<(i64, i64)> {
    let der = certificates(pem)?;
    let (_, cert) =
        x509_parser::parse_x509_certificate(&der[0]).map_err(|e| Error::Invalid(format!("malformed certificate: {e}")))?;
    Ok((cert.validity().not_before.timestamp(), cert.validity().not_after.timestamp()))
}

/// A certificate authority that can sign.
pub struct Authority {
    pub(crate) issuer: Issuer<'static, KeyPair>,
    pair: Pair,
    /// End of validity; nothing it signs outlives it.
    not_after: SystemTime,
}

/// Certificates of the first version, such as OpenSSL makes where nothing else is asked for, have no place to say that they are an
/// authority's; Go takes them as such.
fn may_sign(cert: &x509_parser::certificate::X509Certificate<'_>) -> bool {
    cert.is_ca() || cert.version() == x509_parser::x509::X509Version::V1
}

impl Authority {
    /// Makes a self-signed authority.
    pub fn generate(common_name: &str) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut p = CertificateParams::default();
        p.distinguished_name = name(common_name, &[]);
        p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        p.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment, KeyUsagePurpose::KeyCertSign];
        p.subject_alt_names.push(SanType::DnsName(common_name.try_into()?));
        let now = SystemTime::now();
        p.not_before = (now - BACKDATE).into();
        p.not_after = (now + AUTHORITY_LIFETIME).into();
        let pair = Pair { cert: p.self_signed(&key)?.pem(), key: key.serialize_pem() };
        Self::from_pair(pair)
    }

    /// A certificate for a server that was given none, signed by an authority of its own that nobody keeps.
    pub fn issue_alone(identity: &Identity) -> Result<Pair> {
        Self::generate(&format!("{}-ca", identity.common_name))?.issue(identity, LEAF_LIFETIME)
    }

    /// An authority that exists, from PEM. PKCS#8, PKCS#1 and SEC1 keys are read.
    pub fn from_pair(pair: Pair) -> Result<Self> {
        let key = KeyPair::try_from(&pair.private_key()?)?;
        let der = pair.certificates()?.remove(0);
        let (_, cert) =
            x509_parser::parse_x509_certificate(&der).map_err(|e| Error::Invalid(format!("malformed certificate: {e}")))?;
        if !may_sign(&cert) {
            return Err(Error::Invalid("the certificate is not that of an authority".into()));
        }
        let seconds = u64::try_from(cert.validity().not_after.timestamp()).unwrap_or(0);
        let issuer = Issuer::from_ca_cert_der(&der, key)?;
        Ok(Self { issuer, pair, not_after: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) })
    }

    /// What is on disk, or a new authority, written there.
    pub fn ensure(cert: &Path, key: &Path, common_name: &str) -> Result<Self> {
        if cert.exists() || key.exists() {
            return Self::from_pair(Pair::read(cert, key)?).map_err(|e| match e {
                Error::Io { .. } => e,
                other => Error::content(cert, other),
            });
        }
        let ca = Self::generate(common_name)?;
        ca.pair.write(cert, key)?;
        Ok(ca)
    }

    /// The authority's certificate in PEM, for those who must trust it.
    pub fn cert_pem(&self) -> &str {
        &self.pair.cert
    }

    pub fn pair(&self) -> &Pair {
        &self.pair
    }

    /// A new key and a certificate for it.
    pub fn issue(&self, identity: &Identity, lifetime: Duration) -> Result<Pair> {
        let key = KeyPair::generate()?;
        let mut p = identity.params()?;
        (p.not_before, p.not_after) = {
            let (from, to) = self.validity(lifetime, BACKDATE);
            (from.into(), to.into())
        };
        Ok(Pair { cert: p.signed_by(&key, &self.issuer)?.pem(), key: key.serialize_pem() })
    }

    /// Begin and end of a certificate signed now, cut to the authority's own end.
    pub(crate) fn validity(&self, lifetime: Duration, backdate: Duration) -> (SystemTime, SystemTime) {
        let now = SystemTime::now();
        (now - backdate, (now + lifetime).min(self.not_after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By `openssl x509 -req -signkey`.
    const FIRST_VERSION: &str = "-----BEGIN CERTIFICATE-----
MIIBGDCBvwIUYl/cMZdJHe7ZAokncdgdUbK1XhcwCgYIKoZIzj0EAwIwDjEMMAoG
A1UEAwwDb2xkMCAXDTI2MTEyMjAwMDU0N1oYDzIxMjYxMDI5MDAwNTQ3WjAOMQww
CgYDVQQDDANvbGQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASdNNro9xr8wmpv
2EXKztX6yZ/8QYPAmIZzy6M4xCdmZs6eCrjBCLMtVoU5ap2Ih8UHRZNRqs7oxp4i
8CaldvBSMAoGCCqGSM49BAMCA0gAMEUCIGm43NPBYufdf7eL2EgaJBf3ddXZXR+l
EcXmk2CH4oARAiEA7KW2POkGLSr5q0Lui04/l0rvlRIE83TEhJXDrKJKAJY=
-----END CERTIFICATE-----
";

    #[test]
    fn who_may_sign() {
        let authority = Authority::generate("ca").expect("an authority");
        let leaf = authority.issue(&Identity::server("s", &[], &[]), LEAF_LIFETIME).expect("a certificate");
        for (name, pem, want) in [
            ("an authority", authority.cert_pem(), true),
            ("a server", leaf.cert.as_str(), false),
            ("version 1", FIRST_VERSION, true),
        ] {
            let der = certificates(pem).expect("PEM").remove(0);
            let (_, cert) = x509_parser::parse_x509_certificate(&der).expect("a certificate");
            assert_eq!(may_sign(&cert), want, "{name}");
        }
    }
}
