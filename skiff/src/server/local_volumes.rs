//! Directories of `local-path` volumes. Where the control plane runs, it makes and removes them itself; on a machine that joined, the
//! agent follows the PersistentVolumes of its node: a directory for each while it is there, and none afterwards.

use crate::layout::Layout;
use client::k8s_openapi::api::core::v1::{Node, PersistentVolume};
use client::{Client, InformerEvent, Informers, Object, Patch};
use machinery::json;
use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Makes a directory that any user may write; the one above is root's alone to list.
pub fn make(path: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(path)?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o777))
}

/// Removes a directory and what is in it.
pub fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// The directory of a volume of this node, if it lies where ours do.
fn directory(root: &Path, node: &str, v: &PersistentVolume) -> Option<PathBuf> {
    let path = PathBuf::from(&v.spec.as_ref()?.host_path.as_ref()?.path);
    let ours = v.annotation(controller_manager::volume::local_path::NODE) == Some(node)
        && v.annotation(controller_manager::volume::PROVISIONED_BY) == Some(controller_manager::volume::local_path::NAME);
    (ours && path.parent() == Some(root) && path.file_name().is_some()).then_some(path)
}

/// Follows the volumes for as long as the answer lives.
pub async fn follow(layout: &Layout, node: &str, client: &Client) -> Result<Informers, String> {
    let root = layout.local_path();
    // The provisioner asks each node where its volumes lie.
    let note =
        json!({"metadata": {"annotations": {controller_manager::volume::local_path::DIRECTORY: root.display().to_string()}}});
    client.patch::<Node>("", node, &Patch::Merge(note)).await.map_err(|e| format!("local-path volumes: {e}"))?;
    let informers = Informers::new(client.clone());
    let volumes = informers.of::<PersistentVolume>();
    let (at, name) = (root.clone(), node.to_owned());
    volumes.add_handler(move |e| {
        let (InformerEvent::Added(v) | InformerEvent::Updated { new: v, .. } | InformerEvent::Deleted(v)) = e;
        let Some(path) = directory(&at, &name, v) else { return };
        let done = match e {
            InformerEvent::Deleted(_) => remove_marked(&path),
            InformerEvent::Added(_) => make(&path).and_then(|()| mark(&path, v)),
            InformerEvent::Updated { .. } => mark(&path, v),
        };
        if let Err(e) = done {
            tracing::warn!(error = %e, path = %path.display(), "directory of a volume");
        }
    });
    let (at, name) = (root, node.to_owned());
    tokio::spawn(async move {
        volumes.synced().await;
        sweep(&at, &name, &volumes.list());
    });
    Ok(informers)
}

/// The note that a directory goes with its volume (reclaim policy Delete): what an administrator retains is never removed.
fn marker(path: &Path) -> PathBuf {
    path.with_file_name(format!(".delete-{}", path.file_name().unwrap_or_default().to_string_lossy()))
}

fn mark(path: &Path, v: &PersistentVolume) -> std::io::Result<()> {
    let policy = v.spec.as_ref().and_then(|s| s.persistent_volume_reclaim_policy.as_deref());
    let marker = marker(path);
    match (policy == Some("Delete"), marker.exists()) {
        (true, false) => std::fs::write(marker, ""),
        (false, true) => std::fs::remove_file(marker),
        _ => Ok(()),
    }
}

fn remove_marked(path: &Path) -> std::io::Result<()> {
    let marker = marker(path);
    if marker.exists() {
        remove(path)?;
        std::fs::remove_file(marker)?;
    }
    Ok(())
}

/// Volumes that went while nobody watched.
fn sweep(root: &Path, node: &str, volumes: &[Arc<PersistentVolume>]) {
    let kept: HashSet<PathBuf> = volumes.iter().filter_map(|v| directory(root, node, v)).collect();
    for e in std::fs::read_dir(root).into_iter().flatten().flatten() {
        let path = e.path();
        if !kept.contains(&path)
            && let Err(e) = remove_marked(&path)
        {
            tracing::warn!(error = %e, path = %path.display(), "directory of a volume that is gone");
        }
    }
}
