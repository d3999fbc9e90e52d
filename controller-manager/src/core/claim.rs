//! Adoption and release: a controller owns exactly the objects that its selector matches and nobody else owns
//! (pkg/controller ControllerRefManager).

use super::selectors;
use crate::{Error, Result};
use client::{Client, Object, Patch};
use k8s_openapi::api::core::v1::Pod;
use machinery::labels::Selector;
use serde_json::json;
use std::sync::Arc;

/// The index of dependents by their controller's UID; orphans stand under [`orphan_key`].
pub const CONTROLLER_INDEX: &str = "controller";

pub fn orphan_key(namespace: &str) -> String {
    format!("orphans/{namespace}")
}

/// The index values of an object in [`CONTROLLER_INDEX`].
pub fn controller_index<K: Object>(obj: &K) -> Vec<String> {
    vec![obj.controller().map_or_else(|| orphan_key(obj.namespace()), |r| r.uid.clone())]
}

/// Dependents of `owner` and orphans of its namespace, from an informer with the index.
pub fn candidates<K: Object, O: Object>(informer: &client::Informer<K>, owner: &O) -> Vec<Arc<K>> {
    let mut all = informer.by_index(CONTROLLER_INDEX, owner.uid());
    all.extend(informer.by_index(CONTROLLER_INDEX, &orphan_key(owner.namespace())));
    all
}

/// Only the dependents of `owner`.
pub fn controlled<K: Object, O: Object>(informer: &client::Informer<K>, owner: &O) -> Vec<Arc<K>> {
    informer.by_index(CONTROLLER_INDEX, owner.uid())
}

/// One round of claiming on behalf of `owner`.
pub struct Claim<'a, O> {
    client: &'a Client,
    owner: &'a O,
    selector: &'a Selector,
    may_adopt: Option<bool>,
    finalizer: Option<&'a str>,
}

impl<'a, O: Object> Claim<'a, O> {
    pub fn new(client: &'a Client, owner: &'a O, selector: &'a Selector) -> Self {
        Self { client, owner, selector, may_adopt: None, finalizer: None }
    }
    /// Adopted objects get this finalizer, released ones lose it (Job tracking).
    pub fn with_finalizer(mut self, finalizer: &'a str) -> Self {
        self.finalizer = Some(finalizer);
        self
    }

    /// The objects among `items` that `owner` owns, after adopting matching orphans and releasing what matches no more. `also`
    /// is a further condition beside the selector.
    pub async fn run<K: Object>(mut self, items: Vec<Arc<K>>, also: impl Fn(&K) -> bool) -> Result<Vec<Arc<K>>> {
        let mut owned = Vec::with_capacity(items.len());
        let mut failed = None;
        for item in items {
            match self.claim(&*item, &also).await {
                Ok(true) => owned.push(item),
                Ok(false) => {}
                Err(e) => failed = Some(e),
            }
        }
        failed.map_or(Ok(owned), Err)
    }

    async fn claim<K: Object>(&mut self, item: &K, also: &impl Fn(&K) -> bool) -> Result<bool> {
        let matches = selectors::matches(self.selector, item.meta().labels.as_ref()) && also(item);
        match item.controller() {
            Some(r) if r.uid != self.owner.uid() => Ok(false),
            Some(_) if matches => Ok(true),
            Some(_) if self.owner.is_terminating() => Ok(false),
            Some(_) => self.release(item).await.map(|()| false),
            None if self.owner.is_terminating() || !matches || item.is_terminating() => Ok(false),
            None if !O::NAMESPACED || item.namespace() == self.owner.namespace() => self.adopt(item).await,
            None => Ok(false),
        }
    }

    async fn adopt<K: Object>(&mut self, item: &K) -> Result<bool> {
        if self.may_adopt.is_none() {
            // The cached owner may be stale: ask the server whether it still lives.
            let fresh: O = self.client.get(self.owner.namespace(), self.owner.name()).await?;
            if fresh.uid() != self.owner.uid() {
                return Err(Error::other(format!(
                    "original {} {} is gone: got uid {}, wanted {}",
                    O::KIND,
                    self.owner.key(),
                    fresh.uid(),
                    self.owner.uid()
                )));
            }
            self.may_adopt = Some(!fresh.is_terminating());
        }
        if self.may_adopt != Some(true) {
            return Err(Error::other(format!(
                "can't adopt {} {}: {} has just been deleted",
                K::KIND,
                item.key(),
                self.owner.key()
            )));
        }
        let mut metadata = json!({"uid": item.uid(), "ownerReferences": [client::object::controller_reference(self.owner)]});
        if let Some(f) = self.finalizer {
            metadata["finalizers"] = json!([f]);
        }
        match self.client.patch::<K>(item.namespace(), item.name(), &Patch::Strategic(json!({"metadata": metadata}))).await {
            Ok(_) => Ok(true),
            Err(e) if e.is_not_found() => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    async fn release<K: Object>(&self, item: &K) -> Result<()> {
        let mut metadata = json!({"uid": item.uid(), "ownerReferences": [{"$patch": "delete", "uid": self.owner.uid()}]});
        if let Some(f) = self.finalizer {
            metadata["$deleteFromPrimitiveList/finalizers"] = json!([f]);
        }
        match self.client.patch::<K>(item.namespace(), item.name(), &Patch::Strategic(json!({"metadata": metadata}))).await {
            Ok(_) => Ok(()),
            // Gone, or already without the reference or recreated under another UID.
            Err(e) if e.is_not_found() || e.is_invalid() => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}

/// Adds the controller index to a pod informer and returns it.
pub fn index_pods(pods: &client::Informer<Pod>) {
    pods.add_index(CONTROLLER_INDEX, controller_index::<Pod>);
}
