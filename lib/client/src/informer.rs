//! Shared informers: one list and one watch per kind and selector in a process, a store of what they say, handlers and indexes.
//! Semantics of client-go's SharedIndexInformer.

use crate::api::JSON;
use crate::json::ListMeta;
use crate::reflector::{Reflector, Sink};
use crate::watch::WatchEvent;
use crate::{Client, ListOptions, Object};
use parking_lot::{Mutex, RwLock};
use std::any::{Any, TypeId};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use tokio::sync::watch as signal;

/// A change of the store, after it was applied.
#[derive(Debug)]
pub enum InformerEvent<'a, K> {
    Added(&'a Arc<K>),
    Updated {
        old: &'a Arc<K>,
        new: &'a Arc<K>,
    },
    /// The last state known.
    Deleted(&'a Arc<K>),
}

type Handler<K> = Box<dyn Fn(InformerEvent<'_, K>) + Send + Sync>;
type IndexFn<K> = Box<dyn Fn(&K) -> Vec<String> + Send + Sync>;

struct Index<K> {
    of: IndexFn<K>,
    keys: HashMap<String, BTreeSet<Arc<str>>>,
}

struct Cache<K> {
    objects: BTreeMap<Arc<str>, Arc<K>>,
    indexes: HashMap<&'static str, Index<K>>,
}

impl<K: Object> Cache<K> {
    fn put(&mut self, obj: Arc<K>) -> Option<Arc<K>> {
        let key: Arc<str> = obj.key().into();
        let old = self.objects.insert(key.clone(), obj.clone());
        for index in self.indexes.values_mut() {
            if let Some(old) = &old {
                index.remove(&key, old);
            }
            index.add(&key, &obj);
        }
        old
    }
    fn remove(&mut self, key: &str) -> Option<Arc<K>> {
        let (key, old) = self.objects.remove_entry(key)?;
        for index in self.indexes.values_mut() {
            index.remove(&key, &old);
        }
        Some(old)
    }
}

impl<K> Index<K> {
    fn add(&mut self, key: &Arc<str>, obj: &K) {
        for v in (self.of)(obj) {
            self.keys.entry(v).or_default().insert(key.clone());
        }
    }
    fn remove(&mut self, key: &str, obj: &K) {
        for v in (self.of)(obj) {
            if let Some(set) = self.keys.get_mut(&v) {
                set.remove(key);
                if set.is_empty() {
                    self.keys.remove(&v);
                }
            }
        }
    }
}

/// The local copy of a collection. Keys are `namespace/name`, or `name` for cluster-scoped kinds.
pub struct Informer<K> {
    cache: RwLock<Cache<K>>,
    handlers: Mutex<Vec<Handler<K>>>,
    synced: signal::Sender<bool>,
    /// Revision of the last event applied.
    revision: Mutex<String>,
}

impl<K: Object> Informer<K> {
    fn new() -> Self {
        Self {
            cache: RwLock::new(Cache { objects: BTreeMap::new(), indexes: HashMap::new() }),
            handlers: Mutex::new(Vec::new()),
            synced: signal::Sender::new(false),
            revision: Mutex::new(String::new()),
        }
    }

    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.get_key(&crate::key_of(namespace, name))
    }
    pub fn get_key(&self, key: &str) -> Option<Arc<K>> {
        self.cache.read().objects.get(key).cloned()
    }
    /// Every object, ordered by key.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.cache.read().objects.values().cloned().collect()
    }
    /// The objects of one namespace, ordered by name.
    pub fn list_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let from = format!("{namespace}/");
        let cache = self.cache.read();
        let range = cache.objects.range::<str, _>((std::ops::Bound::Included(&*from), std::ops::Bound::Unbounded));
        range.take_while(|(k, _)| k.starts_with(&from)).map(|(_, v)| v.clone()).collect()
    }
    pub fn len(&self) -> usize {
        self.cache.read().objects.len()
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds an index: objects by what `of` says of them. The first function given for a name stays.
    pub fn add_index(&self, name: &'static str, of: impl Fn(&K) -> Vec<String> + Send + Sync + 'static) {
        let mut guard = self.cache.write();
        let cache = &mut *guard;
        if cache.indexes.contains_key(name) {
            return;
        }
        let mut index = Index { of: Box::new(of), keys: HashMap::new() };
        for (key, obj) in &cache.objects {
            index.add(key, obj);
        }
        cache.indexes.insert(name, index);
    }
    /// The objects whose index `name` holds `value`; none for an index that was not added.
    pub fn by_index(&self, name: &str, value: &str) -> Vec<Arc<K>> {
        let cache = self.cache.read();
        let Some(keys) = cache.indexes.get(name).and_then(|i| i.keys.get(value)) else { return Vec::new() };
        keys.iter().filter_map(|k| cache.objects.get(k).cloned()).collect()
    }

    /// Calls `handler` for every object there is and every change from now on, in order. It must not block.
    pub fn add_handler(&self, handler: impl Fn(InformerEvent<'_, K>) + Send + Sync + 'static) {
        let mut handlers = self.handlers.lock();
        for obj in self.list() {
            handler(InformerEvent::Added(&obj));
        }
        handlers.push(Box::new(handler));
    }

    /// Waits until the first list is in the store.
    pub async fn synced(&self) {
        let mut rx = self.synced.subscribe();
        // The sender lives as long as `self`, so this cannot fail.
        let _ = rx.wait_for(|s| *s).await;
    }
    pub fn has_synced(&self) -> bool {
        *self.synced.borrow()
    }
    /// resourceVersion of the last event or list applied.
    pub fn revision(&self) -> String {
        self.revision.lock().clone()
    }

    fn apply_put(&self, obj: K) {
        let handlers = self.handlers.lock();
        let new = Arc::new(obj);
        let old = self.cache.write().put(new.clone());
        for h in handlers.iter() {
            match &old {
                Some(old) => h(InformerEvent::Updated { old, new: &new }),
                None => h(InformerEvent::Added(&new)),
            }
        }
    }
    fn apply_delete(&self, key: &str, last: Option<K>) {
        let handlers = self.handlers.lock();
        let Some(old) = self.cache.write().remove(key) else { return };
        let last = last.map_or(old, Arc::new);
        for h in handlers.iter() {
            h(InformerEvent::Deleted(&last));
        }
    }
    fn apply_list(&self, items: Vec<K>) {
        let mut gone: BTreeSet<Arc<str>> = self.cache.read().objects.keys().cloned().collect();
        for obj in items {
            let key = obj.key();
            let same =
                self.get_key(&key).is_some_and(|old| old.uid() == obj.uid() && old.resource_version() == obj.resource_version());
            gone.remove(&*key);
            if !same {
                self.apply_put(obj);
            }
        }
        for key in gone {
            self.apply_delete(&key, None);
        }
    }
}

/// Puts what a reflector tells into an informer.
struct Feed<K> {
    informer: Arc<Informer<K>>,
    pages: Vec<K>,
}

impl<K: Object> Sink for Feed<K> {
    fn begin(&mut self) {
        self.pages.clear();
    }

    fn page(&mut self, json: &[u8]) -> serde_json::Result<ListMeta> {
        let page = K::list_from_json(json)?;
        self.pages.extend(page.items);
        Ok(page.metadata)
    }

    fn listed(&mut self, revision: &str) {
        self.informer.apply_list(std::mem::take(&mut self.pages));
        revision.clone_into(&mut self.informer.revision.lock());
        self.informer.synced.send_replace(true);
    }

    fn event(&mut self, event: WatchEvent<&[u8]>) -> serde_json::Result<Option<String>> {
        let revision = match event.decode::<K>()? {
            WatchEvent::Added(o) | WatchEvent::Modified(o) => {
                let revision = o.resource_version().to_owned();
                self.informer.apply_put(o);
                revision
            }
            WatchEvent::Deleted(o) => {
                let revision = o.resource_version().to_owned();
                self.informer.apply_delete(&o.key(), Some(o));
                revision
            }
            WatchEvent::Bookmark { resource_version, .. } => resource_version,
        };
        self.informer.revision.lock().clone_from(&revision);
        Ok(Some(revision))
    }
}

/// The informers of one process, shared by all that ask for the same kind, namespace and selectors. Dropping the last clone stops
/// them.
#[derive(Clone)]
pub struct Informers {
    client: Client,
    shared: Arc<Shared>,
}

/// Kind, namespace and selectors.
type InformerKey = (TypeId, String, ListOptions);

#[derive(Default)]
struct Shared {
    informers: Mutex<HashMap<InformerKey, Arc<dyn Any + Send + Sync>>>,
    tasks: Mutex<tokio::task::JoinSet<()>>,
}

impl Informers {
    pub fn new(client: Client) -> Self {
        Self { client, shared: Arc::default() }
    }
    pub fn client(&self) -> &Client {
        &self.client
    }
    /// The informer of all objects of a kind; starts it on first use.
    pub fn of<K: Object>(&self) -> Arc<Informer<K>> {
        self.with("", ListOptions::default())
    }
    /// The informer of the objects in a namespace (empty: all) that match selectors; starts it on first use.
    pub fn with<K: Object>(&self, namespace: &str, options: ListOptions) -> Arc<Informer<K>> {
        let key = (TypeId::of::<K>(), namespace.to_owned(), options.clone());
        let mut map = self.shared.informers.lock();
        if let Some(found) = map.get(&key).cloned().and_then(|a| a.downcast::<Informer<K>>().ok()) {
            return found;
        }
        let informer = Arc::new(Informer::<K>::new());
        map.insert(key, informer.clone());
        self.start(K::collection_path(namespace), options, Box::new(Feed { informer: informer.clone(), pages: Vec::new() }));
        informer
    }
    fn start(&self, path: String, options: ListOptions, mut sink: Box<dyn Sink>) {
        let reflector = Reflector { client: self.client.clone(), path, options, accept: (JSON, JSON) };
        self.shared.tasks.lock().spawn(async move { reflector.run(&mut *sink).await });
    }
}
