//! A request passed on to another server, and what it answers passed back; upgraded connections become byte tunnels.

use crate::http::body::{Body, BoxError};
use crate::server::Inner;
use http::header::{CONNECTION, HOST, HeaderName, UPGRADE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use machinery::Status;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const CONNECT: Duration = Duration::from_secs(30);

/// Where a request goes.
pub struct Destination {
    pub host: String,
    pub port: u16,
    /// `None`: plain HTTP.
    pub tls: Option<Arc<ClientConfig>>,
    /// Path and query.
    pub path: String,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Destination {
    fn failed(&self, e: impl std::fmt::Display) -> Status {
        let mut s = Status::service_unavailable(format!("error trying to reach service: {e}"));
        s.reason = "ServiceUnavailable".into();
        s
    }

    /// Host and port as they stand in a URL.
    pub fn host_port(&self) -> String {
        if self.host.contains(':') { format!("[{}]:{}", self.host, self.port) } else { format!("{}:{}", self.host, self.port) }
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, Status> {
        let tcp = tokio::time::timeout(CONNECT, TcpStream::connect((self.host.as_str(), self.port)))
            .await
            .map_err(|_| self.failed(format!("dial tcp {}:{}: i/o timeout", self.host, self.port)))?
            .map_err(|e| self.failed(format!("dial tcp {}:{}: {e}", self.host, self.port)))?;
        let _ = tcp.set_nodelay(true);
        let Some(tls) = &self.tls else { return Ok(Box::new(tcp)) };
        let name = ServerName::try_from(self.host.clone()).map_err(|e| self.failed(e))?;
        let stream = tokio::time::timeout(CONNECT, TlsConnector::from(tls.clone()).connect(name, tcp))
            .await
            .map_err(|_| self.failed("TLS handshake timeout"))?
            .map_err(|e| self.failed(format!("tls: {e}")))?;
        Ok(Box::new(stream))
    }
}

/// Headers that belong to one hop.
const HOP: [HeaderName; 6] = [
    CONNECTION,
    UPGRADE,
    http::header::TE,
    http::header::TRAILER,
    http::header::TRANSFER_ENCODING,
    http::header::PROXY_AUTHORIZATION,
];

/// Passes a request on. With `upgrade`, a 101 turns the two connections into one.
pub async fn forward(
    server: &Arc<Inner>,
    to: &Destination,
    method: http::Method,
    headers: &HeaderMap,
    body: Body,
    upgrade: Option<OnUpgrade>,
) -> Result<Response<Body>, Status> {
    let stream = to.connect().await?;
    let (mut sender, conn) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| to.failed(e))?;
    tokio::spawn(async move {
        if let Err(error) = conn.with_upgrades().await {
            tracing::debug!(%error, "proxied connection");
        }
    });
    let wants_upgrade = headers.contains_key(UPGRADE);
    let uri: Uri = to.path.parse().map_err(|e| Status::bad_request(format!("{}: {e}", to.path)))?;
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    for (k, v) in headers.iter().filter(|(k, _)| !HOP.contains(k) && **k != HOST && *k != http::header::AUTHORIZATION) {
        request.headers_mut().append(k.clone(), v.clone());
    }
    if let Ok(v) = HeaderValue::from_str(&to.host_port()) {
        request.headers_mut().insert(HOST, v);
    }
    if wants_upgrade {
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        if let Some(u) = headers.get(UPGRADE) {
            request.headers_mut().insert(UPGRADE, u.clone());
        }
    }
    let answer = sender.send_request(request).await.map_err(|e| to.failed(e))?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let (mut parts, incoming) = answer.into_parts();
        for h in HOP.iter().filter(|h| **h != http::header::TRAILER) {
            parts.headers.remove(h);
        }
        // The sender must live as long as the body.
        let body = incoming.map_err(|e| -> BoxError { Box::new(e) }).map_frame(move |f| {
            let _ = &sender;
            f
        });
        return Ok(Response::from_parts(parts, body.boxed_unsync()));
    }
    let Some(client) = upgrade else {
        return Err(Status::bad_request("this connection cannot be upgraded: use HTTP/1.1 over a socket"));
    };
    Ok(join(server, client, answer))
}

/// Answers as the other server does, which switched protocols, and passes bytes on in both directions from then on.
pub fn join(server: &Inner, client: OnUpgrade, mut answer: Response<Incoming>) -> Response<Body> {
    let remote = hyper::upgrade::on(&mut answer);
    let shutdown = server.shutdown.clone();
    tokio::spawn(async move {
        let (Ok(client), Ok(remote)) = tokio::join!(client, remote) else { return };
        let (mut client, mut remote) = (TokioIo::new(client), TokioIo::new(remote));
        tokio::select! {
            done = tokio::io::copy_bidirectional(&mut client, &mut remote) => {
                if let Err(error) = done {
                    tracing::debug!(%error, "tunnel");
                }
            }
            () = shutdown.cancelled() => {}
        }
    });
    let (parts, _) = answer.into_parts();
    Response::from_parts(parts, crate::http::body::empty())
}
