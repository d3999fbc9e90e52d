//! The watch cache of one resource: the objects below a prefix of the store, kept current by one watch on it.
//!
//! It starts on first use, so a resource nobody asks for costs nothing. If its watch on the store ends it reads everything anew,
//! and its own watchers are closed: they come back.

use crate::errors::{Operation, from_store, too_large_version};
use crate::index::Index;
use crate::object::{FieldNames, Head, Object};
use crate::ring::Ring;
use crate::transform::Transformer;
use crate::watch::{WatchEvent, WatcherSlot};
use bytes::Bytes;
use machinery::{GroupResource, Status, Value};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use store::{Event, KeyValue, Range, Revision, Store, WatchMessage};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Reads the selectable fields of an object, beyond `metadata.name` and `metadata.namespace`; always the same names in the same
/// order.
pub type FieldsFn = Arc<dyn Fn(&Value) -> Vec<(String, String)> + Send + Sync>;

/// Brings an object as it lies in the store into the form that is served now (custom resources, whose schemas change).
pub type RefreshFn = Arc<dyn Fn(&mut Value) + Send + Sync>;

/// Time and space that a cacher allows itself.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Events a watcher may lag behind before it is closed.
    pub watch_buffer: usize,
    /// How long a request waits for the cache to be filled.
    pub fill_timeout: Duration,
    /// How long a read waits for the cache to reach the revision it asks for.
    pub fresh_timeout: Duration,
    /// Time between two bookmarks.
    pub bookmark_interval: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            watch_buffer: 1024,
            fill_timeout: Duration::from_secs(10),
            fresh_timeout: Duration::from_secs(3),
            bookmark_interval: Duration::from_secs(60),
        }
    }
}

/// Revisions of history that a cache takes in when it starts.
const HISTORY: Revision = 1000;

/// What a cacher holds.
#[derive(Clone)]
pub struct Config {
    /// The resource, for error texts.
    pub resource: GroupResource,
    /// Directory of the objects in the store, with a slash at the end: `/registry/pods/`.
    pub prefix: String,
    pub fields: FieldsFn,
    pub refresh: Option<RefreshFn>,
    pub transformer: Arc<dyn Transformer>,
    pub limits: Limits,
}

impl Config {
    /// Objects without selectable fields, stored as they are.
    pub fn new(resource: GroupResource, prefix: impl Into<String>) -> Self {
        Self {
            resource,
            prefix: prefix.into(),
            fields: Arc::new(|_| Vec::new()),
            refresh: None,
            transformer: Arc::new(crate::Identity),
            limits: Limits::default(),
        }
    }
}

/// Storage and watch cache of one resource. Dropping the last reference (or `stop`) ends its watchers.
pub struct Cacher {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) config: Config,
    me: Weak<Cacher>,
    pub(crate) state: Mutex<State>,
    /// The revision up to which the cache has seen all; 0 until it is filled.
    applied: watch::Sender<Revision>,
    /// Wakes the task: a watcher wants bookmarks earlier than the timer says.
    rearm: Arc<Notify>,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

#[derive(Default)]
pub(crate) struct State {
    started: bool,
    pub index: Index,
    pub ring: Ring,
    /// Everything up to here has been applied; 0 while not filled.
    pub revision: Revision,
    queued: Option<Arc<AtomicU64>>,
    pub watchers: Vec<WatcherSlot>,
    /// No watch begins any more: another cacher has taken over.
    pub retired: bool,
    pub last_watcher: u64,
    field_names: FieldNames,
    /// Heads of objects being written here, so that their events need no parsing.
    written: HashMap<Arc<str>, (Bytes, Head)>,
}

impl State {
    /// Whether the cache has everything up to `revision`, which the store has reached. It may know so though no event says it.
    fn reached(&mut self, revision: Revision) -> bool {
        if self.revision == 0 {
            return false;
        }
        if self.revision < revision && self.queued.as_ref().is_some_and(|q| q.load(Ordering::Acquire) <= self.revision) {
            self.revision = revision;
        }
        self.revision >= revision
    }
}

impl Cacher {
    /// Does nothing yet: the cache fills on first use. Must be used inside a tokio runtime.
    pub fn new(store: Arc<dyn Store>, config: Config) -> Arc<Self> {
        let stop = CancellationToken::new();
        Arc::new_cyclic(|me| Self {
            store,
            config,
            me: me.clone(),
            state: Mutex::default(),
            applied: watch::Sender::new(0),
            rearm: Arc::default(),
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
        })
    }

