//! Waking the owners of pods: which keys to queue when a pod comes, changes or goes.

use super::claim::{self, CONTROLLER_INDEX};
use super::expectations::Expectations;
use super::selectors;
use crate::Context;
use client::{Informer, InformerEvent, Object, WorkQueue};
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use machinery::labels::Selector;
use std::sync::Arc;

/// A kind that selects and owns pods.
pub trait PodOwner: Object {
    /// `None` where the selector is unusable or selects nothing.
    fn pod_selector(&self) -> Option<Selector>;
}

/// The living owner that a controller reference names.
pub fn resolve<O: Object>(owners: &Informer<O>, namespace: &str, r: &OwnerReference) -> Option<Arc<O>> {
    if r.kind != O::KIND {
        return None;
    }
    owners.get(namespace, &r.name).filter(|o| o.uid() == r.uid)
}

/// What a controller of pods with revisions works with: informers that it shares, its queue, what it waits for.
pub struct Followed<O> {
    pub owners: Arc<Informer<O>>,
    pub pods: Arc<Informer<Pod>>,
    pub revisions: Arc<Informer<ControllerRevision>>,
    pub queue: WorkQueue<String>,
    pub expectations: Arc<Expectations>,
}

/// Starts following owners of kind `O`, their pods and their revisions.
pub fn with_revisions<O: PodOwner>(ctx: &Context) -> Followed<O> {
    let (owners, pods, revisions) =
        (ctx.informers.of::<O>(), ctx.informers.of::<Pod>(), ctx.informers.of::<ControllerRevision>());
    claim::index_pods(&pods);
    revisions.add_index(CONTROLLER_INDEX, claim::controller_index::<ControllerRevision>);
    let (queue, expectations) = (WorkQueue::new(), Arc::new(Expectations::default()));
    follow_owners(&owners, &queue, &expectations);
    follow_pods(&pods, &owners, &queue, &expectations);
    Followed { owners, pods, revisions, queue, expectations }
}

struct Follower<O> {
    owners: Arc<Informer<O>>,
    queue: WorkQueue<String>,
    expectations: Arc<Expectations>,
}

/// Queues owners of kind `O` as their pods change, and keeps `expectations`.
pub fn follow_pods<O: PodOwner>(
    pods: &Informer<Pod>,
    owners: &Arc<Informer<O>>,
    queue: &WorkQueue<String>,
    expectations: &Arc<Expectations>,
) {
    let f = Follower { owners: owners.clone(), queue: queue.clone(), expectations: expectations.clone() };
    pods.add_handler(move |event| match event {
        InformerEvent::Added(pod) => f.added(pod),
        InformerEvent::Updated { old, new } => {
            // Deleted and made anew between two events.
            if old.uid() != new.uid() {
                f.deleted(old);
                return f.added(new);
            }
            f.updated(old, new);
        }
        InformerEvent::Deleted(pod) => f.deleted(pod),
    });
}

/// Queues every owner object as it changes, and drops its expectations once it is gone.
pub fn follow_owners<O: Object>(owners: &Informer<O>, queue: &WorkQueue<String>, expectations: &Arc<Expectations>) {
    let (queue, expectations) = (queue.clone(), expectations.clone());
    owners.add_handler(move |event| {
        let obj = match event {
            InformerEvent::Added(o) => o,
            InformerEvent::Updated { old, new } => {
                if old.uid() != new.uid() {
                    expectations.forget(&old.key());
                }
                new
            }
            InformerEvent::Deleted(o) => {
                expectations.forget(&o.key());
                o
            }
        };
        queue.add(obj.key());
    });
}

impl<O: PodOwner> Follower<O> {
    fn owner(&self, pod: &Pod) -> Option<Arc<O>> {
        resolve(&self.owners, pod.namespace(), pod.controller()?)
    }
    fn would_be_owners(&self, pod: &Pod) {
        for owner in self.owners.list_namespace(pod.namespace()) {
            let Some(s) = owner.pod_selector() else { continue };
            if !s.is_everything() && selectors::matches(&s, pod.metadata.labels.as_ref()) {
                self.queue.add(owner.key());
            }
        }
    }
    fn added(&self, pod: &Pod) {
        if pod.is_terminating() {
            return self.deleted(pod);
        }
        if pod.controller().is_none() {
            return self.would_be_owners(pod);
        }
        if let Some(owner) = self.owner(pod) {
            let key = owner.key();
            self.expectations.creation_observed(&key);
            self.queue.add(key);
        }
    }
    fn updated(&self, old: &Pod, new: &Pod) {
        let relabelled = old.metadata.labels != new.metadata.labels;
        if new.is_terminating() {
            self.deleted(new);
            if relabelled {
                self.deleted(old);
            }
            return;
        }
        let moved = old.controller() != new.controller();
        if moved && let Some(owner) = self.owner(old) {
            self.queue.add(owner.key());
        }
        if new.controller().is_some() {
            if let Some(owner) = self.owner(new) {
                self.queue.add(owner.key());
            }
        } else if relabelled || moved {
            self.would_be_owners(new);
        }
    }
    fn deleted(&self, pod: &Pod) {
        if let Some(owner) = self.owner(pod) {
            let key = owner.key();
            self.expectations.deletion_observed(&key, &pod.key());
            self.queue.add(key);
        }
    }
}
