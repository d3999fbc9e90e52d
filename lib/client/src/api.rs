//! Requests: typed ones on k8s-openapi kinds, dynamic ones on object trees.

use crate::json::{Json, List, ListMeta};
use crate::object::collection_path;
use crate::transport::{Body, Transport};
use crate::{Error, Object, Result};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use machinery::{GroupVersionResource, Status, Value};
use serde_json::json;
use std::sync::Arc;

/// Largest answer read into memory at once; longer lists are read in chunks.
const MAX_ANSWER: usize = 256 << 20;
/// Objects of one such chunk.
const PAGE: u32 = 500;

/// A client of one API server under one identity. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    transport: Arc<dyn Transport>,
    user_agent: Arc<str>,
}

/// What a list or watch asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ListOptions {
    pub label_selector: String,
    pub field_selector: String,
    pub resource_version: String,
    pub limit: u32,
    pub continue_token: String,
}

/// `metav1.DeleteOptions`, the parts in use.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    pub grace_period_seconds: Option<i64>,
    /// `Background`, `Foreground`, `Orphan`.
    pub propagation_policy: Option<&'static str>,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

/// A patch and its kind.
#[derive(Clone, Debug)]
pub enum Patch {
    Json(Value),
    Merge(Value),
    Strategic(Value),
    /// Server-side apply by this field manager.
    Apply {
        manager: String,
        force: bool,
        object: Value,
    },
}

/// Reads a body to its end, `limit` bytes at most.
pub(crate) async fn read_all(mut body: Body, limit: usize, action: &str) -> Result<Bytes> {
    let mut all = bytes::BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|source| Error::Transport { action: action.to_owned(), source })?;
        let Ok(data) = frame.into_data() else { continue };
        if all.len() + data.len() > limit {
            return Err(Error::Decode { action: action.to_owned(), message: format!("the answer is longer than {limit} bytes") });
        }
        if all.is_empty() && body.is_end_stream() {
            return Ok(data);
        }
        all.extend_from_slice(&data);
    }
    Ok(all.freeze())
}

