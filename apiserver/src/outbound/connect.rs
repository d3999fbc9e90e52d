//! Making a connection: resolve, dial, greet.

use super::{Peer, Resolver};
use crate::http::body::BoxError;
use client::connection::TlsConnection;
use http::Uri;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const DIAL: Duration = Duration::from_secs(30);
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Connects to one peer. A Service is resolved for each connection.
#[derive(Clone)]
pub struct Connector {
    resolver: Arc<Resolver>,
    peer: Peer,
    name: ServerName<'static>,
    tls: TlsConnector,
}

impl Connector {
    pub fn new(resolver: Arc<Resolver>, peer: Peer, tls: ClientConfig) -> Result<Self, BoxError> {
        let name = ServerName::try_from(peer.server_name())?;
        Ok(Self { resolver, peer, name, tls: TlsConnector::from(Arc::new(tls)) })
    }

    async fn connect(self) -> Result<TlsConnection, BoxError> {
        let (host, port) = match &self.peer {
            Peer::Host { host, port } => (host.clone(), *port),
            Peer::Service { namespace, name, port } => self.resolver.resolve(namespace, name, *port).await?,
        };
        let tcp = tokio::time::timeout(DIAL, TcpStream::connect((host.as_str(), port)))
            .await
            .map_err(|_| format!("dial tcp {host}:{port}: i/o timeout"))?
            .map_err(|e| format!("dial tcp {host}:{port}: connect: {}", go_words(&e)))?;
        tcp.set_nodelay(true)?;
        let tls = tokio::time::timeout(HANDSHAKE, self.tls.connect(self.name.clone(), tcp))
            .await
            .map_err(|_| "net/http: TLS handshake timeout".to_owned())?
            .map_err(|e| format!("tls: failed to verify certificate or to agree: {e}"))?;
        Ok(TlsConnection::new(tls))
    }
}

/// What Go prints for the errors that people search for.
fn go_words(e: &std::io::Error) -> String {
    match e.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".into(),
        std::io::ErrorKind::HostUnreachable => "no route to host".into(),
        std::io::ErrorKind::NetworkUnreachable => "network is unreachable".into(),
        _ => e.to_string(),
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = TlsConnection;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<TlsConnection, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }
    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(self.clone().connect())
    }
}
