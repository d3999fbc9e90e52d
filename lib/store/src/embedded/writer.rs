//! The one thread that writes. Whatever requests have gathered while the last commit was on its way to the disk go together
//! into the next one: many writers share an fsync, and a lone writer waits for nobody.
//!
//! Nothing is shown, to readers, watches or the writers themselves, before it is durable.

use super::Shared;
use super::disk::{self, COMPACTED, LOG, META, TRIMMED, io_error};
use super::read;
use super::record::{Action, Meta, Record, View};
use crate::{Error, KeyValue, Result, Revision};
use redb::ReadableTable;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;
use tokio::sync::oneshot;

/// Requests and bytes in one commit.
const BATCH: usize = 512;
const BATCH_BYTES: usize = 8 << 20;
/// Revisions looked at in one step of a compaction, between two commits of writes.
const TRIM_STEP: u64 = 2048;

pub enum Request {
    Write(Write),
    Compact { revision: Revision, reply: oneshot::Sender<Result<()>> },
    Reopen(oneshot::Sender<Result<()>>),
}

pub struct Write {
    pub key: Arc<str>,
    pub expected: Expected,
    pub action: Action,
    /// `None` for an expiry, which nobody waits for.
    pub reply: Option<oneshot::Sender<Result<Revision>>>,
}

/// The state in which a write finds its key.
#[derive(Clone, Copy, Debug)]
pub enum Expected {
    Absent,
    At(Revision),
}

/// Answers that wait for the commit they depend on.
enum Answer {
    Written(Revision),
    Conflict(Option<KeyValue>),
    /// The key is at this revision in the log.
    ConflictStored(Arc<str>),
}

pub struct Writer {
    shared: Arc<Shared>,
    requests: Receiver<Request>,
    /// Superseded records up to here are gone; behind `Index::compacted` while a compaction is under way.
    trimmed: Revision,
    waiting_for_trim: Vec<(Revision, oneshot::Sender<Result<()>>)>,
    /// Records of a commit that failed in a way that leaves open whether it is on the disk.
    in_doubt: Vec<Record>,
}

impl Writer {
    pub fn new(shared: Arc<Shared>, requests: Receiver<Request>, trimmed: Revision) -> Self {
        Self { shared, requests, trimmed, waiting_for_trim: Vec::new(), in_doubt: Vec::new() }
    }

    pub fn run(mut self) {
        while let Some(first) = self.next() {
            let mut writes = Vec::new();
            let mut others = Vec::new();
            let mut bytes = 0;
            let mut next = first;
            while let Some(request) = next {
                match request {
                    Request::Write(w) => {
                        bytes += if let Action::Put { value, .. } = &w.action { value.len() } else { 0 };
                        writes.push(w);
                    }
                    other => others.push(other),
                }
                next = if writes.len() < BATCH && bytes < BATCH_BYTES { self.requests.try_recv().ok() } else { None };
            }
            self.add_expired(&mut writes);
            if !writes.is_empty() {
                self.write(writes);
            }
            for request in others {
                match request {
                    Request::Compact { revision, reply } => self.start_compaction(revision, reply),
                    Request::Reopen(reply) => drop(reply.send(self.ensure_open())),
                    Request::Write(_) => {}
                }
            }
            self.trim_step();
        }
        // Waits for readers, then closes the file.
        *self.shared.db.write() = None;
    }

    /// Waits for a request, an expiry, or nothing if a compaction has work left. `None`: the store is being closed.
    fn next(&mut self) -> Option<Option<Request>> {
        if self.trimming() {
            return match self.requests.try_recv() {
                Ok(r) => Some(Some(r)),
                Err(std::sync::mpsc::TryRecvError::Empty) => Some(None),
                Err(std::sync::mpsc::TryRecvError::Disconnected) => None,
            };
        }
        let expiry = self.shared.index.lock().expiries.first().map(|(at, _)| *at);
        match expiry {
            None => self.requests.recv().ok().map(Some),
            Some(at) => {
                // While the disk fails, an expiry that is due is tried again each second, not at once.
                let least = if self.in_doubt.is_empty() && self.is_open() { 0 } else { 1000 };
                let wait = Duration::from_millis(at.saturating_sub((self.shared.clock)()).max(least));
                match self.requests.recv_timeout(wait) {
                    Ok(r) => Some(Some(r)),
                    Err(RecvTimeoutError::Timeout) => Some(None),
                    Err(RecvTimeoutError::Disconnected) => None,
                }
            }
        }
    }