    /// Ends the watch on the store and all watchers: a CRD is gone, or the server shuts down.
    pub fn stop(&self) {
        self.stop.cancel();
        self.state.lock().watchers.clear();
    }

    /// Ends all watchers, and those that begin later; reads and writes go on. Another cacher has taken over the objects.
    pub fn retire(&self) {
        let mut state = self.state.lock();
        state.retired = true;
        state.watchers.clear();
    }

    pub(crate) fn weak(&self) -> Weak<Self> {
        self.me.clone()
    }

    pub fn resource(&self) -> &GroupResource {
        &self.config.resource
    }

    /// Number of objects, from the cache as it is (0 if it was never used).
    pub fn count(&self) -> usize {
        self.state.lock().index.len()
    }

    /// The store key of an object; `namespace` is empty for objects of the cluster.
    pub fn key(&self, namespace: &str, name: &str) -> String {
        let prefix = &self.config.prefix;
        if namespace.is_empty() { format!("{prefix}{name}") } else { format!("{prefix}{namespace}/{name}") }
    }

    /// An error once the cacher is stopped.
    pub(crate) fn running(&self) -> Result<(), Status> {
        let stopped = || Status::service_unavailable(format!("the storage of {} is closed", self.config.resource));
        if self.stop.is_cancelled() { Err(stopped()) } else { Ok(()) }
    }

