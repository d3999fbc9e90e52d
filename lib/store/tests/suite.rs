//! What every backend promises, run on each: memory, embedded in a file, etcd (where its binary is installed).

mod etcd_process;

use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use store::{Embedded, Error, Event, Range, Revision, Store, Watch, WatchMessage, embedded};

type Shared = Arc<dyn Store>;

async fn suite(store: Shared) {
    write_and_read(&store).await;
    ranges(&store).await;
    watches(&store).await;
    concurrent_writers(&store).await;
    random_operations(&store, 1).await;
    limits(&store).await;
    expiry(&store).await;
    compaction(&store).await;
    random_operations(&store, 2).await;
}

async fn next_events(watch: &mut Watch) -> Vec<Event> {
    loop {
        match watch.rx.recv().await {
            Some(WatchMessage::Events(events)) => return events,
            Some(WatchMessage::Progress(_)) => {}
            other => panic!("the watch ended: {other:?}"),
        }
    }
}

async fn events(watch: &mut Watch, n: usize) -> Vec<Event> {
    let mut all = Vec::new();
    while all.len() < n {
        all.extend(next_events(watch).await);
    }
    assert_eq!(all.len(), n, "{all:?}");
    all
}

async fn write_and_read(store: &Shared) {
    let key = "/registry/pods/default/a";
    let (none, at_first) = store.get(key).await.unwrap();
    assert!(none.is_none());
    let created = store.create(key, "1".into(), None).await.unwrap();
    assert_eq!(created, at_first + 1, "a write makes one revision");
    let Err(Error::Conflict { current: Some(current), .. }) = store.create(key, "x".into(), None).await else {
        panic!("created twice")
    };
    assert_eq!((&current.value[..], current.mod_revision), (&b"1"[..], created));
    let updated = store.update(key, created, "2".into(), None).await.unwrap();
    assert_eq!(updated, created + 1);
    let Err(Error::Conflict { current: Some(current), .. }) = store.update(key, created, "3".into(), None).await else {
        panic!("updated at an old revision")
    };
    assert_eq!((current.create_revision, current.mod_revision, current.version), (created, updated, 2));
    assert!(matches!(store.delete(key, created).await, Err(Error::Conflict { .. })));
    let (found, revision) = store.get(key).await.unwrap();
    assert_eq!((found.as_ref(), revision), (Some(&current), updated));
    assert_eq!(store.delete(key, updated).await.unwrap(), updated + 1);
    for gone in [store.delete(key, updated).await, store.update(key, updated, "4".into(), None).await] {
        assert!(matches!(gone, Err(Error::Conflict { current: None, .. })), "{gone:?}");
    }
    assert_eq!(store.revision().await.unwrap(), updated + 1);
}

async fn ranges(store: &Shared) {
    let mut revisions = Vec::new();
    for i in 0..5 {
        revisions.push(store.create(&format!("/r/{i}"), format!("v{i}").into(), None).await.unwrap());
    }
    store.create("/r0", "beside".into(), None).await.unwrap();
    let all = store.range("/r/", Range::default()).await.unwrap();
    assert_eq!(all.kvs.iter().map(|kv| &*kv.key).collect::<Vec<_>>(), ["/r/0", "/r/1", "/r/2", "/r/3", "/r/4"]);
    assert_eq!((all.more, all.count, all.revision), (false, 5, store.revision().await.unwrap()));
    let page = Range { from: Some("/r/1\0".into()), limit: 2, ..Range::default() };
    let page = store.range("/r/", page).await.unwrap();
    assert_eq!(page.kvs.iter().map(|kv| &*kv.key).collect::<Vec<_>>(), ["/r/2", "/r/3"]);
    assert_eq!((page.more, page.count), (true, 3));
    let count = store.range("/r/", Range { count_only: true, ..Range::default() }).await.unwrap();
    assert_eq!((count.kvs.len(), count.count), (0, 5));

    store.update("/r/1", revisions[1], "new".into(), None).await.unwrap();
    store.delete("/r/0", revisions[0]).await.unwrap();
    let past = |revision| Range { revision: Some(revision), ..Range::default() };
    let then = store.range("/r/", past(revisions[2])).await.unwrap();
    let values: Vec<_> = then.kvs.iter().map(|kv| (&*kv.key, &kv.value[..], kv.mod_revision)).collect();
    assert_eq!(values, [("/r/0", &b"v0"[..], revisions[0]), ("/r/1", b"v1", revisions[1]), ("/r/2", b"v2", revisions[2])]);
    let future = store.range("/r/", past(store.revision().await.unwrap() + 100)).await;
    assert!(matches!(future, Err(Error::Future { .. })), "{future:?}");
}

