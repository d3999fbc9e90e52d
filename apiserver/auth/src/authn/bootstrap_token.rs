//! Bootstrap tokens (`abcdef.0123456789abcdef`) by which new nodes join, kept in Secrets `bootstrap-token-<id>` of kube-system.
//! Upstream: plugin/pkg/auth/authenticator/token/bootstrap.

use super::{Authenticated, TokenAuthenticator};
use crate::{ObjectGetter, UserInfo};
use async_trait::async_trait;
use base64::Engine;
use machinery::Value;
use machinery::meta::{deletion_timestamp, str_at};
use std::sync::Arc;

const DEFAULT_GROUP: &str = "system:bootstrappers";

/// `--enable-bootstrap-token-auth`.
pub struct BootstrapTokens(pub Arc<dyn ObjectGetter>);

#[async_trait]
impl TokenAuthenticator for BootstrapTokens {
    async fn authenticate(&self, token: &str, audiences: &[String]) -> Result<Option<Authenticated>, String> {
        let Some((id, secret)) = parse(token) else { return Ok(None) };
        let found = self.0.get("", "secrets", "kube-system", &format!("bootstrap-token-{id}")).await.map_err(|e| e.message)?;
        let user = found.and_then(|s| judge(&s, id, secret, jiff::Timestamp::now()));
        Ok(user.map(|user| Authenticated { user, audiences: audiences.to_vec() }))
    }
}

fn parse(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let ok = |s: &str, n: usize| s.len() == n && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    (ok(id, 6) && ok(secret, 16)).then_some((id, secret))
}

fn judge(object: &Value, id: &str, secret: &str, now: jiff::Timestamp) -> Option<UserInfo> {
    let text = |key: &str| {
        let raw = base64::engine::general_purpose::STANDARD.decode(str_at(object, &["data", key])).unwrap_or_default();
        String::from_utf8(raw).unwrap_or_default()
    };
    if deletion_timestamp(object).is_some()
        || str_at(object, &["type"]) != "bootstrap.kubernetes.io/token"
        || !same(&text("token-secret"), secret)
        || text("token-id") != id
        || text("usage-bootstrap-authentication") != "true"
    {
        return None;
    }
    let expiration = text("expiration");
    if !expiration.is_empty() && !expiration.parse::<jiff::Timestamp>().is_ok_and(|t| t > now) {
        return None;
    }
    let mut groups = vec![DEFAULT_GROUP.to_owned()];
    for g in text("auth-extra-groups").split(',').filter(|g| !g.is_empty()) {
        if !g.starts_with("system:bootstrappers:") {
            return None;
        }
        groups.push(g.to_owned());
    }
    Some(UserInfo { name: format!("system:bootstrap:{id}"), groups, ..UserInfo::default() })
}

/// Compares in a time that does not tell where the strings differ.
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |acc, (x, y)| acc | (x ^ y)) == 0
}
