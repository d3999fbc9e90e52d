//! Watching: what a watcher receives, which changes concern it, and how it starts.

use crate::cacher::Cacher;
use crate::errors::{Operation, from_store};
use crate::object::Object;
use crate::options::{Scope, SelectorFn, SendInitialEvents, WatchOptions, parse_version};
use crate::ring::Change;
use bytes::Bytes;
use machinery::Status;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use store::Revision;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// The `type` of a watch event on an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Added,
    Modified,
    Deleted,
}

impl EventKind {
    /// `ADDED`, `MODIFIED`, `DELETED`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// An event on an object, shared between the watchers it goes to.
#[derive(Debug)]
pub struct ObjectEvent {
    pub kind: EventKind,
    pub object: Arc<Object>,
    /// What a modified object was before.
    pub previous: Option<Arc<Object>>,
    frame: OnceLock<Bytes>,
}

impl ObjectEvent {
    pub(crate) fn new(kind: EventKind, object: Arc<Object>) -> Arc<Self> {
        Arc::new(Self { kind, object, previous: None, frame: OnceLock::new() })
    }
    fn modified(old: &Arc<Object>, new: &Arc<Object>) -> Arc<Self> {
        Arc::new(Self { kind: EventKind::Modified, object: new.clone(), previous: Some(old.clone()), frame: OnceLock::new() })
    }
    /// The same change to a watcher that selects only the old or only the new state of a modified object: it is added, or deleted
    /// in its last state at the revision of the change. `None` if neither is selected.
    pub fn narrowed(self: &Arc<Self>, selects_old: bool, selects_new: bool) -> Option<Arc<Self>> {
        match (&self.previous, selects_old, selects_new) {
            (Some(_), false, true) => Some(Self::new(EventKind::Added, self.object.clone())),
            (Some(old), true, false) => Some(Self::new(EventKind::Deleted, Arc::new(old.at_revision(self.object.revision())))),
            (_, _, true) => Some(self.clone()),
            (_, _, false) => None,
        }
    }
    /// The event as a line of JSON, made once for all watchers: `{"type":"ADDED","object":{…}}\n`.
    pub fn frame(&self) -> &Bytes {
        self.frame.get_or_init(|| {
            let object = self.object.bytes();
            let mut out = Vec::with_capacity(object.len() + 32);
            out.extend_from_slice(b"{\"type\":\"");
            out.extend_from_slice(self.kind.as_str().as_bytes());
            out.extend_from_slice(b"\",\"object\":");
            out.extend_from_slice(object);
            out.extend_from_slice(b"}\n");
            out.into()
        })
    }
}

/// An item of a watch.
#[derive(Clone, Debug)]
pub enum WatchEvent {
    Object(Arc<ObjectEvent>),
    /// Everything up to `revision` has been sent. The front makes the object: kind, apiVersion, resourceVersion, and with
    /// `initial_events_end` the annotation `k8s.io/initial-events-end: "true"`.
    Bookmark {
        revision: Revision,
        initial_events_end: bool,
    },
    /// The watch has failed; goes out as an ERROR event and is the last item.
    Error(Status),
}

/// A watch. Dropping it ends it. The end without an error means that the client was too slow or the server is going down: the
/// client watches anew from the last resourceVersion it saw.
pub struct Watcher {
    initial: std::vec::IntoIter<WatchEvent>,
    rx: mpsc::Receiver<WatchEvent>,
    cacher: Weak<Cacher>,
    id: u64,
}

impl Watcher {
    /// A watch that only tells why it is none.
    fn failed(status: Status) -> Self {
        let (_, rx) = mpsc::channel(1);
        Self { initial: vec![WatchEvent::Error(status)].into_iter(), rx, cacher: Weak::new(), id: 0 }
    }
    /// The next event; `None` at the end. Cancel-safe.
    pub async fn next(&mut self) -> Option<WatchEvent> {
        match self.initial.next() {
            Some(e) => Some(e),
            None => self.rx.recv().await,
        }
    }
    /// The next event if there is one at hand, to fill a frame with several.
    pub fn try_next(&mut self) -> Option<WatchEvent> {
        self.initial.next().or_else(|| self.rx.try_recv().ok())
    }
}

/// What one change is to the watchers: made once, when the first of them wants it.
pub(crate) struct Outcomes<'a> {
    change: &'a Change,
    added: Option<Arc<ObjectEvent>>,
    modified: Option<Arc<ObjectEvent>>,
    deleted: Option<Arc<ObjectEvent>>,
}

impl<'a> Outcomes<'a> {
    pub fn new(change: &'a Change) -> Self {
        Self { change, added: None, modified: None, deleted: None }
    }

    /// The event for a watcher that selects by `selects`: an object that leaves its selection is deleted to it, one that enters
    /// is added. A deleted object is told in its last state, at the revision of the change.
    fn event(&mut self, selects: impl Fn(&Object) -> bool) -> Option<WatchEvent> {
        let Change { revision, old, new, .. } = self.change;
        let new = new.as_ref().filter(|o| selects(o));
        let old = old.as_ref().filter(|o| selects(o));
        let event = match (old, new) {
            (None, None) => return None,
            (None, Some(new)) => self.added.get_or_insert_with(|| ObjectEvent::new(EventKind::Added, new.clone())),
            (Some(old), Some(new)) => self.modified.get_or_insert_with(|| ObjectEvent::modified(old, new)),
            (Some(old), None) => {
                self.deleted.get_or_insert_with(|| ObjectEvent::new(EventKind::Deleted, Arc::new(old.at_revision(*revision))))
            }
        };
        Some(WatchEvent::Object(event.clone()))
    }
}

