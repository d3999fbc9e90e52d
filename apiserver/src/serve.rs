//! Listening: TLS, HTTP/1.1 and HTTP/2 by ALPN, limits, and a graceful end.

use crate::handle::PeerCertificates;
use crate::http::body::{Body, BoxError};
use crate::server::ApiServer;
use futures::future::BoxFuture;
use http::{Method, Request, Response, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use rustls::ServerConfig;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A client has this long to finish its handshake, and to send its headers.
const HANDSHAKE: Duration = Duration::from_secs(10);
const HEADERS: Duration = Duration::from_secs(30);
/// Go's default limit on the headers of a request is 1 MiB; ours is lower, and nobody comes near it.
const HEADER_BYTES: usize = 256 * 1024;
const HEADER_COUNT: usize = 200;

impl ApiServer {
    /// Accepts connections until the server is shut down, then lets requests in flight end.
    pub fn serve(&self, listener: TcpListener, tls: Arc<ServerConfig>) -> BoxFuture<'_, std::io::Result<()>> {
        Box::pin(self.accept(listener, tls))
    }

    async fn accept(&self, listener: TcpListener, tls: Arc<ServerConfig>) -> std::io::Result<()> {
        let acceptor = TlsAcceptor::from(tls);
        let graceful = GracefulShutdown::new();
        let builder = self.builder();
        loop {
            let stream = tokio::select! {
                biased;
                () = self.0.shutdown.cancelled() => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    // Out of descriptors, say: the next accept may do better, and must not spin.
                    Err(error) => {
                        tracing::warn!(%error, "accepting a connection");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                },
            };
            let watcher = graceful.watcher();
            let (server, acceptor, builder) = (self.clone(), acceptor.clone(), builder.clone());
            tokio::spawn(async move {
                let peer = stream.peer_addr().map(|a| a.to_string()).unwrap_or_default();
                if let Err(error) = connection(server, acceptor, builder, stream, watcher).await {
                    tracing::debug!(peer, %error, "connection");
                }
            });
        }
        drop(listener);
        if tokio::time::timeout(self.0.config.shutdown_grace, graceful.shutdown()).await.is_err() {
            tracing::warn!("requests in flight did not end in time");
        }
        Ok(())
    }

    fn builder(&self) -> auto::Builder<TokioExecutor> {
        let mut b = auto::Builder::new(TokioExecutor::new());
        b.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS).max_buf_size(HEADER_BYTES).max_headers(HEADER_COUNT);
        b.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.0.config.http2_max_streams_per_connection)
            .max_header_list_size(u32::try_from(HEADER_BYTES).unwrap_or(u32::MAX))
            .keep_alive_interval(Some(Duration::from_secs(30)))
            .keep_alive_timeout(Duration::from_secs(15));
        b
    }
}

async fn connection(
    server: ApiServer,
    acceptor: TlsAcceptor,
    builder: auto::Builder<TokioExecutor>,
    stream: TcpStream,
    watcher: hyper_util::server::graceful::Watcher,
) -> Result<(), BoxError> {
    stream.set_nodelay(true)?;
    let tls = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await??;
    let certificates = tls.get_ref().1.peer_certificates().map(<[_]>::to_vec).unwrap_or_default();
    let peer = PeerCertificates(Arc::new(certificates));
    let service = service_fn(move |request: Request<Incoming>| {
        let (server, peer) = (server.clone(), peer.clone());
        async move {
            let mut request = request.map(|b| -> Body { b.map_err(|e| -> BoxError { Box::new(e) }).boxed_unsync() });
            // Only the in-process transport names its user; what came over the network proves it.
            request.extensions_mut().remove::<auth::UserInfo>();
            request.extensions_mut().insert(peer);
            let head = request.method() == Method::HEAD;
            let response = server.handle(request).await;
            Ok::<_, Infallible>(if head { without_body(response) } else { response })
        }
    });
    let conn = builder.serve_connection_with_upgrades(TokioIo::new(tls), service).into_owned();
    watcher.watch(conn).await
}

/// The answer to a HEAD request. Hyper leaves the body out of HTTP/1 only.
fn without_body(response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact() {
        parts.headers.entry(header::CONTENT_LENGTH).or_insert(length.into());
    }
    Response::from_parts(parts, crate::http::body::empty())
}
