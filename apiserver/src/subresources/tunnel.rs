//! A request passed on to another server, and what it answers passed back; upgraded connections become byte tunnels.

use crate::http::body::{Body, BoxError};
use crate::server::Inner;
use http::header::{CONNECTION, HOST, HeaderName, UPGRADE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use machinery::Status;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const CONNECT: Duration = Duration::from_secs(30);
/// How long what another server has still said is waited for once it reads no more.
const LAST_WORDS: Duration = Duration::from_secs(10);

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

/// Sends a request on a connection of its own.
async fn send(to: &Destination, mut request: Request<Body>) -> Result<(Response<Incoming>, SendRequest<Body>), Status> {
    let stream = to.connect().await?;
    let (mut sender, conn) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| to.failed(e))?;
    tokio::spawn(async move {
        if let Err(error) = conn.with_upgrades().await {
            tracing::debug!(%error, "proxied connection");
        }
    });
    if let Ok(v) = HeaderValue::from_str(&to.host_port()) {
        request.headers_mut().insert(HOST, v);
    }
    let answer = sender.send_request(request).await.map_err(|e| to.failed(e))?;
    Ok((answer, sender))
}

/// The other server's answer as one of ours; what it was asked with must live as long as its body.
fn passed_on(answer: Response<Incoming>, sender: SendRequest<Body>) -> Response<Body> {
    let (mut parts, incoming) = answer.into_parts();
    for h in HOP.iter().filter(|h| **h != http::header::TRAILER) {
        parts.headers.remove(h);
    }
    let body = incoming.map_err(|e| -> BoxError { Box::new(e) }).map_frame(move |f| {
        let _ = &sender;
        f
    });
    Response::from_parts(parts, body.boxed_unsync())
}

/// A connection that speaks SPDY/3.1.
pub struct Spdy {
    pub stream: TokioIo<Upgraded>,
    /// Which of the protocols that were offered the other side chose.
    pub protocol: String,
}

/// Why there is none.
pub enum Refused {
    Unreachable(Status),
    Answer(Response<Body>),
}

/// Asks another server for SPDY/3.1 with one of these protocols above it.
pub async fn switch_to_spdy(to: &Destination, protocols: &[&str]) -> Result<Spdy, Refused> {
    const PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
    let bad = |e: &dyn std::fmt::Display| Refused::Unreachable(Status::bad_request(format!("{}: {e}", to.path)));
    let mut request = Request::new(crate::http::body::empty());
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = to.path.parse().map_err(|e| bad(&e))?;
    let headers = request.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("SPDY/3.1"));
    for p in protocols {
        headers.append(PROTOCOL, HeaderValue::from_str(p).map_err(|e| bad(&e))?);
    }
    let (mut answer, sender) = send(to, request).await.map_err(Refused::Unreachable)?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(Refused::Answer(passed_on(answer, sender)));
    }
    let chosen = answer.headers().get(PROTOCOL).and_then(|v| v.to_str().ok()).or(protocols.first().copied());
    let protocol = chosen.unwrap_or_default().to_owned();
    let upgraded = hyper::upgrade::on(&mut answer).await.map_err(|e| Refused::Unreachable(to.failed(e)))?;
    Ok(Spdy { stream: TokioIo::new(upgraded), protocol })
}

pub fn not_upgradable() -> Status {
    Status::bad_request("this connection cannot be upgraded: use HTTP/1.1 over a socket")
}

/// Passes a request on. With `upgrade`, a 101 turns the two connections into one.
pub async fn forward(
    server: &Arc<Inner>,
    to: &Destination,
    method: http::Method,
    headers: &HeaderMap,
    body: Body,
    upgrade: Option<OnUpgrade>,
) -> Result<Response<Body>, Status> {
    let wants_upgrade = headers.contains_key(UPGRADE);
    let uri: Uri = to.path.parse().map_err(|e| Status::bad_request(format!("{}: {e}", to.path)))?;
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    for (k, v) in headers.iter().filter(|(k, _)| !HOP.contains(k) && **k != HOST && *k != http::header::AUTHORIZATION) {
        request.headers_mut().append(k.clone(), v.clone());
    }
    if wants_upgrade {
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        if let Some(u) = headers.get(UPGRADE) {
            request.headers_mut().insert(UPGRADE, u.clone());
        }
    }
    let (answer, sender) = send(to, request).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(passed_on(answer, sender));
    }
    let Some(client) = upgrade else {
        return Err(not_upgradable());
    };
    Ok(join(server, client, answer))
}

/// Passes bytes on in both directions until the other server has ended. One that reads no more may still have something to say.
async fn pass(client: impl AsyncRead + AsyncWrite, remote: impl AsyncRead + AsyncWrite) {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_remote, mut to_remote) = tokio::io::split(remote);
    let up = async {
        let copied = tokio::io::copy(&mut from_client, &mut to_remote).await;
        let _ = to_remote.shutdown().await;
        copied
    };
    let down = async {
        if let Err(error) = tokio::io::copy(&mut from_remote, &mut to_client).await {
            tracing::debug!(%error, "tunnel");
        }
        let _ = to_client.shutdown().await;
    };
    tokio::pin!(down);
    let copied = tokio::select! {
        () = &mut down => return,
        copied = up => copied,
    };
    match copied {
        Ok(_) => down.await,
        Err(_) => drop(tokio::time::timeout(LAST_WORDS, down).await),
    }
}

/// Answers as the other server does, which switched protocols, and passes bytes on in both directions from then on.
pub fn join(server: &Inner, client: OnUpgrade, mut answer: Response<Incoming>) -> Response<Body> {
    let remote = hyper::upgrade::on(&mut answer);
    let shutdown = server.shutdown.clone();
    tokio::spawn(async move {
        let (Ok(client), Ok(remote)) = tokio::join!(client, remote) else { return };
        tokio::select! {
            () = pass(TokioIo::new(client), TokioIo::new(remote)) => {}
            () = shutdown.cancelled() => {}
        }
    });
    let (parts, _) = answer.into_parts();
    Response::from_parts(parts, crate::http::body::empty())
}
