//! The `skiff.dev/local-path` provisioner: a directory on the node that runs the claim's first pod. Where this
//! process can reach the node's disk it makes and removes it itself; elsewhere the node's agent does, or at least its kubelet makes it
//! when it mounts it (`DirectoryOrCreate`).

use super::{PROVISIONED_BY, PROVISIONER, SELECTED_NODE, claim_class};
use crate::core::error::ignore_not_found;
use crate::manager::forever;
use crate::{Context, Error, Result, synced};
use client::{DeleteOptions, EventType, Informer, InformerEvent, Object, Recorder, WorkQueue, reference_to};
use k8s_openapi::api::core::v1::{
    HostPathVolumeSource, Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PersistentVolume, PersistentVolumeClaim,
    PersistentVolumeSpec, VolumeNodeAffinity,
};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub const NAME: &str = "skiff.dev/local-path";
/// The node whose disk holds the volume.
pub const NODE: &str = "local-path.skiff.dev/node";
/// Annotation of a Node that keeps its volumes elsewhere than this process does: their directory.
pub const DIRECTORY: &str = "local-path.skiff.dev/directory";
const HOSTNAME: &str = "kubernetes.io/hostname";

struct Provisioner {
    ctx: Context,
    claims: Arc<Informer<PersistentVolumeClaim>>,
    volumes: Arc<Informer<PersistentVolume>>,
    classes: Arc<Informer<StorageClass>>,
    nodes: Arc<Informer<Node>>,
    recorder: Recorder,
}

pub async fn run(ctx: Context) {
    let claims = ctx.informers.of::<PersistentVolumeClaim>();
    let volumes = ctx.informers.of::<PersistentVolume>();
    let classes = ctx.informers.of::<StorageClass>();
    let nodes = ctx.informers.of::<Node>();
    let (provision, delete) = (WorkQueue::new(), WorkQueue::new());
    let q = provision.clone();
    claims.add_handler(move |e| {
        if let InformerEvent::Added(c) | InformerEvent::Updated { new: c, .. } = e
            && wants_volume(c)
        {
            q.add(c.key());
        }
    });
    let q = delete.clone();
    volumes.add_handler(move |e| {
        if let InformerEvent::Added(v) | InformerEvent::Updated { new: v, .. } = e
            && is_released(v)
        {
            q.add(v.name().to_owned());
        }
    });
    synced!(claims, volumes, classes, nodes);
    let recorder = ctx.recorder(NAME);
    let p = Arc::new(Provisioner { ctx, claims, volumes, classes, nodes, recorder });
    let d = p.clone();
    let mut tasks = provision.run("local-path-provision", 2, move |key: String| {
        let p = p.clone();
        async move { p.provision(&key).await }
    });
    tasks.spawn(forever(delete.run("local-path-delete", 2, move |name: String| {
        let p = d.clone();
        async move { p.delete(&name).await }
    })));
    forever(tasks).await;
}

fn wants_volume(c: &PersistentVolumeClaim) -> bool {
    let unbound = c.spec.as_ref().is_some_and(|s| s.volume_name.as_deref().unwrap_or("").is_empty());
    unbound && c.annotation(PROVISIONER) == Some(NAME) && !c.is_terminating()
}

fn is_released(v: &PersistentVolume) -> bool {
    let deletes = v.spec.as_ref().and_then(|s| s.persistent_volume_reclaim_policy.as_deref()) == Some("Delete");
    let released = v.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Released");
    deletes && released && v.annotation(PROVISIONED_BY) == Some(NAME)
}

