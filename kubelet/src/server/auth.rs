//! Who asks, and whether they may: client certificates and bearer tokens, both judged with the API server's help (TokenReview,
//! SubjectAccessReview), remembered for a while as upstream does.

use crate::context::Context;
use http::{HeaderMap, Method};
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// A user as authentication found it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
}

type Decision = (User, String, String);

pub struct Auth {
    ca: Option<(String, pki::tls::ClientVerifier)>,
    tokens: Mutex<HashMap<String, (User, Instant)>>,
    decisions: Mutex<HashMap<Decision, (bool, Instant)>>,
}

const TOKEN_TTL: Duration = Duration::from_secs(120);
const ALLOWED_TTL: Duration = Duration::from_secs(300);
const DENIED_TTL: Duration = Duration::from_secs(30);
const MAX_REMEMBERED: usize = 4096;

impl Auth {
    pub fn new(ctx: &Context) -> pki::Result<Self> {
        let file = &ctx.config.kubelet.authentication.x509.client_ca_file;
        let ca = if file.is_empty() {
            None
        } else {
            let pem = pki::files::read(std::path::Path::new(file))?;
            let verifier = pki::tls::ClientVerifier::new(&pem)?;
            Some((pem, verifier))
        };
        Ok(Self { ca, tokens: Default::default(), decisions: Default::default() })
    }

    pub fn client_ca(&self) -> Option<&str> {
        self.ca.as_ref().map(|(pem, _)| pem.as_str())
    }

    pub async fn authenticate(&self, ctx: &Context, headers: &HeaderMap, shown: &[CertificateDer<'static>]) -> Option<User> {
        if let Some((_, verifier)) = &self.ca
            && !shown.is_empty()
            && verifier.verify(shown).is_ok()
        {
            return certificate_user(&shown[0]);
        }
        let token =
            headers.get(http::header::AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Bearer "));
        if let Some(token) = token.map(str::trim).filter(|t| !t.is_empty()) {
            return if ctx.config.kubelet.authentication.webhook.enabled { self.review(ctx, token).await } else { None };
        }
        let anonymous =
            User { name: "system:anonymous".into(), groups: vec!["system:unauthenticated".into()], ..Default::default() };
        ctx.config.kubelet.authentication.anonymous.enabled.then_some(anonymous)
    }

    async fn review(&self, ctx: &Context, token: &str) -> Option<User> {
        if let Some((user, at)) = self.tokens.lock().get(token)
            && at.elapsed() < TOKEN_TTL
        {
            return Some(user.clone());
        }
        let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
        let answer = ctx.client.post_path("/apis/authentication.k8s.io/v1/tokenreviews", &body).await;
        let status = match answer {
            Ok(a) => a["status"].clone(),
            Err(e) => {
                tracing::warn!(error = %e, "token not reviewed");
                return None;
            }
        };
        if status["authenticated"] != Value::Bool(true) {
            return None;
        }
        let u = &status["user"];
        let text = |k: &str| u[k].as_str().unwrap_or("").to_owned();
        let groups = u["groups"].as_array().into_iter().flatten().filter_map(|g| g.as_str().map(str::to_owned)).collect();
        let user = User { name: text("username"), uid: text("uid"), groups };
        let mut tokens = self.tokens.lock();
        if tokens.len() >= MAX_REMEMBERED {
            tokens.clear();
        }
        tokens.insert(token.to_owned(), (user.clone(), Instant::now()));
        Some(user)
    }

    /// Any one of the subresources that stand for the path is enough.
    pub async fn authorize(&self, ctx: &Context, user: &User, method: &Method, path: &str) -> Result<(), String> {
        if ctx.config.kubelet.authorization.mode == "AlwaysAllow" {
            return Ok(());
        }
        let verb = match *method {
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ => "get",
        };
        let subresources = subresources(path);
        for s in subresources {
            if self.allowed(ctx, user, verb, s).await? {
                return Ok(());
            }
        }
        let list = subresources.join(" ");
        Err(format!("Forbidden (user={}, verb={verb}, resource=nodes, subresource(s)=[{list}])", user.name))
    }

    async fn allowed(&self, ctx: &Context, user: &User, verb: &str, subresource: &str) -> Result<bool, String> {
        let key = (user.clone(), verb.to_owned(), subresource.to_owned());
        if let Some((allowed, at)) = self.decisions.lock().get(&key)
            && at.elapsed() < if *allowed { ALLOWED_TTL } else { DENIED_TTL }
        {
            return Ok(*allowed);
        }
        let body = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": user.name,
                "uid": user.uid,
                "groups": user.groups,
                "resourceAttributes": {
                    "verb": verb, "version": "v1", "resource": "nodes", "subresource": subresource, "name": ctx.config.node_name,
                },
            },
        });
        let answer = ctx.client.post_path("/apis/authorization.k8s.io/v1/subjectaccessreviews", &body).await;
        let allowed = match answer {
            Ok(a) => a["status"]["allowed"] == Value::Bool(true),
            Err(e) => {
                return Err(format!("Authorization error (user={}, verb={verb}, subresource={subresource}): {e}", user.name));
            }
        };
        let mut decisions = self.decisions.lock();
        if decisions.len() >= MAX_REMEMBERED {
            decisions.clear();
        }
        decisions.insert(key, (allowed, Instant::now()));
        Ok(allowed)
    }
}

fn subresources(path: &str) -> &'static [&'static str] {
    let under = |root: &str| path == root || path.strip_prefix(root).is_some_and(|r| r.starts_with('/'));
    match path {
        p if p == "/stats" || under("/stats") => &["stats"],
        p if p == "/metrics" || under("/metrics") => &["metrics"],
        _ if under("/logs") => &["log"],
        _ if under("/spec") => &["spec"],
        _ if under("/checkpoint") => &["checkpoint"],
        _ if under("/pods") || under("/runningpods") => &["pods", "proxy"],
        _ if under("/healthz") => &["healthz", "proxy"],
        _ if under("/configz") => &["configz", "proxy"],
        _ => &["proxy"],
    }
}

fn certificate_user(der: &CertificateDer<'_>) -> Option<User> {
    let (_, cert) = x509_parser::parse_x509_certificate(der).ok()?;
    let subject = cert.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let mut groups: Vec<String> = subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect();
    groups.push("system:authenticated".into());
    Some(User { name, uid: String::new(), groups })
}

#[cfg(test)]
mod tests {
    use super::subresources;

    #[test]
    fn paths() {
        for (path, want) in [
            ("/stats/summary", ["stats"].as_slice()),
            ("/metrics/resource", &["metrics"]),
            ("/pods", &["pods", "proxy"]),
            ("/healthz", &["healthz", "proxy"]),
            ("/exec/a/b/c", &["proxy"]),
            ("/containerLogs/a/b/c", &["proxy"]),
            ("/statsx", &["proxy"]),
        ] {
            assert_eq!(subresources(path), want, "{path}");
        }
    }
}
