//! Where a kubelet is, and how the server shows itself to it. Upstream: pkg/kubelet/client.

use crate::config::Config;
use crate::server::Inner;
use machinery::{Status, Value, meta};
use pki::Pair;
use pki::any_server::AnyServer;
use rustls::ClientConfig;
use std::sync::Arc;

/// TLS towards kubelets and towards whatever is proxied.
pub struct Connector {
    /// With the server's client certificate.
    pub kubelet: Arc<ClientConfig>,
    /// Without: for pods and services.
    pub any: Arc<ClientConfig>,
}

fn anonymous(alpn: bool) -> Result<ClientConfig, rustls::Error> {
    let provider = pki::tls::provider();
    let mut c = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
        .with_no_client_auth();
    if alpn {
        c.alpn_protocols = vec![b"http/1.1".to_vec()];
    }
    Ok(c)
}

impl Connector {
    pub fn new(config: &Config) -> Result<Self, String> {
        let cert = config.file(&config.kubelet_client_certificate, "apiserver-kubelet-client.crt");
        let key = config.file(&config.kubelet_client_key, "apiserver-kubelet-client.key");
        let text = |e: &dyn std::fmt::Display| format!("kubelet client certificate: {e}");
        let any = Arc::new(anonymous(true).map_err(|e| text(&e))?);
        if !cert.exists() {
            tracing::warn!(path = %cert.display(), "no kubelet client certificate: kubelets will refuse exec, logs and the like");
            return Ok(Self { kubelet: any.clone(), any });
        }
        let pair = Pair::read(&cert, &key).map_err(|e| text(&e))?;
        let mut kubelet = match &config.kubelet_certificate_authority {
            Some(path) => {
                let ca = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
                pki::tls::client_config(&ca, Some(&pair)).map_err(|e| text(&e))?
            }
            None => {
                let provider = pki::tls::provider();
                ClientConfig::builder_with_provider(provider.clone())
                    .with_safe_default_protocol_versions()
                    .map_err(|e| text(&e))?
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
                    .with_client_auth_cert(pair.certificates().map_err(|e| text(&e))?, pair.private_key().map_err(|e| text(&e))?)
                    .map_err(|e| text(&e))?
            }
        };
        kubelet.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { kubelet: Arc::new(kubelet), any })
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

/// The address of a node to reach it by: addresses before names, since names need a resolver.
fn host(node: &Value) -> Result<String, Status> {
    let addresses = meta::list_at(node, &["status", "addresses"]);
    ["InternalIP", "Hostname", "InternalDNS", "ExternalIP", "ExternalDNS"]
        .iter()
        .find_map(|t| addresses.iter().find(|a| a["type"] == *t).and_then(|a| a["address"].as_str()))
        .map(str::to_owned)
        .ok_or_else(|| Status::internal(format!("no preferred addresses found; known addresses: {addresses:?}")))
}
