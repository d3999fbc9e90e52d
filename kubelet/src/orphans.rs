//! What an earlier kubelet left of pods that are no more: sandboxes, directories, cgroups.

use crate::context::Context;
use crate::pod::spec::CONFIG_SOURCE;
use crate::runtime::{POD_UID_LABEL, PodRecord};
use std::collections::HashSet;

/// Removes what runs of manifests that are no more or changed: it may hold ports that others need, whatever the API says.
pub async fn remove_static(ctx: &Context, known: &HashSet<String>) {
    let Ok(sandboxes) = ctx.runtime.list_sandboxes("").await else { return };
    let of_file = sandboxes.iter().filter(|s| s.annotations.get(CONFIG_SOURCE).is_some_and(|source| source == "file"));
    let uids = of_file.filter_map(|s| s.labels.get(POD_UID_LABEL)).filter(|uid| !known.contains(*uid));
    for uid in uids.collect::<HashSet<_>>() {
        remove_pod(ctx, uid).await;
    }
}

/// Removes everything of pods whose UID is not in `known`.
pub async fn remove(ctx: &Context, known: &HashSet<String>) {
    let mut gone: HashSet<String> = HashSet::new();
    if let Ok(sandboxes) = ctx.runtime.list_sandboxes("").await {
        gone.extend(sandboxes.iter().filter_map(|s| s.labels.get(POD_UID_LABEL)).cloned());
    }
    if let Ok(dirs) = std::fs::read_dir(ctx.config.pods_dir()) {
        gone.extend(dirs.flatten().filter_map(|d| d.file_name().into_string().ok()));
    }
    gone.retain(|uid| !known.contains(uid));
    for uid in &gone {
        remove_pod(ctx, uid).await;
    }
    for (uid, group) in ctx.cgroups.pod_uids() {
        if !known.contains(&uid) {
            ctx.cgroups.remove_group(&group);
        }
    }
}

async fn remove_pod(ctx: &Context, uid: &str) {
    tracing::info!(uid, "removing what is left of a pod");
    let record = ctx.runtime.pod_record(uid).await.unwrap_or_else(|_| PodRecord::default());
    for s in &record.sandboxes {
        if let Err(e) = ctx.runtime.stop_sandbox(&s.id).await {
            tracing::warn!(uid, error = %e, "orphaned sandbox not stopped");
        }
        let _ = ctx.runtime.remove_sandbox(&s.id).await;
    }
    if let Err(e) = crate::volumes::remove_pod_dir(&ctx.config.pod_dir(uid)) {
        tracing::warn!(uid, error = %e, "orphaned pod directory not removed");
    }
}