/// Percent-encodes one query value or path segment.
pub fn encode(s: &str) -> String {
    let mut out = String::with_capacity(s.len());
    for b in s.bytes() {
        if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) {
            out.push(b as char);
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

impl ListOptions {
    /// The query string, without `?`.
    pub fn query(&self) -> String {
        let mut q: Vec<String> = Vec::new();
        let mut add = |k: &str, v: &str| {
            if !v.is_empty() {
                q.push(format!("{k}={}", encode(v)));
            }
        };
        add("labelSelector", &self.label_selector);
        add("fieldSelector", &self.field_selector);
        add("resourceVersion", &self.resource_version);
        add("continue", &self.continue_token);
        if self.limit > 0 {
            add("limit", &self.limit.to_string());
        }
        q.join("&")
    }
}

impl Client {
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Self { transport, user_agent: format!("skiff/v{}", env!("CARGO_PKG_VERSION")).into() }
    }

    /// The same client under another `User-Agent` (`kubelet/v1.36.3`), which is also its field manager.
    pub fn with_user_agent(&self, agent: &str) -> Self {
        Self { transport: self.transport.clone(), user_agent: agent.into() }
    }

    /// Sends a request and returns the answer as it comes, whatever its status code.
    pub fn send<'a>(
        &'a self,
        method: Method,
        path: &'a str,
        content_type: &'a str,
        body: Bytes,
    ) -> BoxFuture<'a, Result<Response<Body>>> {
        Box::pin(self.send_accepting(JSON, method, path, content_type, body))
    }

    /// `send` that asks for another form of the answer (`application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1`).
    pub(crate) async fn send_accepting(
        &self,
        accept: &str,
        method: Method,
        path: &str,
        content_type: &str,
        body: Bytes,
    ) -> Result<Response<Body>> {
        let action = || format!("{method} {path}");
        let mut request = Request::builder()
            .method(method.clone())
            .uri(path)
            .header(header::USER_AGENT, &*self.user_agent)
            .header(header::ACCEPT, accept);
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        let request = request.body(body).map_err(|e| Error::Transport { action: action(), source: e.into() })?;
        self.transport.send(request).await.map_err(|source| Error::Transport { action: action(), source })
    }

    /// Sends a request and reads the whole answer; a failure status is an error.
    ///
    /// Boxed: each kind's requests would hold its code otherwise, in each crate.
    pub fn request<'a>(
        &'a self,
        method: Method,
        path: &'a str,
        content_type: &'a str,
        body: Bytes,
    ) -> BoxFuture<'a, Result<Bytes>> {
        Box::pin(self.request_accepting(JSON, method, path, content_type, body))
    }

    pub(crate) async fn request_accepting(
        &self,
        accept: &str,
        method: Method,
        path: &str,
        content_type: &str,
        body: Bytes,
    ) -> Result<Bytes> {
        let action = format!("{method} {path}");
        let response = self.send_accepting(accept, method, path, content_type, body).await?;
        let code = response.status();
        let bytes = read_all(response.into_body(), MAX_ANSWER, &action).await?;
        if code.is_success() { Ok(bytes) } else { Err(failure(code, &bytes, &action)) }
    }

    async fn object<K: Json>(&self, method: Method, path: &str, content_type: &str, body: Bytes) -> Result<K> {
        let bytes = self.request(method.clone(), path, content_type, body).await?;
        K::from_json(&bytes).map_err(|e| malformed(&format!("{method} {path}"), &e))
    }

    fn body(action: &str, v: &impl Json) -> Result<Bytes> {
        v.to_json().map(Bytes::from).map_err(|e| malformed(action, &e))
    }

    // Any path.

    pub async fn get_path(&self, path: &str) -> Result<Value> {
        self.object(Method::GET, path, JSON, Bytes::new()).await
    }
    pub async fn post_path(&self, path: &str, body: &Value) -> Result<Value> {
        self.object(Method::POST, path, JSON, Self::body(path, body)?).await
    }
    pub async fn put_path(&self, path: &str, body: &Value) -> Result<Value> {
        self.object(Method::PUT, path, JSON, Self::body(path, body)?).await
    }
    pub async fn patch_path(&self, path: &str, patch: &Patch) -> Result<Value> {
        let (path, kind, body) = patch.parts(path);
        self.object(Method::PATCH, &path, kind, Self::body(&path, body)?).await
    }
    pub async fn delete_path(&self, path: &str, options: &DeleteOptions) -> Result<Value> {
        self.object(Method::DELETE, path, JSON, Self::body(path, &options.to_value())?).await
    }

    // Typed.

    pub async fn get<K: Object>(&self, namespace: &str, name: &str) -> Result<K> {
        self.object(Method::GET, &object_path::<K>(namespace, name), JSON, Bytes::new()).await
    }
    /// One chunk of a list (all of it where `limit` is 0).
    pub async fn list<K: Object>(&self, namespace: &str, options: &ListOptions) -> Result<List<K>> {
        let (path, bytes) = self.get_list(JSON, &K::collection_path(namespace), options).await?;
        K::list_from_json(&bytes).map_err(|e| malformed(&format!("GET {path}"), &e))
    }
    /// Hands over all pages of a list; answers the revision that they show.
    pub(crate) async fn get_pages(
        &self,
        accept: &str,
        path: &str,
        options: &ListOptions,
        mut page: impl FnMut(&[u8]) -> serde_json::Result<ListMeta>,
    ) -> Result<String> {
        let mut options = ListOptions { limit: PAGE, ..options.clone() };
        loop {
            let (path, bytes) = self.get_list(accept, path, &options).await?;
            let meta = page(&bytes).map_err(|e| malformed(&format!("GET {path}"), &e))?;
            if meta.continue_token.is_empty() {
                return Ok(meta.resource_version);
            }
            options.continue_token = meta.continue_token;
        }
    }
    /// A page of a list, and the path with the query.
    async fn get_list(&self, accept: &str, path: &str, options: &ListOptions) -> Result<(String, Bytes)> {
        let path = with_query(path.to_owned(), &options.query());
        let bytes = self.request_accepting(accept, Method::GET, &path, JSON, Bytes::new()).await?;
        Ok((path, bytes))
    }
    pub async fn create<K: Object>(&self, namespace: &str, obj: &K) -> Result<K> {
        let path = K::collection_path(namespace);
        self.object(Method::POST, &path, JSON, Self::body(&path, obj)?).await
    }
    pub async fn update<K: Object>(&self, obj: &K) -> Result<K> {
        let path = object_path::<K>(obj.namespace(), obj.name());
        self.object(Method::PUT, &path, JSON, Self::body(&path, obj)?).await
    }
    pub async fn update_status<K: Object>(&self, obj: &K) -> Result<K> {
        self.update_subresource(obj, "status").await
    }
    pub async fn update_subresource<K: Object>(&self, obj: &K, subresource: &str) -> Result<K> {
        let path = format!("{}/{subresource}", object_path::<K>(obj.namespace(), obj.name()));
        self.object(Method::PUT, &path, JSON, Self::body(&path, obj)?).await
    }
    pub async fn patch<K: Object>(&self, namespace: &str, name: &str, patch: &Patch) -> Result<K> {
        self.patch_at(object_path::<K>(namespace, name), patch).await
    }
    pub async fn patch_status<K: Object>(&self, namespace: &str, name: &str, patch: &Patch) -> Result<K> {
        self.patch_at(format!("{}/status", object_path::<K>(namespace, name)), patch).await
    }
    async fn patch_at<K: Object>(&self, path: String, patch: &Patch) -> Result<K> {
        let (path, kind, body) = patch.parts(&path);
        self.object(Method::PATCH, &path, kind, Self::body(&path, body)?).await
    }
    pub async fn delete<K: Object>(&self, namespace: &str, name: &str, options: &DeleteOptions) -> Result<()> {
        let path = object_path::<K>(namespace, name);
        self.request(Method::DELETE, &path, JSON, Self::body(&path, &options.to_value())?).await.map(drop)
    }

    // Dynamic: objects of any group, version and resource.

    pub fn path(gvr: &GroupVersionResource, namespace: &str, name: &str) -> String {
        let c = collection_path(&gvr.group, &gvr.version, &gvr.resource, namespace);
        if name.is_empty() { c } else { format!("{c}/{name}") }
    }
}

