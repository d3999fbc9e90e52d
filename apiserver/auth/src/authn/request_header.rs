//! A front proxy (an aggregating API server) that authenticated the user itself says so in headers; believed only with a certificate
//! of the proxy's own authority. Upstream: apiserver/pkg/authentication/request/headerrequest.

use super::x509::verified_common_name;
use crate::UserInfo;
use http::HeaderMap;
use pki::tls::ClientVerifier;
use rustls::pki_types::CertificateDer;

/// `--requestheader-*`.
pub struct RequestHeader {
    verifier: ClientVerifier,
    /// Common names that are believed; empty is any.
    allowed_names: Vec<String>,
    user: Vec<String>,
    uid: Vec<String>,
    group: Vec<String>,
    extra_prefix: Vec<String>,
}

impl RequestHeader {
    /// With upstream's usual header names.
    pub fn new(ca_pem: &str, allowed_names: Vec<String>) -> pki::Result<Self> {
        let one = |s: &str| vec![s.to_owned()];
        Ok(Self {
            verifier: ClientVerifier::new(ca_pem)?,
            allowed_names,
            user: one("x-remote-user"),
            uid: one("x-remote-uid"),
            group: one("x-remote-group"),
            extra_prefix: one("x-remote-extra-"),
        })
    }

    pub(super) fn authenticate(&self, headers: &HeaderMap, chain: &[CertificateDer<'_>]) -> Result<Option<UserInfo>, String> {
        let text = |v: &http::HeaderValue| v.to_str().ok().filter(|v| !v.is_empty()).map(str::to_owned);
        let first = |names: &[String]| names.iter().find_map(|n| headers.get(n).and_then(text));
        let Some(name) = first(&self.user) else { return Ok(None) };
        // Anybody can send the headers; without the proxy's certificate they say nothing.
        let Some(proxy) = verified_common_name(&self.verifier, chain) else { return Ok(None) };
        if !self.allowed_names.is_empty() && !self.allowed_names.contains(&proxy) {
            return Err(format!("x509: subject with cn={proxy} is not in the allowed list"));
        }
        let mut user = UserInfo { name, uid: first(&self.uid).unwrap_or_default(), ..UserInfo::default() };
        for g in &self.group {
            user.groups.extend(headers.get_all(g).iter().filter_map(text));
        }
        for (header, value) in headers {
            for prefix in &self.extra_prefix {
                if let (Some(key), Some(value)) = (header.as_str().strip_prefix(prefix.as_str()), text(value)) {
                    user.extra.entry(super::impersonation::unescape(key)).or_default().push(value);
                }
            }
        }
        Ok(Some(user))
    }

    /// Removes the headers, so that nobody behind this server believes them.
    pub(super) fn strip(&self, headers: &mut HeaderMap) {
        let ours = |k: &&http::HeaderName| {
            let k = k.as_str();
            self.user.iter().chain(&self.uid).chain(&self.group).any(|n| n == k)
                || self.extra_prefix.iter().any(|p| k.starts_with(p.as_str()))
        };
        let remove: Vec<_> = headers.keys().filter(ours).cloned().collect();
        for name in remove {
            headers.remove(name);
        }
    }
}
