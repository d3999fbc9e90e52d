//! Binding claims to volumes (pkg/controller/volume/persistentvolume), and what goes with it: protection, the `local-path` provisioner,
//! claims of generic ephemeral volumes.

mod bind;
mod claim;
pub mod class_protection;
pub mod ephemeral;
pub mod local_path;
mod matching;
pub mod protection;
mod reclaim;

use crate::manager::forever;
use crate::{Context, synced};
use client::{Informer, InformerEvent, Object, Recorder, WorkQueue};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use std::sync::Arc;

pub const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
pub const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
pub const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
pub const PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
const BETA_PROVISIONER: &str = "volume.beta.kubernetes.io/storage-provisioner";
const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

/// A claim or a volume.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Claim(String),
    Volume(String),
}

struct Controller {
    ctx: Context,
    claims: Arc<Informer<PersistentVolumeClaim>>,
    volumes: Arc<Informer<PersistentVolume>>,
    classes: Arc<Informer<StorageClass>>,
    pods: Arc<Informer<Pod>>,
    nodes: Arc<Informer<Node>>,
    queue: WorkQueue<Key>,
    recorder: Recorder,
}

/// The class a claim asks for; empty for none.
pub fn claim_class(c: &PersistentVolumeClaim) -> &str {
    c.annotation(BETA_CLASS).or_else(|| c.spec.as_ref().and_then(|s| s.storage_class_name.as_deref())).unwrap_or("")
}
pub fn volume_class(v: &PersistentVolume) -> &str {
    v.annotation(BETA_CLASS).or_else(|| v.spec.as_ref().and_then(|s| s.storage_class_name.as_deref())).unwrap_or("")
}
/// Pods by the claims they use.
pub fn index_pods_by_claim(pods: &Informer<Pod>) {
    pods.add_index("claim", |p: &Pod| {
        crate::core::pod::claim_names(p).into_iter().map(|c| client::key_of(p.namespace(), &c)).collect()
    });
}

pub async fn run(ctx: Context) {
    let claims = ctx.informers.of::<PersistentVolumeClaim>();
    let volumes = ctx.informers.of::<PersistentVolume>();
    let classes = ctx.informers.of::<StorageClass>();
    let pods = ctx.informers.of::<Pod>();
    let nodes = ctx.informers.of::<Node>();
    index_pods_by_claim(&pods);
    let queue = WorkQueue::new();
    let q = queue.clone();
    claims.add_handler(move |e| match e {
        InformerEvent::Added(c) | InformerEvent::Updated { new: c, .. } => q.add(Key::Claim(c.key())),
        InformerEvent::Deleted(c) => {
            if let Some(v) = c.spec.as_ref().and_then(|s| s.volume_name.clone()) {
                q.add(Key::Volume(v));
            }
        }
    });
    let (q, all) = (queue.clone(), Arc::downgrade(&claims));
    let is_unbound = |c: &PersistentVolumeClaim| c.annotation(BIND_COMPLETED).is_none();
    volumes.add_handler(move |e| {
        let (InformerEvent::Added(v) | InformerEvent::Updated { new: v, .. } | InformerEvent::Deleted(v)) = e;
        q.add(Key::Volume(v.name().to_owned()));
        match v.spec.as_ref().and_then(|s| s.claim_ref.as_ref()) {
            Some(r) => q.add(Key::Claim(client::key_of(r.namespace.as_deref().unwrap_or(""), r.name.as_deref().unwrap_or("")))),
            // A free volume: whoever waits may take it.
            None => all
                .upgrade()
                .into_iter()
                .flat_map(|c| c.list())
                .filter(|c| is_unbound(c))
                .for_each(|c| q.add(Key::Claim(c.key()))),
        }
    });
    let (q, all) = (queue.clone(), Arc::downgrade(&claims));
    classes.add_handler(move |e| {
        let default = matches!(&e, InformerEvent::Added(s) | InformerEvent::Updated { new: s, .. } if s.annotation(DEFAULT_CLASS) == Some("true"));
        let (InformerEvent::Added(s) | InformerEvent::Updated { new: s, .. } | InformerEvent::Deleted(s)) = e;
        let waits = |c: &PersistentVolumeClaim| {
            let none = c.spec.as_ref().is_some_and(|s| s.storage_class_name.is_none());
            is_unbound(c) && (claim_class(c) == s.name() || (default && none))
        };
        all.upgrade().into_iter().flat_map(|c| c.list()).filter(|c| waits(c)).for_each(|c| q.add(Key::Claim(c.key())));
    });
    synced!(claims, volumes, classes, pods, nodes);
    let recorder = ctx.recorder("persistentvolume-controller");
    let c = Arc::new(Controller { ctx, claims, volumes, classes, pods, nodes, queue: queue.clone(), recorder });
    // One worker: two claims must not pick one volume at a time.
    forever(queue.run("persistentvolume-binder", 1, move |key: Key| {
        let c = c.clone();
        async move {
            match key {
                Key::Claim(k) => c.sync_claim(&k).await,
                Key::Volume(k) => c.sync_volume(&k).await,
            }
        }
    }))
    .await;
}
