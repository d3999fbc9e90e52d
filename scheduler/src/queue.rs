//! The scheduling queue: pods to try now (by priority, then by time), pods that wait out a back-off, and pods that wait for a change
//! that can help them. Semantics of upstream's scheduling_queue.go.
//!
//! Changes are applied between scheduling cycles, never during one, so no change can slip by a pod that is being tried.

use crate::pod::PodInfo;
use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub type Uid = Arc<str>;

/// How long a pod stays unschedulable before it is tried again without a reason.
const UNSCHEDULABLE_TIMEOUT: Duration = Duration::from_secs(300);

/// Where a pod is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Active,
    /// Tried at this time at the latest; earlier where nothing else is to be done.
    Backoff(Instant),
    /// As `Backoff`, after a failure of the scheduler itself: never earlier.
    ErrorBackoff(Instant),
    /// Until a change helps.
    Unschedulable,
    /// Until its own gates are gone.
    Gated,
    /// In a scheduling or binding cycle.
    InFlight,
}

/// A pod that is not bound yet.
#[derive(Debug)]
pub struct Queued {
    pub info: Arc<PodInfo>,
    pub place: Place,
    /// Who refused it last. Empty after a failure that no plugin is behind.
    pub plugins: Vec<&'static str>,
    /// The status write under way, which the next write about this pod must follow.
    pub write: Option<JoinHandle<()>>,
    rejections: u32,
    errors: u32,
    since: Instant,
    seq: u64,
}

pub struct Queue {
    initial_backoff: Duration,
    max_backoff: Duration,
    pods: HashMap<Uid, Queued>,
    active: BTreeSet<(Reverse<i32>, Instant, u64, Uid)>,
    backoff: BTreeSet<(Instant, u64, Uid)>,
    error_backoff: BTreeSet<(Instant, u64, Uid)>,
    unschedulable: BTreeSet<(Instant, u64, Uid)>,
    seq: u64,
}

impl Queue {
    pub fn new(initial_backoff: Duration, max_backoff: Duration) -> Self {
        Self {
            initial_backoff,
            max_backoff,
            pods: HashMap::new(),
            active: BTreeSet::new(),
            backoff: BTreeSet::new(),
            error_backoff: BTreeSet::new(),
            unschedulable: BTreeSet::new(),
            seq: 0,
        }
    }

    pub fn get(&self, uid: &str) -> Option<&Queued> {
        self.pods.get(uid)
    }
    pub fn get_mut(&mut self, uid: &str) -> Option<&mut Queued> {
        self.pods.get_mut(uid)
    }

    /// A new pod; `gated` while its gates keep it out.
    pub fn add(&mut self, info: Arc<PodInfo>, gated: bool) {
        let uid = info.uid.clone();
        self.remove(&uid);
        self.seq += 1;
        let queued = Queued {
            info,
            place: Place::Gated,
            plugins: Vec::new(),
            write: None,
            rejections: 0,
            errors: 0,
            since: Instant::now(),
            seq: self.seq,
        };
        self.pods.insert(uid.clone(), queued);
        if !gated {
            self.place_at(&uid, Place::Active);
        }
    }

    /// A new version of a pod. One that waits is tried again where `retry` says that the change may matter.
    pub fn update(&mut self, info: Arc<PodInfo>, gated: bool, retry: bool) {
        let uid = info.uid.clone();
        let Some(place) = self.pods.get(&uid).map(|q| q.place) else { return };
        if place == Place::InFlight {
            if let Some(q) = self.pods.get_mut(&uid) {
                q.info = info;
            }
            return;
        }
        self.unlink(&uid);
        if let Some(q) = self.pods.get_mut(&uid) {
            q.info = info;
        }
        let now = Instant::now();
        let next = match place {
            _ if gated => Place::Gated,
            Place::Gated => Place::Active,
            Place::Unschedulable if retry => self.after_backoff(&uid, now),
            other => other,
        };
        self.place_at(&uid, next);
    }

    pub fn remove(&mut self, uid: &str) -> Option<Queued> {
        self.unlink(uid);
        self.pods.remove(uid)
    }

    /// The next pod to try. With nothing active, one that only waits out its back-off is taken early.
    pub fn pop(&mut self) -> Option<Arc<PodInfo>> {
        let uid = match self.active.pop_first() {
            Some((.., uid)) => uid,
            None => self.backoff.pop_first()?.2,
        };
        let q = self.pods.get_mut(&uid)?;
        q.place = Place::InFlight;
        Some(q.info.clone())
    }

