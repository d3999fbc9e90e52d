//! Pods of this node to their workers: those that the API binds to it, and those of the node's own manifests. The latter wait for
//! nobody: an API server may run in one of them.

use crate::admission::{self, Place, Rejection};
use crate::context::Context;
use crate::kubelet::Pods;
use crate::pod::spec;
use crate::pod::worker;
use crate::static_pods::{self, Name, name_of};
use client::{Informer, InformerEvent, Object};
use k8s_openapi::api::core::v1::{Node, Pod};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::mpsc;

/// What the pod informer said.
enum Change {
    Set(Arc<Pod>),
    Gone(Arc<Pod>),
}

/// A static pod that has a worker.
struct Running {
    uid: String,
    /// What its manifest says by now; it starts when the former one is over.
    next: Option<Arc<Pod>>,
}

struct Dispatcher {
    ctx: Arc<Context>,
    pods: Pods,
    statics: HashMap<Name, Running>,
    /// Told when nothing is left of a static pod.
    over: mpsc::UnboundedSender<Name>,
}

/// Hands pods to their workers, for as long as it is polled. Whatever the runtime or the disk has of pods that nobody knows is
/// removed first.
pub async fn run(ctx: Arc<Context>, pods: Pods, informer: Arc<Informer<Pod>>) {
    let (tx, mut rx) = mpsc::unbounded_channel();
    informer.add_handler(move |event| {
        let change = match event {
            InformerEvent::Added(p) | InformerEvent::Updated { new: p, .. } => Change::Set(p.clone()),
            InformerEvent::Deleted(p) => Change::Gone(p.clone()),
        };
        let _ = tx.send(change);
    });
    let (over, mut ended) = mpsc::unbounded_channel();
    let (tell, mut manifests) = mpsc::unbounded_channel();
    let mut tasks = tokio::task::JoinSet::new();
    let mut d = Dispatcher { ctx: ctx.clone(), pods, statics: HashMap::new(), over };
    let path = ctx.config.kubelet.static_pod_path.clone();
    // Held, so that a node without manifests waits for none.
    let _held = tell.clone();
    if !path.is_empty() {
        tasks.spawn(static_pods::follow(ctx.clone(), path.into(), tell));
        if let Some(first) = manifests.recv().await {
            let known = first.iter().map(|p: &Arc<Pod>| p.uid().to_owned()).collect();
            crate::orphans::remove_static(&ctx, &known).await;
            d.manifests(first).await;
        }
    }
    let synced = async { tokio::join!(informer.synced(), ctx.services.synced()) };
    tokio::pin!(synced);
    let mut ready = false;
    loop {
        tokio::select! {
            _ = &mut synced, if !ready => {
                ready = true;
                d.begin(informer.list()).await;
                tasks.spawn(static_pods::mirror::run(ctx.clone()));
            }
            Some(change) = rx.recv(), if ready => d.change(change).await,
            Some(pods) = manifests.recv() => d.manifests(pods).await,
            Some(name) = ended.recv() => d.ended(&name).await,
        }
    }
}

impl Dispatcher {
    /// What the API has at the start.
    async fn begin(&mut self, mut present: Vec<Arc<Pod>>) {
        let own = self.statics.values().map(|r| r.uid.clone());
        let known: HashSet<String> = present.iter().map(|p| p.uid().to_owned()).chain(own).collect();
        crate::orphans::remove(&self.ctx, &known).await;
        // What runs here already keeps its place before anything new is looked at; the rest is taken oldest first.
        present.sort_by_key(|p| (!was_admitted(p), p.metadata.creation_timestamp.as_ref().map(|t| t.0)));
        for pod in present {
            self.change(Change::Set(pod)).await;
        }
    }

    async fn change(&mut self, change: Change) {
        match change {
            Change::Set(pod) if spec::is_mirror(&pod) => self.mirror(name_of(&pod), Some(pod)),
            Change::Gone(pod) if spec::is_mirror(&pod) => self.mirror(name_of(&pod), None),
            Change::Set(pod) => self.set(pod, || {}).await,
            Change::Gone(pod) => {
                if let Some(h) = self.pods.get(pod.uid()) {
                    h.update(pod);
                    h.gone();
                }
            }
        }
    }

