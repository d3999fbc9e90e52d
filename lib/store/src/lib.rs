//! A revisioned key-value store with etcd's semantics. One trait, three backends: embedded (redb), etcd, memory.
//!
//! There is one revision counter. Every write makes one new revision; reads and watches name revisions. Compaction forgets
//! history, never current values.

pub mod embedded;
pub mod etcd;

pub use embedded::Embedded;
pub use etcd::Etcd;

use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// Largest value, as etcd's default request limit.
pub const VALUE_LIMIT: usize = 1536 * 1024;

/// Longest key.
pub const KEY_LIMIT: usize = 4096;

/// A store that lives in memory and dies with the process: the embedded engine on a disk of memory.
pub fn memory() -> Result<Arc<dyn Store>> {
    Ok(Arc::new(Embedded::open(embedded::Options::memory())?))
}

/// A revision of the whole store; the first write makes revision 2, as in etcd.
pub type Revision = u64;

/// A key and its value at some revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    pub key: Arc<str>,
    pub value: Bytes,
    pub create_revision: Revision,
    pub mod_revision: Revision,
    /// Number of writes since creation; 1 when created.
    pub version: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key is not at the revision that the caller expected (or exists / does not exist). Carries what is there now.
    #[error("compare failed")]
    Conflict { current: Option<KeyValue>, revision: Revision },
    #[error("required revision {requested} has been compacted, oldest is {compacted}")]
    Compacted { requested: Revision, compacted: Revision },
    #[error("revision {requested} is in the future, current is {current}")]
    Future { requested: Revision, current: Revision },
    #[error("{key}: {size} bytes are too many, the limit is {limit}")]
    TooLarge { key: String, size: usize, limit: usize },
    /// Disk full, etcd unreachable: the write did not happen, or its outcome is unknown if `maybe_written`.
    #[error("store unavailable: {message}")]
    Unavailable { message: String, maybe_written: bool },
    #[error("store is damaged or of another version: {0}")]
    Corrupt(String),
}

pub type Result<T> = std::result::Result<T, Error>;

/// Which part of a prefix to read, and when.
#[derive(Clone, Debug, Default)]
pub struct Range {
    /// Begin at this key instead of at the prefix (inclusive).
    pub from: Option<String>,
    /// At most this many; 0 is all.
    pub limit: usize,
    /// Read as of this revision; `None` is now.
    pub revision: Option<Revision>,
    /// Only count.
    pub count_only: bool,
}

#[derive(Clone, Debug, Default)]
pub struct RangeResult {
    pub kvs: Vec<KeyValue>,
    /// The revision the read was made at.
    pub revision: Revision,
    /// More keys follow the last one.
    pub more: bool,
    /// Keys in the range in all, whatever the limit.
    pub count: u64,
}

/// A change. The value before it is not told: whoever needs it keeps state of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Put(KeyValue),
    Delete { key: Arc<str>, revision: Revision },
}

impl Event {
    pub fn revision(&self) -> Revision {
        match self {
            Self::Put(kv) => kv.mod_revision,
            Self::Delete { revision, .. } => *revision,
        }
    }
    pub fn key(&self) -> &Arc<str> {
        match self {
            Self::Put(kv) => &kv.key,
            Self::Delete { key, .. } => key,
        }
    }
}

/// What a watcher receives. Events of one revision are never split over two batches.
#[derive(Clone, Debug)]
pub enum WatchMessage {
    Events(Vec<Event>),
    /// Everything up to this revision has been delivered.
    Progress(Revision),
    /// The watch ended: too slow, compacted, or the store closed. The watcher must list anew. The end of the channel means the same.
    Closed(Arc<Error>),
}

/// A watch; dropping it ends it.
pub struct Watch {
    pub rx: tokio::sync::mpsc::Receiver<WatchMessage>,
    /// The revision of the last event put into `rx`, set before [`Store::revision`] reaches it: who has seen this one has seen
    /// everything up to the revision read before. `None` where the store is another process; ask for progress there.
    pub queued: Option<Arc<std::sync::atomic::AtomicU64>>,
}

/// The store. All methods are safe to call from any task; a write is durable when its future resolves.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision)>;
    async fn range(&self, prefix: &str, range: Range) -> Result<RangeResult>;
    /// Fails with `Conflict` if the key exists. `ttl` expires the key (events).
    async fn create(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<Revision>;
    /// Replaces the value if the key is at `expected`; else `Conflict`.
    async fn update(&self, key: &str, expected: Revision, value: Bytes, ttl: Option<Duration>) -> Result<Revision>;
    /// Deletes if the key is at `expected`; else `Conflict`.
    async fn delete(&self, key: &str, expected: Revision) -> Result<Revision>;
    /// Events with a revision greater than `after` on keys that begin with `prefix`.
    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch>;
    /// The current revision, read consistently (linearizable).
    async fn revision(&self) -> Result<Revision>;
    /// Asks the watches on this store to report progress as soon as they have caught up with the current revision.
    async fn request_progress(&self) -> Result<()>;
    /// Whether `request_progress` works. Without it only events tell how far a watch is (etcd before 3.4.25 and 3.5.8 reports
    /// progress ahead of events).
    fn supports_progress(&self) -> bool {
        true
    }
    /// Whether history is at hand, so that reading a recent past costs little.
    fn keeps_history(&self) -> bool {
        false
    }
    /// Forgets history before `revision`.
    async fn compact(&self, revision: Revision) -> Result<()>;
    async fn compacted_revision(&self) -> Result<Revision>;
    /// Bytes on disk, for metrics and `skiff status`.
    async fn size(&self) -> Result<u64>;
}
