//! Recent events of a resource: for watches that continue from a revision, and for taking the present state back to a past one.

use crate::object::Object;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use store::Revision;
use tokio::time::Instant;

/// One change: from `old` to `new`; a creation has no `old`, a deletion no `new`.
pub(crate) struct Change {
    pub revision: Revision,
    pub old: Option<Arc<Object>>,
    pub new: Option<Arc<Object>>,
    at: Instant,
}

impl Change {
    pub fn new(revision: Revision, old: Option<Arc<Object>>, new: Option<Arc<Object>>) -> Self {
        Self { revision, old, new, at: Instant::now() }
    }
    pub fn key(&self) -> &str {
        self.new.as_ref().or(self.old.as_ref()).map_or("", |o| o.key())
    }
    /// What keeping the change costs: the older object, since the newer is in the index or in the next change.
    fn weight(&self) -> usize {
        self.old.as_ref().map_or(0, |o| o.weight()) + size_of::<Self>()
    }
}

/// How much is kept. Upstream keeps events for at least 75 s (a bookmark interval and some), as long as they fit.
const FRESH: Duration = Duration::from_secs(75);
const OLD_EVENTS: usize = 100;
const OLD_BYTES: usize = 256 << 10;
const MAX_EVENTS: usize = 100 * 1024;
const MAX_BYTES: usize = 32 << 20;

#[derive(Default)]
pub(crate) struct Ring {
    changes: VecDeque<Change>,
    bytes: usize,
    /// All changes after this revision are here.
    floor: Revision,
}

impl Ring {
    pub fn starting_at(floor: Revision) -> Self {
        Self { floor, ..Self::default() }
    }
    pub fn floor(&self) -> Revision {
        self.floor
    }
    pub fn push(&mut self, change: Change) {
        self.bytes += change.weight();
        self.changes.push_back(change);
        while self.over() {
            let Some(gone) = self.changes.pop_front() else { break };
            self.bytes -= gone.weight();
            self.floor = gone.revision;
        }
    }
    fn over(&self) -> bool {
        let (n, bytes) = (self.changes.len(), self.bytes);
        let old = |c: &Change| c.at.elapsed() > FRESH;
        n > MAX_EVENTS || bytes > MAX_BYTES || ((n > OLD_EVENTS || bytes > OLD_BYTES) && self.changes.front().is_some_and(old))
    }
    /// Changes after `revision`, oldest first; the caller has compared it with `floor`.
    pub fn after(&self, revision: Revision) -> impl DoubleEndedIterator<Item = &Change> {
        let from = self.changes.partition_point(|c| c.revision <= revision);
        self.changes.range(from..)
    }
}
