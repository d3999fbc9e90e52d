//! The port of health, plain HTTP on this machine alone unless told otherwise: `/healthz`.

use super::text;
use crate::context::Context;
use crate::kubelet::StartError;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::time::Duration;
use tokio::net::TcpListener;

/// Binds the port; none where it is 0.
pub async fn bind(ctx: &Context) -> Result<Option<TcpListener>, StartError> {
    let k = &ctx.config.kubelet;
    if k.healthz_port == 0 {
        return Ok(None);
    }
    let at = format!("{}:{}", k.healthz_bind_address, k.healthz_port);
    TcpListener::bind(&at).await.map(Some).map_err(|source| StartError::Io { what: format!("listen on {at}"), source })
}

/// Serves until dropped.
pub async fn run(listener: TcpListener) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await; // out of descriptors: let some close
            continue;
        };
        tokio::spawn(async move {
            let service = hyper::service::service_fn(async |r: Request<Incoming>| {
                let answer = match r.uri().path() {
                    "/healthz" | "/healthz/ping" => text(StatusCode::OK, "ok"),
                    _ => text(StatusCode::NOT_FOUND, "404 page not found\n"),
                };
                Ok::<_, Infallible>(answer)
            });
            let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
