//! A pod's volumes: set up before its containers start, refreshed when what they show changes, taken down at its end.
//! The layout below the pod's directory is upstream's.

mod atomic_writer;
mod host_path;
mod ownership;
mod payload;
pub mod subpath;
mod token;
pub mod usage;

use crate::context::Context;
use crate::pod::spec::{self, spec};
use atomic_writer::Payload;
use client::Object;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Volume};
use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A volume that is ready: where it is on the host.
#[derive(Clone, Debug)]
pub struct Ready {
    pub path: PathBuf,
    pub read_only: bool,
}

/// A pod's volumes between syncs.
#[derive(Default)]
pub struct Volumes {
    pub ready: HashMap<String, Ready>,
    tokens: token::Tokens,
}

/// A volume that is not ready.
#[derive(Debug)]
pub struct SetupError {
    pub volume: String,
    pub message: String,
}

impl Volumes {
    /// Sets up every volume, or brings it up to date. Returns when a token needs renewal.
    pub async fn sync(&mut self, ctx: &Context, pod: &Pod) -> Result<Option<Duration>, Vec<SetupError>> {
        let mut errors = Vec::new();
        // Images are pulled and mounted with the containers that use them.
        for v in spec(pod).volumes.iter().flatten().filter(|v| v.image.is_none()) {
            match self.set_up(ctx, pod, v).await {
                Ok(ready) => {
                    self.ready.insert(v.name.clone(), ready);
                }
                Err(message) => errors.push(SetupError { volume: v.name.clone(), message }),
            }
        }
        if errors.is_empty() { Ok(self.tokens.next_renewal(ctx.clock.now())) } else { Err(errors) }
    }

    async fn set_up(&mut self, ctx: &Context, pod: &Pod, v: &Volume) -> Result<Ready, String> {
        if let Some(h) = &v.host_path {
            host_path::check(&h.path, h.type_.as_deref().unwrap_or(""))?;
            return Ok(Ready { path: h.path.clone().into(), read_only: false });
        }
        if let Some(e) = &v.empty_dir {
            let path = plugin_dir(ctx, pod, "kubernetes.io~empty-dir", &v.name);
            if self.ready.contains_key(&v.name) && path.exists() {
                return Ok(Ready { path, read_only: false });
            }
            let limit = e.size_limit.as_ref().map(|q| spec::quantity(q).value()).filter(|l| *l > 0);
            match e.medium.as_deref().unwrap_or("") {
                "" => make_dir(&path, 0o777)?,
                "Memory" => {
                    make_dir(&path, 0o777)?;
                    // It keeps a tmpfs' own mode, 1777.
                    tmpfs(&path, Some(memory_size(ctx, pod, limit)))?;
                }
                other => return Err(format!("emptyDir medium {other:?} is not supported")),
            }
            own(pod, &path, false)?;
            return Ok(Ready { path, read_only: false });
        }
        if let Some(c) = &v.persistent_volume_claim {
            let ready = claim(ctx, pod, &c.claim_name).await?;
            return Ok(Ready { read_only: c.read_only == Some(true) || ready.read_only, ..ready });
        }
        if v.ephemeral.is_some() {
            return claim(ctx, pod, &format!("{}-{}", pod.name(), v.name)).await;
        }
        let (plugin, memory) = match v {
            Volume { config_map: Some(_), .. } => ("kubernetes.io~configmap", false),
            Volume { secret: Some(_), .. } => ("kubernetes.io~secret", true),
            Volume { downward_api: Some(_), .. } => ("kubernetes.io~downward-api", true),
            Volume { projected: Some(_), .. } => ("kubernetes.io~projected", true),
            Volume { csi: Some(_), .. } => return Err("CSI volumes are not supported".into()),
            _ => return Err("no volume plugin matched".into()),
        };
        let files = payload::collect(ctx, pod, v, &mut self.tokens).await?;
        let path = plugin_dir(ctx, pod, plugin, &v.name);
        self.project(ctx, pod, &path, memory, &files)?;
        Ok(Ready { path, read_only: false })
    }

    /// Writes files that come from the API.
    fn project(&self, ctx: &Context, pod: &Pod, path: &Path, memory: bool, files: &Payload) -> Result<(), String> {
        if !path.exists() {
            make_dir(path, 0o777)?;
        }
        if memory && !subpath::mounted(path) {
            tmpfs(path, None)?;
            set_mode(path, 0o777)?;
        }
        let stamp = ctx.clock.now().strftime("%Y_%m_%d_%H_%M_%S.%9f").to_string();
        let group = spec(pod).security_context.as_ref().and_then(|s| s.fs_group);
        atomic_writer::write(path, files, &stamp, |fresh| match group {
            Some(gid) => ownership::set_group(fresh, gid, true, false),
            None => Ok(()),
        })
        .map_err(|e| e.to_string())?;
        Ok(())
    }

