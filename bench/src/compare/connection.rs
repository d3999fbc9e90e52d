//! One HTTP/2 connection over TLS to an API server: the whole of the load generator's client.

use bytes::Bytes;
use client::https::HttpsConfig;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::header::{ACCEPT, CONTENT_TYPE};
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

pub const JSON: &str = "application/json";
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// A frame as large as a list's: the window must not be what is measured.
const WINDOW: u32 = 16 << 20;

/// Where a server is and who we are.
#[derive(Clone)]
pub struct Endpoint {
    host: String,
    tls: Arc<ClientConfig>,
}

impl Endpoint {
    pub fn of_kubeconfig(path: &Path) -> Result<Self, String> {
        let HttpsConfig { server, ca_pem, client_cert_pem, client_key_pem, .. } =
            client::kubeconfig::load(path).map_err(|e| e.to_string())?;
        let text = |pem: Option<Vec<u8>>| String::from_utf8(pem.unwrap_or_default()).map_err(|e| e.to_string());
        let pair = pki::Pair { cert: text(client_cert_pem)?, key: text(client_key_pem)? };
        let mut tls = pki::tls::client_config(&text(ca_pem)?, Some(&pair)).map_err(|e| e.to_string())?;
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let host = server.strip_prefix("https://").unwrap_or(&server).to_owned();
        Ok(Self { host, tls: Arc::new(tls) })
    }
}

/// A request that is sent as it is.
#[derive(Clone)]
pub struct Call {
    pub method: Method,
    pub path: String,
    pub content_type: &'static str,
    pub accept: &'static str,
    pub body: Bytes,
}

impl Call {
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), content_type: JSON, accept: JSON, body: Bytes::new() }
    }

    pub fn with(method: Method, path: impl Into<String>, body: &serde_json::Value) -> Self {
        Self { body: body.to_string().into(), ..Self::new(method, path) }
    }
}

#[derive(Clone)]
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

fn said(what: &'static str) -> impl Fn(&dyn std::fmt::Display) -> String {
    move |e| format!("{what}: {e}")
}

impl Connection {
    pub async fn open(endpoint: &Endpoint) -> Result<Self, String> {
        let tcp = TcpStream::connect(&endpoint.host).await.map_err(|e| format!("{}: {e}", endpoint.host))?;
        tcp.set_nodelay(true).map_err(|e| e.to_string())?;
        let name = endpoint.host.rsplit_once(':').map_or(endpoint.host.as_str(), |(h, _)| h).to_owned();
        let name = ServerName::try_from(name).map_err(|e| e.to_string())?;
        let tls = TlsConnector::from(endpoint.tls.clone()).connect(name, tcp).await.map_err(|e| said("TLS")(&e))?;
        let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .handshake(TokioIo::new(tls))
            .await
            .map_err(|e| said("HTTP/2")(&e))?;
        tokio::spawn(connection);
        Ok(Self { sender, host: endpoint.host.clone() })
    }

    /// Sends a call; the answer's head has arrived when this returns.
    pub async fn send(&mut self, call: &Call) -> Result<Response<Incoming>, String> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(format!("https://{}{}", self.host, call.path))
            .header(ACCEPT, call.accept);
        if !call.body.is_empty() {
            request = request.header(CONTENT_TYPE, call.content_type);
        }
        let request = request.body(Full::new(call.body.clone())).map_err(|e| e.to_string())?;
        self.sender.ready().await.map_err(|e| said("connection")(&e))?;
        self.sender.send_request(request).await.map_err(|e| said("request")(&e))
    }

    /// Sends a call and reads the whole answer; anything but success is an error.
    pub async fn call(&mut self, call: &Call) -> Result<Bytes, String> {
        let answer = self.send(call).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(|e| said("answer")(&e))?.to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        let text = String::from_utf8_lossy(&body[..body.len().min(400)]).into_owned();
        Err(format!("{} {}: {status}: {text}", call.method, call.path))
    }
}
