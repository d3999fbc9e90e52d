//! A server that the API server talks to: a webhook, or another API server. TLS with a certificate of its own, on the loopback
//! address.

use base64::Engine as _;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

pub fn b64(bytes: impl AsRef<[u8]>) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Serves requests as `127.0.0.1`, `localhost` and `backend.default.svc` until the test ends. Returns the port, and the authority as
/// a `caBundle` has it.
pub async fn serve<F, R>(answer: F) -> (u16, String)
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + 'static,
    R: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let ca = pki::Authority::generate("authority").expect("an authority");
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let identity = pki::Identity::server("backend", &["localhost".into(), "backend.default.svc".into()], &[local]);
    let pair = ca.issue(&identity, Duration::from_secs(3600)).expect("a certificate");
    let tls = TlsAcceptor::from(Arc::new(pki::tls::server_config(&pair, &[]).expect("TLS")));
    let listener = TcpListener::bind((local, 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (tls, answer) = (tls.clone(), answer.clone());
            tokio::spawn(async move {
                let Ok(stream) = tls.accept(stream).await else { return };
                let service = service_fn(move |r| {
                    let response = answer(r);
                    async move { Ok::<_, Infallible>(response.await) }
                });
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (port, b64(ca.cert_pem()))
}
