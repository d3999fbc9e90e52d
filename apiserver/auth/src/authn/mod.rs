//! Who is asking? A request's credentials are tried in upstream's order: front-proxy headers, client certificate, bearer token;
//! without any, the request is anonymous, where that is allowed. Upstream: pkg/kubeapiserver/authenticator/config.go.

mod bootstrap_token;
mod cache;
mod impersonation;
mod request_header;
mod service_account;
mod static_token;
#[cfg(test)]
mod tests;
mod x509;

pub use bootstrap_token::BootstrapTokens;
pub use impersonation::impersonate;
pub use request_header::RequestHeader;
pub use service_account::ServiceAccountTokens;
pub use static_token::StaticTokens;
pub use x509::X509;

use crate::UserInfo;
use async_trait::async_trait;
use cache::TokenCache;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use rustls::pki_types::CertificateDer;
use std::sync::Arc;

/// Longer tokens are refused unread.
pub const MAX_TOKEN_BYTES: usize = 64 * 1024;

/// What a token authenticator found.
#[derive(Clone, Debug, PartialEq)]
pub struct Authenticated {
    pub user: UserInfo,
    /// The audiences, of those asked for, that the token is meant for.
    pub audiences: Vec<String>,
}

/// Knows one kind of bearer token. `None`: not this kind; an error: this kind, and wrong (the text may be shown in a TokenReview,
/// never in a 401).
#[async_trait]
pub trait TokenAuthenticator: Send + Sync {
    async fn authenticate(&self, token: &str, audiences: &[String]) -> Result<Option<Authenticated>, String>;
}

/// Several token authenticators as one, with a bounded cache of successes.
pub struct Tokens {
    authenticators: Vec<Arc<dyn TokenAuthenticator>>,
    cache: TokenCache,
}

impl Tokens {
    pub fn new(authenticators: Vec<Arc<dyn TokenAuthenticator>>) -> Self {
        Self { authenticators, cache: TokenCache::default() }
    }

    /// Tries each kind of token in turn.
    pub async fn authenticate(&self, token: &str, audiences: &[String]) -> Result<Option<Authenticated>, String> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err("bearer token is too long".into());
        }
        let key = TokenCache::key(token, audiences);
        if let Some(hit) = self.cache.get(&key) {
            return Ok(Some(hit));
        }
        let mut errors = Vec::new();
        for a in &self.authenticators {
            match a.authenticate(token, audiences).await {
                Ok(Some(mut found)) => {
                    found.user = found.user.authenticated();
                    self.cache.put(key, found.clone());
                    return Ok(Some(found));
                }
                Ok(None) => {}
                Err(e) => errors.push(e),
            }
        }
        match crate::authz::aggregate(&errors) {
            Some(e) => Err(e),
            None => Ok(None),
        }
    }
}

/// All authenticators of a server.
pub struct Authenticator {
    pub request_header: Option<RequestHeader>,
    pub x509: Option<X509>,
    pub tokens: Arc<Tokens>,
    /// Audiences that the API server itself answers to.
    pub audiences: Vec<String>,
    /// `--anonymous-auth`.
    pub anonymous: bool,
}

/// The request's credentials are wrong, or missing: 401. The text is for the log.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unauthorized(pub String);

impl Authenticator {
    /// Finds the user of a request from its headers and the certificates its connection showed. Credentials are removed from the
    /// headers, so that they go nowhere else (logs, aggregated servers).
    pub async fn authenticate(
        &self,
        headers: &mut HeaderMap,
        certificates: Option<&[CertificateDer<'static>]>,
    ) -> Result<UserInfo, Unauthorized> {
        let certificates = certificates.unwrap_or(&[]);
        let mut errors = Vec::new();
        if let Some(rh) = &self.request_header {
            let found = rh.authenticate(headers, certificates);
            rh.strip(headers);
            match found {
                Ok(Some(user)) => return Ok(user.authenticated()),
                Ok(None) => {}
                Err(e) => errors.push(e),
            }
        }
        if let Some(x509) = &self.x509 {
            match x509.authenticate(certificates) {
                Ok(Some(user)) => {
                    headers.remove(AUTHORIZATION);
                    return Ok(user.authenticated());
                }
                Ok(None) => {}
                Err(e) => errors.push(e),
            }
        }
        if let Some(token) = bearer(headers) {
            match self.tokens.authenticate(&token, &self.audiences).await {
                Ok(Some(found)) => {
                    headers.remove(AUTHORIZATION);
                    take_websocket_token(headers);
                    return Ok(found.user);
                }
                Ok(None) => errors.push("invalid bearer token".into()),
                Err(e) => errors.push(format!("[invalid bearer token, {e}]")),
            }
        }
        match crate::authz::aggregate(&errors) {
            Some(e) => Err(Unauthorized(e)),
            None if self.anonymous => Ok(UserInfo::anonymous()),
            None => Err(Unauthorized("no credentials".into())),
        }
    }
}

const WEBSOCKET_PROTOCOL: &str = "sec-websocket-protocol";
const WEBSOCKET_TOKEN: &str = "base64url.bearer.authorization.k8s.io.";

/// The bearer token: from the Authorization header, or from the subprotocol that browsers' WebSockets carry it in.
fn bearer(headers: &HeaderMap) -> Option<String> {
    use base64::Engine;
    if let Some(value) = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok()) {
        let (scheme, token) = value.trim().split_once(' ')?;
        let token = token.split(' ').next().unwrap_or("");
        return (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.to_owned());
    }
    let encoded = websocket_protocols(headers).find_map(|p| p.strip_prefix(WEBSOCKET_TOKEN))?;
    let raw = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(encoded).ok()?;
    String::from_utf8(raw).ok().filter(|t| !t.is_empty())
}

fn websocket_protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers.get_all(WEBSOCKET_PROTOCOL).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).map(str::trim)
}

fn take_websocket_token(headers: &mut HeaderMap) {
    let keep: Vec<&str> = websocket_protocols(headers).filter(|p| !p.starts_with(WEBSOCKET_TOKEN)).collect();
    let rest = http::HeaderValue::from_str(&keep.join(","));
    headers.remove(WEBSOCKET_PROTOCOL);
    if let Ok(v) = rest
        && !v.is_empty()
    {
        headers.insert(WEBSOCKET_PROTOCOL, v);
    }
}
