//! The HTTPS transport: HTTP/2 (or 1.1) over rustls with a client certificate or a bearer token.

use crate::connection::TlsConnection;
use crate::transport::{Body, BoxError, Transport};
use crate::{Error, Result};
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Where the server is and who we are. PEM everywhere.
#[derive(Clone, Default)]
pub struct HttpsConfig {
    /// `https://host:port`.
    pub server: String,
    pub ca_pem: Option<Vec<u8>>,
    pub client_cert_pem: Option<Vec<u8>>,
    pub client_key_pem: Option<Vec<u8>>,
    pub token: Option<String>,
    /// Read anew for each request: service-account tokens rotate.
    pub token_file: Option<PathBuf>,
    pub tls_server_name: Option<String>,
    /// Trust whoever answers. Connections can be read by others then; a kubeconfig may ask for it.
    pub insecure_skip_tls_verify: bool,
}

/// What a server may send of one answer before it is read, as Go's client has it.
const STREAM_WINDOW: u32 = 4 << 20;
/// Likewise of all answers together. So much that the streams' own windows fill first: a watch that nobody reads for a while
/// must not hold up the answers of other requests, as its reader may be waiting for one of them.
const CONNECTION_WINDOW: u32 = 1 << 30;

/// A pooled HTTPS connection to one API server.
pub struct HttpsTransport {
    client: hyper_util::client::legacy::Client<Connector, Full<Bytes>>,
    origin: Uri,
    token: Option<String>,
    token_file: Option<PathBuf>,
}

fn bad(what: &str, e: &dyn std::fmt::Display) -> Error {
    Error::Config(format!("{what}: {e}"))
}

/// The server's address, and the name that its certificate must have.
fn parse(server: &str, name: Option<&str>) -> Result<(Uri, ServerName<'static>)> {
    let origin: Uri = server.parse().map_err(|e| bad("server address", &e))?;
    let host = origin.host().ok_or_else(|| bad("server address", &"no host in it"))?;
    if origin.scheme_str() != Some("https") {
        return Err(bad("server address", &format!("{server} is not https")));
    }
    let name = name.unwrap_or(host).trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(name).map_err(|e| bad("server name", &e))?;
    Ok((origin, name))
}

/// Trusts those whom the authorities vouch for, and a server whose own certificate is among them.
fn trust(ca_pem: &[u8]) -> Result<pki::ServerVerifier> {
    let invalid = |e: &dyn std::fmt::Display| bad("certificate authority", e);
    let mut roots = rustls::RootCertStore::empty();
    let mut given = Vec::new();
    for cert in CertificateDer::pem_slice_iter(ca_pem) {
        let cert = cert.map_err(|e| invalid(&e))?;
        roots.add(cert.clone()).map_err(|e| invalid(&e))?;
        given.push(cert);
    }
    pki::ServerVerifier::bundle(roots, given).map_err(|e| invalid(&e))
}