    fn is_open(&self) -> bool {
        self.shared.db.read().is_some()
    }

    fn add_expired(&self, writes: &mut Vec<Write>) {
        let index = self.shared.index.lock();
        if index.expiries.is_empty() {
            return;
        }
        let now = (self.shared.clock)();
        for (_, key) in index.expiries.iter().take_while(|(at, _)| *at <= now).take(BATCH) {
            if let Some(meta) = index.keys.get(key) {
                let expected = Expected::At(meta.mod_revision);
                writes.push(Write { key: key.clone(), expected, action: Action::Delete, reply: None });
            }
        }
    }

    /// Decides, commits and answers a batch.
    fn write(&mut self, writes: Vec<Write>) {
        if let Err(e) = self.ensure_open() {
            for w in writes {
                if let Some(reply) = w.reply {
                    let _ = reply.send(Err(clone_error(&e)));
                }
            }
            return;
        }
        let mut records: Vec<Record> = Vec::new();
        let mut answers = Vec::new();
        {
            let index = self.shared.index.lock();
            let mut staged: HashMap<Arc<str>, usize> = HashMap::new();
            let mut revision = index.revision;
            for w in writes {
                let stored = index.keys.get_key_value(&*w.key);
                let found: Option<Meta> = match staged.get(&w.key) {
                    Some(&i) => records[i].meta(),
                    None => stored.map(|(_, m)| *m),
                };
                let fits = match (w.expected, &found) {
                    (Expected::Absent, None) => true,
                    (Expected::At(r), Some(m)) => m.mod_revision == r,
                    _ => false,
                };
                if !fits {
                    let answer = match staged.get(&w.key) {
                        Some(&i) => Answer::Conflict(match records[i].event() {
                            crate::Event::Put(kv) => Some(kv),
                            crate::Event::Delete { .. } => None,
                        }),
                        None if found.is_some() => Answer::ConflictStored(w.key),
                        None => Answer::Conflict(None),
                    };
                    answers.push((w.reply, answer));
                    continue;
                }
                revision += 1;
                let key = stored.map_or(w.key, |(k, _)| k.clone());
                let previous = found.map_or(0, |m| m.mod_revision);
                let create_revision = found.map_or(revision, |m| m.create_revision);
                let version = found.map_or(1, |m| m.version + 1);
                staged.insert(key.clone(), records.len());
                records.push(Record { key, revision, previous, create_revision, version, action: w.action });
                answers.push((w.reply, Answer::Written(revision)));
            }
        }
        let result = if records.is_empty() { Ok(()) } else { self.commit(records) };
        for (reply, answer) in answers {
            let Some(reply) = reply else { continue };
            let _ = reply.send(match &result {
                Ok(()) => self.answer(answer),
                Err(e) => Err(clone_error(e)),
            });
        }
    }

    fn answer(&self, answer: Answer) -> Result<Revision> {
        let current = match answer {
            Answer::Written(revision) => return Ok(revision),
            Answer::Conflict(current) => current,
            Answer::ConflictStored(key) => self.shared.get(&key)?.0,
        };
        Err(Error::Conflict { current, revision: self.shared.revision.load(Ordering::Acquire) })
    }

    /// Makes records durable, then shows them.
    fn commit(&mut self, records: Vec<Record>) -> Result<()> {
        let put = || -> std::result::Result<(), redb::Error> {
            let db = self.shared.db.read();
            let txn = db.as_ref().ok_or(redb::Error::DatabaseClosed)?.begin_write()?;
            {
                let mut log = txn.open_table(LOG)?;
                for r in &records {
                    r.encode(log.insert_reserve(r.revision, r.encoded_len())?.as_mut());
                }
            }
            txn.commit()?;
            Ok(())
        };
        let Err(e) = put() else {
            self.show(&records);
            return Ok(());
        };
        let what = format!("writing to the store {}", self.shared.disk.name());
        tracing::error!(error = %e, "{what} failed");
        // Only opening the file again tells what of the commit is there, and makes it usable.
        *self.shared.db.write() = None;
        let last = records.last().map(|r| r.revision);
        self.in_doubt = records;
        match self.ensure_open() {
            // The commit was on the disk after all.
            Ok(()) if Some(self.shared.revision.load(Ordering::Acquire)) >= last => Ok(()),
            Ok(()) => Err(io_error(&what, e)),
            Err(_) => Err(Error::Unavailable { message: format!("{what}: {e}"), maybe_written: true }),
        }
    }