pub(crate) const JSON: &str = "application/json";

/// The path of one object.
pub fn object_path<K: Object>(namespace: &str, name: &str) -> String {
    format!("{}/{name}", K::collection_path(namespace))
}

pub(crate) fn with_query(path: String, query: &str) -> String {
    if query.is_empty() { path } else { format!("{path}?{query}") }
}

/// The error of JSON that is not what it should be.
pub(crate) fn malformed(action: &str, e: &serde_json::Error) -> Error {
    Error::Decode { action: action.to_owned(), message: e.to_string() }
}

/// The error that a failed answer carries; bodies that are no Status become one with the HTTP code.
pub(crate) fn failure(code: StatusCode, body: &[u8], action: &str) -> Error {
    let status = serde_json::from_slice::<Value>(body).ok().as_ref().and_then(Status::from_value);
    Error::Api(status.unwrap_or_else(|| {
        let text = String::from_utf8_lossy(&body[..body.len().min(1024)]).into_owned();
        Status::new(code.as_u16(), "", format!("{action}: {code}: {text}"))
    }))
}

impl Patch {
    fn parts(&self, path: &str) -> (String, &'static str, &Value) {
        match self {
            Self::Json(v) => (path.to_owned(), "application/json-patch+json", v),
            Self::Merge(v) => (path.to_owned(), "application/merge-patch+json", v),
            Self::Strategic(v) => (path.to_owned(), "application/strategic-merge-patch+json", v),
            Self::Apply { manager, force, object } => {
                (format!("{path}?fieldManager={}&force={force}", encode(manager)), "application/apply-patch+yaml", object)
            }
        }
    }
}

impl DeleteOptions {
    fn to_value(&self) -> Value {
        let mut o = json!({"kind": "DeleteOptions", "apiVersion": "v1"});
        if let Some(s) = self.grace_period_seconds {
            o["gracePeriodSeconds"] = s.into();
        }
        if let Some(p) = self.propagation_policy {
            o["propagationPolicy"] = p.into();
        }
        let mut pre = serde_json::Map::new();
        if let Some(u) = &self.uid {
            pre.insert("uid".into(), u.clone().into());
        }
        if let Some(rv) = &self.resource_version {
            pre.insert("resourceVersion".into(), rv.clone().into());
        }
        if !pre.is_empty() {
            o["preconditions"] = pre.into();
        }
        o
    }
}
