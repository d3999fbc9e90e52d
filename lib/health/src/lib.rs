//! The small servers of health that components have beside their own ports: some paths answer "ok", to anybody, over HTTP or HTTPS.
//! Metrics are not served there.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Serves until dropped. Every path but those of `healthy` is not found.
pub async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, healthy: &'static [&'static str]) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connection(stream, tls.clone(), healthy));
            }
            Err(e) => {
                tracing::warn!(error = %e, "connection not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await; // out of descriptors: let some close
            }
        }
    }
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, healthy: &'static [&'static str]) {
    let builder = auto::Builder::new(TokioExecutor::new());
    let service = hyper::service::service_fn(move |r: Request<Incoming>| {
        std::future::ready(Ok::<_, Infallible>(answer(healthy.contains(&r.uri().path()))))
    });
    let served = match tls {
        None => builder.serve_connection(TokioIo::new(stream), service).await,
        Some(tls) => {
            let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_secs(10), tls.accept(stream)).await else { return };
            builder.serve_connection(TokioIo::new(stream), service).await
        }
    };
    if let Err(e) = served {
        tracing::debug!(error = %e, "connection ended");
    }
}

fn answer(healthy: bool) -> Response<Full<Bytes>> {
    let (code, text) = if healthy { (StatusCode::OK, "ok") } else { (StatusCode::NOT_FOUND, "404 page not found\n") };
    let mut r = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *r.status_mut() = code;
    r
}
