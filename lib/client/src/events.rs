//! Recording Events about objects, with client-go's correlation: the same event again raises its count, a flood about one object
//! is cut off. Recording never blocks and never fails the caller.

use crate::{Client, Clock, Patch};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::json;
use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant};

/// `type` of an Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    Normal,
    Warning,
}

impl EventType {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

struct Record {
    about: ObjectReference,
    kind: EventType,
    reason: String,
    message: String,
    at: Timestamp,
}

/// Sends events on behalf of one component. Clones share the queue.
#[derive(Clone)]
pub struct Recorder {
    tx: mpsc::Sender<Record>,
    clock: Clock,
}

impl Recorder {
    /// Starts a recorder. `host` is the node for node components, else empty.
    pub fn start(client: Client, component: &str, host: &str, clock: Clock) -> Self {
        let (tx, rx) = mpsc::channel(1000);
        tokio::spawn(deliver(client, component.to_owned(), host.to_owned(), rx));
        Self { tx, clock }
    }
    /// Records an event about an object. Dropped if the queue is full.
    pub fn event(&self, about: &ObjectReference, kind: EventType, reason: &str, message: impl Into<String>) {
        let record =
            Record { about: about.clone(), kind, reason: reason.to_owned(), message: message.into(), at: self.clock.now() };
        if self.tx.try_send(record).is_err() {
            tracing::warn!(reason, "event dropped: queue full");
        }
    }
}

/// Correlated events kept, as upstream's LRU size.
const MAX_KEPT: usize = 4096;
/// Spam filter per source and object: a burst, then one per five minutes.
const BURST: f64 = 25.0;
const REFILL_PER_SECOND: f64 = 1.0 / 300.0;
/// Events of one kind about one object that differ in message only are folded after this many.
const FOLD_AFTER: usize = 10;
const FOLD_WINDOW: Duration = Duration::from_secs(600);

struct Seen {
    name: String,
    namespace: String,
    count: i32,
    used: Instant,
}

struct Similar {
    messages: std::collections::HashSet<String>,
    last: Instant,
}

type Key = (String, String, EventType, String, String);

async fn deliver(client: Client, component: String, host: String, mut rx: mpsc::Receiver<Record>) {
    let mut seen: HashMap<Key, Seen> = HashMap::new();
    let mut similar: HashMap<(String, String, EventType, String), Similar> = HashMap::new();
    let mut tokens: HashMap<String, (f64, Instant)> = HashMap::new();
    while let Some(mut r) = rx.recv().await {
        let now = Instant::now();
        let object = format!(
            "{}/{}/{}/{}",
            r.about.kind.as_deref().unwrap_or(""),
            r.about.namespace.as_deref().unwrap_or(""),
            r.about.name.as_deref().unwrap_or(""),
            r.about.uid.as_deref().unwrap_or("")
        );
        let path = r.about.field_path.clone().unwrap_or_default();
        let group = similar
            .entry((object.clone(), path.clone(), r.kind, r.reason.clone()))
            .or_insert_with(|| Similar { messages: Default::default(), last: now });
        if now.duration_since(group.last) > FOLD_WINDOW {
            group.messages.clear();
        }
        group.last = now;
        group.messages.insert(r.message.clone());
        if group.messages.len() >= FOLD_AFTER {
            r.message = format!("(combined from similar events): {}", r.message);
        }
        let bucket = tokens.entry(object.clone()).or_insert((BURST, now));
        bucket.0 = (bucket.0 + now.duration_since(bucket.1).as_secs_f64() * REFILL_PER_SECOND).min(BURST);
        bucket.1 = now;
        if bucket.0 < 1.0 {
            continue;
        }
        bucket.0 -= 1.0;
        let message_key = if group.messages.len() >= FOLD_AFTER { String::new() } else { r.message.clone() };
        let key = (object, path, r.kind, r.reason.clone(), message_key);
        send(&client, &component, &host, r, &mut seen, key, now).await;
        trim(&mut seen, |s| s.used);
        trim(&mut similar, |s| s.last);
        trim(&mut tokens, |t| t.1);
    }
}

async fn send(client: &Client, component: &str, host: &str, r: Record, seen: &mut HashMap<Key, Seen>, key: Key, now: Instant) {
    let at = Time(Timestamp::from_second(r.at.as_second()).unwrap_or(r.at));
    if let Some(s) = seen.get_mut(&key) {
        s.count += 1;
        s.used = now;
        let patch = Patch::Strategic(json!({"count": s.count, "lastTimestamp": at, "message": r.message}));
        match client.patch::<Event>(&s.namespace, &s.name, &patch).await {
            Ok(_) => return,
            Err(e) if e.is_not_found() => {} // expired: write it anew below
            Err(e) => return tracing::debug!(error = %e, "event not counted"),
        }
    }
    let namespace = r.about.namespace.clone().filter(|n| !n.is_empty()).unwrap_or_else(|| "default".into());
    // Upstream's form: object name and a timestamp in hex.
    let name = format!("{}.{:x}", r.about.name.as_deref().unwrap_or(""), unique_nanos(r.at));
    let event = Event {
        metadata: ObjectMeta { name: Some(name.clone()), namespace: Some(namespace.clone()), ..Default::default() },
        involved_object: r.about,
        reason: Some(r.reason),
        message: Some(r.message),
        type_: Some(r.kind.as_str().to_owned()),
        count: Some(1),
        first_timestamp: Some(at.clone()),
        last_timestamp: Some(at),
        source: Some(EventSource { component: Some(component.to_owned()), host: (!host.is_empty()).then(|| host.to_owned()) }),
        reporting_component: Some(component.to_owned()),
        reporting_instance: (!host.is_empty()).then(|| host.to_owned()),
        ..Default::default()
    };
    match client.create(&namespace, &event).await {
        Ok(_) => {
            seen.insert(key, Seen { name, namespace, count: 1, used: now });
        }
        Err(e) => tracing::debug!(error = %e, "event not recorded"),
    }
}

/// The moment in nanoseconds, which puts events in a list in the order in which they happened; no moment is given twice.
fn unique_nanos(at: Timestamp) -> i64 {
    static LAST: AtomicI64 = AtomicI64::new(0);
    let at = i64::try_from(at.as_nanosecond()).unwrap_or(i64::MAX);
    let next = |last: i64| at.max(last.saturating_add(1));
    let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
    next(last.unwrap_or_else(|last| last))
}

fn trim<K: Clone + std::hash::Hash + Eq, V>(map: &mut HashMap<K, V>, used: impl Fn(&V) -> Instant) {
    if map.len() <= MAX_KEPT {
        return;
    }
    let mut times: Vec<Instant> = map.values().map(&used).collect();
    times.sort_unstable();
    let cut = times[times.len() / 4];
    map.retain(|_, v| used(v) > cut);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_the_events_happened() {
        let at = |n: i64| unique_nanos(Timestamp::from_nanosecond(n.into()).expect("in range"));
        let far = i64::MAX / 2;
        let names = [at(far), at(far + 300), at(far + 300), at(far + 301), at(far + 1_000_000)];
        assert_eq!(names, [far, far + 300, far + 301, far + 302, far + 1_000_000]);
    }
}