impl HttpsTransport {
    pub fn new(config: HttpsConfig) -> Result<Self> {
        let (origin, name) = parse(&config.server, config.tls_server_name.as_deref())?;
        let verifier = if config.insecure_skip_tls_verify {
            pki::ServerVerifier::any_server()
        } else {
            trust(&config.ca_pem.ok_or_else(|| bad("certificate authority", &"none given"))?)?
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| bad("TLS", &e))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut tls = match (&config.client_cert_pem, &config.client_key_pem) {
            (Some(cert), Some(key)) => {
                let chain: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(cert).collect();
                let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| bad("client key", &e))?;
                builder
                    .with_client_auth_cert(chain.map_err(|e| bad("client certificate", &e))?, key)
                    .map_err(|e| bad("client certificate", &e))?
            }
            _ => builder.with_no_client_auth(),
        };
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self::over(origin, name, tls, config.token, config.token_file))
    }

    /// A transport over a TLS configuration that is made already.
    pub fn with_tls(server: &str, tls: rustls::ClientConfig) -> Result<Self> {
        let (origin, name) = parse(server, None)?;
        Ok(Self::over(origin, name, tls, None, None))
    }

    fn over(
        origin: Uri,
        name: ServerName<'static>,
        tls: rustls::ClientConfig,
        token: Option<String>,
        token_file: Option<PathBuf>,
    ) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(Duration::from_secs(30)));
        let connector = Connector { tcp, tls: tokio_rustls::TlsConnector::from(Arc::new(tls)), name };
        let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .http2_keep_alive_interval(Duration::from_secs(30))
            .http2_keep_alive_timeout(Duration::from_secs(15))
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            .build(connector);
        Self { client, origin, token, token_file }
    }

    fn bearer(&self) -> std::result::Result<Option<HeaderValue>, BoxError> {
        let token = match (&self.token_file, &self.token) {
            (Some(file), _) => Some(std::fs::read_to_string(file).map_err(|e| format!("read {}: {e}", file.display()))?),
            (None, t) => t.clone(),
        };
        let Some(token) = token else { return Ok(None) };
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

#[async_trait]
impl Transport for HttpsTransport {
    async fn send(&self, request: http::Request<Bytes>) -> std::result::Result<http::Response<Body>, BoxError> {
        let (mut parts, body) = request.into_parts();
        let mut uri = std::mem::take(&mut parts.uri).into_parts();
        uri.scheme = self.origin.scheme().cloned();
        uri.authority = self.origin.authority().cloned();
        parts.uri = Uri::from_parts(uri)?;
        if let Some(bearer) = self.bearer()? {
            parts.headers.insert(header::AUTHORIZATION, bearer);
        }
        let response = self.client.request(http::Request::from_parts(parts, Full::new(body))).await?;
        Ok(response.map(|b| b.map_err(BoxError::from).boxed_unsync()))
    }
}

#[derive(Clone)]
struct Connector {
    tcp: HttpConnector,
    tls: tokio_rustls::TlsConnector,
    name: ServerName<'static>,
}

impl tower_service::Service<Uri> for Connector {
    type Response = TlsConnection;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = std::result::Result<TlsConnection, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<std::result::Result<(), BoxError>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }
    fn call(&mut self, uri: Uri) -> Self::Future {
        let (tcp, tls, name) = (self.tcp.call(uri), self.tls.clone(), self.name.clone());
        Box::pin(async move {
            let tcp = tcp.await?.into_inner();
            let handshake = tokio::time::timeout(Duration::from_secs(10), tls.connect(name, tcp));
            Ok(TlsConnection::new(handshake.await.map_err(|_| "TLS handshake timed out")??))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::client::danger::ServerCertVerifier;
    use rustls::pki_types::UnixTime;

    #[test]
    fn a_server_is_trusted_by_its_own_certificate() {
        let identity = |name: &str| pki::Identity::server(name, &[name.to_owned()], &[]);
        let pair = pki::Authority::issue_alone(&identity("a.example")).expect("a certificate");
        let other = pki::Authority::issue_alone(&identity("a.example")).expect("a certificate");
        let leaf = CertificateDer::from_pem_slice(pair.cert.as_bytes()).expect("PEM");
        for (case, ca, name, trusted) in [
            ("its own", &pair, "a.example", true),
            ("another name", &pair, "b.example", false),
            ("another server's", &other, "a.example", false),
        ] {
            let name = ServerName::try_from(name).expect("a name");
            let judged = trust(ca.cert.as_bytes()).expect("a bundle").verify_server_cert(&leaf, &[], &name, &[], UnixTime::now());
            assert_eq!(judged.is_ok(), trusted, "{case}");
        }
    }

    /// A server with two paths: `/watch` never ends and sends as fast as it may, `/` answers at once.
    async fn serve(listener: tokio::net::TcpListener, tls: tokio_rustls::TlsAcceptor) {
        use http_body_util::{BodyExt, StreamBody};
        let (stream, _) = listener.accept().await.expect("a connection");
        let stream = tls.accept(stream).await.expect("TLS");
        let service = hyper::service::service_fn(|r: http::Request<hyper::body::Incoming>| {
            let body = if r.uri().path() == "/watch" {
                let line = || Ok::<_, std::convert::Infallible>(hyper::body::Frame::data(Bytes::from(vec![b' '; 64 << 10])));
                StreamBody::new(futures::stream::repeat_with(line)).boxed()
            } else {
                Full::new(Bytes::from("{}")).boxed()
            };
            std::future::ready(Ok::<_, std::convert::Infallible>(http::Response::new(body)))
        });
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
            .await;
    }

    #[tokio::test]
    async fn a_watch_that_nobody_reads_holds_up_no_other_request() {
        let local = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
        let pair = pki::Authority::issue_alone(&pki::Identity::server("localhost", &[], &[local])).expect("a certificate");
        let tls = pki::tls::server_config(&pair, &[]).expect("a TLS configuration");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let server = format!("https://{}", listener.local_addr().expect("an address"));
        tokio::spawn(serve(listener, tokio_rustls::TlsAcceptor::from(Arc::new(tls))));
        let config = HttpsConfig { server, ca_pem: Some(pair.cert.as_bytes().to_vec()), ..Default::default() };
        let client = crate::Client::new(Arc::new(HttpsTransport::new(config).expect("a transport")));
        let unread = client.watch_path::<serde_json::Value>("/watch", &crate::ListOptions::default(), 60).await.expect("a watch");
        // Many answers: the first ones may precede what the watch sends.
        for _ in 0..100 {
            assert_eq!(client.get_path("/").await.expect("an answer"), serde_json::json!({}));
        }
        drop(unread);
    }
}
