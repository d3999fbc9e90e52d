//! Work queues: a key is in the queue at most once, is never worked on twice at a time, and comes back with back-off when its
//! work failed. Semantics of client-go's util/workqueue.

use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

const FIRST_DELAY: Duration = Duration::from_millis(5);
const MAX_DELAY: Duration = Duration::from_secs(1000);

struct State<T> {
    queue: VecDeque<T>,
    /// Queued, or to be queued again once its current work is done.
    dirty: HashSet<T>,
    processing: HashSet<T>,
    delayed: BTreeMap<(Instant, u64), T>,
    /// The earliest time each delayed key comes up.
    due: HashMap<T, (Instant, u64)>,
    failures: HashMap<T, u32>,
    seq: u64,
    closed: bool,
}

/// A rate-limited delaying queue. Clones share it.
pub struct WorkQueue<T> {
    inner: Arc<(Mutex<State<T>>, Notify)>,
}

impl<T> Clone for WorkQueue<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<T: Hash + Eq + Clone + Send + 'static> Default for WorkQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Hash + Eq + Clone + Send + 'static> WorkQueue<T> {
    pub fn new() -> Self {
        let state = State {
            queue: VecDeque::new(),
            dirty: HashSet::new(),
            processing: HashSet::new(),
            delayed: BTreeMap::new(),
            due: HashMap::new(),
            failures: HashMap::new(),
            seq: 0,
            closed: false,
        };
        Self { inner: Arc::new((Mutex::new(state), Notify::new())) }
    }

    /// Queues a key now.
    pub fn add(&self, key: T) {
        let mut s = self.inner.0.lock();
        if s.closed || !s.dirty.insert(key.clone()) {
            return;
        }
        if !s.processing.contains(&key) {
            s.queue.push_back(key);
            drop(s);
            self.inner.1.notify_one();
        }
    }

    /// Queues a key after `delay`; an earlier time already set stays.
    pub fn add_after(&self, key: T, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        let mut s = self.inner.0.lock();
        if s.closed {
            return;
        }
        let at = Instant::now() + delay;
        if let Some(old) = s.due.get(&key).copied() {
            if old.0 <= at {
                return;
            }
            s.delayed.remove(&old);
        }
        s.seq += 1;
        let slot = (at, s.seq);
        s.due.insert(key.clone(), slot);
        s.delayed.insert(slot, key);
        drop(s);
        self.inner.1.notify_one();
    }

    /// Queues a key after its own back-off: 5 ms doubling to 1000 s.
    pub fn add_rate_limited(&self, key: T) {
        let delay = {
            let mut s = self.inner.0.lock();
            let n = s.failures.entry(key.clone()).or_insert(0);
            let d = FIRST_DELAY.saturating_mul(1u32.checked_shl(*n).unwrap_or(u32::MAX)).min(MAX_DELAY);
            *n = (*n + 1).min(31);
            d
        };
        self.add_after(key, delay);
    }

    /// Ends the back-off of a key.
    pub fn forget(&self, key: &T) {
        self.inner.0.lock().failures.remove(key);
    }

    pub fn failures(&self, key: &T) -> u32 {
        self.inner.0.lock().failures.get(key).copied().unwrap_or(0)
    }

    /// The next key; `done` must follow. `None` once closed and drained.
    pub async fn get(&self) -> Option<T> {
        loop {
            let wait = {
                let mut s = self.inner.0.lock();
                let now = Instant::now();
                while let Some(((at, n), _)) = s.delayed.first_key_value() {
                    let slot = (*at, *n);
                    if slot.0 > now {
                        break;
                    }
                    if let Some(key) = s.delayed.remove(&slot) {
                        s.due.remove(&key);
                        if s.dirty.insert(key.clone()) && !s.processing.contains(&key) {
                            s.queue.push_back(key);
                        }
                    }
                }
                if let Some(key) = s.queue.pop_front() {
                    s.dirty.remove(&key);
                    s.processing.insert(key.clone());
                    if !s.queue.is_empty() || !s.delayed.is_empty() {
                        self.inner.1.notify_one();
                    }
                    return Some(key);
                }
                if s.closed {
                    self.inner.1.notify_one();
                    return None;
                }
                s.delayed.first_key_value().map(|((at, _), _)| *at)
            };
            match wait {
                Some(at) => {
                    tokio::select! { () = self.inner.1.notified() => {}, () = tokio::time::sleep_until(at) => {} }
                }
                None => self.inner.1.notified().await,
            }
        }
    }

    /// The work on a key is over; it is queued again if it was added meanwhile.
    pub fn done(&self, key: &T) {
        let mut s = self.inner.0.lock();
        s.processing.remove(key);
        if s.dirty.contains(key) {
            s.queue.push_back(key.clone());
            drop(s);
            self.inner.1.notify_one();
        }
    }

    /// No key is accepted any more; what is queued is still handed out.
    pub fn close(&self) {
        self.inner.0.lock().closed = true;
        self.inner.1.notify_waiters();
        self.inner.1.notify_one();
    }

    pub fn len(&self) -> usize {
        self.inner.0.lock().queue.len()
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Works off the queue with `workers` tasks until it is closed or the returned tasks are dropped. `work` that fails comes back
    /// with back-off; a panic in it fails that key alone.
    pub fn run<F, Fut, E>(&self, name: &'static str, workers: usize, work: F) -> tokio::task::JoinSet<()>
    where
        F: Fn(T) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display + Send + 'static,
        T: std::fmt::Debug + Sync,
    {
        let mut set = tokio::task::JoinSet::new();
        for _ in 0..workers {
            let (queue, work) = (self.clone(), work.clone());
            set.spawn(async move {
                while let Some(key) = queue.get().await {
                    // A task of its own catches panics without asking futures to be unwind safe.
                    let outcome = tokio::spawn(work(key.clone())).await;
                    match outcome {
                        Ok(Ok(())) => queue.forget(&key),
                        Ok(Err(e)) => {
                            tracing::debug!(controller = name, key = ?key, error = %e, "sync failed, will retry");
                            queue.add_rate_limited(key.clone());
                        }
                        Err(e) => {
                            tracing::error!(controller = name, key = ?key, error = %e, "sync panicked");
                            queue.add_rate_limited(key.clone());
                        }
                    }
                    queue.done(&key);
                }
            });
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_key_added_while_worked_on_comes_back_once() {
        let q = WorkQueue::new();
        q.add("a");
        q.add("a");
        assert_eq!(q.get().await, Some("a"));
        q.add("a");
        q.add("a");
        assert!(q.is_empty(), "not handed out while it is worked on");
        q.done(&"a");
        assert_eq!(q.get().await, Some("a"));
        q.done(&"a");
        q.close();
        assert_eq!(q.get().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn delays_keep_the_earliest_time() {
        let q = WorkQueue::new();
        let start = Instant::now();
        q.add_after("late", Duration::from_secs(60));
        q.add_after("late", Duration::from_secs(5));
        q.add_after("late", Duration::from_secs(30));
        q.add_after("soon", Duration::from_secs(1));
        assert_eq!(q.get().await, Some("soon"));
        assert_eq!(q.get().await, Some("late"));
        assert_eq!(start.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_back_off_exponentially_until_forgotten() {
        let q = WorkQueue::new();
        let start = Instant::now();
        for _ in 0..10 {
            q.add_rate_limited(1);
            q.get().await;
            q.done(&1);
        }
        assert_eq!(start.elapsed().as_millis() / 100, (0..10).map(|n| 5u128 << n).sum::<u128>() / 100);
        q.forget(&1);
        assert_eq!(q.failures(&1), 0);
    }
}