async fn watches(store: &Shared) {
    let start = store.revision().await.unwrap();
    let a = store.create("/w/a", "1".into(), None).await.unwrap();
    store.create("/wx", "other".into(), None).await.unwrap();
    let mut watch = store.watch("/w/", start).await.unwrap();
    let mut later = store.watch("/w/", a).await.unwrap();
    let a2 = store.update("/w/a", a, "2".into(), None).await.unwrap();
    let deleted = store.delete("/w/a", a2).await.unwrap();
    let seen = events(&mut watch, 3).await;
    assert_eq!(seen.iter().map(Event::revision).collect::<Vec<_>>(), [a, a2, deleted]);
    let Event::Put(kv) = &seen[1] else { panic!("{seen:?}") };
    assert_eq!((&*kv.key, &kv.value[..], kv.version, kv.create_revision), ("/w/a", &b"2"[..], 2, a));
    assert_eq!(seen[2], Event::Delete { key: "/w/a".into(), revision: deleted });
    assert_eq!(events(&mut later, 2).await, seen[1..]);
    if store.supports_progress() {
        let other = store.create("/wy", "other".into(), None).await.unwrap();
        store.request_progress().await.unwrap();
        loop {
            match watch.rx.recv().await {
                Some(WatchMessage::Progress(r)) if r >= other => break,
                Some(WatchMessage::Progress(_)) => store.request_progress().await.unwrap(),
                unexpected => panic!("{unexpected:?}"),
            }
        }
    }
}

async fn concurrent_writers(store: &Shared) {
    store.create("/c/counter", "0".into(), None).await.unwrap();
    let writers = (0..8).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut made = Vec::new();
            while made.len() < 20 {
                let (kv, _) = store.get("/c/counter").await.unwrap();
                let kv = kv.unwrap();
                let n: u64 = std::str::from_utf8(&kv.value).unwrap().parse().unwrap();
                match store.update("/c/counter", kv.mod_revision, (n + 1).to_string().into(), None).await {
                    Ok(revision) => made.push(revision),
                    Err(Error::Conflict { .. }) => {}
                    Err(e) => panic!("{e}"),
                }
            }
            made
        })
    });
    let mut revisions: Vec<Revision> = Vec::new();
    for made in futures::future::join_all(writers).await {
        revisions.extend(made.unwrap());
    }
    revisions.sort_unstable();
    revisions.dedup();
    assert_eq!(revisions.len(), 160, "each write has a revision of its own");
    assert_eq!(&store.get("/c/counter").await.unwrap().0.unwrap().value[..], b"160");
}

/// A fixed-seed generator: the same sequence on every run.
struct Sequence(u64);

