//! One metadata watch per deletable resource, started and stopped as discovery changes.

use super::Collector;
use super::graph::Work;
use crate::core::discovery::{ApiResource, Discovery};
use client::metadata::MetadataEvent;
use machinery::GroupVersionResource;
use parking_lot::{Mutex, RwLock};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio_util::task::AbortOnDropHandle;

/// Not collected and never owners.
const IGNORED: [(&str, &str); 2] = [("", "events"), ("events.k8s.io", "events")];
/// New definitions take a moment to be served.
const SETTLE: Duration = Duration::from_millis(300);
const RETRY: Duration = Duration::from_secs(30);

struct Monitor {
    resource: Arc<ApiResource>,
    synced: watch::Receiver<bool>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Default)]
pub struct Monitors {
    running: Mutex<HashMap<GroupVersionResource, Monitor>>,
    pub discovery: RwLock<Arc<Discovery>>,
    /// Definitions changed: discovery is to be read again.
    changed: Notify,
    started: watch::Sender<bool>,
}

impl Monitors {
    /// Waits until every watch that runs now has told its first list.
    pub async fn synced(&self) {
        let mut started = self.started.subscribe();
        let _ = started.wait_for(|s| *s).await;
        let all: Vec<_> = self.running.lock().values().map(|m| m.synced.clone()).collect();
        for mut m in all {
            // One that does not answer (a broken aggregated API) must not hold up the rest.
            let _ = tokio::time::timeout(RETRY, m.wait_for(|s| *s)).await;
        }
    }
    /// Whether objects of this resource are in the graph.
    pub fn watches(&self, gvr: &GroupVersionResource) -> bool {
        self.running.lock().values().any(|m| m.resource.gvr.group == gvr.group && m.resource.gvr.resource == gvr.resource)
    }
}

impl Collector {
    /// Reads discovery at the start and whenever definitions change.
    pub(super) async fn follow_discovery(self: &Arc<Self>) {
        loop {
            let complete = match Discovery::read(&self.ctx.client).await {
                Ok(d) => {
                    let complete = d.failed.is_empty();
                    self.resync(d);
                    complete
                }
                Err(e) => {
                    tracing::debug!(error = %e, "discovery failed, will retry");
                    false
                }
            };
            if complete {
                self.monitors.changed.notified().await;
            } else {
                let _ = tokio::time::timeout(RETRY, self.monitors.changed.notified()).await;
            }
            tokio::time::sleep(SETTLE).await;
        }
    }

    fn resync(self: &Arc<Self>, d: Discovery) {
        let failed = |g: &GroupVersionResource| d.failed.iter().any(|(gv, _)| *gv == g.group_version());
        let mut running = self.monitors.running.lock();
        let wanted: Vec<&ApiResource> = d
            .preferred()
            .filter(|r| r.has_verbs(&["delete", "list", "watch"]))
            .filter(|r| !IGNORED.contains(&(r.gvr.group.as_str(), r.gvr.resource.as_str())))
            .collect();
        let gone: Vec<GroupVersionResource> =
            running.keys().filter(|k| !failed(k) && !wanted.iter().any(|r| r.gvr == **k)).cloned().collect();
        for gvr in gone {
            let Some(m) = running.remove(&gvr) else { continue };
            let mut graph = self.graph.lock();
            for uid in graph.of_resource(&m.resource) {
                let work = graph.remove(&uid);
                self.queue(work);
            }
        }
        for r in wanted {
            if !running.contains_key(&r.gvr) {
                running.insert(r.gvr.clone(), self.monitor(r.clone()));
            }
        }
        drop(running);
        *self.monitors.discovery.write() = Arc::new(d);
        self.monitors.started.send_replace(true);
    }

    fn monitor(self: &Arc<Self>, resource: ApiResource) -> Monitor {
        let resource = Arc::new(resource);
        let (tx, synced) = watch::channel(false);
        let defines = matches!(
            (resource.gvr.group.as_str(), resource.gvr.resource.as_str()),
            ("apiextensions.k8s.io", "customresourcedefinitions") | ("apiregistration.k8s.io", "apiservices")
        );
        let (c, r) = (Arc::downgrade(self), resource.clone());
        let tell = move |event| {
            let Some(c) = c.upgrade() else { return };
            let work = match event {
                MetadataEvent::Put(o) => c.graph.lock().put(&r, o.metadata),
                MetadataEvent::Gone(uid) => c.graph.lock().remove(&uid),
                MetadataEvent::Synced => {
                    tx.send_replace(true);
                    return;
                }
            };
            c.queue(work);
            if defines && *tx.borrow() {
                c.monitors.changed.notify_one();
            }
        };
        let task = tokio::spawn(self.ctx.client.clone().follow_metadata(resource.path("", ""), tell));
        Monitor { resource, synced, _task: AbortOnDropHandle::new(task) }
    }

    pub(super) fn queue(&self, work: Work) {
        work.delete.into_iter().for_each(|u| self.delete.add(u));
        work.orphan.into_iter().for_each(|u| self.orphan.add(u));
    }
}