    /// Waits until the cache is filled, starting it if need be.
    pub(crate) async fn ready(&self) -> Result<(), Status> {
        self.running()?;
        {
            let mut state = self.state.lock();
            if state.revision != 0 {
                return Ok(());
            }
            if !state.started {
                state.started = true;
                tokio::spawn(run(self.me.clone(), self.stop.clone()));
            }
        }
        let mut applied = self.applied.subscribe();
        let filled = applied.wait_for(|r| *r != 0);
        match tokio::time::timeout(self.config.limits.fill_timeout, filled).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Status::too_many_requests("storage is (re)initializing", 1)),
        }
    }

    /// The cache can find out whether it is current.
    pub(crate) fn can_be_fresh(&self) -> bool {
        self.store_is_near() || self.store.supports_progress()
    }

    /// The store is in this process, so the cache can tell for free whether it is current.
    pub(crate) fn store_is_near(&self) -> bool {
        self.state.lock().queued.is_some()
    }

    /// Waits until the cache has everything that was written before the call.
    pub(crate) async fn fresh(&self, op: Operation) -> Result<Revision, Status> {
        self.ready().await?;
        let revision = self.store.revision().await.map_err(|e| from_store(&self.config.resource, op, &e))?;
        self.reach(revision, op).await?;
        Ok(revision)
    }

    /// Waits until the cache is at `revision`; in vain for one that the store has not reached in time.
    pub(crate) async fn reach(&self, revision: Revision, op: Operation) -> Result<(), Status> {
        self.ready().await?;
        if revision == 0 {
            return Ok(());
        }
        let deadline = Instant::now() + self.config.limits.fresh_timeout;
        let mut applied = self.applied.subscribe();
        // A store elsewhere tells how far it is when asked; it may answer before it has caught up, so it is asked again.
        let mut pause = Duration::from_millis(10);
        loop {
            applied.mark_unchanged();
            let current = self.store.revision().await.map_err(|e| from_store(&self.config.resource, op, &e))?;
            let (near, seen) = {
                let mut state = self.state.lock();
                if revision <= current && state.reached(revision) || state.revision >= revision {
                    return Ok(());
                }
                (state.queued.is_some(), state.revision)
            };
            if Instant::now() >= deadline {
                return Err(too_large_version(revision, seen, 1));
            }
            let mut wake = deadline;
            if !near && self.store.supports_progress() {
                self.store.request_progress().await.map_err(|e| from_store(&self.config.resource, op, &e))?;
                wake = deadline.min(Instant::now() + pause);
                pause = (pause * 2).min(Duration::from_millis(200));
            }
            let _ = tokio::time::timeout_at(wake, applied.changed()).await;
        }
    }

    /// Reads what lies in the store. `None` (and a log line) if it is no object: nothing of it could be served.
    pub(crate) fn decode(&self, kv: &KeyValue) -> Option<Arc<Object>> {
        let mut stored = match self.config.transformer.unseal(&kv.key, kv.value.clone()) {
            Ok(stored) => stored,
            Err(error) => {
                tracing::error!(key = &*kv.key, error, "an object in the store can't be read");
                return None;
            }
        };
        let written = self.state.lock().written.remove(&kv.key).filter(|(bytes, _)| *bytes == stored);
        let mut stale = false;
        let head = match written {
            Some((_, head)) => head,
            None => match serde_json::from_slice::<Value>(&stored) {
                Ok(mut value) => {
                    if let Some(refresh) = &self.config.refresh {
                        let before = value.clone();
                        refresh(&mut value);
                        stale = value != before;
                        if stale && let Ok(bytes) = serde_json::to_vec(&value) {
                            stored = bytes.into();
                        }
                    }
                    self.head(&value)
                }
                Err(error) => {
                    tracing::error!(key = &*kv.key, %error, "an object in the store is malformed");
                    return None;
                }
            },
        };
        let object = self.build(kv.key.clone(), kv.mod_revision, &stored, head)?;
        Some(Arc::new(if stale { object.into_stale() } else { object }))
    }

    pub(crate) fn object(&self, key: Arc<str>, revision: Revision, stored: &[u8], head: Head) -> Option<Arc<Object>> {
        self.build(key, revision, stored, head).map(Arc::new)
    }

    fn build(&self, key: Arc<str>, revision: Revision, stored: &[u8], head: Head) -> Option<Object> {
        let prefix = u16::try_from(self.config.prefix.len()).ok()?;
        let object = Object::new(key, prefix, revision, stored, head);
        if object.is_none() {
            tracing::error!(revision, "an object in the store has no metadata");
        }
        object
    }

    pub(crate) fn head(&self, value: &Value) -> Head {
        let fields = (self.config.fields)(value);
        Head::new(value, fields, &mut self.state.lock().field_names)
    }

    /// Lends the head of an object about to be written to the event of that write.
    pub(crate) fn expect_event(&self, key: &Arc<str>, stored: &Bytes, head: &Head) {
        let mut state = self.state.lock();
        if state.revision != 0 {
            state.written.insert(key.clone(), (stored.clone(), head.clone()));
        }
    }

    /// The write did not happen: no event will come.
    pub(crate) fn expect_no_event(&self, key: &str) {
        self.state.lock().written.remove(key);
    }

    pub(crate) fn add_watcher(&self, state: &mut State, slot: WatcherSlot) {
        // Dropped, its sender ends the watch.
        if state.retired {
            return;
        }
        if slot.next_bookmark.is_some() {
            self.rearm.notify_one();
        }
        state.watchers.push(slot);
    }

    /// Reads everything. From a store in this process it reads an older state and the changes since, so that watches which were
    /// connected before a restart can go on.
    async fn fill(&self) -> store::Result<store::Watch> {
        let prefix = &self.config.prefix;
        let current = self.store.revision().await?;
        let compacted = self.store.compacted_revision().await?;
        let revision = self.store.keeps_history().then(|| compacted.max(current.saturating_sub(HISTORY)).max(1));
        let range = self.store.range(prefix, Range { revision, ..Range::default() }).await?;
        let floor = revision.unwrap_or(range.revision);
        let mut watch = self.store.watch(prefix, floor).await?;
        // Each value is freed as its object is made, so that the two don't add up.
        let mut index = Index::from_sorted(range.kvs.into_iter().filter_map(|kv| self.decode(&kv)).collect());
        let mut ring = Ring::starting_at(floor);
        let mut reached = floor;
        let target = watch.queued.as_ref().map_or(floor, |q| q.load(Ordering::Acquire));
        while reached < target {
            match watch.rx.recv().await {
                Some(WatchMessage::Events(events)) => {
                    for event in events {
                        reached = event.revision();
                        let object = if let Event::Put(kv) = &event { self.decode(kv) } else { None };
                        if let Some(change) = index.change(event.key(), reached, object) {
                            ring.push(change);
                        }
                    }
                }
                Some(WatchMessage::Progress(_)) => {}
                Some(WatchMessage::Closed(_)) | None => {
                    let message = "the watch on the store ended".into();
                    return Err(store::Error::Unavailable { message, maybe_written: false });
                }
            }
        }
        // The watch began after the range was read.
        let revision = reached.max(range.revision);
        let mut state = self.state.lock();
        state.index = index;
        state.ring = ring;
        state.revision = revision;
        state.queued = watch.queued.clone();
        state.watchers.clear();
        state.written.clear();
        drop(state);
        self.applied.send_replace(revision);
        Ok(watch)
    }

    fn apply(&self, events: Vec<Event>) {
        let decoded: Vec<(Event, Option<Arc<Object>>)> = events
            .into_iter()
            .map(|e| {
                let object = if let Event::Put(kv) = &e { self.decode(kv) } else { None };
                (e, object)
            })
            .collect();
        let mut state = self.state.lock();
        let state = &mut *state;
        for (event, new) in decoded {
            let revision = event.revision();
            if let Some(change) = state.index.change(event.key(), revision, new) {
                let mut outcomes = crate::watch::Outcomes::new(&change);
                state.watchers.retain_mut(|w| w.dispatch(&mut outcomes));
                state.ring.push(change);
            }
            state.revision = state.revision.max(revision);
        }
        let revision = state.revision;
        self.applied.send_replace(revision);
    }

    fn progress(&self, revision: Revision) {
        let mut state = self.state.lock();
        if revision > state.revision {
            state.revision = revision;
            self.applied.send_replace(revision);
        }
    }

    /// When the next bookmark is due.
    fn next_bookmark(&self) -> Option<Instant> {
        self.state.lock().watchers.iter().filter_map(|w| w.next_bookmark).min()
    }

    async fn send_bookmarks(&self) {
        // What others wrote makes no events here, yet a bookmark may tell of it.
        match self.store.revision().await {
            Ok(current) => drop(self.state.lock().reached(current)),
            Err(e) => tracing::debug!(error = %e, "reading the revision for bookmarks"),
        }
        let far = !self.store_is_near() && self.store.supports_progress();
        if far && self.store.request_progress().await.is_err() {
            tracing::debug!("asking for progress for bookmarks failed");
        }
        let now = Instant::now();
        let interval = self.config.limits.bookmark_interval;
        let mut state = self.state.lock();
        let revision = state.revision;
        state.watchers.retain_mut(|w| {
            if w.next_bookmark.is_none_or(|at| at > now) {
                return true;
            }
            w.schedule_bookmark(now, interval);
            // A watch that began in the future has nothing to report yet.
            revision < w.after || w.send(WatchEvent::Bookmark { revision, initial_events_end: false })
        });
    }
}

