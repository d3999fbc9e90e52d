//! Certificate signing requests: what they ask for, whether a Kubernetes signer may grant it, and signing. Upstream:
//! pkg/controller/certificates/signer, pkg/apis/certificates/v1/helpers.go.

use crate::{Authority, Error, Identity, Result};
use rcgen::{CertificateSigningRequestParams, ExtendedKeyUsagePurpose as Eku, IsCa, KeyUsagePurpose as Ku, SanType};
use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject;
use std::net::IpAddr;
use std::time::Duration;

pub const KUBE_APISERVER_CLIENT: &str = "kubernetes.io/kube-apiserver-client";
pub const KUBE_APISERVER_CLIENT_KUBELET: &str = "kubernetes.io/kube-apiserver-client-kubelet";
pub const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
pub const LEGACY_UNKNOWN: &str = "kubernetes.io/legacy-unknown";

/// Certificates are dated back for clocks that are a little late.
const BACKDATE: Duration = Duration::from_secs(5 * 60);
const SHORT: Duration = Duration::from_secs(8 * 3600);

/// A parsed request whose signature (proof that the requester has the key) has been verified.
pub struct Request {
    inner: CertificateSigningRequestParams,
    pub common_name: String,
    pub organizations: Vec<String>,
    pub dns_names: Vec<String>,
    pub ips: Vec<IpAddr>,
    pub emails: Vec<String>,
    pub uris: Vec<String>,
}

impl Request {
    /// Parses PEM (`CERTIFICATE REQUEST`).
    pub fn parse(pem: &[u8]) -> Result<Self> {
        let bad = || Error::Invalid("PEM block type must be CERTIFICATE REQUEST".into());
        let der = CertificateSigningRequestDer::from_pem_slice(pem).map_err(|_| bad())?;
        let inner = CertificateSigningRequestParams::from_der(&der)?;
        let (_, raw) =
            <x509_parser::certification_request::X509CertificationRequest as x509_parser::prelude::FromDer<_>>::from_der(&der)
                .map_err(|e| Error::Invalid(format!("malformed certificate request: {e}")))?;
        let subject = &raw.certification_request_info.subject;
        let text = |a: &x509_parser::x509::AttributeTypeAndValue<'_>| a.as_str().map(str::to_owned).unwrap_or_default();
        let mut r = Self {
            common_name: subject.iter_common_name().last().map(text).unwrap_or_default(),
            organizations: subject.iter_organization().map(text).collect(),
            dns_names: Vec::new(),
            ips: Vec::new(),
            emails: Vec::new(),
            uris: Vec::new(),
            inner,
        };
        for san in &r.inner.params.subject_alt_names {
            match san {
                SanType::DnsName(d) => r.dns_names.push(d.as_str().to_owned()),
                SanType::IpAddress(ip) => r.ips.push(*ip),
                SanType::Rfc822Name(e) => r.emails.push(e.as_str().to_owned()),
                SanType::URI(u) => r.uris.push(u.as_str().to_owned()),
                _ => return Err(Error::Invalid("unsupported kind of subject alternative name".into())),
            }
        }
        Ok(r)
    }

    /// Why `signer` may not sign this request with these usages; `None` if it may. Wording as upstream's validators.
    pub fn refusal(&self, signer: &str, usages: &[String]) -> Option<String> {
        match signer {
            KUBELET_SERVING => self.kubelet_serving(usages),
            KUBE_APISERVER_CLIENT_KUBELET => self.kubelet_client(usages),
            KUBE_APISERVER_CLIENT => client_usages(usages),
            _ => None,
        }
    }

    fn kubelet_serving(&self, usages: &[String]) -> Option<String> {
        let refuse = |s: &str| Some(s.to_owned());
        if self.organizations != ["system:nodes"] {
            return refuse("subject organization is not system:nodes");
        }
        if self.dns_names.is_empty() && self.ips.is_empty() {
            return refuse("DNS or IP subjectAltName is required");
        }
        if !self.emails.is_empty() {
            return refuse("email subjectAltNames are not allowed");
        }
        if !self.uris.is_empty() {
            return refuse("URI subjectAltNames are not allowed");
        }
        if only(usages, &["server auth"], &["digital signature", "key encipherment"]) {
            return refuse("usages did not match [digital signature key encipherment server auth]");
        }
        if !self.common_name.starts_with("system:node:") {
            return refuse("subject common name does not begin with system:node:");
        }
        None
    }

