//! Requests that the server itself makes: to webhooks and to aggregated API servers. Where a Service leads, whom to trust, and
//! connections that are kept for the next request.

mod connect;
pub mod resolve;
pub mod tls;

pub use resolve::Resolver;
pub use tls::Trust;

use crate::http::body::{Body, BoxError};
use connect::Connector;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// Peers whose connections are kept; the one unused for longest goes first.
const MAX_PEERS: usize = 128;
const IDLE: Duration = Duration::from_secs(90);

/// Who is called.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// By name or address, as it stands in a URL.
    Host { host: String, port: u16 },
    /// A Service, known to itself as `NAME.NAMESPACE.svc`.
    Service { namespace: String, name: String, port: u16 },
}

impl Peer {
    /// The name in the certificate.
    pub fn server_name(&self) -> String {
        match self {
            Self::Host { host, .. } => host.clone(),
            Self::Service { namespace, name, .. } => format!("{name}.{namespace}.svc"),
        }
    }

    /// `name:port`, as in a URL.
    pub fn authority(&self) -> String {
        let (Self::Host { port, .. } | Self::Service { port, .. }) = self;
        let name = self.server_name();
        if name.contains(':') { format!("[{name}]:{port}") } else { format!("{name}:{port}") }
    }
}

type Http = Client<Connector, Body>;

/// The clients by peer and trust.
pub struct Outbound {
    resolver: Arc<Resolver>,
    /// Latest used last.
    clients: Mutex<Vec<((Peer, Trust), Http)>>,
}

impl Outbound {
    pub fn new(resolver: Arc<Resolver>) -> Self {
        Self { resolver, clients: Mutex::default() }
    }

    fn client(&self, peer: &Peer, trust: &Trust) -> Result<Http, BoxError> {
        let mut clients = self.clients.lock();
        if let Some(i) = clients.iter().position(|((p, t), _)| p == peer && t == trust) {
            let found = clients.remove(i);
            let client = found.1.clone();
            clients.push(found);
            return Ok(client);
        }
        let connector = Connector::new(self.resolver.clone(), peer.clone(), trust.config()?)?;
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            // A watch passed on to a client that does not read must not hold up the other requests to its server.
            .http2_initial_connection_window_size(1 << 30)
            .build(connector);
        if clients.len() >= MAX_PEERS {
            clients.remove(0);
        }
        clients.push(((peer.clone(), trust.clone()), client.clone()));
        Ok(client)
    }

    /// Sends a request; its URI needs scheme and authority. Errors tell the innermost cause, which is what helps.
    pub async fn send(&self, peer: &Peer, trust: &Trust, request: Request<Body>) -> Result<Response<Incoming>, BoxError> {
        let client = self.client(peer, trust)?;
        client.request(request).await.map_err(|e| innermost(&e).into())
    }
}

/// The last error of a chain: `connection refused` rather than `client error (Connect)`.
fn innermost(e: &(dyn std::error::Error + 'static)) -> String {
    let mut at = e;
    while let Some(next) = at.source() {
        at = next;
    }
    at.to_string()
}
