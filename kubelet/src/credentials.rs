//! Registry credentials from a pod's imagePullSecrets (`kubernetes.io/dockerconfigjson` and `dockercfg`).

use crate::context::Context;
use base64::Engine;
use cri::v1::AuthConfig;
use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct DockerConfig {
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
#[serde(default, rename_all = "lowercase")]
#[derive(Default)]
struct Entry {
    username: String,
    password: String,
    auth: String,
}

/// Credentials that match an image's registry, in the order of the pod's secrets.
pub async fn lookup(ctx: &Context, pod: &Pod, image: &str) -> Vec<AuthConfig> {
    let uid = pod.metadata.uid.as_deref().unwrap_or("");
    let ns = pod.metadata.namespace.as_deref().unwrap_or("");
    let mut found = Vec::new();
    for r in crate::pod::spec::spec(pod).image_pull_secrets.iter().flatten() {
        let Ok(Some(secret)) = ctx.secrets.get(uid, ns, &r.name).await else { continue };
        let data = |k: &str| secret.data.as_ref().and_then(|d| d.get(k)).map(|b| b.0.as_slice());
        let auths = match (data(".dockerconfigjson"), data(".dockercfg")) {
            (Some(json), _) => serde_json::from_slice::<DockerConfig>(json).map(|c| c.auths).ok(),
            (None, Some(json)) => serde_json::from_slice(json).ok(),
            _ => None,
        };
        for (server, entry) in auths.unwrap_or_default() {
            if matches(&server, image) {
                found.push(auth(entry));
            }
        }
    }
    found
}

fn auth(e: Entry) -> AuthConfig {
    let (mut username, mut password) = (e.username, e.password);
    let decoded = base64::engine::general_purpose::STANDARD.decode(e.auth.trim()).ok().and_then(|b| String::from_utf8(b).ok());
    if let Some((u, p)) = decoded.as_deref().and_then(|d| d.split_once(':')) {
        (username, password) = (u.to_owned(), p.trim_end_matches('\0').to_owned());
    }
    AuthConfig { username, password, ..Default::default() }
}

fn matches(server: &str, image: &str) -> bool {
    let server = server.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    let server = server.trim_end_matches("/v1").trim_end_matches("/v2");
    let first = image.split('/').next().unwrap_or("");
    let has_host = image.contains('/') && (first.contains(['.', ':']) || first == "localhost");
    let full = if has_host { image.to_owned() } else { format!("index.docker.io/{image}") };
    let full = full.strip_prefix("docker.io/").map_or(full.clone(), |rest| format!("index.docker.io/{rest}"));
    let (host, path) = server.split_once('/').unwrap_or((server, ""));
    let (image_host, image_path) = full.split_once('/').unwrap_or((&full, ""));
    let host_ok = match host.strip_prefix("*.") {
        Some(suffix) => image_host.split_once('.').is_some_and(|(_, rest)| rest == suffix),
        None => host == image_host,
    };
    host_ok && image_path.starts_with(path)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn servers() {
        for (server, image, want) in [
            ("https://index.docker.io/v1/", "busybox", true),
            ("r.example:5000", "r.example:5000/a/b:1", true),
            ("r.example:5000", "r.example/a", false),
            ("*.example.com", "x.example.com/a", true),
            ("r.example/team", "r.example/team/a", true),
            ("r.example/team", "r.example/other/a", false),
        ] {
            assert_eq!(matches(server, image), want, "{server} {image}");
        }
    }
}
