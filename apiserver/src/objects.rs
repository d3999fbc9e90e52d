//! How authentication, authorization and admission read objects: from the watch caches, and from the store where that matters.

use crate::admission::Lister;
use crate::resources::Table;
use crate::server::Inner;
use arc_swap::ArcSwap;
use async_trait::async_trait;
use auth::{Authorizer, ObjectGetter};
use machinery::{Status, Value, meta};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use storage::{Cacher, Object, Preconditions, Update};

/// The resources' storages by group and resource.
pub struct Objects {
    table: Arc<ArcSwap<Table>>,
    trees: Trees,
}

/// What admission read last, as trees: namespaces, service accounts and classes are asked for by every write, and seldom change.
#[derive(Default)]
struct Trees(Mutex<HashMap<Arc<str>, (Arc<Object>, Arc<Value>)>>);

/// So many are kept, each of at most so many bytes of JSON.
const TREES: usize = 128;
const TREE_BYTES: usize = 4096;

impl Trees {
    fn of(&self, object: &Arc<Object>) -> Arc<Value> {
        if object.bytes().len() > TREE_BYTES {
            return Arc::new(object.value());
        }
        // The object itself and not its revision: a definition that changes changes how its objects are served.
        if let Some((same, tree)) = self.0.lock().get(object.key())
            && Arc::ptr_eq(same, object)
        {
            return tree.clone();
        }
        let tree = Arc::new(object.value());
        let mut trees = self.0.lock();
        if trees.len() >= TREES {
            trees.clear();
        }
        trees.insert(object.key().clone(), (object.clone(), tree.clone()));
        tree
    }
}

impl Objects {
    pub fn new(table: Arc<ArcSwap<Table>>) -> Self {
        Self { table, trees: Trees::default() }
    }

    pub fn storage(&self, group: &str, resource: &str) -> Option<Arc<Cacher>> {
        self.table.load().preferred(group, resource)?.storage.clone()
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
        Some(self.objects.trees.of(&o))
    }

    fn list(&self, group: &str, resource: &str, namespace: &str) -> Vec<Arc<Value>> {
        let Some(storage) = self.objects.storage(group, resource) else { return Vec::new() };
        storage.peek_all(namespace).iter().map(|o| self.objects.trees.of(o)).collect()
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