    /// Opens the file again after an IO error, and settles what became of the commit in doubt.
    fn ensure_open(&mut self) -> Result<()> {
        if self.is_open() {
            return Ok(());
        }
        let db = disk::open(&*self.shared.disk, self.shared.cache_bytes)?;
        let last = read::last_revision(&db)?;
        *self.shared.db.write() = Some(db);
        let in_doubt = std::mem::take(&mut self.in_doubt);
        if in_doubt.last().is_some_and(|r| r.revision == last) {
            self.show(&in_doubt);
        }
        Ok(())
    }

    fn show(&self, records: &[Record]) {
        let mut index = self.shared.index.lock();
        for r in records {
            index.apply(r);
        }
        index.publish(records);
        self.shared.revision.store(index.revision, Ordering::Release);
    }

    fn trimming(&self) -> bool {
        self.is_open() && self.trimmed < self.shared.index.lock().compacted
    }

    /// Records durably that history before `revision` is forgotten; `trim_step` then frees the space bit by bit.
    fn start_compaction(&mut self, revision: Revision, reply: oneshot::Sender<Result<()>>) {
        let (current, compacted) = {
            let index = self.shared.index.lock();
            (index.revision, index.compacted)
        };
        let result = if revision > current {
            Err(Error::Future { requested: revision, current })
        } else if revision <= compacted {
            Err(Error::Compacted { requested: revision, compacted })
        } else {
            self.ensure_open().and_then(|()| {
                // From here on nobody starts to read what is about to go.
                self.shared.index.lock().compacted = revision;
                self.update_meta(COMPACTED, revision)
            })
        };
        match result {
            Ok(()) => self.waiting_for_trim.push((revision, reply)),
            Err(e) => drop(reply.send(Err(e))),
        }
    }

    fn update_meta(&mut self, key: &str, value: u64) -> Result<()> {
        self.transact(|txn| {
            txn.open_table(META)?.insert(key, value)?;
            Ok(())
        })
    }

    /// A commit without new revisions: whether it happened does not matter if it fails.
    fn transact(&mut self, f: impl Fn(&redb::WriteTransaction) -> std::result::Result<(), redb::Error>) -> Result<()> {
        let run = || {
            let db = self.shared.db.read();
            let txn = db.as_ref().ok_or(redb::Error::DatabaseClosed)?.begin_write()?;
            f(&txn)?;
            txn.commit()?;
            Ok(())
        };
        run().map_err(|e| {
            *self.shared.db.write() = None;
            let _ = self.ensure_open();
            io_error("compacting the store", e)
        })
    }

    /// Removes what a few revisions have superseded. A record's predecessor is invisible from the record's revision on, and a
    /// deletion says nothing to readers of later revisions; the record at the compacted revision itself stays, so the log is
    /// never without its newest record and revisions never repeat.
    fn trim_step(&mut self) {
        if !self.trimming() {
            return;
        }
        let compacted = self.shared.index.lock().compacted;
        let from = self.trimmed;
        let to = compacted.min(from + TRIM_STEP);
        let result = self.transact(|txn| {
            let mut log = txn.open_table(LOG)?;
            let mut gone = Vec::new();
            for entry in log.range(from..=to)? {
                let (revision, bytes) = entry?;
                let revision = revision.value();
                let Ok(view) = View::decode(revision, bytes.value()) else { continue };
                if view.previous != 0 {
                    gone.push(view.previous);
                }
                if view.put.is_none() && revision < compacted {
                    gone.push(revision);
                }
            }
            for revision in gone {
                log.remove(revision)?;
            }
            txn.open_table(META)?.insert(TRIMMED, to)?;
            Ok(())
        });
        if result.is_ok() {
            self.trimmed = to;
        }
        let error = result.err();
        for (revision, reply) in std::mem::take(&mut self.waiting_for_trim) {
            match &error {
                Some(e) => drop(reply.send(Err(clone_error(e)))),
                None if revision <= to => drop(reply.send(Ok(()))),
                None => self.waiting_for_trim.push((revision, reply)),
            }
        }
    }
}

/// For answering many with one failure.
fn clone_error(e: &Error) -> Error {
    match e {
        Error::Unavailable { message, maybe_written } => {
            Error::Unavailable { message: message.clone(), maybe_written: *maybe_written }
        }
        Error::Corrupt(why) => Error::Corrupt(why.clone()),
        e => Error::Corrupt(e.to_string()),
    }
}
