//! How authentication, authorization and admission read objects: from the watch caches, and from the store where that matters.

use crate::admission::Lister;
use crate::resources::Table;
use crate::server::Inner;
use arc_swap::ArcSwap;
use async_trait::async_trait;
use auth::{Authorizer, ObjectGetter};
use machinery::{Status, Value, meta};
use std::sync::Arc;
use storage::{Cacher, Preconditions, Update};

/// The resources' storages by group and resource.
pub struct Objects(pub Arc<ArcSwap<Table>>);

impl Objects {
    pub fn storage(&self, group: &str, resource: &str) -> Option<Arc<Cacher>> {
        self.0.load().preferred(group, resource)?.storage.clone()
    }
}

#[async_trait]
impl ObjectGetter for Objects {
    async fn get(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Result<Option<Arc<Value>>, Status> {
        let storage =
            self.storage(group, resource).ok_or_else(|| Status::internal(format!("no such resource: {resource}.{group}")))?;
        match storage.get(namespace, name, "").await {
            Ok(o) => Ok(Some(Arc::new(o.value()))),
            Err(s) if s.is_not_found() => Ok(None),
            Err(s) => Err(s),
        }
    }
}

#[async_trait]
impl Lister for Inner {
    fn get(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let o = self.objects.storage(group, resource)?.peek(namespace, name)?;
        Some(Arc::new(o.value()))
    }

    fn list(&self, group: &str, resource: &str, namespace: &str) -> Vec<Arc<Value>> {
        let Some(storage) = self.objects.storage(group, resource) else { return Vec::new() };
        storage.peek_all(namespace).iter().map(|o| Arc::new(o.value())).collect()
    }

    async fn fill(&self, group: &str, resource: &str) -> Result<(), Status> {
        if let Some(s) = self.objects.storage(group, resource) {
            let any = storage::ListOptions { resource_version: "0".into(), limit: 1, ..storage::ListOptions::default() };
            s.list(any).await?;
        }
        Ok(())
    }

    async fn get_live(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Result<Option<Arc<Value>>, Status> {
        ObjectGetter::get(&*self.objects, group, resource, namespace, name).await
    }

    async fn update_status(&self, group: &str, resource: &str, obj: Value) -> Result<Arc<Value>, Status> {
        let storage = self
            .objects
            .storage(group, resource)
            .ok_or_else(|| Status::internal(format!("no such resource: {resource}.{group}")))?;
        let preconditions =
            Preconditions { resource_version: Some(meta::resource_version(&obj).to_owned()), ..Preconditions::default() };
        let (namespace, name) = (meta::namespace(&obj).to_owned(), meta::name(&obj).to_owned());
        let stored = storage
            .guaranteed_update(&namespace, &name, &preconditions, false, |_| {
                let value = obj.clone();
                async move { Ok(Update { value, ttl: None }) }
            })
            .await?;
        Ok(Arc::new(stored.value()))
    }

    fn authorizer(&self) -> &dyn Authorizer {
        &*self.authorizer
    }
}