impl Provisioner {
    async fn provision(&self, key: &str) -> Result {
        let Some(c) = self.claims.get_key(key).filter(|c| wants_volume(c)) else { return Ok(()) };
        let name = format!("pvc-{}", c.uid());
        if self.volumes.get("", &name).is_some() {
            return Ok(());
        }
        let fail = |message: String| {
            self.recorder.event(&reference_to(&*c), EventType::Warning, "ProvisioningFailed", message.clone());
            Err(Error::other(message))
        };
        let Some(class) = self.classes.get("", claim_class(&c)) else {
            return fail(format!("storageclass {:?} not found", claim_class(&c)));
        };
        let node = match c.annotation(SELECTED_NODE) {
            Some(n) => self.nodes.get("", n),
            // Immediate binding: any node that is there.
            None if class.volume_binding_mode.as_deref() != Some("WaitForFirstConsumer") => self.nodes.list().first().cloned(),
            None => return Ok(()),
        };
        let Some(node) = node else { return fail("no node to provision the volume on".into()) };
        let spec = c.spec.clone().unwrap_or_default();
        if spec.volume_mode.as_deref() == Some("Block") {
            return fail(format!("provisioner {NAME} does not support block volumes"));
        }
        let mode = |m: &String| m == "ReadWriteOnce" || m == "ReadWriteOncePod";
        if !spec.access_modes.iter().flatten().all(mode) {
            return fail(format!("provisioner {NAME} supports only ReadWriteOnce and ReadWriteOncePod volumes"));
        }
        let message = format!("External provisioner is provisioning volume for claim {key:?}");
        self.recorder.event(&reference_to(&*c), EventType::Normal, "Provisioning", message);
        let directory = format!("{name}_{}_{}", c.namespace(), c.name());
        let elsewhere = node.annotation(DIRECTORY).map(PathBuf::from).filter(|p| p.is_absolute());
        let path = elsewhere.unwrap_or_else(|| self.ctx.config.local_path_directory.clone()).join(directory);
        if let Some(disks) = &self.ctx.config.local_path
            && let Err(e) = disks.create(node.name(), &path).await
        {
            return fail(format!("failed to provision volume: make {}: {e}", path.display()));
        }
        let v = volume(&name, &c, &class, &node, &path);
        match self.ctx.client.create("", &v).await {
            Ok(_) => {}
            Err(e) if e.is_already_exists() => return Ok(()),
            Err(e) => return fail(format!("failed to provision volume: {e}")),
        }
        let message = format!("Successfully provisioned volume {name}");
        self.recorder.event(&reference_to(&*c), EventType::Normal, "ProvisioningSucceeded", message);
        Ok(())
    }

    async fn delete(&self, name: &str) -> Result {
        let Some(v) = self.volumes.get("", name).filter(|v| is_released(v)) else { return Ok(()) };
        let path = v.spec.as_ref().and_then(|s| s.host_path.as_ref()).map(|h| PathBuf::from(&h.path)).unwrap_or_default();
        // Never outside our directory, whatever the object says.
        let inside = path.parent() == Some(self.ctx.config.local_path_directory.as_path()) && path.file_name().is_some();
        if let (Some(disks), Some(node), true) = (&self.ctx.config.local_path, v.annotation(NODE), inside)
            && let Err(e) = disks.remove(node, &path).await
        {
            let message = format!("remove {}: {e}", path.display());
            self.recorder.event(&reference_to(&*v), EventType::Warning, "VolumeFailedDelete", message.clone());
            return Err(Error::other(message));
        }
        let options = DeleteOptions { uid: v.metadata.uid.clone(), ..Default::default() };
        Ok(ignore_not_found(self.ctx.client.delete::<PersistentVolume>("", name, &options).await)?)
    }
}

fn volume(name: &str, c: &PersistentVolumeClaim, class: &StorageClass, node: &Node, path: &Path) -> PersistentVolume {
    let spec = c.spec.clone().unwrap_or_default();
    let requests = spec.resources.and_then(|r| r.requests).unwrap_or_default();
    let hostname = node.label(HOSTNAME).unwrap_or(node.name()).to_owned();
    let affinity = NodeSelectorRequirement { key: HOSTNAME.into(), operator: "In".into(), values: Some(vec![hostname]) };
    let mut claim_ref = reference_to(c);
    claim_ref.resource_version = None;
    PersistentVolume {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            annotations: Some(BTreeMap::from([
                (PROVISIONED_BY.to_owned(), NAME.to_owned()),
                (NODE.to_owned(), node.name().to_owned()),
            ])),
            ..Default::default()
        },
        spec: Some(PersistentVolumeSpec {
            capacity: requests.get_key_value("storage").map(|(k, v)| BTreeMap::from([(k.clone(), v.clone())])),
            access_modes: spec.access_modes,
            volume_mode: spec.volume_mode,
            claim_ref: Some(claim_ref),
            persistent_volume_reclaim_policy: class.reclaim_policy.clone().or_else(|| Some("Delete".into())),
            storage_class_name: Some(class.name().to_owned()),
            mount_options: class.mount_options.clone(),
            host_path: Some(HostPathVolumeSource { path: path.display().to_string(), type_: Some("DirectoryOrCreate".into()) }),
            node_affinity: Some(VolumeNodeAffinity {
                required: Some(NodeSelector {
                    node_selector_terms: vec![NodeSelectorTerm { match_expressions: Some(vec![affinity]), match_fields: None }],
                }),
            }),
            ..Default::default()
        }),
        status: None,
    }
}
