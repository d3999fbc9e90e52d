//! Crashes of the embedded store: a disk that lies, fills up or dies at a chosen operation, and a process killed under load.
//! What was acknowledged must be there, what was never written must not, and revisions must never repeat.

use bytes::Bytes;
use redb::{Builder, Database, DatabaseError, StorageBackend};
use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufRead};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use store::embedded::{Disk, Options};
use store::{Embedded, Error, Event, Range, Revision, Store, WatchMessage};

/// A disk in memory with a cache that a crash loses, in part and torn.
#[derive(Clone, Default)]
struct SimDisk(Arc<Mutex<Sim>>);

#[derive(Default)]
struct Sim {
    /// What reads see.
    data: Vec<u8>,
    /// What a sync has made safe.
    durable: Vec<u8>,
    /// Writes since the last sync.
    unsynced: Vec<(usize, Vec<u8>)>,
    /// Writing operations left until the power fails.
    fuse: Option<u64>,
    dead: bool,
    /// Syncs that fail, once each.
    failing_syncs: u32,
    quota: Option<usize>,
    operations: u64,
}

impl std::fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimDisk")
    }
}

impl Sim {
    fn burn(&mut self) -> io::Result<()> {
        self.operations += 1;
        if let Some(fuse) = self.fuse.as_mut() {
            if *fuse == 0 {
                self.dead = true;
            }
            *fuse = fuse.saturating_sub(1);
        }
        self.alive()
    }
    fn alive(&self) -> io::Result<()> {
        if self.dead { Err(io::Error::other("the power is gone")) } else { Ok(()) }
    }
    /// The disk as found after the crash: everything synced, and any part of the rest.
    fn crash(&mut self, random: &mut Sequence) {
        let mut data = std::mem::take(&mut self.durable);
        if random.next(2) == 0 {
            data.resize(self.data.len().max(data.len()), 0);
        }
        for (at, bytes) in std::mem::take(&mut self.unsynced) {
            let kept = match random.next(3) {
                0 => 0,
                1 => bytes.len(),
                _ => bytes.len().min(random.next(bytes.len() as u64 / 512 + 1) as usize * 512),
            };
            if kept > 0 && data.len() < at + kept {
                continue;
            }
            data[at..at + kept].copy_from_slice(&bytes[..kept]);
        }
        let (durable, operations) = (data.clone(), self.operations);
        *self = Self { data, durable, operations, ..Self::default() };
    }
}

impl StorageBackend for SimDisk {
    fn len(&self) -> io::Result<u64> {
        let sim = self.0.lock().unwrap();
        sim.alive()?;
        Ok(sim.data.len() as u64)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let sim = self.0.lock().unwrap();
        sim.alive()?;
        let at = offset as usize;
        let from = sim.data.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(from);
        Ok(())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut sim = self.0.lock().unwrap();
        sim.burn()?;
        if sim.quota.is_some_and(|q| len as usize > q) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        sim.data.resize(len as usize, 0);
        Ok(())
    }
    fn sync_data(&self) -> io::Result<()> {
        let mut sim = self.0.lock().unwrap();
        sim.burn()?;
        if sim.failing_syncs > 0 {
            sim.failing_syncs -= 1;
            return Err(io::Error::other("sync failed"));
        }
        sim.durable = sim.data.clone();
        sim.unsynced.clear();
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut sim = self.0.lock().unwrap();
        let at = offset as usize;
        if let Err(e) = sim.burn() {
            // The write during which the power goes may have got anywhere.
            if sim.fuse == Some(0) && at + data.len() <= sim.data.len() {
                sim.unsynced.push((at, data.to_vec()));
                sim.fuse = None;
            }
            return Err(e);
        }
        sim.data.get_mut(at..at + data.len()).ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(data);
        sim.unsynced.push((at, data.to_vec()));
        Ok(())
    }
}

impl Disk for SimDisk {
    fn open(&self, builder: &Builder) -> Result<Database, DatabaseError> {
        builder.create_with_backend(self.clone())
    }
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().data.len() as u64)
    }
    fn name(&self) -> String {
        "simulated disk".into()
    }
}

/// A fixed-seed generator: the same sequence on every run.
struct Sequence(u64);

