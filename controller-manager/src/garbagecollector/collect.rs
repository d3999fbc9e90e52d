//! What to do with one object: keep it, drop dead references, or delete it.

use super::Collector;
use super::graph::{FOREGROUND, Node, ORPHAN, Uid};
use crate::core::error::ignore_not_found;
use crate::{Error, Result};
use client::metadata::PartialObject;
use client::{DeleteOptions, EventType, Patch};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::json;

enum Owner {
    /// Lives on.
    Solid,
    Dangling,
    /// Waits in the foreground for its dependents to go.
    Waiting,
    /// A cluster-scoped object cannot have a namespaced owner: left alone.
    Impossible,
}

fn has(o: &PartialObject, finalizer: &str) -> bool {
    o.metadata.finalizers.iter().flatten().any(|f| f == finalizer)
}

impl Collector {
    pub(super) async fn attempt_to_delete(&self, uid: &Uid) -> Result {
        let node = {
            let graph = self.graph.lock();
            let Some(node) = graph.get(uid) else { return Ok(()) };
            if (node.being_deleted && !node.deleting_dependents) || graph.is_settled(node) {
                return Ok(());
            }
            node.clone()
        };
        let latest = match self.ctx.client.get_metadata(&node.path()).await {
            Ok(o) if o.metadata.uid.as_deref() == Some(&**uid) => o,
            // Gone, or another object of the same name: its watch will tell, but dependents need not wait.
            Ok(_) => return self.vanished(uid),
            Err(e) if e.is_not_found() => return self.vanished(uid),
            Err(e) => return Err(e.into()),
        };
        if node.deleting_dependents {
            return self.delete_dependents(uid, &node, &latest).await;
        }
        let references = latest.metadata.owner_references.clone().unwrap_or_default();
        if references.is_empty() {
            return Ok(());
        }
        let (mut solid, mut dangling, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
        for r in references {
            match self.classify(uid, &node, &r).await? {
                Owner::Solid => solid.push(r),
                Owner::Dangling => dangling.push(r),
                Owner::Waiting => waiting.push(r),
                Owner::Impossible => return Ok(()),
            }
        }
        if !solid.is_empty() {
            if !dangling.is_empty() || !waiting.is_empty() {
                let uids: Vec<&str> = dangling.iter().chain(&waiting).map(|r| r.uid.as_str()).collect();
                return self.drop_references(uid, &node, &uids).await;
            }
            // Seen live but not by its watch yet: look again, in case it goes before the watch ever shows it.
            let discovery = self.monitors.discovery.read().clone();
            let unseen = solid.iter().any(|r| {
                let watched = discovery.by_kind(&r.api_version, &r.kind).is_some_and(|k| self.monitors.watches(&k.gvr));
                watched && self.graph.lock().get(&r.uid).is_none()
            });
            if unseen {
                self.delete.add_after(uid.clone(), std::time::Duration::from_secs(5));
            }
            return Ok(());
        }
        let dependents = self.graph.lock().dependents_of(uid);
        if !waiting.is_empty() && !dependents.is_empty() {
            let cycle = {
                let graph = self.graph.lock();
                dependents.iter().any(|d| graph.get(d).is_some_and(|n| n.deleting_dependents))
            };
            if cycle {
                self.unblock(&node, &latest).await?;
            }
            return self.delete_object(uid, &node, &latest, "Foreground").await;
        }
        let policy = if has(&latest, ORPHAN) {
            "Orphan"
        } else if has(&latest, FOREGROUND) {
            "Foreground"
        } else {
            "Background"
        };
        self.delete_object(uid, &node, &latest, policy).await
    }

    fn vanished(&self, uid: &Uid) -> Result {
        let work = self.graph.lock().remove(uid);
        self.queue(work);
        Ok(())
    }

    async fn classify(&self, uid: &Uid, node: &Node, r: &OwnerReference) -> Result<Owner> {
        let key = |ns: &str| (ns.to_owned(), r.api_version.clone(), r.kind.clone(), r.name.clone(), r.uid.clone());
        let known = [key(""), key(&node.namespace)];
        if known.iter().any(|k| self.absent.lock().contains(k)) {
            return Ok(Owner::Dangling);
        }
        let discovery = self.monitors.discovery.read().clone();
        let Some(resource) = discovery.by_kind(&r.api_version, &r.kind) else {
            // A kind nobody serves (yet): upstream keeps the object and tries again.
            return Err(Error::other(format!("unable to get REST mapping for {}/{}.", r.api_version, r.kind)));
        };
        if resource.namespaced && node.namespace.is_empty() {
            self.report_namespace(uid, node, r);
            return Ok(Owner::Impossible);
        }
        let absent = key(if resource.namespaced { &node.namespace } else { "" });
        match self.ctx.client.get_metadata(&resource.path(&node.namespace, &r.name)).await {
            Ok(owner) if owner.metadata.uid.as_deref() == Some(&*r.uid) => {
                let waiting = owner.metadata.deletion_timestamp.is_some() && has(&owner, FOREGROUND);
                Ok(if waiting { Owner::Waiting } else { Owner::Solid })
            }
            Err(e) if !e.is_not_found() => Err(e.into()),
            _ => {
                let elsewhere = self.graph.lock().get(&r.uid).is_some_and(|o| o.namespace != node.namespace);
                if resource.namespaced && elsewhere {
                    self.report_namespace(uid, node, r);
                }
                self.absent.lock().add(absent);
                Ok(Owner::Dangling)
            }
        }
    }

    fn report_namespace(&self, uid: &Uid, node: &Node, r: &OwnerReference) {
        let about = ObjectReference {
            api_version: Some(node.resource.api_version()),
            kind: Some(node.resource.kind.clone()),
            namespace: Some(node.namespace.to_string()),
            name: Some(node.name.to_string()),
            uid: Some(uid.to_string()),
            ..Default::default()
        };
        let message = format!(
            "ownerRef [{}/{}, namespace: {}, name: {}, uid: {}] does not exist in namespace {:?}",
            r.api_version, r.kind, node.namespace, r.name, r.uid, node.namespace
        );
        self.recorder.event(&about, EventType::Warning, "OwnerRefInvalidNamespace", message);
    }

    /// A foreground deletion: gone when nothing blocks it.
    async fn delete_dependents(&self, uid: &Uid, node: &Node, latest: &PartialObject) -> Result {
        let blocking = self.graph.lock().blocking(uid);
        if blocking.is_empty() {
            return self.remove_finalizer(node, latest, FOREGROUND).await;
        }
        let graph = self.graph.lock();
        for d in blocking {
            if graph.get(&d).is_some_and(|n| !n.deleting_dependents) {
                self.delete.add(d);
            }
        }
        Ok(())
    }

    pub(super) async fn orphan_dependents(&self, uid: &Uid) -> Result {
        let Some(node) = self.graph.lock().get(uid).cloned() else { return Ok(()) };
        let dependents = self.graph.lock().dependents_of(uid);
        for d in dependents {
            let Some(dependent) = self.graph.lock().get(&d).cloned() else { continue };
            self.drop_references(&d, &dependent, &[uid]).await?;
        }
        match self.ctx.client.get_metadata(&node.path()).await {
            Ok(latest) if latest.metadata.uid.as_deref() == Some(&**uid) => self.remove_finalizer(&node, &latest, ORPHAN).await,
            Ok(_) => Ok(()),
            Err(e) if e.is_not_found() => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    async fn delete_object(&self, uid: &Uid, node: &Node, latest: &PartialObject, policy: &'static str) -> Result {
        // Ownership may have changed since: then another look is due.
        let options = DeleteOptions {
            propagation_policy: Some(policy),
            uid: Some(uid.to_string()),
            resource_version: latest.metadata.resource_version.clone(),
            ..Default::default()
        };
        match self.ctx.client.delete_path(&node.path(), &options).await {
            Ok(_) => Ok(()),
            Err(e) if e.is_not_found() => self.vanished(uid),
            Err(e) => Err(e.into()),
        }
    }

    /// Removes owner references by a merge patch pinned to the version read, which every kind understands.
    async fn drop_references(&self, uid: &Uid, node: &Node, owners: &[&str]) -> Result {
        let latest = match self.ctx.client.get_metadata(&node.path()).await {
            Ok(o) if o.metadata.uid.as_deref() == Some(&**uid) => o,
            Ok(_) => return Ok(()),
            Err(e) if e.is_not_found() => return Ok(()),
            Err(e) => return Err(e.into()),
        };
        let mut references = latest.metadata.owner_references.clone().unwrap_or_default();
        references.retain(|r| !owners.contains(&r.uid.as_str()));
        self.patch_metadata(node, &latest, json!({"ownerReferences": references})).await
    }

    /// Breaks a cycle of foreground deletions: references stop blocking.
    async fn unblock(&self, node: &Node, latest: &PartialObject) -> Result {
        let mut references = latest.metadata.owner_references.clone().unwrap_or_default();
        references.iter_mut().for_each(|r| r.block_owner_deletion = Some(false));
        self.patch_metadata(node, latest, json!({"ownerReferences": references})).await
    }

    async fn remove_finalizer(&self, node: &Node, latest: &PartialObject, finalizer: &str) -> Result {
        let mut finalizers = latest.metadata.finalizers.clone().unwrap_or_default();
        let before = finalizers.len();
        finalizers.retain(|f| f != finalizer);
        if finalizers.len() == before {
            return Ok(());
        }
        self.patch_metadata(node, latest, json!({"finalizers": finalizers})).await
    }

    async fn patch_metadata(&self, node: &Node, latest: &PartialObject, mut change: serde_json::Value) -> Result {
        change["resourceVersion"] = json!(latest.metadata.resource_version);
        change["uid"] = json!(latest.metadata.uid);
        let patch = Patch::Merge(json!({"metadata": change}));
        Ok(ignore_not_found(self.ctx.client.patch_path(&node.path(), &patch).await)?)
    }
}
