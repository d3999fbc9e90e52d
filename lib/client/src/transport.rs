//! What carries a request to the API server.

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A streamed response body.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// Sends one request. The request's URI is a path and query only; the transport knows the server and the identity.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    async fn send(&self, request: http::Request<Bytes>) -> Result<http::Response<Body>, BoxError>;
}
