//! Service-account tokens of a pod's projected volumes: requested when first needed, renewed at 80 % of their life or after a day
//! (upstream pkg/kubelet/token).

use crate::context::Context;
use crate::pod::spec::spec;
use client::Object;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use std::collections::HashMap;
use std::time::Duration;

struct Token {
    value: String,
    renew: Timestamp,
    expires: Timestamp,
}

/// The tokens of one pod, by audience and lifetime.
#[derive(Default)]
pub struct Tokens(HashMap<(String, i64), Token>);

const MAX_AGE: SignedDuration = SignedDuration::from_hours(24);

impl Tokens {
    pub async fn get(&mut self, ctx: &Context, pod: &Pod, audience: &str, seconds: i64) -> Result<String, String> {
        let key = (audience.to_owned(), seconds);
        let now = ctx.clock.now();
        if let Some(t) = self.0.get(&key).filter(|t| now < t.renew) {
            return Ok(t.value.clone());
        }
        match request(ctx, pod, audience, seconds).await {
            Ok(t) => {
                let value = t.value.clone();
                self.0.insert(key, t);
                Ok(value)
            }
            // The old one still serves for a while.
            Err(e) => match self.0.get(&key).filter(|t| now < t.expires) {
                Some(t) => Ok(t.value.clone()),
                None => Err(e),
            },
        }
    }

    /// Time until the first token has to be renewed.
    pub fn next_renewal(&self, now: Timestamp) -> Option<Duration> {
        let first = self.0.values().map(|t| t.renew).min()?;
        Some(Duration::try_from(first.duration_since(now)).unwrap_or(Duration::from_secs(10)).max(Duration::from_secs(1)))
    }
}

async fn request(ctx: &Context, pod: &Pod, audience: &str, seconds: i64) -> Result<Token, String> {
    let account = spec(pod).service_account_name.as_deref().filter(|n| !n.is_empty()).unwrap_or("default");
    let audiences: Vec<&str> = if audience.is_empty() { Vec::new() } else { vec![audience] };
    let body = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {
            "audiences": audiences,
            "expirationSeconds": seconds,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod.name(), "uid": pod.uid()},
        },
    });
    let path = format!("/api/v1/namespaces/{}/serviceaccounts/{account}/token", pod.namespace());
    let fail = |why: String| format!("failed to fetch token: {why}");
    // The API server may learn a moment after this node that the pod was bound to it.
    let mut patience = (0..6).map(|n| Duration::from_millis(10 << n));
    let answer = loop {
        match ctx.client.post_path(&path, &body).await {
            Ok(a) => break a,
            Err(e) => match patience.next().filter(|_| e.is_forbidden()) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(fail(e.to_string())),
            },
        }
    };
    let text = |k: &str| answer["status"][k].as_str().unwrap_or("").to_owned();
    let value = text("token");
    let expires: Timestamp = text("expirationTimestamp").parse().map_err(|e| fail(format!("{e}")))?;
    if value.is_empty() {
        return Err(fail("the answer has no token".into()));
    }
    let now = ctx.clock.now();
    let life = expires.duration_since(now);
    let renew = now.checked_add((life * 4 / 5).min(MAX_AGE)).unwrap_or(expires);
    Ok(Token { value, renew, expires })
}
