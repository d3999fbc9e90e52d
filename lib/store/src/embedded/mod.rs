//! The embedded backend: a log of writes keyed by revision in a redb file, and an index of the current keys in memory.
//! `DESIGN.md` beside this crate gives the format to the byte and the reasons.

mod disk;
mod index;
mod read;
mod record;
mod writer;

pub use disk::{Disk, FileDisk, MemoryDisk};

use crate::{Error, KEY_LIMIT, KeyValue, Range, RangeResult, Result, Revision, Store, VALUE_LIMIT, Watch};
use async_trait::async_trait;
use bytes::Bytes;
use index::Index;
use parking_lot::{Mutex, RwLock};
use record::Action;
use redb::Database;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::oneshot;
use writer::{Expected, Request, Write, Writer};

/// Milliseconds since the epoch, for expiry.
pub type ClockFn = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Values are read where a watch cache fills, after a conflict, and for history; what is written waits here for the disk.
const CACHE_BYTES: usize = 2 << 20;

/// How to open an embedded store.
pub struct Options {
    pub disk: Arc<dyn Disk>,
    pub clock: ClockFn,
    /// Bytes of database pages kept in memory.
    pub cache_bytes: usize,
    /// Messages a watch may lag behind before it is closed.
    pub watch_buffer: usize,
}

impl Options {
    fn new(disk: Arc<dyn Disk>) -> Self {
        let clock = || {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
        };
        Self { disk, clock: Arc::new(clock), cache_bytes: CACHE_BYTES, watch_buffer: 1024 }
    }
    /// A file, made if absent; its directory must exist.
    pub fn file(path: &Path) -> Self {
        Self::new(Arc::new(FileDisk::new(path)))
    }
    pub fn memory() -> Self {
        Self::new(Arc::new(MemoryDisk::default()))
    }
    pub fn disk(disk: Arc<dyn Disk>) -> Self {
        Self::new(disk)
    }
}

/// What readers and the writer thread share.
struct Shared {
    disk: Arc<dyn Disk>,
    clock: ClockFn,
    cache_bytes: usize,
    watch_buffer: usize,
    /// `None` after an IO error, until the file could be opened again. Locked after `index`, never before it.
    db: RwLock<Option<Database>>,
    index: Mutex<Index>,
    /// Copy of the index's revision, for `revision()` without the lock.
    revision: AtomicU64,
}

/// The embedded store. Dropping it finishes the writes in flight and closes the file.
pub struct Embedded {
    shared: Arc<Shared>,
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Embedded {
    /// Opens the store and reads its log. Fails if another process has it open, or if a newer version wrote it.
    pub fn open(options: Options) -> Result<Self> {
        let Options { disk, clock, cache_bytes, watch_buffer } = options;
        let db = disk::open(&*disk, cache_bytes)?;
        let (index, trimmed) = read::load(&db)?;
        let shared = Arc::new(Shared {
            revision: AtomicU64::new(index.revision),
            disk,
            clock,
            cache_bytes,
            watch_buffer,
            db: RwLock::new(Some(db)),
            index: Mutex::new(index),
        });
        let (requests, rx) = mpsc::channel();
        let writer = Writer::new(shared.clone(), rx, trimmed);
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || writer.run())
            .map_err(|e| Error::Unavailable { message: format!("starting the writer thread: {e}"), maybe_written: false })?;
        Ok(Self { shared, requests: Some(requests), thread: Some(thread) })
    }

    async fn request<T>(&self, make: impl FnOnce(oneshot::Sender<Result<T>>) -> Request) -> Result<T> {
        let closed = |maybe_written| Error::Unavailable { message: "the store is closed".into(), maybe_written };
        let (reply, answer) = oneshot::channel();
        self.requests.as_ref().ok_or_else(|| closed(false))?.send(make(reply)).map_err(|_| closed(false))?;
        answer.await.map_err(|_| closed(true))?
    }

    async fn write(&self, key: &str, expected: Expected, action: Action) -> Result<Revision> {
        let value_len = if let Action::Put { value, .. } = &action { value.len() } else { 0 };
        for (size, limit) in [(key.len(), KEY_LIMIT), (value_len, VALUE_LIMIT)] {
            if size > limit {
                return Err(Error::TooLarge { key: key.into(), size, limit });
            }
        }
        let key = key.into();
        self.request(|reply| Request::Write(Write { key, expected, action, reply: Some(reply) })).await
    }

    fn expires_at(&self, ttl: Option<Duration>) -> u64 {
        let after = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        ttl.map_or(0, |d| (self.shared.clock)().saturating_add(after(d)).max(1))
    }

    /// After an IO error the file is closed: asks the writer to open it again.
    async fn reopen(&self) -> Result<()> {
        self.request(Request::Reopen).await
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[async_trait]
impl Store for Embedded {
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision)> {
        match self.shared.get(key) {
            Err(Error::Unavailable { .. }) => {
                self.reopen().await?;
                self.shared.get(key)
            }
            done => done,
        }
    }

    async fn range(&self, prefix: &str, range: Range) -> Result<RangeResult> {
        let run = |shared: Arc<Shared>, prefix: String, range: Range| async move {
            let read = tokio::task::spawn_blocking(move || shared.range(&prefix, &range));
            read.await
                .unwrap_or_else(|e| Err(Error::Unavailable { message: format!("the read was ended: {e}"), maybe_written: false }))
        };
        match run(self.shared.clone(), prefix.into(), range.clone()).await {
            Err(Error::Unavailable { .. }) => {
                self.reopen().await?;
                run(self.shared.clone(), prefix.into(), range).await
            }
            done => done,
        }
    }

    async fn create(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<Revision> {
        let action = Action::Put { value, expires_at: self.expires_at(ttl) };
        self.write(key, Expected::Absent, action).await
    }

    async fn update(&self, key: &str, expected: Revision, value: Bytes, ttl: Option<Duration>) -> Result<Revision> {
        let action = Action::Put { value, expires_at: self.expires_at(ttl) };
        self.write(key, Expected::At(expected), action).await
    }

    async fn delete(&self, key: &str, expected: Revision) -> Result<Revision> {
        self.write(key, Expected::At(expected), Action::Delete).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch> {
        match self.shared.watch(prefix, after) {
            Err(Error::Unavailable { .. }) => {
                self.reopen().await?;
                self.shared.watch(prefix, after)
            }
            done => done,
        }
    }

    async fn revision(&self) -> Result<Revision> {
        Ok(self.shared.revision.load(Ordering::Acquire))
    }

    async fn request_progress(&self) -> Result<()> {
        self.shared.index.lock().send_progress();
        Ok(())
    }

    fn keeps_history(&self) -> bool {
        true
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        self.request(|reply| Request::Compact { revision, reply }).await
    }

    async fn compacted_revision(&self) -> Result<Revision> {
        Ok(self.shared.index.lock().compacted)
    }

    async fn size(&self) -> Result<u64> {
        self.shared.disk.size().map_err(|e| Error::Unavailable { message: format!("size: {e}"), maybe_written: false })
    }
}
