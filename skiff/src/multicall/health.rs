//! The ports of health that stock components have: `/healthz`, `/livez`, `/readyz`, to anybody. Metrics are not served there.

use bytes::Bytes;
use clap::Args;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use pki::{Authority, Identity, Pair};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Where a component tells about its health over HTTPS.
#[derive(Args)]
pub struct Secure {
    /// Address of the port for health.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    bind_address: IpAddr,
    /// Port for health; 0 for none [default: upstream's of this component].
    #[arg(long)]
    secure_port: Option<u16>,
    /// Certificate that the port shows [default: one of its own making].
    #[arg(long, requires = "tls_private_key_file")]
    tls_cert_file: Option<PathBuf>,
    /// Key of that.
    #[arg(long, requires = "tls_cert_file")]
    tls_private_key_file: Option<PathBuf>,
}

impl Secure {
    /// Serves in the background, on `port` unless told otherwise.
    pub async fn serve(&self, port: u16) -> Result<(), String> {
        let port = self.secure_port.unwrap_or(port);
        if port == 0 {
            return Ok(());
        }
        let pair = match (&self.tls_cert_file, &self.tls_private_key_file) {
            (Some(cert), Some(key)) => Pair::read(cert, key),
            _ => self_signed(self.bind_address),
        };
        let tls = pair.and_then(|p| pki::tls::server_config(&p, &[])).map_err(|e| e.to_string())?;
        let listener = listen((self.bind_address, port).into()).await?;
        tokio::spawn(accept(listener, Some(TlsAcceptor::from(Arc::new(tls)))));
        Ok(())
    }
}

/// A certificate for a port that was given none.
pub fn self_signed(address: IpAddr) -> pki::Result<Pair> {
    let host = crate::settings::host_name();
    let identity = Identity::server(&host, &[host.clone(), "localhost".into()], &[address, Ipv4Addr::LOCALHOST.into()]);
    Authority::generate(&format!("{host}-ca"))?.issue(&identity, Duration::from_secs(365 * 24 * 3600))
}

async fn listen(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|e| format!("cannot listen on {address}: {e}"))
}

/// Serves health over plain HTTP in the background.
pub async fn plain(address: SocketAddr) -> Result<(), String> {
    tokio::spawn(accept(listen(address).await?, None));
    Ok(())
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connection(stream, tls.clone()));
            }
            Err(e) => {
                tracing::warn!(error = %e, "connection not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await; // out of descriptors: let some close
            }
        }
    }
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>) {
    let builder = auto::Builder::new(TokioExecutor::new());
    let service = hyper::service::service_fn(async |r: Request<Incoming>| Ok::<_, Infallible>(answer(r.uri().path())));
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

fn answer(path: &str) -> Response<Full<Bytes>> {
    let (code, text) = match path {
        "/healthz" | "/livez" | "/readyz" => (StatusCode::OK, "ok"),
        _ => (StatusCode::NOT_FOUND, "404 page not found\n"),
    };
    let mut r = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *r.status_mut() = code;
    r
}
