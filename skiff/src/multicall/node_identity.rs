//! Who a kubelet is to the API server: by its kubeconfig, or, the first time, by a certificate in exchange for a bootstrap kubeconfig;
//! renewed in time where it is told to (upstream pkg/kubelet/certificate/bootstrap and its client certificate manager).

use base64::Engine;
use client::{Client, Clock, HttpsConfig, HttpsTransport, Replaceable};
use kubelet::certificates::{client_certificate, rotation, user};
use pki::{Identity, Pair, files};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the identity comes from and stays.
pub struct Source<'a> {
    pub node_name: &'a str,
    pub kubeconfig: &'a Path,
    pub bootstrap_kubeconfig: Option<&'a Path>,
    pub cert_dir: PathBuf,
    pub rotate: bool,
    /// Address of the server in place of the kubeconfig's.
    pub server: Option<String>,
}

fn text(pem: Option<Vec<u8>>) -> Option<String> {
    String::from_utf8(pem?).ok()
}

fn store(path: &Path, pair: &Pair) -> Result<(), String> {
    if let Some(dir) = path.parent() {
        files::ensure_dir(dir).map_err(|e| e.to_string())?;
    }
    let content = format!("{}{}", pair.cert, pair.key);
    files::write_atomic(path, content.as_bytes(), files::PRIVATE).map_err(|e| e.to_string())
}

impl Source<'_> {
    /// Certificate and key in one file, as upstream names it.
    fn current(&self) -> PathBuf {
        self.cert_dir.join("kubelet-client-current.pem")
    }

    fn load(&self, path: &Path) -> Result<HttpsConfig, String> {
        let mut config = client::kubeconfig::load(path).map_err(|e| e.to_string())?;
        if let Some(s) = &self.server {
            config.server.clone_from(s);
        }
        Ok(config)
    }

    /// The renewed certificate of an earlier run.
    fn renewed(&self) -> Option<Pair> {
        let text = files::read_if_present(&self.current()).ok().flatten()?;
        let pair = Pair { cert: text.clone(), key: text };
        let identity = Identity::client(&user(self.node_name), &["system:nodes"]);
        (self.is_valid(&pair) && pair.is_for(&identity).unwrap_or(false)).then_some(pair)
    }

    fn is_valid(&self, pair: &Pair) -> bool {
        rotation::is_valid(&pair.cert, Clock::System.now())
    }

    /// Gets the first certificate and writes the kubeconfig that refers to it.
    async fn bootstrap(&self, bootstrap: &Path) -> Result<(), String> {
        let config = self.load(bootstrap).map_err(|e| format!("--bootstrap-kubeconfig: {e}"))?;
        let (server, ca) = (config.server.clone(), config.ca_pem.clone().unwrap_or_default());
        let client = Client::new(Arc::new(HttpsTransport::new(config).map_err(|e| e.to_string())?));
        let pair = client_certificate(&client.with_user_agent(&format!("kubelet/{}", super::VERSION)), self.node_name).await;
        store(&self.current(), &pair.map_err(|e| format!("asking for the node's certificate: {e}"))?)?;
        let (file, ca) = (self.current(), base64::engine::general_purpose::STANDARD.encode(ca));
        let name = "default";
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": ca}}],
            "users": [{"name": name, "user": {"client-certificate": file, "client-key": file}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
        });
        let content = format!("{kubeconfig:#}\n");
        files::write_atomic(self.kubeconfig, content.as_bytes(), files::PRIVATE).map_err(|e| e.to_string())
    }

    /// The kubelet's client. It changes its certificate while it is in use, if it is renewed.
    pub async fn client(self) -> Result<Client, String> {
        let usable = self.kubeconfig.exists() && {
            let config = self.load(self.kubeconfig).map_err(|e| format!("--kubeconfig: {e}"))?;
            let pair = text(config.client_cert_pem).zip(text(config.client_key_pem)).map(|(cert, key)| Pair { cert, key });
            pair.is_none_or(|p| self.is_valid(&p)) || self.renewed().is_some()
        };
        if let Some(bootstrap) = self.bootstrap_kubeconfig.filter(|b| !usable && b.exists()) {
            self.bootstrap(bootstrap).await?;
        }
        let mut config = self.load(self.kubeconfig).map_err(|e| format!("--kubeconfig: {e}"))?;
        let transport = |c: HttpsConfig| HttpsTransport::new(c).map(Arc::new).map_err(|e| format!("--kubeconfig: {e}"));
        let given = text(config.client_cert_pem.clone()).zip(text(config.client_key_pem.clone()));
        let Some((cert, key)) = given.filter(|_| self.rotate) else {
            return Ok(Client::new(transport(config)?));
        };
        let pair = self.renewed().unwrap_or(Pair { cert, key });
        let with = |mut c: HttpsConfig, p: &Pair| {
            (c.client_cert_pem, c.client_key_pem) = (Some(p.cert.clone().into_bytes()), Some(p.key.clone().into_bytes()));
            c
        };
        config = with(config, &pair);
        let current = Arc::new(Replaceable::new(transport(config.clone())?));
        let client = Client::new(current.clone());
        let name = self.node_name.to_owned();
        let file = self.current();
        tokio::spawn(rotation::renew_client(client.clone(), name, pair, Clock::System, move |new| {
            store(&file, new)?;
            current.replace(transport(with(config.clone(), new))?);
            Ok(())
        }));
        Ok(client)
    }
}
