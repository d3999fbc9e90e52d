//! A container's mounts: its volumes and sub-paths, /etc/hosts, and the file for its last words.

use super::{expansion, hosts, spec};
use crate::context::Context;
use crate::volumes::{Ready, subpath};
use client::Object;
use cri::v1 as api;
use k8s_openapi::api::core::v1::{Container, Pod};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// What volumes are mounted from, by their names.
pub struct Sources<'a> {
    pub ready: &'a HashMap<String, Ready>,
    pub images: &'a HashMap<String, api::ImageSpec>,
}

/// The mounts of `c`. `env` resolves subPathExpr.
pub fn make(
    ctx: &Context,
    pod: &Pod,
    c: &Container,
    volumes: &Sources<'_>,
    ips: &[String],
    env: &[(String, String)],
) -> Result<Vec<api::Mount>, String> {
    let mut mounts = Vec::new();
    let mut own_hosts = true;
    for (i, m) in c.volume_mounts.iter().flatten().enumerate() {
        if m.mount_path.trim_end_matches('/') == "/etc/hosts" {
            own_hosts = false;
        }
        let sub = sub_path(m.sub_path.as_deref(), m.sub_path_expr.as_deref(), env)?;
        if let Some(image) = volumes.images.get(&m.name) {
            mounts.push(api::Mount {
                container_path: absolute(&m.mount_path),
                readonly: true,
                image: Some(image.clone()),
                image_sub_path: sub,
                ..Default::default()
            });
            continue;
        }
        let Some(volume) = volumes.ready.get(&m.name) else {
            return Err(format!("cannot find volume {:?} to mount into container {:?}", m.name, c.name));
        };
        let host_path = if sub.is_empty() {
            volume.path.clone()
        } else {
            let dir = ctx.config.pod_dir(pod.uid()).join("volume-subpaths").join(&m.name).join(&c.name);
            subpath::bind(&volume.path, &sub, &dir.join(i.to_string()))?
        };
        let propagation = match m.mount_propagation.as_deref() {
            Some("HostToContainer") => api::MountPropagation::PropagationHostToContainer,
            Some("Bidirectional") => api::MountPropagation::PropagationBidirectional,
            _ => api::MountPropagation::PropagationPrivate,
        };
        if m.recursive_read_only.as_deref() == Some("Enabled") {
            return Err("recursiveReadOnly: Enabled is not supported".into());
        }
        // A host path that is missing is made, as the runtimes that upstream grew up with did.
        if !host_path.exists() {
            std::fs::create_dir_all(&host_path).map_err(|e| format!("failed to mkdir {:?}: {e}", host_path.display()))?;
        }
        mounts.push(api::Mount {
            container_path: absolute(&m.mount_path),
            host_path: host_path.display().to_string(),
            readonly: m.read_only == Some(true) || volume.read_only,
            propagation: propagation as i32,
            ..Default::default()
        });
    }
    if own_hosts && (!ips.is_empty() || spec::host_network(pod)) {
        let path = hosts::write(ctx, pod, ips).map_err(|e| format!("write hosts file: {e}"))?;
        mounts.push(plain(&path, "/etc/hosts"));
    }
    if let Some(path) = c.termination_message_path.as_deref().filter(|p| !p.is_empty()) {
        let file = termination_file(ctx, pod, c).map_err(|e| format!("create termination log: {e}"))?;
        mounts.push(plain(&file, &absolute(path)));
    }
    Ok(mounts)
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

fn plain(host: &Path, container: &str) -> api::Mount {
    api::Mount { container_path: container.to_owned(), host_path: host.display().to_string(), ..Default::default() }
}

fn sub_path(plain: Option<&str>, expr: Option<&str>, env: &[(String, String)]) -> Result<String, String> {
    let sub = match (plain, expr) {
        (Some(p), _) if !p.is_empty() => p.to_owned(),
        (_, Some(e)) if !e.is_empty() => {
            let missing = std::cell::Cell::new(false);
            let value = expansion::expand(e, |n| {
                let found = env.iter().find(|(k, _)| k == n).map(|(_, v)| v.clone());
                missing.set(missing.get() || found.is_none());
                found
            });
            if missing.get() {
                return Err(format!("missing value for {e:?}"));
            }
            value
        }
        _ => return Ok(String::new()),
    };
    if sub.starts_with('/') {
        return Err(format!("error SubPath `{sub}` must not be an absolute path"));
    }
    if sub.split('/').any(|p| p == "..") {
        return Err(format!("unable to provision SubPath `{sub}`: must not contain '..'"));
    }
    Ok(sub)
}

/// A new file per container: its inode is mounted.
fn termination_file(ctx: &Context, pod: &Pod, c: &Container) -> std::io::Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let dir = ctx.config.pod_dir(pod.uid()).join("containers").join(&c.name);
    std::fs::create_dir_all(&dir)?;
    let name: u32 = rand::RngExt::random(&mut rand::rng());
    let path = dir.join(format!("{name:08x}"));
    std::fs::write(&path, b"")?;
    // Whatever user the container runs as may write it.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[tokio::test]
    async fn images() {
        let ctx = crate::testing::context(Default::default());
        let c: Container = serde_json::from_value(json!({"name": "c", "volumeMounts": [
            {"name": "i", "mountPath": "/whole"}, {"name": "i", "mountPath": "part", "subPath": "etc"}]}))
        .expect("container");
        let image = api::ImageSpec { image: "sha256:1".into(), ..Default::default() };
        let sources = Sources { ready: &HashMap::new(), images: &HashMap::from([("i".to_owned(), image.clone())]) };
        let mounts = make(&ctx, &Pod::default(), &c, &sources, &[], &[]).expect("mounts");
        let want = [("/whole", ""), ("/part", "etc")].map(|(path, sub)| api::Mount {
            container_path: path.into(),
            readonly: true,
            image: Some(image.clone()),
            image_sub_path: sub.into(),
            ..Default::default()
        });
        assert_eq!(mounts, want);
        let none = Sources { ready: &HashMap::new(), images: &HashMap::new() };
        assert!(make(&ctx, &Pod::default(), &c, &none, &[], &[]).is_err(), "a volume that is not there");
    }
}
