//! Credentials for registries: of a pod's imagePullSecrets (`kubernetes.io/dockerconfigjson`, `kubernetes.io/dockercfg`), then of the
//! node's own `config.json` below the kubelet's directory. The most specific match is tried first (upstream pkg/credentialprovider).

use crate::context::Context;
use crate::image_name::ImageName;
use base64::Engine;
use cri::v1::AuthConfig;
use k8s_openapi::api::core::v1::{Pod, Secret};
use serde::Deserialize;
use std::collections::BTreeMap;

type Auths = BTreeMap<String, Entry>;

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: Auths,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "lowercase")]
struct Entry {
    username: String,
    password: String,
    auth: String,
}

/// Where a registry without a name in the image is.
const DEFAULT_REGISTRY: &str = "index.docker.io";

/// Credentials by host and path.
#[derive(Default)]
struct Keyring(BTreeMap<String, Vec<AuthConfig>>);

impl Keyring {
    fn add(&mut self, auths: Auths) {
        for (server, entry) in auths {
            let server = server.trim_start_matches("https://").trim_start_matches("http://");
            let (host, path) = server.split_once('/').unwrap_or((server, ""));
            // The API's versions are what the host says.
            let path = path.strip_prefix("v1/").or_else(|| path.strip_prefix("v2/")).unwrap_or(path);
            let key = if path.is_empty() { host.to_owned() } else { format!("{host}/{path}") };
            self.0.entry(key).or_default().push(auth(entry));
        }
    }

    /// All that match a repository, more specific paths first.
    fn lookup(&self, repository: &str) -> Vec<AuthConfig> {
        let found: Vec<_> =
            self.0.iter().rev().filter(|(key, _)| matches(key, repository)).flat_map(|(_, a)| a.clone()).collect();
        let first = repository.split('/').next().unwrap_or("");
        let of_default = !repository.contains('/') || first == "docker.io" || !first.contains(['.', ':']);
        match self.0.get(DEFAULT_REGISTRY) {
            Some(default) if found.is_empty() && of_default => default.clone(),
            _ => found,
        }
    }
}

fn auth(e: Entry) -> AuthConfig {
    let (mut username, mut password) = (e.username, e.password);
    let decoded = base64::engine::general_purpose::STANDARD.decode(e.auth.trim()).ok().and_then(|b| String::from_utf8(b).ok());
    if let Some((u, p)) = decoded.as_deref().and_then(|d| d.split_once(':')) {
        (username, password) = (u.to_owned(), p.trim_end_matches('\0').to_owned());
    }
    AuthConfig { username, password, ..Default::default() }
}

/// Part by part of the host, where `*` stands for any letters, and the path as a prefix.
fn matches(key: &str, repository: &str) -> bool {
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    let (image_host, image_path) = repository.split_once('/').unwrap_or((repository, ""));
    let (host, port) = host.split_once(':').unwrap_or((host, ""));
    let (image_host, image_port) = image_host.split_once(':').unwrap_or((image_host, ""));
    let (parts, image_parts): (Vec<&str>, Vec<&str>) = (host.split('.').collect(), image_host.split('.').collect());
    port == image_port
        && parts.len() == image_parts.len()
        && image_path.starts_with(path)
        && parts.iter().zip(image_parts).all(|(glob, part)| glob_matches(glob, part))
}

fn glob_matches(glob: &str, part: &str) -> bool {
    let Some((before, after)) = glob.split_once('*') else { return glob == part };
    let Some(rest) = part.strip_prefix(before) else { return false };
    (0..=rest.len()).filter(|i| rest.is_char_boundary(*i)).any(|i| glob_matches(after, &rest[i..]))
}

/// The image's repository with its host, as images without one mean docker.io.
fn repository(image: &str) -> String {
    let name = ImageName::of(image).repository;
    match name.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => name.to_owned(),
        Some(_) => format!("docker.io/{name}"),
        None => format!("docker.io/library/{name}"),
    }
}

fn auths_of(secret: &Secret) -> Option<Auths> {
    let data = |k: &str| secret.data.as_ref().and_then(|d| d.get(k)).map(|b| b.0.as_slice()).filter(|b| !b.is_empty());
    let parsed = match secret.type_.as_deref() {
        Some("kubernetes.io/dockerconfigjson") => {
            serde_json::from_slice::<DockerConfig>(data(".dockerconfigjson")?).map(|c| c.auths)
        }
        Some("kubernetes.io/dockercfg") => serde_json::from_slice(data(".dockercfg")?),
        _ => return None,
    };
    parsed.map_err(|e| tracing::warn!(secret = secret.metadata.name, error = %e, "pull secret not read")).ok()
}

