//! Reading kubeconfig files: server, CA, client certificate or token of the current context.

use crate::https::{HttpsConfig, HttpsTransport};
use crate::{Client, Error, Result};
use base64::Engine;
use serde::Deserialize;
use std::path::Path;
use std::sync::Arc;

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct Kubeconfig {
    clusters: Vec<Named<Cluster>>,
    users: Vec<Named<User>>,
    contexts: Vec<Named<Context>>,
    current_context: String,
}

#[derive(Deserialize)]
struct Named<T> {
    name: String,
    #[serde(alias = "cluster", alias = "user", alias = "context")]
    value: T,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct Cluster {
    server: String,
    certificate_authority: Option<String>,
    certificate_authority_data: Option<String>,
    tls_server_name: Option<String>,
    insecure_skip_tls_verify: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct User {
    client_certificate: Option<String>,
    client_certificate_data: Option<String>,
    client_key: Option<String>,
    client_key_data: Option<String>,
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<String>,
    exec: Option<machinery::Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Context {
    cluster: String,
    user: String,
}

/// The connection that a kubeconfig's current context describes.
pub fn load(path: &Path) -> Result<HttpsConfig> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::Config(format!("read kubeconfig {}: {e}", path.display())))?;
    parse(&text, path.parent().unwrap_or(Path::new(".")))
        .map_err(|e| Error::Config(format!("kubeconfig {}: {e}", path.display())))
}

/// A client for the current context of a kubeconfig file.
pub fn client(path: &Path) -> Result<Client> {
    Ok(Client::new(Arc::new(HttpsTransport::new(load(path)?)?)))
}

fn parse(text: &str, dir: &Path) -> std::result::Result<HttpsConfig, String> {
    let k: Kubeconfig = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
    let find = |what: &str, name: &str| format!("no {what} {name:?}");
    let context =
        &k.contexts.iter().find(|c| c.name == k.current_context).ok_or_else(|| find("context", &k.current_context))?.value;
    let cluster = &k.clusters.iter().find(|c| c.name == context.cluster).ok_or_else(|| find("cluster", &context.cluster))?.value;
    let none = User::default();
    let user = k.users.iter().find(|u| u.name == context.user).map_or(&none, |u| &u.value);
    if user.exec.is_some() {
        return Err("exec credential plugins are not supported: use a client certificate, token or tokenFile".into());
    }
    let pem = |data: &Option<String>, file: &Option<String>| -> std::result::Result<Option<Vec<u8>>, String> {
        if let Some(d) = data {
            return base64::engine::general_purpose::STANDARD.decode(d.trim()).map(Some).map_err(|e| format!("bad base64: {e}"));
        }
        let Some(f) = file else { return Ok(None) };
        let f = dir.join(f);
        std::fs::read(&f).map(Some).map_err(|e| format!("read {}: {e}", f.display()))
    };
    Ok(HttpsConfig {
        server: cluster.server.clone(),
        ca_pem: pem(&cluster.certificate_authority_data, &cluster.certificate_authority)?,
        client_cert_pem: pem(&user.client_certificate_data, &user.client_certificate)?,
        client_key_pem: pem(&user.client_key_data, &user.client_key)?,
        token: user.token.clone(),
        token_file: user.token_file.as_ref().map(|f| dir.join(f)),
        tls_server_name: cluster.tls_server_name.clone(),
        insecure_skip_tls_verify: cluster.insecure_skip_tls_verify,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_context_decides() {
        let text = r#"
apiVersion: v1
kind: Config
clusters: [{name: a, cluster: {server: "https://1.2.3.4:6443", certificate-authority-data: Y2E=}}]
users: [{name: u, user: {client-certificate-data: Y2VydA==, client-key-data: a2V5}}, {name: t, user: {token: abc}}]
contexts: [{name: x, context: {cluster: a, user: u}}, {name: y, context: {cluster: a, user: t}}]
current-context: x
"#;
        let c = parse(text, Path::new("/")).expect("valid");
        assert_eq!((c.server.as_str(), c.ca_pem.as_deref()), ("https://1.2.3.4:6443", Some(&b"ca"[..])));
        assert_eq!((c.client_cert_pem.as_deref(), c.token.as_deref()), (Some(&b"cert"[..]), None));
        let c = parse(&text.replace("current-context: x", "current-context: y"), Path::new("/")).expect("valid");
        assert_eq!((c.client_cert_pem, c.token.as_deref()), (None, Some("abc")));
        assert!(!c.insecure_skip_tls_verify);
        let c = parse(&text.replace("certificate-authority-data: Y2E=", "insecure-skip-tls-verify: true"), Path::new("/"));
        assert!(c.expect("valid").insecure_skip_tls_verify);
        let e = parse(&text.replace("current-context: x", "current-context: z"), Path::new("/")).err().unwrap_or_default();
        assert_eq!(e, "no context \"z\"");
    }
}
