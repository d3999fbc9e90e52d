//! Reading: current values and past ones, history for watches, and the whole log when the store opens.

use super::Shared;
use super::disk::{COMPACTED, LOG, META, TRIMMED, io_error, unavailable};
use super::index::{Index, WatchSlot};
use super::record::{Meta, View};
use crate::{Error, Event, KeyValue, Range, RangeResult, Result, Revision, Watch, WatchMessage};
use bytes::Bytes;
use redb::{Database, ReadOnlyTable, ReadableDatabase, ReadableTable};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tokio::sync::mpsc;

type Log = ReadOnlyTable<u64, &'static [u8]>;

/// Events in one message of a watch's history.
const HISTORY_BATCH: usize = 256;

fn failed(e: impl Into<redb::Error>) -> Error {
    io_error("reading the store", e.into())
}

fn open_log(db: &Option<Database>) -> Result<Log> {
    let db = db.as_ref().ok_or_else(|| unavailable("the store is closed after an IO error".into()))?;
    db.begin_read().map_err(failed)?.open_table(LOG).map_err(failed)
}

fn value_at(log: &Log, meta: &Meta, key: &Arc<str>) -> Result<KeyValue> {
    let revision = meta.mod_revision;
    let missing = || Error::Corrupt(format!("the value of {key} at revision {revision} is missing; restore a backup"));
    let bytes = log.get(revision).map_err(failed)?.ok_or_else(missing)?;
    let (stored, value) = View::decode(revision, bytes.value())?.put.ok_or_else(missing)?;
    Ok(stored.key_value(key.clone(), Bytes::copy_from_slice(value)))
}

/// Builds the index from the log. The second value is how far superseded records have been removed.
pub fn load(db: &Database) -> Result<(Index, Revision)> {
    let txn = db.begin_read().map_err(failed)?;
    let meta = txn.open_table(META).map_err(failed)?;
    let number = |key| Ok(meta.get(key).map_err(failed)?.map_or(0, |v| v.value()));
    let mut index = Index { revision: 1, compacted: number(COMPACTED)?, ..Index::default() };
    let trimmed = number(TRIMMED)?;
    for entry in txn.open_table(LOG).map_err(failed)?.iter().map_err(failed)? {
        let (revision, bytes) = entry.map_err(failed)?;
        let view = View::decode(revision.value(), bytes.value())?;
        index.set(view.key.into(), view.put.map(|(meta, _)| meta));
        index.revision = revision.value();
    }
    Ok((index, trimmed))
}

/// The newest revision in the log.
pub fn last_revision(db: &Database) -> Result<Revision> {
    let log = db.begin_read().map_err(failed)?.open_table(LOG).map_err(failed)?;
    Ok(log.last().map_err(failed)?.map_or(1, |(r, _)| r.value()))
}

