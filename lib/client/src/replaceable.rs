//! A transport whose identity changes while it is in use: certificates rotate.

use crate::transport::{Body, BoxError, Transport};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::RwLock;
use std::sync::Arc;

/// Sends each request by the transport that is current then. What was begun with an earlier one ends with it.
pub struct Replaceable(RwLock<Arc<dyn Transport>>);

impl Replaceable {
    pub fn new(first: Arc<dyn Transport>) -> Self {
        Self(RwLock::new(first))
    }
    pub fn replace(&self, next: Arc<dyn Transport>) {
        *self.0.write() = next;
    }
}

#[async_trait]
impl Transport for Replaceable {
    async fn send(&self, request: http::Request<Bytes>) -> Result<http::Response<Body>, BoxError> {
        let current = self.0.read().clone();
        current.send(request).await
    }
}
