//! The server under test, on a store in memory, and the requests that tests make.

use apiserver::http::body::{self, Body};
use apiserver::{ApiServer, AuthorizationMode, Config};
use auth::UserInfo;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use machinery::Value;
use std::path::Path;
use std::sync::Arc;

/// The config maps that most tests write.
pub const MAPS: &str = "/api/v1/namespaces/default/configmaps";
pub const MERGE: &str = "application/merge-patch+json";
pub const STRATEGIC: &str = "application/strategic-merge-patch+json";
pub const APPLY: &str = "application/apply-patch+yaml";

/// An API server without a listener.
pub struct Server {
    pub api: ApiServer,
    _dir: tempfile::TempDir,
}

/// Who may do everything.
pub fn admin() -> UserInfo {
    UserInfo::new("admin", &["system:masters"])
}

/// A configuration with its certificates in a directory.
pub fn config(dir: &Path) -> Config {
    Config {
        cert_dir: dir.to_owned(),
        authorization_mode: vec![AuthorizationMode::Rbac],
        disable_admission_plugins: vec!["ServiceAccount".into()],
        ..Config::default()
    }
}

/// The status code and the content: JSON, else a string.
pub async fn read(response: Response<Body>) -> (u16, Value) {
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    (code, serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned().into()))
}

impl Server {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let config = config(dir.path());
        Self::with(dir, config, store::memory().expect("a store")).await
    }

    pub async fn with(dir: tempfile::TempDir, config: Config, store: Arc<dyn store::Store>) -> Self {
        Self { api: apiserver::build(config, store).await.expect("a server"), _dir: dir }
    }

    pub async fn raw(
        &self,
        user: &UserInfo,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        content: impl Into<Bytes>,
    ) -> Response<Body> {
        let mut r = Request::builder().method(method).uri(uri);
        for (k, v) in headers {
            r = r.header(*k, *v);
        }
        let mut r = r.body(body::full(content)).expect("a request");
        r.extensions_mut().insert(user.clone());
        self.api.handle(r).await
    }

    pub async fn send(&self, method: &str, uri: &str, content_type: &str, content: impl Into<Bytes>) -> (u16, Value) {
        read(self.raw(&admin(), method, uri, &[("content-type", content_type)], content).await).await
    }

    /// Null is no content.
    pub async fn json(&self, method: &str, uri: &str, content: &Value) -> (u16, Value) {
        let content = if content.is_null() { String::new() } else { content.to_string() };
        self.send(method, uri, "application/json", content).await
    }

    pub async fn patch(&self, uri: &str, content_type: &str, patch: &Value) -> (u16, Value) {
        self.send("PATCH", uri, content_type, patch.to_string()).await
    }

    pub async fn get(&self, uri: &str) -> (u16, Value) {
        read(self.raw(&admin(), "GET", uri, &[], "").await).await
    }

    pub async fn watch(&self, uri: &str) -> Watch {
        Watch { body: self.raw(&admin(), "GET", uri, &[], "").await.into_body(), buffer: Vec::new() }
    }
}

/// The events of a watch.
pub struct Watch {
    body: Body,
    buffer: Vec<u8>,
}

impl Watch {
    /// The next event; none when the server ends the watch.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).expect("an event"));
            }
            let frame = self.body.frame().await?;
            self.buffer.extend_from_slice(frame.expect("a frame").data_ref().expect("data"));
        }
    }

    /// Reads until an event passes a test.
    pub async fn until(&mut self, test: impl Fn(&Value) -> bool) {
        while let Some(event) = self.next().await {
            if test(&event) {
                return;
            }
        }
        panic!("the watch ended");
    }
}