/// Which objects a request is about.
pub(crate) struct Selection {
    /// Prefix of the keys, down to the namespace.
    pub prefix: String,
    pub name: Option<String>,
    pub selector: Option<SelectorFn>,
}

impl Selection {
    pub fn new(prefix: &str, scope: &Scope, selector: Option<SelectorFn>) -> Self {
        let prefix = match scope.namespace.as_deref() {
            None | Some("") => prefix.to_owned(),
            Some(namespace) => format!("{prefix}{namespace}/"),
        };
        Self { prefix, name: scope.name.clone(), selector }
    }
    /// Selects everything below its prefix.
    pub fn is_whole(&self) -> bool {
        self.name.is_none() && self.selector.is_none()
    }
    pub fn selects(&self, object: &Object) -> bool {
        object.key().starts_with(&self.prefix)
            && self.name.as_deref().is_none_or(|n| n == object.name())
            && self.selector.as_ref().is_none_or(|s| s(object))
    }
}

/// The cacher's side of a watcher.
pub(crate) struct WatcherSlot {
    id: u64,
    selection: Selection,
    /// Only changes after this revision.
    pub after: Revision,
    tx: mpsc::Sender<WatchEvent>,
    /// `None`: it wants no bookmarks.
    pub next_bookmark: Option<Instant>,
    /// When the last bookmark is due, if the watch has a time limit.
    last_bookmark: Option<Instant>,
}

impl WatcherSlot {
    /// Sends the watcher its view of a change. False: it is to be closed.
    pub fn dispatch(&mut self, outcomes: &mut Outcomes<'_>) -> bool {
        if outcomes.change.revision <= self.after || !outcomes.change.key().starts_with(&self.selection.prefix) {
            return true;
        }
        let selection = &self.selection;
        match outcomes.event(|o| selection.selects(o)) {
            Some(event) => self.send(event),
            None => true,
        }
    }
    /// False if the watcher is gone or its buffer full.
    pub fn send(&self, event: WatchEvent) -> bool {
        self.tx.try_send(event).is_ok()
    }
    pub fn schedule_bookmark(&mut self, now: Instant, interval: Duration) {
        let last = self.last_bookmark.filter(|at| *at > now);
        self.next_bookmark = Some(last.map_or(now + interval, |at| at.min(now + interval)));
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if let Some(cacher) = self.cacher.upgrade() {
            let mut state = cacher.state.lock();
            state.watchers.retain(|w| w.id != self.id);
        }
    }
}

impl Cacher {
    /// Starts a watch (upstream's Cacher.Watch). A revision that is too old or never came is told as an error event, as upstream
    /// does; the `Err` here is for what fails before a watch can exist.
    pub async fn watch(&self, options: WatchOptions) -> Result<Watcher, Status> {
        let requested = parse_version(&options.resource_version)?;
        self.ready().await?;
        let unset = options.resource_version.is_empty();
        if options.send_initial_events == SendInitialEvents::Yes && options.allow_bookmarks && !self.can_be_fresh() {
            // Clients fall back to a list.
            let why =
                "a watch stream was requested by the client but the required storage feature RequestWatchProgress is disabled";
            return Ok(Watcher::failed(Status::new(500, "", why)));
        }
        let required = if unset && options.send_initial_events != SendInitialEvents::Unset {
            let revision = self.store.revision().await;
            revision.map_err(|e| from_store(self.resource(), Operation::Watch, &e))?
        } else {
            requested
        };
        if options.send_initial_events == SendInitialEvents::Yes
            && let Err(status) = self.reach(required, Operation::Watch).await
        {
            return Ok(Watcher::failed(status));
        }
        let selection = Selection::new(&self.config.prefix, &options.scope, options.selector);
        let (tx, rx) = mpsc::channel(self.config.limits.watch_buffer);
        let mut state = self.state.lock();
        let state = &mut *state;
        // Under the lock, since stopping closes the watchers under it.
        self.running()?;
        let now = state.revision;
        let whole_state = match options.send_initial_events {
            SendInitialEvents::Yes => true,
            SendInitialEvents::Unset => required == 0,
            SendInitialEvents::No => false,
        };
        let mut initial = Vec::new();
        let after = if whole_state {
            let objects = state.index.prefix(&selection.prefix, "").filter(|o| selection.selects(o));
            initial.extend(objects.map(|o| WatchEvent::Object(ObjectEvent::new(EventKind::Added, o.clone()))));
            if options.send_initial_events == SendInitialEvents::Yes && options.allow_bookmarks {
                initial.push(WatchEvent::Bookmark { revision: now, initial_events_end: true });
            }
            now
        } else {
            let from = if required == 0 { now } else { required };
            let floor = state.ring.floor();
            if from < floor {
                return Ok(Watcher::failed(Status::gone(format!("too old resource version: {from} ({floor})"))));
            }
            for change in state.ring.after(from).filter(|c| c.key().starts_with(&selection.prefix)) {
                initial.extend(Outcomes::new(change).event(|o| selection.selects(o)));
            }
            from.max(now)
        };
        state.last_watcher += 1;
        let id = state.last_watcher;
        let mut slot = WatcherSlot { id, selection, after, tx, next_bookmark: None, last_bookmark: None };
        if options.allow_bookmarks {
            let now = Instant::now();
            slot.last_bookmark = options.timeout.map(|t| now + t.saturating_sub(Duration::from_secs(2)));
            slot.schedule_bookmark(now, self.config.limits.bookmark_interval);
        }
        self.add_watcher(state, slot);
        Ok(Watcher { initial: initial.into_iter(), rx, cacher: self.weak(), id })
    }
}
