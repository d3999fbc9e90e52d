//! Container logs: files in the CRI format below the pod's log directory; their rotation and removal.

pub mod read;

use crate::context::Context;
use crate::pod::worker::Handle;
use cri::v1::ContainerState;
use k8s_openapi::api::core::v1::Pod;
use std::path::{Path, PathBuf};

/// Removes one container's log and its rotated predecessors.
pub fn remove(log: &str) {
    let path = Path::new(log);
    for p in rotated(path).into_iter().chain([path.to_owned()]) {
        let _ = std::fs::remove_file(p);
    }
}

/// Removes everything a pod logged, and the links to it.
pub fn remove_pod(ctx: &Context, pod: &Pod) {
    let dir = ctx.pod_log_dir(pod);
    let _ = std::fs::remove_dir_all(&dir);
    let Ok(links) = std::fs::read_dir(&ctx.config.container_log_links) else { return };
    for l in links.flatten() {
        if std::fs::read_link(l.path()).is_ok_and(|t| t.starts_with(&dir)) {
            let _ = std::fs::remove_file(l.path());
        }
    }
}

/// Rotated logs of a file, oldest first: `0.log.20260102-150405`.
pub fn rotated(log: &Path) -> Vec<PathBuf> {
    let (Some(dir), Some(name)) = (log.parent(), log.file_name().and_then(|n| n.to_str())) else { return Vec::new() };
    let prefix = format!("{name}.");
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut found: Vec<PathBuf> =
        entries.flatten().filter(|e| e.file_name().to_str().is_some_and(|n| n.starts_with(&prefix))).map(|e| e.path()).collect();
    found.sort();
    found
}

/// Rotates logs that have grown too long (upstream pkg/kubelet/logs/container_log_manager.go).
pub async fn rotate(ctx: &Context, pods: &[Handle]) {
    let k = &ctx.config.kubelet;
    let max = k.container_log_max_size.parse::<machinery::quantity::Quantity>().map_or(10 << 20, |q| q.value());
    let max = u64::try_from(max).unwrap_or(u64::MAX);
    let keep = usize::try_from(k.container_log_max_files).unwrap_or(5).max(2);
    for s in pods.iter().flat_map(|p| p.view().record.containers) {
        let path = Path::new(&s.log_path);
        let long = std::fs::metadata(path).is_ok_and(|m| m.len() >= max);
        if !long || s.state() != ContainerState::ContainerRunning {
            continue;
        }
        let stamp = ctx.clock.now().strftime("%Y%m%d-%H%M%S").to_string();
        let to = PathBuf::from(format!("{}.{stamp}", s.log_path));
        if std::fs::rename(path, &to).is_err() {
            continue;
        }
        if let Err(e) = ctx.runtime.reopen_log(&s.id).await {
            tracing::warn!(container = s.id, error = %e, "log not reopened");
            let _ = std::fs::rename(&to, path);
            continue;
        }
        let old = rotated(path);
        for p in &old[..old.len().saturating_sub(keep - 1)] {
            let _ = std::fs::remove_file(p);
        }
    }
}