/// Credentials that match an image's registry, in the order in which they are tried.
pub async fn lookup(ctx: &Context, pod: &Pod, image: &str) -> Vec<AuthConfig> {
    let uid = pod.metadata.uid.as_deref().unwrap_or("");
    let ns = pod.metadata.namespace.as_deref().unwrap_or("");
    let mut ring = Keyring::default();
    for r in crate::pod::spec::spec(pod).image_pull_secrets.iter().flatten() {
        let Ok(Some(secret)) = ctx.secrets.get(uid, ns, &r.name).await else { continue };
        ring.add(auths_of(&secret).unwrap_or_default());
    }
    let repository = repository(image);
    let mut found = ring.lookup(&repository);
    let of_node = std::fs::read(ctx.config.root_dir.join("config.json")).ok();
    if let Some(config) = of_node.and_then(|c| serde_json::from_slice::<DockerConfig>(&c).ok()) {
        let mut ring = Keyring::default();
        ring.add(config.auths);
        found.extend(ring.lookup(&repository));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_first() {
        let auths = |names: &[&str]| -> Auths {
            names.iter().map(|n| ((*n).to_owned(), Entry { username: (*n).to_owned(), ..Default::default() })).collect()
        };
        for (name, servers, image, want) in [
            (
                "docker hub by its old address",
                &["https://index.docker.io/v1/"][..],
                "busybox",
                &["https://index.docker.io/v1/"][..],
            ),
            ("docker hub by its name", &["docker.io"], "busybox:1", &["docker.io"]),
            ("a user of docker hub", &["docker.io/me"], "me/app", &["docker.io/me"]),
            ("host and port", &["r.example:5000"], "r.example:5000/a/b:1", &["r.example:5000"]),
            ("another port", &["r.example:5000"], "r.example/a", &[]),
            ("any host of a domain", &["*.example.com"], "x.example.com/a", &["*.example.com"]),
            ("not deeper ones", &["*.example.com"], "x.y.example.com/a", &[]),
            ("a part of a host", &["r-*.example.com"], "r-1.example.com/a", &["r-*.example.com"]),
            ("the longest path first", &["r.example", "r.example/team"], "r.example/team/a", &["r.example/team", "r.example"]),
            ("another path", &["r.example/team"], "r.example/other/a", &[]),
            ("an API's version is no path", &["https://r.example/v2/"], "r.example/a@sha256:0", &["https://r.example/v2/"]),
            ("a stranger's hub", &["https://index.docker.io/v1/"], "r.example/a", &[]),
        ] {
            let mut ring = Keyring::default();
            ring.add(auths(servers));
            let found: Vec<String> = ring.lookup(&repository(image)).into_iter().map(|a| a.username).collect();
            assert_eq!(found, want, "{name}");
        }
    }

    #[test]
    fn secrets() {
        let secret = |kind: &str, key: &str, text: &str| -> Secret {
            let data = base64::engine::general_purpose::STANDARD.encode(text);
            serde_json::from_value(serde_json::json!({"type": kind, "data": {key: data}})).expect("a secret")
        };
        let basic = base64::engine::general_purpose::STANDARD.encode("me:se:cret");
        for (name, s, want) in [
            (
                "docker's",
                secret(
                    "kubernetes.io/dockerconfigjson",
                    ".dockerconfigjson",
                    &format!("{{\"auths\":{{\"r\":{{\"auth\":\"{basic}\"}}}}}}"),
                ),
                Some(("me", "se:cret")),
            ),
            (
                "docker's former",
                secret("kubernetes.io/dockercfg", ".dockercfg", r#"{"r":{"username":"u","password":"p"}}"#),
                Some(("u", "p")),
            ),
            ("another type", secret("Opaque", ".dockercfg", r#"{"r":{"username":"u"}}"#), None),
            ("nonsense", secret("kubernetes.io/dockercfg", ".dockercfg", "x"), None),
        ] {
            let found = auths_of(&s).and_then(|a| a.into_values().next()).map(auth);
            assert_eq!(found.as_ref().map(|a| (a.username.as_str(), a.password.as_str())), want, "{name}");
        }
    }
}