impl Sequence {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// What the store must hold: every change with its revision.
#[derive(Default)]
struct Model {
    now: BTreeMap<String, (Bytes, Revision)>,
    story: Vec<(Revision, String, Option<Bytes>)>,
}

impl Model {
    fn apply(&mut self, revision: Revision, key: String, value: Option<Bytes>) {
        match &value {
            Some(v) => self.now.insert(key.clone(), (v.clone(), revision)),
            None => self.now.remove(&key),
        };
        self.story.push((revision, key, value));
    }
}

fn open(disk: &SimDisk) -> store::Result<Embedded> {
    Embedded::open(Options::disk(Arc::new(disk.clone())))
}

/// The whole log, as a watch from the beginning tells it.
async fn story(store: &Embedded, after: Revision) -> Vec<(Revision, String, Option<Bytes>)> {
    let last = store.revision().await.unwrap();
    let mut told = Vec::new();
    let mut watch = store.watch("", after).await.unwrap();
    store.request_progress().await.unwrap();
    loop {
        match watch.rx.recv().await.unwrap() {
            WatchMessage::Events(events) => told.extend(events.into_iter().map(|e| match e {
                Event::Put(kv) => (kv.mod_revision, kv.key.to_string(), Some(kv.value)),
                Event::Delete { key, revision } => (revision, key.to_string(), None),
            })),
            WatchMessage::Progress(r) if r >= last => return told,
            other => panic!("{other:?}"),
        }
    }
}

/// Writes until the disk dies; then what is found must be the model, perhaps with the one write that was not answered.
#[tokio::test(flavor = "multi_thread")]
async fn power_failure_at_any_operation() {
    for seed in 0..400 {
        let mut random = Sequence(seed);
        let disk = SimDisk::default();
        let mut model = Model::default();
        for round in 0..3 {
            let store = open(&disk).unwrap_or_else(|e| panic!("seed {seed} round {round}: {e}"));
            disk.0.lock().unwrap().fuse = Some(random.next(140));
            let mut unanswered = None;
            while unanswered.is_none() {
                let key = format!("/k/{}", random.next(12));
                let found = model.now.get(&key).map(|(_, r)| *r);
                let value = Bytes::from(vec![b'a' + (random.next(26) as u8); random.next(9000) as usize]);
                let (value, result) = match found {
                    Some(at) if random.next(4) == 0 => (None, store.delete(&key, at).await),
                    Some(at) => (Some(value.clone()), store.update(&key, at, value, None).await),
                    None => (Some(value.clone()), store.create(&key, value, None).await),
                };
                match result {
                    Ok(revision) => model.apply(revision, key, value),
                    Err(Error::Unavailable { .. }) => unanswered = Some((key, value)),
                    Err(e) => panic!("seed {seed} round {round}: {e}"),
                }
                if random.next(20) == 0 && !model.story.is_empty() {
                    // A compaction may fail or not; it must not change what is current.
                    let _ = store.compact(model.story[model.story.len() / 2].0).await;
                }
            }
            drop(store);
            disk.0.lock().unwrap().crash(&mut random);
            let store = open(&disk).unwrap_or_else(|e| panic!("seed {seed} round {round}, after the crash: {e}"));
            let revision = store.revision().await.unwrap();
            let acknowledged = model.story.last().map_or(1, |(r, ..)| *r);
            assert!(revision == acknowledged || revision == acknowledged + 1, "seed {seed} round {round}: {revision}");
            if revision == acknowledged + 1 {
                let (key, value) = unanswered.take().unwrap();
                model.apply(revision, key, value);
            }
            let found = store.range("", Range::default()).await.unwrap().kvs;
            let found: BTreeMap<_, _> = found.into_iter().map(|kv| (kv.key.to_string(), (kv.value, kv.mod_revision))).collect();
            assert!(found == model.now, "seed {seed} round {round}: another state than was written");
            let compacted = store.compacted_revision().await.unwrap().max(1);
            let told = story(&store, compacted).await;
            let expected: Vec<_> = model.story.iter().filter(|(r, ..)| *r > compacted).cloned().collect();
            assert!(told == expected, "seed {seed} round {round}: another history than was written");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_is_reported_and_survived() {
    let disk = SimDisk::default();
    let store = open(&disk).unwrap();
    let first = store.create("/a", "1".into(), None).await.unwrap();
    let mut last = first;
    for failures in 1..4 {
        disk.0.lock().unwrap().failing_syncs = failures;
        let outcome = store.update("/a", last, "2".into(), None).await;
        disk.0.lock().unwrap().failing_syncs = 0;
        let (kv, _) = store.get("/a").await.unwrap();
        let found = kv.unwrap().mod_revision;
        match outcome {
            Ok(revision) => assert_eq!(found, revision),
            Err(Error::Unavailable { maybe_written, .. }) => assert!(found == last || maybe_written),
            Err(e) => panic!("{e}"),
        }
        last = store.update("/a", found, "3".into(), None).await.unwrap();
        assert!(last > found);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_writes_until_there_is_space() {
    let disk = SimDisk::default();
    let store = open(&disk).unwrap();
    let size = disk.size().unwrap() as usize;
    disk.0.lock().unwrap().quota = Some(size + (1 << 20));
    let value = Bytes::from(vec![b'x'; 200 << 10]);
    let mut written = Vec::new();
    let failure = loop {
        let key = format!("/full/{:04}", written.len());
        match store.create(&key, value.clone(), None).await {
            Ok(revision) => written.push((key, revision)),
            Err(e) => break e,
        }
        assert!(written.len() < 1000, "the disk never filled");
    };
    assert!(matches!(failure, Error::Unavailable { maybe_written: false, .. }), "{failure:?}");
    // Everything acknowledged can still be read, and nothing else is there.
    let found = store.range("/full/", Range::default()).await.unwrap();
    let found: Vec<_> = found.kvs.iter().map(|kv| (kv.key.to_string(), kv.mod_revision)).collect();
    assert_eq!(found, written);
    disk.0.lock().unwrap().quota = None;
    let revision = store.create("/full/more", value, None).await.unwrap();
    assert_eq!(revision, written.last().unwrap().1 + 1);
}

#[tokio::test]
async fn expiry_survives_a_restart() {
    let disk = SimDisk::default();
    let clock = Arc::new(std::sync::atomic::AtomicU64::new(1_000_000));
    let open_at = || {
        let clock = clock.clone();
        let mut options = Options::disk(Arc::new(disk.clone()));
        options.clock = Arc::new(move || clock.load(std::sync::atomic::Ordering::SeqCst));
        Embedded::open(options).unwrap()
    };
    let store = open_at();
    let hour = std::time::Duration::from_secs(3600);
    let short = store.create("/e/short", "1".into(), Some(hour)).await.unwrap();
    store.create("/e/long", "1".into(), Some(hour * 3)).await.unwrap();
    drop(store);
    clock.fetch_add(2 * 3_600_000, std::sync::atomic::Ordering::SeqCst);
    let store = open_at();
    let mut watch = store.watch("/e/", short + 1).await.unwrap();
    let Some(WatchMessage::Events(events)) = watch.rx.recv().await else { panic!("no event") };
    assert_eq!(events, [Event::Delete { key: "/e/short".into(), revision: short + 2 }]);
    assert!(store.get("/e/long").await.unwrap().0.is_some());
}

#[tokio::test]
async fn a_store_of_a_newer_version_is_refused() {
    let disk = SimDisk::default();
    drop(open(&disk).unwrap());
    let db = disk.open(&Builder::new()).unwrap();
    let txn = db.begin_write().unwrap();
    txn.open_table(redb::TableDefinition::<&str, u64>::new("meta")).unwrap().insert("format", 99).unwrap();
    txn.commit().unwrap();
    drop(db);
    let refused = open(&disk).err().expect("a newer format is refused").to_string();
    assert!(refused.contains("format 99") && refused.contains("newer version"), "{refused}");
}

#[tokio::test]
async fn a_file_that_is_no_store_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let text = b"this is somebody's letter, not a store".repeat(500);
    std::fs::write(&path, &text).unwrap();
    let refused = Embedded::open(Options::file(&path)).err().expect("refused");
    assert!(matches!(refused, Error::Corrupt(_)), "{refused:?}");
    assert_eq!(std::fs::read(&path).unwrap(), text);
}

/// Not a test of its own: the process that `kill_nine_under_load` starts and kills.
#[tokio::test(flavor = "multi_thread")]
async fn child_that_writes() {
    let Some(path) = std::env::var_os("STORE_CRASH_CHILD") else { return };
    let store = Arc::new(Embedded::open(Options::file(std::path::Path::new(&path))).unwrap());
    let writers = (0..8).map(|w| {
        let store = store.clone();
        tokio::spawn(async move {
            for i in 0u64.. {
                let key = format!("/k/{w}/{}", i % 5);
                let at = store.get(&key).await.unwrap().0.map(|kv| kv.mod_revision);
                let value = Bytes::from(format!("{i}").repeat(50));
                let revision = match at {
                    None => store.create(&key, value, None).await.unwrap(),
                    Some(at) => store.update(&key, at, value, None).await.unwrap(),
                };
                // One write per line, so that the reader gets whole lines up to the last.
                io::Write::write_all(&mut io::stderr(), format!("{key} {revision}\n").as_bytes()).unwrap();
            }
        })
    });
    futures::future::join_all(writers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_nine_under_load() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let mut acknowledged: HashMap<String, Revision> = HashMap::new();
    let mut seen = std::collections::HashSet::new();
    for (round, lines) in [1usize, 40, 133, 300].into_iter().enumerate() {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_writes", "--nocapture"])
            .env("STORE_CRASH_CHILD", &path)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let reader = io::BufReader::new(child.stderr.take().unwrap());
        for (n, line) in reader.lines().enumerate() {
            let line = line.unwrap();
            let Some((key, revision)) = line.split_once(' ').and_then(|(k, r)| Some((k, r.parse::<Revision>().ok()?))) else {
                panic!("round {round}: {line}");
            };
            assert!(seen.insert(revision), "round {round}: revision {revision} repeats");
            let newest = acknowledged.entry(key.to_owned()).or_default();
            *newest = revision.max(*newest);
            if n + 1 == lines {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        let store = Embedded::open(Options::file(&path)).unwrap();
        for (key, revision) in &acknowledged {
            let found = store.get(key).await.unwrap().0.unwrap_or_else(|| panic!("round {round}: {key} is lost"));
            assert!(found.mod_revision >= *revision, "round {round}: {key} is at {} after {revision}", found.mod_revision);
        }
        // Unacknowledged writes may be there; they too have used up their revisions.
        seen.extend(1..=store.revision().await.unwrap());
    }
}
