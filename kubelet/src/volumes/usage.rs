//! emptyDir size limits: a pod whose volume on disk has outgrown its limit is evicted (upstream localStorageEviction).

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

/// Disk blocks of a tree, in bytes.
fn used(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let one = |e: std::fs::DirEntry| {
        let Ok(m) = e.metadata() else { return 0 };
        m.blocks() * 512 + if m.is_dir() { used(&e.path()) } else { 0 }
    };
    entries.flatten().map(one).sum()
}
