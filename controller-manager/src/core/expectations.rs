//! Expectations: what a controller has asked for and its informer has not shown yet. Without them a sync that runs before the cache
//! has caught up would create or delete twice (pkg/controller ControllerExpectations).

use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use tokio::time::Instant;

/// After this the controller acts on what it sees: an event was missed.
const TIMEOUT: Duration = Duration::from_secs(300);

struct Entry {
    creations: usize,
    /// Keys of the dependents being deleted.
    deletions: HashSet<String>,
    since: Instant,
}

/// Expectations by controller key.
#[derive(Default)]
pub struct Expectations {
    entries: Mutex<HashMap<String, Entry>>,
}

impl Expectations {
    /// Nothing is outstanding for `key`, or it has been for too long.
    pub fn satisfied(&self, key: &str) -> bool {
        self.entries.lock().get(key).is_none_or(|e| (e.creations == 0 && e.deletions.is_empty()) || e.since.elapsed() > TIMEOUT)
    }
    pub fn expect(&self, key: &str, creations: usize, deletions: impl IntoIterator<Item = String>) {
        let entry = Entry { creations, deletions: deletions.into_iter().collect(), since: Instant::now() };
        self.entries.lock().insert(key.to_owned(), entry);
    }
    pub fn creation_observed(&self, key: &str) {
        if let Some(e) = self.entries.lock().get_mut(key) {
            e.creations = e.creations.saturating_sub(1);
        }
    }
    pub fn deletion_observed(&self, key: &str, dependent: &str) {
        if let Some(e) = self.entries.lock().get_mut(key) {
            e.deletions.remove(dependent);
        }
    }
    pub fn forget(&self, key: &str) {
        self.entries.lock().remove(key);
    }
}
