//! The in-process transport: components of the same process talk to the server without sockets, under their own identity, through
//! the same filters.

use crate::http::body;
use crate::server::ApiServer;
use async_trait::async_trait;
use auth::UserInfo;
use bytes::Bytes;
use client::transport::{Body, BoxError, Transport};
use std::sync::Arc;

struct InProcess {
    server: ApiServer,
    user: UserInfo,
}

/// A transport whose requests are `user`'s.
pub fn transport(server: &ApiServer, user: UserInfo) -> Arc<dyn Transport> {
    Arc::new(InProcess { server: server.clone(), user })
}

#[async_trait]
impl Transport for InProcess {
    async fn send(&self, request: http::Request<Bytes>) -> Result<http::Response<Body>, BoxError> {
        let mut request = request.map(body::full);
        request.extensions_mut().insert(self.user.clone());
        Ok(self.server.handle(request).await)
    }
}
