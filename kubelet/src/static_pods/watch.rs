//! The directory of manifests (or a single one), read at the start and whenever the kernel tells of a change.

use super::manifest;
use crate::context::Context;
use crate::file_changes::Changes;
use client::Object;
use k8s_openapi::api::core::v1::Pod;
use nix::sys::inotify::AddWatchFlags;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;

/// Upstream's fileCheckFrequency: all is read again this often, for what the kernel does not tell (a directory that comes later).
const PERIOD: Duration = Duration::from_secs(20);

/// A manifest as it was last read.
struct Known {
    text: String,
    pod: Option<Arc<Pod>>,
}

/// Sends all pods of the directory, by name, at the start and after every change; never ends.
pub async fn follow(ctx: Arc<Context>, path: PathBuf, tell: UnboundedSender<Vec<Arc<Pod>>>) {
    let mut known = BTreeMap::new();
    let mut last = None;
    loop {
        // The watch begins before the reading: no change falls between.
        let changes = observe(&path);
        let pods = read(&ctx, &path, &mut known);
        let uids: Vec<String> = pods.iter().map(|p| p.uid().to_owned()).collect();
        if last.as_ref() != Some(&uids) {
            last = Some(uids);
            if tell.send(pods).is_err() {
                return;
            }
        }
        match changes {
            Ok(mut changes) => {
                let _ = tokio::time::timeout(PERIOD, changes.next()).await;
            }
            Err(e) => {
                tracing::debug!(path = %path.display(), error = %e, "no changes of manifests are told");
                tokio::time::sleep(PERIOD).await;
            }
        }
    }
}

fn observe(path: &Path) -> std::io::Result<Changes> {
    let flags = AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF;
    Changes::of(path, flags)
}

/// The manifests' files; names with a dot in front are not for us.
fn files(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files: Vec<PathBuf> = std::fs::read_dir(path)?
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.is_file() && !p.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b".")))
        .collect();
    files.sort();
    Ok(files)
}

/// Reads all files. One that is broken keeps the pod of its former content, as a half-written one would else end it.
fn read(ctx: &Context, path: &Path, known: &mut BTreeMap<PathBuf, Known>) -> Vec<Arc<Pod>> {
    let found = match files(path) {
        Ok(f) => f,
        Err(e) => {
            if e.kind() != std::io::ErrorKind::NotFound {
                tracing::warn!(path = %path.display(), error = %e, "manifests not read");
            }
            Vec::new()
        }
    };
    known.retain(|p, _| found.contains(p));
    for file in found {
        let text = match std::fs::read_to_string(&file) {
            Ok(t) => t,
            Err(e) => {
                // A single manifest that is not there is none; anything else may come back.
                if e.kind() == std::io::ErrorKind::NotFound {
                    known.remove(&file);
                } else {
                    tracing::warn!(path = %file.display(), error = %e, "manifest not read");
                }
                continue;
            }
        };
        let former = known.remove(&file);
        if let Some(same) = former.as_ref().filter(|k| k.text == text) {
            let pod = same.pod.clone();
            known.insert(file, Known { text, pod });
            continue;
        }
        let pod = match manifest::parse(&text, &file, &ctx.config.node_name, ctx.clock.now()) {
            Ok(pod) => Some(Arc::new(pod)),
            Err(e) => {
                tracing::error!(path = %file.display(), error = e, "manifest is no pod");
                former.and_then(|k| k.pod)
            }
        };
        known.insert(file, Known { text, pod });
    }
    let mut pods: BTreeMap<super::Name, Arc<Pod>> = BTreeMap::new();
    for (file, k) in known.iter() {
        let Some(pod) = &k.pod else { continue };
        match pods.entry(super::name_of(pod)) {
            std::collections::btree_map::Entry::Vacant(e) => drop(e.insert(pod.clone())),
            std::collections::btree_map::Entry::Occupied(_) => {
                tracing::error!(path = %file.display(), pod = pod.name(), "another manifest has a pod of this name");
            }
        }
    }
    pods.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[tokio::test]
    async fn a_directory_changes() {
        let dir = tempfile::tempdir().expect("a directory");
        let ctx = crate::testing::context(Arc::new(crate::testing::FakeRuntime::default()));
        let write = |name: &str, pod: &str, image: &str| {
            let text = format!(
                "{{apiVersion: v1, kind: Pod, metadata: {{name: {pod}}}, spec: {{containers: [{{name: c, image: {image}}}]}}}}"
            );
            fs::write(dir.path().join(name), text).expect("written");
        };
        write("a.yaml", "a", "i:1");
        write(".hidden.yaml", "hidden", "i:1");
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let task = tokio::spawn(follow(ctx, dir.path().to_owned(), tell));
        let mut next = async || {
            let pods = told.recv().await.expect("the task runs");
            let image = |p: &Pod| p.spec.as_ref().and_then(|s| s.containers[0].image.clone()).unwrap_or_default();
            pods.iter().map(|p| format!("{}={}", p.name().split('-').next().unwrap_or(""), image(p))).collect::<Vec<_>>()
        };
        assert_eq!(next().await, ["a=i:1"]);
        write("b.yaml", "b", "i:1");
        assert_eq!(next().await, ["a=i:1", "b=i:1"], "a new file");
        write("b.yaml", "b", "i:2");
        assert_eq!(next().await, ["a=i:1", "b=i:2"], "a changed one");
        fs::write(dir.path().join("b.yaml"), "{apiVersion: v1, kind").expect("written");
        write("c.yaml", "a", "i:3");
        fs::remove_file(dir.path().join("a.yaml")).expect("removed");
        let mut last = next().await;
        if last[0] == "a=i:1" {
            last = next().await;
        }
        assert_eq!(last, ["a=i:3", "b=i:2"], "a broken file changes nothing, a removed one makes room for its pod's name");
        task.abort();
    }
}
