//! What is kept in memory: the current keys with their revisions, what expires when, and the watches.
//! Values are not here but in the log, at the key's `mod_revision`.

use super::record::{Meta, Record};
use crate::{Error, Event, Revision, WatchMessage};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

#[derive(Default)]
pub struct Index {
    pub keys: BTreeMap<Arc<str>, Meta>,
    /// (milliseconds since the epoch, key) of keys that expire.
    pub expiries: BTreeSet<(u64, Arc<str>)>,
    pub revision: Revision,
    /// History before this revision is forgotten.
    pub compacted: Revision,
    pub watches: Vec<WatchSlot>,
}

/// The sending side of a watch.
pub struct WatchSlot {
    pub prefix: Box<str>,
    /// Only events after this revision.
    pub after: Revision,
    pub tx: mpsc::Sender<WatchMessage>,
    pub queued: Arc<AtomicU64>,
}

impl WatchSlot {
    /// Queues a message; false if the watch is gone or too slow. The last place of the queue is kept for saying so.
    pub fn send(&self, message: WatchMessage) -> bool {
        if self.tx.capacity() > 1 {
            return self.tx.try_send(message).is_ok();
        }
        let slow = Error::Unavailable { message: "the watch fell too far behind".into(), maybe_written: false };
        let _ = self.tx.try_send(WatchMessage::Closed(Arc::new(slow)));
        false
    }
}

impl Index {
    /// Makes a durable record current.
    pub fn apply(&mut self, record: &Record) {
        self.set(record.key.clone(), record.meta());
        self.revision = record.revision;
    }

    pub fn set(&mut self, key: Arc<str>, meta: Option<Meta>) {
        let old = match meta {
            Some(meta) => {
                if meta.expires_at != 0 {
                    self.expiries.insert((meta.expires_at, key.clone()));
                }
                self.keys.insert(key.clone(), meta)
            }
            None => self.keys.remove(&key),
        };
        if let Some(old) = old
            && old.expires_at != 0
            && meta.is_none_or(|m| m.expires_at != old.expires_at)
        {
            self.expiries.remove(&(old.expires_at, key));
        }
    }

    /// Queues the events of a commit to the watches, which must happen before the revision becomes readable.
    pub fn publish(&mut self, records: &[Record]) {
        if self.watches.is_empty() {
            return;
        }
        let events: Vec<Event> = records.iter().map(Record::event).collect();
        self.watches.retain(|w| {
            let mine = |e: &&Event| e.key().starts_with(&*w.prefix) && e.revision() > w.after;
            let batch: Vec<Event> = events.iter().filter(mine).cloned().collect();
            let Some(last) = batch.last() else { return !w.tx.is_closed() };
            w.queued.store(last.revision(), Ordering::Release);
            w.send(WatchMessage::Events(batch))
        });
    }

    pub fn send_progress(&mut self) {
        let revision = self.revision;
        self.watches.retain(|w| w.send(WatchMessage::Progress(revision)));
    }

    /// Current keys that begin with `prefix`, from `from` on.
    pub fn prefix<'a>(&'a self, prefix: &'a str, from: Option<&'a str>) -> impl Iterator<Item = (&'a Arc<str>, &'a Meta)> {
        let start = from.map_or(prefix, |f| f.max(prefix));
        let range = (Bound::Included(start), Bound::Unbounded);
        self.keys.range::<str, _>(range).take_while(move |(k, _)| k.starts_with(prefix))
    }
}
