//! What a pod's volumes and logs take on disk.

use crate::context::Context;
use crate::pod::spec::{quantity, spec};
use client::Object;
use k8s_openapi::api::core::v1::Pod;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The eviction message of the first volume above its limit.
pub fn exceeded(ctx: &Context, pod: &Pod) -> Option<String> {
    for v in spec(pod).volumes.iter().flatten() {
        let Some(limit) =
            v.empty_dir.as_ref().filter(|e| e.medium.as_deref().unwrap_or("").is_empty()).and_then(|e| e.size_limit.as_ref())
        else {
            continue;
        };
        let dir = ctx.config.pod_dir(pod.uid()).join("volumes/kubernetes.io~empty-dir").join(&v.name);
        let bytes = quantity(limit).value();
        if bytes > 0 && used(&dir) > u64::try_from(bytes).unwrap_or(0) {
            return Some(format!("Usage of EmptyDir volume {:?} exceeds the limit {:?}. ", v.name, limit.0));
        }
    }
    None
}

/// What a pod's logs and disk-backed emptyDirs take on disk, in bytes.
pub fn local(ctx: &Context, pod: &Pod) -> i64 {
    let volumes = ctx.config.pod_dir(pod.uid()).join("volumes/kubernetes.io~empty-dir");
    let on_disk = spec(pod)
        .volumes
        .iter()
        .flatten()
        .filter(|v| v.empty_dir.as_ref().is_some_and(|e| e.medium.as_deref().unwrap_or("").is_empty()));
    let bytes = on_disk.map(|v| used(&volumes.join(&v.name))).sum::<u64>() + used(&ctx.pod_log_dir(pod));
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Disk blocks of a tree, in bytes.
pub fn used(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let one = |e: std::fs::DirEntry| {
        let Ok(m) = e.metadata() else { return 0 };
        m.blocks() * 512 + if m.is_dir() { used(&e.path()) } else { 0 }
    };
    entries.flatten().map(one).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_are_measured_whole() {
        let dir = tempfile::tempdir().expect("directory");
        let before = used(dir.path());
        std::fs::create_dir(dir.path().join("sub")).expect("directory");
        std::fs::write(dir.path().join("sub/file"), vec![1; 1 << 20]).expect("file");
        assert!(used(dir.path()) >= before + (1 << 20));
    }
}
