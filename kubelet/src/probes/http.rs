//! HTTP requests of probes and lifecycle hooks: HTTP/1.1, certificates not verified, redirects followed on the same host only.

use super::check::port;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const MAX_BODY: usize = 10 << 10;
const MAX_REDIRECTS: usize = 10;

/// A GET as an httpGet action describes it.
pub struct Get {
    tls: bool,
    host: String,
    port: u16,
    path: String,
    headers: Vec<(String, String)>,
}

/// What made a probe succeed.
pub struct Answer {
    pub body: String,
    /// The user should hear of it: the answer sent the probe elsewhere.
    pub warning: bool,
}

impl Get {
    pub fn of(h: &HTTPGetAction, c: &Container, ip: &str) -> Result<Self, String> {
        let path = h.path.as_deref().unwrap_or("");
        Ok(Self {
            tls: h.scheme.as_deref().is_some_and(|s| s.eq_ignore_ascii_case("https")),
            host: h.host.as_deref().filter(|h| !h.is_empty()).unwrap_or(ip).to_owned(),
            port: port(&h.port, c).ok_or("no such port")?,
            path: if path.starts_with('/') { path.to_owned() } else { format!("/{path}") },
            headers: h.http_headers.iter().flatten().map(|h| (h.name.clone(), h.value.clone())).collect(),
        })
    }

    fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}{}", host_port(&self.host, self.port), self.path)
    }

    /// Success and failure as a probe sees them.
    pub async fn probe(mut self, timeout: Duration) -> Result<Answer, String> {
        let limit = tokio::time::Instant::now() + timeout;
        for _ in 0..MAX_REDIRECTS {
            let url = self.url();
            let answer = tokio::time::timeout_at(limit, self.send(timeout)).await;
            let timed_out = || format!("Get {url:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)");
            let (code, location, body) = answer.map_err(|_| timed_out())?.map_err(|e| format!("Get {url:?}: {e}"))?;
            match (code, location) {
                (300..=399, Some(to)) if self.redirect(&to) => {}
                (300..=399, _) => {
                    return Ok(Answer { body: format!("Probe terminated redirects, Response body: {body}"), warning: true });
                }
                (200..=299, _) => return Ok(Answer { body, warning: false }),
                _ => return Err(format!("HTTP probe failed with statuscode: {code}")),
            }
        }
        Err(format!("Get {:?}: stopped after {MAX_REDIRECTS} redirects", self.url()))
    }

    /// Follows a redirect on the same host; one elsewhere ends the probe with success.
    fn redirect(&mut self, to: &str) -> bool {
        if to.starts_with('/') && !to.starts_with("//") {
            to.clone_into(&mut self.path);
            return true;
        }
        let Ok(uri) = to.parse::<::http::Uri>() else { return false };
        if uri.host().map(|h| h.trim_matches(['[', ']'])) != Some(self.host.as_str()) {
            return false;
        }
        self.tls = uri.scheme_str() == Some("https");
        self.port = uri.port_u16().unwrap_or(if self.tls { 443 } else { 80 });
        self.path = uri.path_and_query().map_or_else(|| "/".into(), ToString::to_string);
        true
    }

    /// Sends the request; status code, Location and the start of the body.
    pub async fn send(&self, timeout: Duration) -> Result<(u16, Option<String>, String), String> {
        let stream = dial(&self.host, self.port, timeout).await?;
        let mut request = ::http::Request::get(&self.path);
        let has = |n: &str| self.headers.iter().any(|(k, _)| k.eq_ignore_ascii_case(n));
        if !has("host") {
            request = request.header("Host", host_port(&self.host, self.port));
        }
        if !has("user-agent") {
            request = request.header("User-Agent", "kube-probe/1.36");
        }
        if !has("accept") {
            request = request.header("Accept", "*/*");
        }
        request = request.header("Connection", "close");
        for (k, v) in &self.headers {
            if !v.is_empty() || !matches!(k.to_ascii_lowercase().as_str(), "accept" | "user-agent") {
                request = request.header(k, v);
            }
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|e| e.to_string())?;
        if self.tls {
            let name = rustls::pki_types::ServerName::try_from(self.host.clone()).map_err(|e| e.to_string())?;
            let stream = TlsConnector::from(any_certificate()).connect(name, stream).await.map_err(|e| e.to_string())?;
            exchange(stream, request).await
        } else {
            exchange(stream, request).await
        }
    }
}

async fn exchange<S>(stream: S, request: ::http::Request<Empty<Bytes>>) -> Result<(u16, Option<String>, String), String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let text = |e: hyper::Error| e.to_string();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
    let _connection = AbortOnDrop(tokio::spawn(connection).abort_handle());
    let response = sender.send_request(request).await.map_err(text)?;
    let location = response.headers().get("location").and_then(|l| l.to_str().ok()).map(str::to_owned);
    let code = response.status().as_u16();
    let body = Limited::new(response.into_body(), MAX_BODY).collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    Ok((code, location, String::from_utf8_lossy(&body).into_owned()))
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub fn host_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Connects, with errors in Go's words. Probes close with RST upstream to save TIME_WAIT entries; so here.
pub async fn dial(host: &str, port: u16, timeout: Duration) -> Result<TcpStream, String> {
    let at = host_port(host, port);
    let connect = async {
        match at.parse::<SocketAddr>() {
            Ok(a) => TcpStream::connect(a).await,
            Err(_) => TcpStream::connect(&*at).await,
        }
    };
    match tokio::time::timeout(timeout, connect).await {
        Ok(Ok(s)) => Ok(s),
        Ok(Err(e)) => {
            let why = match e.kind() {
                std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
                std::io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
                std::io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
                _ => e.to_string(),
            };
            Err(format!("dial tcp {at}: {why}"))
        }
        Err(_) => Err(format!("dial tcp {at}: i/o timeout")),
    }
}

/// A TLS client that takes any certificate: a probe asks whether a server answers, not who it is.
fn any_certificate() -> Arc<rustls::ClientConfig> {
    static CONFIG: OnceLock<Arc<rustls::ClientConfig>> = OnceLock::new();
    CONFIG
        .get_or_init(|| {
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let schemes = provider.signature_verification_algorithms.supported_schemes();
            let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
            let builder = match builder {
                Ok(b) => b,
                Err(_) => rustls::ClientConfig::builder(),
            };
            let verifier = Arc::new(AnyCertificate { schemes });
            Arc::new(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
        })
        .clone()
}

#[derive(Debug)]
struct AnyCertificate {
    schemes: Vec<rustls::SignatureScheme>,
}

impl rustls::client::danger::ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.schemes.clone()
    }
}
