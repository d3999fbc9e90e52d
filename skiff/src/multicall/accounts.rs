//! `--use-service-account-credentials`: each controller acts as a service account of its own, with a token that the API server gives
//! out for it and that is renewed in time (upstream staging/src/k8s.io/controller-manager/pkg/clientbuilder).

use async_trait::async_trait;
use bytes::Bytes;
use client::k8s_openapi::api::core::v1::ServiceAccount;
use client::transport::{Body, BoxError, Transport};
use client::{Client, HttpsConfig, HttpsTransport};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

const NAMESPACE: &str = "kube-system";
/// What is asked for; the server decides.
const LIFETIME_SECONDS: u32 = 3600;

/// Makes clients that act as service accounts.
pub struct Accounts {
    /// Asks for tokens.
    own: Client,
    /// Carries requests without an identity; all accounts share its connection.
    bare: Arc<HttpsTransport>,
}

struct Token {
    header: HeaderValue,
    renew_at: Instant,
}

struct Account {
    name: String,
    own: Client,
    bare: Arc<HttpsTransport>,
    token: Mutex<Option<Token>>,
}

impl Accounts {
    /// `config` is how `own` reaches the server.
    pub fn new(own: Client, config: HttpsConfig) -> Result<Self, client::Error> {
        let bare = HttpsConfig { client_cert_pem: None, client_key_pem: None, token: None, token_file: None, ..config };
        Ok(Self { own, bare: Arc::new(HttpsTransport::new(bare)?) })
    }

    /// A client that acts as an account in kube-system, which is made where it is missing.
    pub fn client(&self, name: &str) -> Client {
        let (own, bare) = (self.own.clone(), self.bare.clone());
        Client::new(Arc::new(Account { name: name.to_owned(), own, bare, token: Mutex::new(None) }))
    }
}

impl Account {
    async fn bearer(&self) -> Result<HeaderValue, BoxError> {
        let mut token = self.token.lock().await;
        if let Some(t) = token.as_ref().filter(|t| t.renew_at > Instant::now()) {
            return Ok(t.header.clone());
        }
        let (text, lifetime) = self.request().await?;
        let mut header = HeaderValue::from_str(&format!("Bearer {text}"))?;
        header.set_sensitive(true);
        let renew_at = Instant::now() + lifetime.mul_f32(0.8);
        *token = Some(Token { header: header.clone(), renew_at });
        Ok(header)
    }

    async fn request(&self) -> Result<(String, Duration), BoxError> {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{}/token", self.name);
        let spec = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"audiences": [], "expirationSeconds": LIFETIME_SECONDS}});
        let answer = match self.own.post_path(&path, &spec).await {
            Err(e) if e.is_not_found() => {
                self.make().await?;
                self.own.post_path(&path, &spec).await
            }
            answer => answer,
        };
        let answer = answer.map_err(|e| format!("token of {NAMESPACE}/{}: {e}", self.name))?;
        let token = answer["status"]["token"].as_str().ok_or("no token in the answer")?;
        let end: Option<jiff::Timestamp> = answer["status"]["expirationTimestamp"].as_str().and_then(|t| t.parse().ok());
        let left = end.map(|e| e.duration_since(jiff::Timestamp::now())).and_then(|d| Duration::try_from(d).ok());
        Ok((token.to_owned(), left.unwrap_or(Duration::from_secs(LIFETIME_SECONDS.into()))))
    }

    async fn make(&self) -> Result<(), BoxError> {
        let mut account = ServiceAccount::default();
        account.metadata.name = Some(self.name.clone());
        match self.own.create(NAMESPACE, &account).await {
            Err(e) if !e.is_already_exists() => Err(format!("service account {NAMESPACE}/{}: {e}", self.name).into()),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Transport for Account {
    async fn send(&self, mut request: http::Request<Bytes>) -> Result<http::Response<Body>, BoxError> {
        request.headers_mut().insert(header::AUTHORIZATION, self.bearer().await?);
        let answer = self.bare.send(request).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            // The account was made anew, or the server's keys changed: the next request asks for another token.
            *self.token.lock().await = None;
        }
        Ok(answer)
    }
}