    /// No node fits; `plugins` refused it.
    pub fn rejected(&mut self, uid: &str, plugins: Vec<&'static str>) {
        if let Some(q) = self.pods.get_mut(uid) {
            q.rejections += 1;
            q.errors = 0;
            q.plugins = plugins;
            q.since = Instant::now();
            self.place_at(uid, Place::Unschedulable);
        }
    }

    /// Something failed; the pod comes back after its back-off.
    pub fn failed(&mut self, uid: &str) {
        let Some(q) = self.pods.get_mut(uid) else { return };
        q.errors += 1;
        q.plugins.clear();
        q.since = Instant::now();
        let at = q.since + self.backoff_after(uid);
        self.place_at(uid, Place::ErrorBackoff(at));
    }

    /// Takes the pods that `helps` picks out of the unschedulable ones.
    pub fn wake(&mut self, mut helps: impl FnMut(&Queued) -> bool) {
        if self.unschedulable.is_empty() {
            return;
        }
        let now = Instant::now();
        let pick = |(_, _, uid): &(Instant, u64, Uid)| self.pods.get(uid).filter(|q| helps(q)).map(|_| uid.clone());
        let woken: Vec<Uid> = self.unschedulable.iter().filter_map(pick).collect();
        for uid in woken {
            self.unlink(&uid);
            let place = self.after_backoff(&uid, now);
            self.place_at(&uid, place);
        }
    }

    /// Moves what is due.
    pub fn flush(&mut self) {
        let now = Instant::now();
        let mut due: Vec<Uid> = Vec::new();
        for set in [&self.backoff, &self.error_backoff] {
            due.extend(set.iter().take_while(|(at, ..)| *at <= now).map(|(.., uid)| uid.clone()));
        }
        due.extend(self.unschedulable.iter().take_while(|(at, ..)| *at + UNSCHEDULABLE_TIMEOUT <= now).map(|(.., u)| u.clone()));
        for uid in due {
            self.unlink(&uid);
            self.place_at(&uid, Place::Active);
        }
    }

    /// When `flush` has something to do next.
    pub fn next_deadline(&self) -> Option<Instant> {
        let first = |s: &BTreeSet<(Instant, u64, Uid)>| s.first().map(|(at, ..)| *at);
        [first(&self.backoff), first(&self.error_backoff), first(&self.unschedulable).map(|t| t + UNSCHEDULABLE_TIMEOUT)]
            .into_iter()
            .flatten()
            .min()
    }

    fn backoff_after(&self, uid: &str) -> Duration {
        let n = self.pods.get(uid).map_or(0, |q| if q.errors > 0 { q.errors } else { q.rejections });
        if n == 0 {
            return Duration::ZERO;
        }
        self.initial_backoff.saturating_mul(1u32.checked_shl(n - 1).unwrap_or(u32::MAX)).min(self.max_backoff)
    }

    fn after_backoff(&self, uid: &str, now: Instant) -> Place {
        let Some(q) = self.pods.get(uid) else { return Place::Active };
        let at = q.since + self.backoff_after(uid);
        if at <= now { Place::Active } else { Place::Backoff(at) }
    }

    fn place_at(&mut self, uid: &str, place: Place) {
        let Some(q) = self.pods.get_mut(uid) else { return };
        q.place = place;
        let uid = q.info.uid.clone();
        match place {
            Place::Active => drop(self.active.insert((Reverse(q.info.priority), q.since, q.seq, uid))),
            Place::Backoff(at) => drop(self.backoff.insert((at, q.seq, uid))),
            Place::ErrorBackoff(at) => drop(self.error_backoff.insert((at, q.seq, uid))),
            Place::Unschedulable => drop(self.unschedulable.insert((q.since, q.seq, uid))),
            Place::Gated | Place::InFlight => {}
        }
    }

    fn unlink(&mut self, uid: &str) {
        let Some(q) = self.pods.get(uid) else { return };
        let uid = q.info.uid.clone();
        match q.place {
            Place::Active => drop(self.active.remove(&(Reverse(q.info.priority), q.since, q.seq, uid))),
            Place::Backoff(at) => drop(self.backoff.remove(&(at, q.seq, uid))),
            Place::ErrorBackoff(at) => drop(self.error_backoff.remove(&(at, q.seq, uid))),
            Place::Unschedulable => drop(self.unschedulable.remove(&(q.since, q.seq, uid))),
            Place::Gated | Place::InFlight => {}
        }
    }
}