    /// Unmounts and removes everything below the pod's directory.
    pub fn tear_down(&mut self, ctx: &Context, uid: &str) -> std::io::Result<()> {
        self.ready.clear();
        self.tokens = Default::default();
        remove_pod_dir(&ctx.config.pod_dir(uid))
    }
}

/// Removes a pod's directory; what is mounted in it is unmounted first, so that nothing behind a mount is touched.
pub fn remove_pod_dir(dir: &Path) -> std::io::Result<()> {
    for m in subpath::mounts_below(dir) {
        nix::mount::umount2(&m, nix::mount::MntFlags::MNT_DETACH)?;
    }
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn plugin_dir(ctx: &Context, pod: &Pod, plugin: &str, name: &str) -> PathBuf {
    ctx.config.pod_dir(pod.uid()).join("volumes").join(plugin).join(name)
}

fn make_dir(path: &Path, mode: u32) -> Result<(), String> {
    std::fs::create_dir_all(path).map_err(|e| format!("mkdir {}: {e}", path.display()))?;
    set_mode(path, mode)
}

fn set_mode(path: &Path, mode: u32) -> Result<(), String> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(|e| format!("chmod {}: {e}", path.display()))
}

fn tmpfs(path: &Path, size: Option<i64>) -> Result<(), String> {
    if subpath::mounted(path) {
        return Ok(());
    }
    let options = size.map(|s| format!("size={s}"));
    nix::mount::mount(Some("tmpfs"), path, Some("tmpfs"), nix::mount::MsFlags::empty(), options.as_deref())
        .map_err(|e| format!("mount tmpfs on {}: {e}", path.display()))
}

/// The size of a memory-backed emptyDir: its limit, at most what the pod may use.
fn memory_size(ctx: &Context, pod: &Pod, limit: Option<i64>) -> i64 {
    let node = spec::amount(Some(&ctx.machine.allocatable()), "memory").unwrap_or(ctx.machine.memory);
    let pod_limit = crate::pod::resources::pod_limits(pod).memory.unwrap_or(node).min(node);
    limit.map_or(pod_limit, |l| l.min(pod_limit))
}

fn own(pod: &Pod, path: &Path, read_only: bool) -> Result<(), String> {
    let Some(sc) = &spec(pod).security_context else { return Ok(()) };
    let Some(gid) = sc.fs_group else { return Ok(()) };
    let on_root = sc.fs_group_change_policy.as_deref() == Some("OnRootMismatch");
    ownership::set_group(path, gid, read_only, on_root)
        .map_err(|e| format!("applyFSGroup failed for vol {}: {e}", path.display()))
}

/// The volume behind a claim: host paths and local volumes; others need a CSI driver.
async fn claim(ctx: &Context, pod: &Pod, name: &str) -> Result<Ready, String> {
    let claim: PersistentVolumeClaim = ctx
        .client
        .get(pod.namespace(), name)
        .await
        .map_err(|e| format!("error processing PVC {}/{name}: failed to fetch PVC from API server: {e}", pod.namespace()))?;
    let bound = claim.spec.as_ref().and_then(|s| s.volume_name.as_deref()).filter(|v| !v.is_empty());
    let phase = claim.status.as_ref().and_then(|s| s.phase.as_deref());
    let Some(volume) = bound.filter(|_| phase == Some("Bound")) else {
        return Err(format!("error processing PVC {}/{name}: PVC is not bound", pod.namespace()));
    };
    let volume: PersistentVolume =
        ctx.client.get("", volume).await.map_err(|e| format!("error processing PVC {}/{name}: {e}", pod.namespace()))?;
    let source = volume.spec.as_ref().ok_or("persistent volume without a spec")?;
    let read_only = source.access_modes.as_ref().is_some_and(|m| m.len() == 1 && m[0] == "ReadOnlyMany");
    let path = if let Some(h) = &source.host_path {
        host_path::check(&h.path, h.type_.as_deref().unwrap_or(""))?;
        PathBuf::from(&h.path)
    } else if let Some(l) = &source.local {
        let path = PathBuf::from(&l.path);
        if !path.is_dir() {
            return Err(format!("path {:?} does not exist", l.path));
        }
        own(pod, &path, read_only)?;
        path
    } else {
        return Err("only hostPath and local persistent volumes are supported".into());
    };
    Ok(Ready { path, read_only })
}
