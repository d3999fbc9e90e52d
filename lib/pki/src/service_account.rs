//! Keys that sign and verify service-account tokens. New keys are ECDSA P-256 (ES256); RSA keys (RS256) are read too.
//! Key ids are upstream's: the unpadded base64url SHA-256 of the public key's DER (pkg/serviceaccount/jwt.go).

use crate::files::{self, PRIVATE, PUBLIC};
use crate::{Error, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use rcgen::{KeyPair, PublicKeyData};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::{PemObject, SectionKind};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::Path;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;

/// A private key that signs tokens.
pub struct SigningKey {
    pub key: EncodingKey,
    pub public: VerifyingKey,
}

/// A public key that verifies tokens.
#[derive(Clone)]
pub struct VerifyingKey {
    pub key_id: String,
    pub algorithm: Algorithm,
    pub key: DecodingKey,
    /// The key as a JSON Web Key, for `/openid/v1/jwks`.
    pub jwk: Value,
}

impl SigningKey {
    pub fn generate() -> Result<(Self, String)> {
        let pem = KeyPair::generate()?.serialize_pem();
        Ok((Self::from_pem(&pem)?, pem))
    }

    /// A private key in PEM: PKCS#8 (ECDSA P-256 or RSA) or PKCS#1 (RSA).
    pub fn from_pem(pem: &str) -> Result<Self> {
        let der =
            PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|e| Error::Invalid(format!("no usable private key: {e}")))?;
        if matches!(der, PrivateKeyDer::Sec1(_)) {
            return Err(Error::Invalid("the key is in SEC1 form; convert it with `openssl pkcs8 -topk8 -nocrypt`".into()));
        }
        let pair = KeyPair::try_from(&der)?;
        let public = VerifyingKey::from_spki(&pair.subject_public_key_info())?;
        let bad = |e| Error::Invalid(format!("no usable private key: {e}"));
        let key = match public.algorithm {
            Algorithm::ES256 => EncodingKey::from_ec_der(der.secret_der()),
            _ => EncodingKey::from_rsa_pem(pem.as_bytes()).map_err(bad)?,
        };
        Ok(Self { key, public })
    }

    /// What is on disk, or a new key, written there with its public half.
    pub fn ensure(key: &Path, public: &Path) -> Result<Self> {
        let (signing, pem) = match files::read_if_present(key)? {
            Some(pem) => (Self::from_pem(&pem).map_err(|e| Error::content(key, e))?, pem),
            None => {
                let (signing, pem) = Self::generate()?;
                files::write_atomic(key, pem.as_bytes(), PRIVATE)?;
                (signing, pem)
            }
        };
        if !public.exists() {
            let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|e| Error::content(key, e))?;
            files::write_atomic(public, KeyPair::try_from(&der)?.public_key_pem().as_bytes(), PUBLIC)?;
        }
        Ok(signing)
    }
}

impl VerifyingKey {
    /// All keys of a PEM file: public keys, those of certificates (test environments have the signer's), or the public half of a
    /// private one.
    pub fn read_all(path: &Path) -> Result<Vec<Self>> {
        let pem = files::read(path)?;
        Self::all_from_pem(&pem).map_err(|e| Error::content(path, e))
    }

    pub fn all_from_pem(pem: &str) -> Result<Vec<Self>> {
        let mut keys = Vec::new();
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem.as_bytes()) {
            match section.map_err(|e| Error::Invalid(format!("malformed PEM: {e}")))? {
                (SectionKind::PublicKey, der) => keys.push(Self::from_spki(&der)?),
                (SectionKind::Certificate, der) => {
                    let (_, cert) = x509_parser::certificate::X509Certificate::from_der(&der)
                        .map_err(|e| Error::Invalid(format!("malformed certificate: {e}")))?;
                    keys.push(Self::from_spki(cert.tbs_certificate.subject_pki.raw)?);
                }
                _ => {}
            }
        }
        if keys.is_empty() {
            keys.push(SigningKey::from_pem(pem)?.public);
        }
        Ok(keys)
    }

    fn from_spki(der: &[u8]) -> Result<Self> {
        let bad = |e: &dyn std::fmt::Display| Error::Invalid(format!("no usable public key: {e}"));
        let (_, spki) = x509_parser::x509::SubjectPublicKeyInfo::from_der(der).map_err(|e| bad(&e))?;
        let key_id = URL_SAFE_NO_PAD.encode(Sha256::digest(der));
        let b64 = |b: &[u8]| URL_SAFE_NO_PAD.encode(b);
        match spki.parsed().map_err(|e| bad(&e))? {
            PublicKey::EC(point) if point.data().len() == 65 => {
                let (x, y) = (b64(&point.data()[1..33]), b64(&point.data()[33..]));
                let key = DecodingKey::from_ec_components(&x, &y).map_err(|e| bad(&e))?;
                let jwk = json!({"use": "sig", "kty": "EC", "kid": key_id, "crv": "P-256", "alg": "ES256", "x": x, "y": y});
                Ok(Self { key_id, algorithm: Algorithm::ES256, key, jwk })
            }
            PublicKey::RSA(rsa) => {
                let strip = |b: &[u8]| b64(&b[b.iter().take_while(|x| **x == 0).count()..]);
                let (n, e) = (strip(rsa.modulus), strip(rsa.exponent));
                let key = DecodingKey::from_rsa_components(&n, &e).map_err(|e| bad(&e))?;
                let jwk = json!({"use": "sig", "kty": "RSA", "kid": key_id, "alg": "RS256", "n": n, "e": e});
                Ok(Self { key_id, algorithm: Algorithm::RS256, key, jwk })
            }
            _ => Err(Error::Invalid("service-account keys must be ECDSA P-256 or RSA".into())),
        }
    }
}
