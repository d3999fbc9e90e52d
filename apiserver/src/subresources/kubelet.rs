//! Where a kubelet is, and how the server shows itself to it. Upstream: pkg/kubelet/client.

use crate::config::Config;
use crate::server::Inner;
use machinery::{Status, Value, meta};
use pki::{Pair, ServerVerifier, tls};
use rustls::ClientConfig;
use std::sync::Arc;

/// TLS towards kubelets and towards whatever is proxied.
pub struct Connector {
    /// With the server's client certificate.
    pub kubelet: Arc<ClientConfig>,
    /// Without: for pods and services.
    pub any: Arc<ClientConfig>,
}

impl Connector {
    pub fn new(config: &Config) -> Result<Self, String> {
        let cert = config.file(&config.kubelet_client_certificate, "apiserver-kubelet-client.crt");
        let key = config.file(&config.kubelet_client_key, "apiserver-kubelet-client.key");
        let text = |e: &dyn std::fmt::Display| format!("kubelet client certificate: {e}");
        // Connections are upgraded: HTTP/1.1.
        let http1 = |mut c: ClientConfig| {
            c.alpn_protocols = vec![b"http/1.1".to_vec()];
            Arc::new(c)
        };
        let any = tls::verifying_client_config(ServerVerifier::any_server(), None);
        let any = http1(any.map_err(|e| text(&e))?);
        if !cert.exists() {
            tracing::warn!(path = %cert.display(), "no kubelet client certificate: kubelets will refuse exec, logs and the like");
            return Ok(Self { kubelet: any.clone(), any });
        }
        let pair = Pair::read(&cert, &key).map_err(|e| text(&e))?;
        let kubelet = match &config.kubelet_certificate_authority {
            Some(path) => {
                let ca = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
                tls::client_config(&ca, Some(&pair))
            }
            None => tls::verifying_client_config(ServerVerifier::any_server(), Some(&pair)),
        };
        Ok(Self { kubelet: http1(kubelet.map_err(|e| text(&e))?), any })
    }
}

/// Host and port of a node's kubelet.
pub async fn address(server: &Inner, node: &str) -> Result<(String, u16), Status> {
    let node = server.get_object("", "nodes", "", node).await?;
    let port = meta::i64_at(&node, &["status", "daemonEndpoints", "kubeletEndpoint", "Port"])
        .and_then(|p| u16::try_from(p).ok())
        .filter(|p| *p != 0)
        .unwrap_or(10250);
    Ok((host(&node)?, port))
}

/// The node's kubelet translates streams of WebSockets by itself, and says so.
pub async fn takes_web_sockets(server: &Inner, node: &str) -> Result<bool, Status> {
    let node = server.get_object("", "nodes", "", node).await?;
    Ok(meta::list_at(&node, &["status", "declaredFeatures"]).iter().any(|f| f == "ExtendWebSocketsToKubelet"))
}

/// The address of a node to reach it by: addresses before names, since names need a resolver.
fn host(node: &Value) -> Result<String, Status> {
    let addresses = meta::list_at(node, &["status", "addresses"]);
    ["InternalIP", "Hostname", "InternalDNS", "ExternalIP", "ExternalDNS"]
        .iter()
        .find_map(|t| addresses.iter().find(|a| a["type"] == *t).and_then(|a| a["address"].as_str()))
        .map(str::to_owned)
        .ok_or_else(|| Status::internal(format!("no preferred addresses found; known addresses: {addresses:?}")))
}