    /// A mirror came, changed or went: the status may have to be written to it.
    fn mirror(&self, name: Name, mirror: Option<Arc<Pod>>) {
        let handle = self.pods.find(&name.0, &name.1);
        self.ctx.static_pods.mirrored(name, mirror);
        if let Some(h) = handle {
            h.wake();
        }
    }

    /// What the node's manifests say now.
    async fn manifests(&mut self, wanted: Vec<Arc<Pod>>) {
        let names: HashSet<Name> = wanted.iter().map(|p| name_of(p)).collect();
        for (_, r) in self.statics.iter_mut().filter(|(name, _)| !names.contains(*name)) {
            r.next = None;
            if let Some(h) = self.pods.get(&r.uid) {
                h.gone();
            }
        }
        for pod in wanted {
            match self.statics.get_mut(&name_of(&pod)) {
                None => self.start_static(pod).await,
                Some(r) => {
                    let ends = self.pods.get(&r.uid).is_none_or(|h| h.is_gone());
                    if r.uid != pod.uid() || ends {
                        if let Some(h) = self.pods.get(&r.uid) {
                            h.gone();
                        }
                        r.next = Some(pod);
                    }
                }
            }
        }
    }

    async fn start_static(&mut self, pod: Arc<Pod>) {
        let name = name_of(&pod);
        self.statics.insert(name.clone(), Running { uid: pod.uid().to_owned(), next: None });
        self.ctx.static_pods.show(pod.clone());
        let over = self.over.clone();
        self.set(pod, move || {
            let _ = over.send(name);
        })
        .await;
    }

    /// Nothing is left of a static pod: its successor starts, or its mirror goes.
    async fn ended(&mut self, name: &Name) {
        match self.statics.remove(name).and_then(|r| r.next) {
            Some(next) => self.start_static(next).await,
            None => self.ctx.static_pods.hide(name),
        }
    }

    async fn set(&self, pod: Arc<Pod>, finished: impl FnOnce() + Send + 'static) {
        let uid = pod.uid().to_owned();
        if let Some(h) = self.pods.get(&uid) {
            h.update(pod);
            return;
        }
        let rejection = self.admit(&pod).await.err();
        if rejection.is_none() {
            self.ctx.allocations.admit(&pod);
        }
        let all = self.pods.clone();
        let handle = worker::spawn(self.ctx.clone(), pod, rejection, {
            let uid = uid.clone();
            move || {
                all.remove(&uid);
                finished();
            }
        });
        self.pods.insert(uid, handle);
    }

    async fn admit(&self, pod: &Pod) -> Result<(), Rejection> {
        let ctx = &self.ctx;
        let over = matches!(spec::status(pod).phase.as_deref(), Some("Failed" | "Succeeded"));
        if over || was_admitted(pod) || pod.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        crate::eviction::admit(ctx, pod)?;
        let active = self.pods.all().into_iter().filter(|h| h.is_active());
        let others: Vec<Arc<Pod>> = active.map(|h| ctx.allocations.of(&h.pod())).collect();
        let allocatable = ctx.machine.allocatable();
        let name = &ctx.config.node_name;
        let node = ctx.node.get("", name).unwrap_or_else(|| Arc::new(crate::node::register::unregistered(ctx)));
        let check =
            |node: &Node| admission::admit(pod, &Place { node, allocatable: &allocatable, others: &others }, &ctx.sysctls);
        match check(&node) {
            // The node's labels may be newer than what the watch told so far.
            Err(r) if r.is_affinity() && !spec::is_static(pod) => match ctx.client.get::<Node>("", name).await {
                Ok(fresh) => check(&fresh),
                Err(_) => Err(r),
            },
            verdict => verdict,
        }
    }
}

/// Whether an earlier run of the agent took the pod. Unlike upstream, which asks again after a restart, it then stays: a restart of
/// the agent ends no container.
fn was_admitted(pod: &Pod) -> bool {
    spec::status(pod).start_time.is_some()
}
