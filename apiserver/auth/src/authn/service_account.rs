//! Service-account tokens: the signature and the times, then whether the account (and the pod, secret or node it is bound to) still
//! exists. Upstream: pkg/serviceaccount/{jwt,claims}.go.

use super::{Authenticated, TokenAuthenticator};
use crate::token::Claims;
use crate::user::{EXTRA_CREDENTIAL_ID, EXTRA_NODE_NAME, EXTRA_NODE_UID, EXTRA_POD_NAME, EXTRA_POD_UID};
use crate::{ObjectGetter, UserInfo};
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Validation;
use machinery::Value;
use machinery::meta::{deletion_timestamp, uid};
use pki::VerifyingKey;
use std::sync::Arc;

/// Clock skew allowed between API servers, in seconds, as upstream's JWT library allows.
const LEEWAY: i64 = 60;

/// Tokens that this cluster issued.
pub struct ServiceAccountTokens {
    issuers: Vec<String>,
    keys: Vec<VerifyingKey>,
    /// Audiences that a token without any counts for.
    implicit_audiences: Vec<String>,
    objects: Arc<dyn ObjectGetter>,
}

impl ServiceAccountTokens {
    /// Tokens of any of the issuers are accepted (`--service-account-issuer` may be given several times).
    pub fn new(
        issuers: Vec<String>,
        keys: Vec<VerifyingKey>,
        implicit_audiences: Vec<String>,
        objects: Arc<dyn ObjectGetter>,
    ) -> Self {
        Self { issuers, keys, implicit_audiences, objects }
    }

    /// The token claims (unverified) one of our issuers: only such are worth a signature check, and only such give errors.
    fn is_ours(&self, token: &str) -> bool {
        let parts: Vec<&str> = token.splitn(4, '.').collect();
        let [_, payload, _] = parts.as_slice() else { return false };
        let Ok(raw) = URL_SAFE_NO_PAD.decode(payload) else { return false };
        let Ok(claims) = serde_json::from_slice::<Value>(&raw) else { return false };
        claims.get("iss").and_then(Value::as_str).is_some_and(|iss| self.issuers.iter().any(|i| i == iss))
    }

    fn verify(&self, token: &str) -> Result<Claims, String> {
        let header = jsonwebtoken::decode_header(token).map_err(|e| format!("malformed token: {e}"))?;
        let mut errors = Vec::new();
        // A key id narrows the search; without one every key is tried, as upstream does.
        let named = |k: &&VerifyingKey| header.kid.as_ref().is_none_or(|kid| *kid == k.key_id);
        for key in self.keys.iter().filter(named) {
            // The algorithm is the key's, never the token's: "none" and substitutions do not get past this.
            let mut v = Validation::new(key.algorithm);
            (v.validate_exp, v.validate_nbf, v.validate_aud) = (false, false, false);
            v.required_spec_claims.clear();
            match jsonwebtoken::decode::<Claims>(token, &key.key, &v) {
                Ok(data) => return Ok(data.claims),
                Err(e) => errors.push(e.to_string()),
            }
        }
        Err(crate::authz::aggregate(&errors).unwrap_or_else(|| "no key for this token".into()))
    }

    async fn validate(&self, c: &Claims, now: i64) -> Result<UserInfo, String> {
        check_times(c, now)?;
        let k = &c.kubernetes;
        let (ns, sa) = (k.namespace.as_str(), &k.serviceaccount);
        if c.sub != crate::user::service_account_user(ns, &sa.name) {
            return Err("service account token names two different subjects".into());
        }
        let gone = |o: &Value| {
            deletion_timestamp(o).and_then(|t| t.parse::<jiff::Timestamp>().ok()).is_some_and(|t| t.as_second() < now - LEEWAY)
        };
        let account = self.objects.get("", "serviceaccounts", ns, &sa.name).await.map_err(|e| e.message)?;
        let account = account.ok_or_else(|| format!("serviceaccounts {:?} not found", sa.name))?;
        if uid(&account) != sa.uid {
            return Err(format!("service account UID ({}) does not match claim ({})", uid(&account), sa.uid));
        }
        if gone(&account) {
            return Err(format!("service account {ns}/{} has been deleted", sa.name));
        }
        // A pod's token names its node as well; the pod is what counts.
        let node = k.node.as_ref().filter(|_| k.pod.is_none());
        for (resource, word, reference, namespace) in
            [("secrets", "secret", k.secret.as_ref(), ns), ("pods", "pod", k.pod.as_ref(), ns), ("nodes", "node", node, "")]
        {
            let Some(r) = reference else { continue };
            let invalidated = || "service account token has been invalidated".to_owned();
            let object = self.objects.get("", resource, namespace, &r.name).await.ok().flatten().ok_or_else(invalidated)?;
            if uid(&object) != r.uid {
                let (found, claimed) = (uid(&object), &r.uid);
                return Err(format!("{word} UID ({found}) does not match service account {word} ref claim ({claimed})"));
            }
            if gone(&object) {
                return Err(invalidated());
            }
        }
        Ok(user(c))
    }
}

fn check_times(c: &Claims, now: i64) -> Result<(), String> {
    let refuse = |what: &str| Err(format!("service account token {what}"));
    let Some(exp) = c.exp else { return refuse("has no expiration") };
    if now - LEEWAY > exp {
        return refuse("has expired");
    }
    if c.nbf.is_some_and(|t| now + LEEWAY < t) {
        return refuse("is not valid yet");
    }
    if c.iat.is_some_and(|t| now + LEEWAY < t) {
        return refuse("is issued in the future");
    }
    Ok(())
}

fn user(c: &Claims) -> UserInfo {
    let k = &c.kubernetes;
    let mut user = UserInfo::service_account(&k.namespace, &k.serviceaccount.name, &k.serviceaccount.uid);
    let mut extra = |key: &str, value: &str| {
        if !value.is_empty() {
            user.extra.insert(key.to_owned(), vec![value.to_owned()]);
        }
    };
    for (r, name, uid) in [(&k.pod, EXTRA_POD_NAME, EXTRA_POD_UID), (&k.node, EXTRA_NODE_NAME, EXTRA_NODE_UID)] {
        if let Some(r) = r {
            extra(name, &r.name);
            extra(uid, &r.uid);
        }
    }
    if let Some(jti) = c.jti.as_deref().filter(|j| !j.is_empty()) {
        extra(EXTRA_CREDENTIAL_ID, &format!("JTI={jti}"));
    }
    user
}

#[async_trait]
impl TokenAuthenticator for ServiceAccountTokens {
    async fn authenticate(&self, token: &str, audiences: &[String]) -> Result<Option<Authenticated>, String> {
        if !self.is_ours(token) {
            return Ok(None);
        }
        let claims = self.verify(token)?;
        let own = if claims.aud.0.is_empty() { &self.implicit_audiences } else { &claims.aud.0 };
        let shared: Vec<String> = own.iter().filter(|a| audiences.contains(a)).cloned().collect();
        if shared.is_empty() && !audiences.is_empty() {
            return Err(format!("token audiences {own:?} is invalid for the target audiences {audiences:?}"));
        }
        let user = self.validate(&claims, jiff::Timestamp::now().as_second()).await?;
        Ok(Some(Authenticated { user, audiences: shared }))
    }
}
