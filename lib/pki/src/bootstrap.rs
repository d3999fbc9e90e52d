//! Bootstrap tokens and what a machine needs to join a cluster it knows nothing of: an address, a token, and the pin of the cluster's
//! authority. Upstream: k8s.io/cluster-bootstrap, kubeadm's pubkeypin.

use crate::{Error, Result, authority};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use rand::RngExt;
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// `abcdef.0123456789abcdef`: a public name and a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    pub id: String,
    pub secret: String,
}

const ID: usize = 6;
const SECRET: usize = 16;

impl Token {
    pub fn generate() -> Self {
        const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let mut rng = rand::rng();
        let mut text = |n| (0..n).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect();
        Self { id: text(ID), secret: text(SECRET) }
    }

    /// A detached JWS (HS256) over `content`: header and signature, nothing between the dots.
    pub fn sign(&self, content: &str) -> Result<String> {
        let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"HS256","kid":"{}"}}"#, self.id));
        let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(content));
        let key = EncodingKey::from_secret(self.secret.as_bytes());
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256);
        Ok(format!("{header}..{}", signature.map_err(|e| Error::Invalid(format!("signing with a token: {e}")))?))
    }

    /// Whether `signature` is this token's over `content`.
    pub fn verifies(&self, signature: &str, content: &str) -> bool {
        let Ok(own) = self.sign(content) else { return false };
        own.len() == signature.len() && own.bytes().zip(signature.bytes()).fold(0, |acc, (a, b)| acc | (a ^ b)) == 0
    }
}

impl FromStr for Token {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let ok = |s: &str, n: usize| s.len() == n && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        match text.split_once('.') {
            Some((id, secret)) if ok(id, ID) && ok(secret, SECRET) => Ok(Self { id: id.into(), secret: secret.into() }),
            _ => Err("a token has the form abcdef.0123456789abcdef".into()),
        }
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.id, self.secret)
    }
}

/// Shows no secret.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.id)
    }
}

/// `sha256:` and the hash of the public key (SubjectPublicKeyInfo) of the first certificate of a PEM text, as kubeadm prints it.
pub fn pin(ca_pem: &str) -> Result<String> {
    let der = authority::certificates(ca_pem)?.remove(0);
    pin_of(&der)
}

fn pin_of(der: &[u8]) -> Result<String> {
    let (_, cert) =
        x509_parser::parse_x509_certificate(der).map_err(|e| Error::Invalid(format!("malformed certificate: {e}")))?;
    let hash = Sha256::digest(cert.public_key().raw);
    Ok(format!("sha256:{}", hash.iter().map(|b| format!("{b:02x}")).collect::<String>()))
}

/// All that `skiff join` is told: `TOKEN@HOST:PORT/sha256:HASH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    pub token: Token,
    /// `https://HOST:PORT`.
    pub server: String,
    pub pin: String,
}

impl FromStr for Invitation {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let form = || "what `skiff token create` prints has the form abcdef.0123456789abcdef@HOST:PORT/sha256:HASH".to_owned();
        let (token, rest) = text.trim().split_once('@').ok_or_else(form)?;
        let (address, pin) = rest.split_once('/').ok_or_else(form)?;
        let (host, port) = address.rsplit_once(':').ok_or_else(form)?;
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err(form());
        }
        Ok(Self { token: token.parse()?, server: format!("https://{address}"), pin: check_pin(pin)? })
    }
}

/// A pin as it must look.
pub fn check_pin(pin: &str) -> std::result::Result<String, String> {
    let hash = pin.strip_prefix("sha256:").unwrap_or_default();
    if hash.len() != 64 || !hash.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err("the hash of the cluster's CA has the form sha256: and 64 hexadecimal digits".into());
    }
    Ok(pin.to_ascii_lowercase())
}

impl fmt::Display for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}/{}", self.token, self.server.trim_start_matches("https://"), self.pin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        let t = Token::generate();
        assert_eq!(t.to_string().parse(), Ok(t.clone()));
        for bad in ["", "abcdef", "abcdef.0123456789ABCDEF", "abcde.0123456789abcdef", "abcdef.0123456789abcde"] {
            assert!(bad.parse::<Token>().is_err(), "{bad}");
        }
        assert!(!format!("{t:?}").contains(&t.secret));
    }

    /// The expectation is upstream's own (cluster-bootstrap/token/jws).
    #[test]
    fn signatures() {
        let t = Token { id: "joshua".into(), secret: "my voice is my passcode".into() };
        let signature = t.sign("Hello from the other side. I must have called a thousand times.").expect("signs");
        assert_eq!(signature, "eyJhbGciOiJIUzI1NiIsImtpZCI6Impvc2h1YSJ9..VShe2taLd-YTrmWuRkcL_8QTNDHYxQIEBsAYYiIj1_8");
        assert!(t.verifies(&signature, "Hello from the other side. I must have called a thousand times."));
        assert!(!t.verifies(&signature, "Hello"));
    }

    #[test]
    fn invitations() {
        let ca = crate::Authority::generate("kubernetes").expect("an authority");
        let i = Invitation {
            token: "abcdef.0123456789abcdef".parse().expect("a token"),
            server: "https://192.0.2.1:6443".into(),
            pin: pin(ca.cert_pem()).expect("a pin"),
        };
        assert_eq!(i.to_string().parse(), Ok(i.clone()));
        assert_eq!(format!("{i}\n").parse(), Ok(i));
        for bad in
            ["", "abcdef.0123456789abcdef@192.0.2.1:6443", "abcdef.0123456789abcdef@192.0.2.1/sha256:00", "x@h:1/sha256:00"]
        {
            assert!(bad.parse::<Invitation>().is_err(), "{bad}");
        }
    }
}
