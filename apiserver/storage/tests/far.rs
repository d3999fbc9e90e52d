//! The cache on a store in another process, which must be asked how far it is, or can't tell: the same answers as on a near one.

#[path = "../../../lib/store/tests/etcd_process/mod.rs"]
mod etcd_process;

use async_trait::async_trait;
use bytes::Bytes;
use machinery::{GroupResource, Value, json};
use std::sync::Arc;
use std::time::Duration;
use storage::{Cacher, Config, ListOptions, Preconditions, SendInitialEvents, Update, VersionMatch, WatchEvent, WatchOptions};
use store::{KeyValue, Range, RangeResult, Result, Revision, Store, Watch};

/// A near store that behaves like one far away.
struct Far {
    near: Arc<dyn Store>,
    progress: bool,
}

#[async_trait]
impl Store for Far {
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision)> {
        self.near.get(key).await
    }
    async fn range(&self, prefix: &str, range: Range) -> Result<RangeResult> {
        self.near.range(prefix, range).await
    }
    async fn create(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<Revision> {
        self.near.create(key, value, ttl).await
    }
    async fn update(&self, key: &str, expected: Revision, value: Bytes, ttl: Option<Duration>) -> Result<Revision> {
        self.near.update(key, expected, value, ttl).await
    }
    async fn delete(&self, key: &str, expected: Revision) -> Result<Revision> {
        self.near.delete(key, expected).await
    }
    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch> {
        Ok(Watch { queued: None, ..self.near.watch(prefix, after).await? })
    }
    async fn revision(&self) -> Result<Revision> {
        self.near.revision().await
    }
    async fn request_progress(&self) -> Result<()> {
        self.near.request_progress().await
    }
    fn supports_progress(&self) -> bool {
        self.progress
    }
    async fn compact(&self, revision: Revision) -> Result<()> {
        self.near.compact(revision).await
    }
    async fn compacted_revision(&self) -> Result<Revision> {
        self.near.compacted_revision().await
    }
    async fn size(&self) -> Result<u64> {
        self.near.size().await
    }
}

fn object(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}})
}

fn cacher(store: &Arc<dyn Store>, resource: &str) -> Arc<Cacher> {
    Cacher::new(store.clone(), Config::new(GroupResource::new("", resource), format!("/registry/{resource}/")))
}

async fn scenario(store: Arc<dyn Store>) {
    let (pods, others) = (cacher(&store, "pods"), cacher(&store, "configmaps"));
    let none = Preconditions::default();
    let unset = ListOptions::default;
    assert_eq!(pods.list(unset()).await.unwrap().items.len(), 0);
    let mut made = Vec::new();
    for name in ["a", "b", "c"] {
        made.push(pods.create("default", name, object(name), None).await.unwrap().revision());
        let list = pods.list(unset()).await.unwrap();
        assert_eq!(list.items.len(), made.len(), "a list sees what was written before it");
    }
    let other = others.create("default", "x", object("x"), None).await.unwrap().revision();
    let list = pods.list(unset()).await.unwrap();
    assert_eq!((list.items.len(), list.revision), (3, other));
    let newer = ListOptions { resource_version: other.to_string(), version_match: Some(VersionMatch::NotOlderThan), ..unset() };
    assert_eq!(pods.list(newer).await.unwrap().items.len(), 3, "as new as what another resource wrote");
    assert_eq!(pods.get("default", "b", &other.to_string()).await.unwrap().revision(), made[1]);

    let first = pods.list(ListOptions { limit: 2, ..unset() }).await.unwrap();
    assert_eq!((first.items.len(), first.remaining_item_count), (2, Some(1)));
    pods.delete("default", "c", &none, |_| Ok(())).await.unwrap();
    let rest = pods.list(ListOptions { limit: 2, continue_token: first.continue_token, ..unset() }).await.unwrap();
    assert_eq!((rest.items[0].name(), rest.revision), ("c", first.revision), "the second chunk is of the first's state");

    // Two servers: the other one's write is seen by updates here, whatever this cache has.
    let elsewhere = cacher(&store, "pods");
    let add = |current: Option<Value>| {
        let mut value = current.unwrap();
        value["n"] = (value["n"].as_u64().unwrap_or(0) + 1).into();
        std::future::ready(Ok(Update::from(value)))
    };
    let mut watcher =
        pods.watch(WatchOptions { resource_version: made[2].to_string(), ..WatchOptions::default() }).await.unwrap();
    for _ in 0..5 {
        elsewhere.guaranteed_update("default", "a", &none, false, add).await.unwrap();
        pods.guaranteed_update("default", "a", &none, false, add).await.unwrap();
    }
    let last = pods.get("default", "a", "").await.unwrap();
    assert_eq!(last.value()["n"], 10);
    let Some(WatchEvent::Object(deleted)) = watcher.next().await else { panic!("no event") };
    assert_eq!((deleted.kind.as_str(), deleted.object.name()), ("DELETED", "c"));
    for n in 1..=10 {
        let Some(WatchEvent::Object(event)) = watcher.next().await else { panic!("no event") };
        assert_eq!((event.kind.as_str(), &event.object.value()["n"]), ("MODIFIED", &json!(n)));
    }
    let missing = pods.get("default", "c", "").await.unwrap_err();
    assert!(missing.is_not_found());

    let initial = WatchOptions { send_initial_events: SendInitialEvents::Yes, allow_bookmarks: true, ..WatchOptions::default() };
    let mut initial = pods.watch(initial).await.unwrap();
    if store.supports_progress() {
        for name in ["a", "b"] {
            let Some(WatchEvent::Object(event)) = initial.next().await else { panic!("no event") };
            assert_eq!(event.object.name(), name);
        }
        let Some(WatchEvent::Bookmark { revision, initial_events_end: true }) = initial.next().await else { panic!("no end") };
        assert!(revision >= last.revision());
    } else {
        let Some(WatchEvent::Error(status)) = initial.next().await else { panic!("no error") };
        assert!(status.message.contains("RequestWatchProgress is disabled"), "{status}");
    }
}

#[tokio::test]
async fn near() {
    scenario(store::memory().unwrap()).await;
}

#[tokio::test]
async fn far_with_progress() {
    scenario(Arc::new(Far { near: store::memory().unwrap(), progress: true })).await;
}

#[tokio::test]
async fn far_without_progress() {
    scenario(Arc::new(Far { near: store::memory().unwrap(), progress: false })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_etcd() {
    let Some(etcd) = etcd_process::EtcdProcess::start() else { return };
    scenario(Arc::new(etcd.connect().await)).await;
}