    fn kubelet_client(&self, usages: &[String]) -> Option<String> {
        let refuse = |s: &str| Some(s.to_owned());
        if self.organizations != ["system:nodes"] {
            return refuse("subject organization is not system:nodes");
        }
        for (sans, text) in [
            (&self.dns_names, "DNS subjectAltNames are not allowed"),
            (&self.emails, "email subjectAltNames are not allowed"),
            (&self.uris, "URI subjectAltNames are not allowed"),
        ] {
            if !sans.is_empty() {
                return refuse(text);
            }
        }
        if !self.ips.is_empty() {
            return refuse("IP subjectAltNames are not allowed");
        }
        if !self.common_name.starts_with("system:node:") {
            return refuse("subject common name does not begin with system:node:");
        }
        if only(usages, &["client auth"], &["digital signature", "key encipherment"]) {
            return refuse("usages did not match [digital signature key encipherment client auth]");
        }
        None
    }

    /// The certificate in PEM: the request's subject, names and key, these usages and nothing else that it asked for.
    pub fn sign(mut self, ca: &Authority, usages: &[String], lifetime: Duration) -> Result<String> {
        let p = &mut self.inner.params;
        p.is_ca = IsCa::ExplicitNoCa;
        p.key_usages.clear();
        p.extended_key_usages.clear();
        for u in usages {
            match usage(u) {
                Some(Usage::Key(k)) => p.key_usages.push(k),
                Some(Usage::Extended(e)) => p.extended_key_usages.push(e),
                None => return Err(Error::Invalid(format!("unrecognized usage {u:?}"))),
            }
        }
        p.use_authority_key_identifier_extension = true;
        // A long certificate is as long as asked for, a short one that much longer as it is dated back.
        let lifetime = if lifetime < SHORT { lifetime } else { lifetime - BACKDATE };
        let (from, to) = ca.validity(lifetime, BACKDATE);
        (p.not_before, p.not_after) = (from.into(), to.into());
        Ok(self.inner.signed_by(&ca.issuer)?.pem())
    }
}

fn client_usages(usages: &[String]) -> Option<String> {
    let allowed = ["digital signature", "key encipherment", "client auth"];
    if let Some(u) = usages.iter().find(|u| !allowed.contains(&u.as_str())) {
        return Some(format!("invalid usage for client certificate: {u}"));
    }
    let missing = !usages.iter().any(|u| u == "client auth");
    missing.then(|| "missing required usage for client certificate: client auth".to_owned())
}

/// A new key (PEM) and a request (PEM) for what `identity` says of subject and names; usages are asked for beside it.
pub fn generate(identity: &Identity) -> Result<(String, String)> {
    let key = rcgen::KeyPair::generate()?;
    let request = identity.request()?.serialize_request(&key)?;
    Ok((request.pem()?, key.serialize_pem()))
}

/// True if the usages are not all of `required` and at most those and `optional`.
fn only(usages: &[String], required: &[&str], optional: &[&str]) -> bool {
    let has = |r: &&str| usages.iter().any(|u| u == r);
    !required.iter().all(has) || usages.iter().any(|u| !required.contains(&u.as_str()) && !optional.contains(&u.as_str()))
}

enum Usage {
    Key(Ku),
    Extended(Eku),
}

fn usage(name: &str) -> Option<Usage> {
    Some(match name {
        "signing" | "digital signature" => Usage::Key(Ku::DigitalSignature),
        "content commitment" => Usage::Key(Ku::ContentCommitment),
        "key encipherment" => Usage::Key(Ku::KeyEncipherment),
        "key agreement" => Usage::Key(Ku::KeyAgreement),
        "data encipherment" => Usage::Key(Ku::DataEncipherment),
        "cert sign" => Usage::Key(Ku::KeyCertSign),
        "crl sign" => Usage::Key(Ku::CrlSign),
        "encipher only" => Usage::Key(Ku::EncipherOnly),
        "decipher only" => Usage::Key(Ku::DecipherOnly),
        "any" => Usage::Extended(Eku::Any),
        "server auth" => Usage::Extended(Eku::ServerAuth),
        "client auth" => Usage::Extended(Eku::ClientAuth),
        "code signing" => Usage::Extended(Eku::CodeSigning),
        "email protection" | "s/mime" => Usage::Extended(Eku::EmailProtection),
        "timestamping" => Usage::Extended(Eku::TimeStamping),
        "ocsp signing" => Usage::Extended(Eku::OcspSigning),
        _ => return None,
    })
}