impl Sequence {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// Random writes against a model that remembers every revision; ranges in the past and a watch must tell the same story.
async fn random_operations(store: &Shared, seed: u64) {
    let mut random = Sequence(seed);
    let prefix = format!("/random{seed}/");
    let start = store.revision().await.unwrap();
    let mut now: BTreeMap<String, (Bytes, Revision)> = BTreeMap::new();
    let mut history = vec![(start, now.clone())];
    let mut story = Vec::new();
    for i in 0..200 {
        let key = format!("{prefix}{}/{}", random.next(2), random.next(6));
        let value = Bytes::from(format!("value {i} {}", "x".repeat(random.next(300) as usize)));
        let revision = match now.get(&key).map(|(_, r)| *r) {
            None => store.create(&key, value.clone(), None).await.unwrap(),
            Some(at) if random.next(3) == 0 => {
                let revision = store.delete(&key, at).await.unwrap();
                now.remove(&key);
                story.push((key.clone(), revision, None));
                history.push((revision, now.clone()));
                continue;
            }
            Some(at) => store.update(&key, at, value.clone(), None).await.unwrap(),
        };
        now.insert(key.clone(), (value.clone(), revision));
        story.push((key, revision, Some(value)));
        history.push((revision, now.clone()));
    }
    for (revision, state) in history.iter().step_by(7) {
        for part in [prefix.clone(), format!("{prefix}1/")] {
            let then = store.range(&part, Range { revision: Some(*revision), ..Range::default() }).await.unwrap();
            let found: Vec<_> = then.kvs.into_iter().map(|kv| (kv.key.to_string(), (kv.value, kv.mod_revision))).collect();
            let expected: Vec<_> =
                state.iter().filter(|(k, _)| k.starts_with(&part)).map(|(k, v)| (k.clone(), v.clone())).collect();
            assert_eq!(found, expected, "{part} at {revision}");
        }
    }
    let mut watch = store.watch(&prefix, start).await.unwrap();
    let told: Vec<_> = events(&mut watch, story.len())
        .await
        .into_iter()
        .map(|e| match e {
            Event::Put(kv) => (kv.key.to_string(), kv.mod_revision, Some(kv.value)),
            Event::Delete { key, revision } => (key.to_string(), revision, None),
        })
        .collect();
    assert_eq!(told, story);
}

async fn limits(store: &Shared) {
    let big = store.create("/limits/a", Bytes::from(vec![b'x'; store::VALUE_LIMIT + 1]), None).await;
    assert!(matches!(big, Err(Error::TooLarge { .. })), "{big:?}");
    let long = store.create(&"k".repeat(store::KEY_LIMIT + 1), "v".into(), None).await;
    assert!(matches!(long, Err(Error::TooLarge { .. })), "{long:?}");
    let value = Bytes::from(vec![b'y'; 1 << 20]);
    store.create("/limits/b", value.clone(), None).await.unwrap();
    assert_eq!(store.get("/limits/b").await.unwrap().0.unwrap().value, value);
}

async fn expiry(store: &Shared) {
    let start = store.revision().await.unwrap();
    let mut watch = store.watch("/ttl/", start).await.unwrap();
    let ttl = Some(Duration::from_secs(1));
    store.create("/ttl/goes", "1".into(), ttl).await.unwrap();
    let kept = store.create("/ttl/stays", "1".into(), ttl).await.unwrap();
    let kept = store.update("/ttl/stays", kept, "2".into(), None).await.unwrap();
    let seen = events(&mut watch, 4).await;
    assert!(matches!(&seen[3], Event::Delete { key, revision } if &**key == "/ttl/goes" && *revision > kept), "{seen:?}");
    assert!(store.get("/ttl/goes").await.unwrap().0.is_none());
    assert!(store.get("/ttl/stays").await.unwrap().0.is_some(), "an update without a time to live takes it away");
}

async fn compaction(store: &Shared) {
    let mut at = store.create("/compact/a", "0".into(), None).await.unwrap();
    let gone = store.create("/compact/gone", "0".into(), None).await.unwrap();
    let first = at;
    for i in 1..50 {
        at = store.update("/compact/a", at, i.to_string().into(), None).await.unwrap();
    }
    let deleted = store.delete("/compact/gone", gone).await.unwrap();
    store.compact(deleted).await.unwrap();
    assert!(matches!(store.compact(first).await, Err(Error::Compacted { .. })));
    let early = store.range("/compact/", Range { revision: Some(first), ..Range::default() }).await;
    assert!(matches!(early, Err(Error::Compacted { .. })), "{early:?}");
    let exact = store.range("/compact/", Range { revision: Some(deleted), ..Range::default() }).await.unwrap();
    assert_eq!((exact.kvs.len(), exact.kvs[0].mod_revision), (1, at));
    match store.watch("/compact/", first).await {
        Err(Error::Compacted { .. }) => {}
        Err(e) => panic!("{e}"),
        // etcd says so on the stream.
        Ok(mut watch) => match watch.rx.recv().await {
            Some(WatchMessage::Closed(e)) => assert!(matches!(*e, Error::Compacted { .. }), "{e}"),
            other => panic!("{other:?}"),
        },
    }
    let mut watch = store.watch("/compact/", deleted).await.unwrap();
    let next = store.update("/compact/a", at, "after".into(), None).await.unwrap();
    assert_eq!(events(&mut watch, 1).await[0].revision(), next);
    assert!(store.compacted_revision().await.unwrap() >= deleted);
}

#[tokio::test]
async fn memory() {
    suite(store::memory().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let open = || Embedded::open(embedded::Options::file(&path));
    let store: Shared = Arc::new(open().unwrap());
    suite(store.clone()).await;

    let second = open().err().expect("a store has one process");
    assert!(second.to_string().contains("in use by another process"), "{second}");
    let before = store.range("/", Range::default()).await.unwrap();
    let compacted = store.compacted_revision().await.unwrap();
    assert!(store.size().await.unwrap() > 0);
    drop(store);
    let store = open().unwrap();
    let after = store.range("/", Range::default()).await.unwrap();
    assert_eq!((after.kvs, after.revision), (before.kvs, before.revision), "a store opened again is the same");
    assert_eq!(store.compacted_revision().await.unwrap(), compacted);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_etcd() {
    let Some(etcd) = etcd_process::EtcdProcess::start() else { return };
    suite(Arc::new(etcd.connect().await)).await;
}