impl Shared {
    /// The current value of `key`, or of none.
    pub fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision)> {
        let index = self.index.lock();
        let revision = index.revision;
        let Some((key, meta)) = index.keys.get_key_value(key).map(|(k, m)| (k.clone(), *m)) else {
            return Ok((None, revision));
        };
        let db = self.db.read();
        // Taken under the index's lock: what the index names cannot be compacted away between the two.
        let log = open_log(&db)?;
        drop(index);
        Ok((Some(value_at(&log, &meta, &key)?), revision))
    }

    pub fn range(&self, prefix: &str, range: &Range) -> Result<RangeResult> {
        let index = self.index.lock();
        let current = index.revision;
        let revision = range.revision.unwrap_or(current);
        if revision > current {
            return Err(Error::Future { requested: revision, current });
        }
        if revision < index.compacted {
            return Err(Error::Compacted { requested: revision, compacted: index.compacted });
        }
        let db = self.db.read();
        let log = open_log(&db)?;
        let wanted = if range.limit == 0 { usize::MAX } else { range.limit };
        let (count, keys): (usize, Vec<(Arc<str>, Meta)>) = if revision == current {
            let mut count = 0;
            let mut keys = Vec::new();
            for (key, meta) in index.prefix(prefix, range.from.as_deref()) {
                count += 1;
                if keys.len() < wanted && !range.count_only {
                    keys.push((key.clone(), *meta));
                }
            }
            drop(index);
            (count, keys)
        } else {
            let now = index.prefix(prefix, range.from.as_deref()).map(|(k, m)| (k.clone(), *m)).collect();
            drop(index);
            let mut then = as_of(&log, prefix, range.from.as_deref(), now, revision, current)?;
            let count = then.len();
            then.truncate(if range.count_only { 0 } else { wanted });
            (count, then)
        };
        let kvs = keys.iter().map(|(key, meta)| value_at(&log, meta, key)).collect::<Result<Vec<_>>>()?;
        let more = !range.count_only && kvs.len() < count;
        Ok(RangeResult { kvs, revision: current, more, count: count as u64 })
    }

    /// Starts a watch: first the history after `after`, then what comes.
    pub fn watch(&self, prefix: &str, after: Revision) -> Result<Watch> {
        let mut history = Vec::new();
        let mut seen = after;
        // Most of the history is read without stopping the writer, the rest under the lock.
        let reached = self.index.lock().revision;
        self.read_history(prefix, &mut seen, reached, &mut history)?;
        let mut index = self.index.lock();
        if after < index.compacted {
            return Err(Error::Compacted { requested: after, compacted: index.compacted });
        }
        let reached = index.revision;
        self.read_history(prefix, &mut seen, reached, &mut history)?;
        let queued = Arc::new(AtomicU64::new(history.last().map_or(0, Event::revision)));
        let batches: Vec<Vec<Event>> = history.chunks(HISTORY_BATCH).map(<[Event]>::to_vec).collect();
        let (tx, rx) = mpsc::channel(batches.len() + self.watch_buffer);
        let slot = WatchSlot { prefix: prefix.into(), after: after.max(seen), tx, queued: queued.clone() };
        for batch in batches {
            slot.send(WatchMessage::Events(batch));
        }
        index.watches.push(slot);
        Ok(Watch { rx, queued: Some(queued) })
    }

    /// Appends the events in (`seen`, `to`] and moves `seen`.
    fn read_history(&self, prefix: &str, seen: &mut Revision, to: Revision, out: &mut Vec<Event>) -> Result<()> {
        if *seen >= to {
            return Ok(());
        }
        let db = self.db.read();
        for entry in open_log(&db)?.range(*seen + 1..=to).map_err(failed)? {
            let (revision, bytes) = entry.map_err(failed)?;
            let view = View::decode(revision.value(), bytes.value())?;
            if view.key.starts_with(prefix) {
                out.push(view.event(revision.value()));
            }
        }
        *seen = to;
        Ok(())
    }
}

/// Takes the writes after `revision` back from the `now` state.
fn as_of(
    log: &Log,
    prefix: &str,
    from: Option<&str>,
    now: BTreeMap<Arc<str>, Meta>,
    revision: Revision,
    current: Revision,
) -> Result<Vec<(Arc<str>, Meta)>> {
    let mut then = now;
    for entry in log.range(revision + 1..=current).map_err(failed)?.rev() {
        let (at, bytes) = entry.map_err(failed)?;
        let view = View::decode(at.value(), bytes.value())?;
        if !view.key.starts_with(prefix) || from.is_some_and(|f| view.key < f) {
            continue;
        }
        if view.previous > revision {
            // An older write of the same key is taken back further on.
            continue;
        }
        if view.previous == 0 {
            then.remove(view.key);
            continue;
        }
        let missing = || Error::Corrupt(format!("revision {} of {} is missing; restore a backup", view.previous, view.key));
        let before = log.get(view.previous).map_err(failed)?.ok_or_else(missing)?;
        let (meta, _) = View::decode(view.previous, before.value())?.put.ok_or_else(missing)?;
        then.insert(view.key.into(), meta);
    }
    Ok(then.into_iter().collect())
}