/// Keeps a cacher current until it is stopped or dropped.
async fn run(cacher: Weak<Cacher>, stop: CancellationToken) {
    let mut pause = Duration::from_millis(50);
    loop {
        let Some(c) = cacher.upgrade() else { return };
        let filled = tokio::select! {
            filled = c.fill() => filled,
            () = stop.cancelled() => return,
        };
        let resource = c.config.resource.to_string();
        drop(c);
        match filled {
            Ok(watch) => {
                pause = Duration::from_millis(50);
                if follow(&cacher, &stop, watch).await {
                    return;
                }
                let Some(c) = cacher.upgrade() else { return };
                // Nothing keeps this count any more: it says nothing about being current.
                c.state.lock().queued = None;
                tracing::info!(resource, "the watch on the store ended; reading anew");
            }
            Err(error) => {
                tracing::warn!(resource, %error, "filling the watch cache");
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = stop.cancelled() => return,
                }
                pause = (pause * 2).min(Duration::from_secs(5));
            }
        }
    }
}

/// Applies what the store tells. True: the cacher is stopped; false: it must be filled anew.
async fn follow(cacher: &Weak<Cacher>, stop: &CancellationToken, mut watch: store::Watch) -> bool {
    loop {
        let Some(c) = cacher.upgrade() else { return true };
        let bookmark = c.next_bookmark();
        let rearm = c.rearm.clone();
        drop(c);
        tokio::select! {
            biased;
            () = stop.cancelled() => return true,
            message = watch.rx.recv() => {
                let Some(c) = cacher.upgrade() else { return true };
                match message {
                    Some(WatchMessage::Events(events)) => c.apply(events),
                    Some(WatchMessage::Progress(revision)) => c.progress(revision),
                    Some(WatchMessage::Closed(error)) => {
                        tracing::warn!(%error, "watch on the store");
                        return false;
                    }
                    None => return false,
                }
            }
            () = tokio::time::sleep_until(bookmark.unwrap_or_else(Instant::now)), if bookmark.is_some() => {
                let Some(c) = cacher.upgrade() else { return true };
                c.send_bookmarks().await;
            }
            () = rearm.notified() => {}
        }
    }
}
