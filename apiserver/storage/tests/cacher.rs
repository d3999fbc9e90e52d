//! The promises of the watch cache: resourceVersion semantics, chunks, watches, bookmarks, selectors, slow watchers, compaction.

use machinery::{GroupResource, Status, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use storage::{
    Cacher, Config, EventKind, List, ListOptions, Preconditions, Revision, Scope, SelectorFn, SendInitialEvents, Update,
    VersionMatch, WatchEvent, WatchOptions, Watcher, compact_periodically,
};
use store::Store;

struct Fixture {
    store: Arc<dyn Store>,
    pods: Arc<Cacher>,
    /// On the same store: its writes move the revision, but make no events for pods.
    others: Arc<Cacher>,
}

fn config(resource: &str) -> Config {
    let mut config = Config::new(GroupResource::new("", resource), format!("/registry/{resource}/"));
    config.fields = Arc::new(|v| vec![("spec.nodeName".into(), v["spec"]["nodeName"].as_str().unwrap_or("").into())]);
    // However slow the machine, what comes at all comes in time.
    (config.limits.fill_timeout, config.limits.fresh_timeout) = (Duration::from_secs(300), Duration::from_secs(300));
    config
}

fn fixture_with(change: impl Fn(&mut Config)) -> Fixture {
    let store = store::memory().unwrap();
    let mut pods = config("pods");
    change(&mut pods);
    Fixture { pods: Cacher::new(store.clone(), pods), others: Cacher::new(store.clone(), config("configmaps")), store }
}

fn fixture() -> Fixture {
    fixture_with(|_| {})
}

fn object(namespace: &str, name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace, "uid": format!("uid-{name}")}, "spec": {}})
}

impl Fixture {
    /// For requests that wait in vain: a cacher that gives up at once.
    fn impatient(&self) -> Arc<Cacher> {
        let mut config = config("pods");
        config.limits.fresh_timeout = Duration::from_millis(10);
        Cacher::new(self.store.clone(), config)
    }
    async fn create(&self, namespace: &str, name: &str) -> Revision {
        self.pods.create(namespace, name, object(namespace, name), None).await.unwrap().revision()
    }
    async fn other(&self, name: &str) -> Revision {
        self.others.create("default", name, object("default", name), None).await.unwrap().revision()
    }
    async fn set(&self, name: &str, path: &[&str], value: &str) -> Revision {
        let change = |current: Option<Value>| {
            let mut object = current.unwrap();
            machinery::meta::set(&mut object, path, value.into());
            std::future::ready(Ok(Update::from(object)))
        };
        self.pods.guaranteed_update("default", name, &Preconditions::default(), false, change).await.unwrap().revision()
    }
    async fn delete(&self, name: &str) -> Revision {
        self.pods.delete("default", name, &Preconditions::default(), |_| Ok(())).await.unwrap().revision()
    }
    async fn watch(&self, resource_version: &str, change: impl Fn(&mut WatchOptions)) -> Watcher {
        let mut options = WatchOptions { resource_version: resource_version.into(), ..WatchOptions::default() };
        change(&mut options);
        self.pods.watch(options).await.unwrap()
    }
}

fn at(resource_version: impl ToString) -> ListOptions {
    ListOptions { resource_version: resource_version.to_string(), ..ListOptions::default() }
}

fn names(list: &List) -> Vec<&str> {
    list.items.iter().map(|o| o.name()).collect()
}

/// The next item in short: `ADDED a@2`, `BOOKMARK 7`, `ERROR …`, `END`.
async fn next(watcher: &mut Watcher) -> String {
    match watcher.next().await {
        Some(WatchEvent::Object(e)) => {
            let version = e.object.value()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
            assert_eq!(version, e.object.revision().to_string(), "bytes and head agree");
            format!("{} {}@{version}", e.kind.as_str(), e.object.name())
        }
        Some(WatchEvent::Bookmark { revision, initial_events_end: true }) => format!("INITIAL-END {revision}"),
        Some(WatchEvent::Bookmark { revision, .. }) => format!("BOOKMARK {revision}"),
        Some(WatchEvent::Error(status)) => format!("ERROR {} {}", status.code, status.message),
        None => "END".into(),
    }
}

fn selector(f: impl Fn(&storage::Object) -> bool + Send + Sync + 'static) -> Option<SelectorFn> {
    Some(Arc::new(f))
}

#[tokio::test]
async fn get_by_resource_version() {
    let f = fixture();
    let made = f.create("default", "a").await;
    let later = f.other("x").await;
    for version in ["", "0", "1", &made.to_string(), &later.to_string()] {
        assert_eq!(f.pods.get("default", "a", version).await.unwrap().revision(), made, "resourceVersion {version:?}");
    }
    let missing = f.pods.get("default", "none", "").await.unwrap_err();
    assert_eq!((missing.code, &*missing.message), (404, "pods \"none\" not found"));
    let invalid = f.pods.get("default", "a", "x").await.unwrap_err();
    assert_eq!(invalid.code, 400);
    too_large(f.impatient().get("default", "a", "1000").await.unwrap_err(), later);
}

fn too_large(status: Status, current: Revision) {
    let expected = format!("Timeout: Too large resource version: 1000, current: {current}");
    assert_eq!((status.code, &*status.reason, &*status.message), (504, "Timeout", &*expected));
    let details = Value::Object(status.details);
    assert_eq!(details["causes"][0]["reason"], "ResourceVersionTooLarge");
    assert_eq!(details["retryAfterSeconds"], 1);
}

#[tokio::test]
async fn list_by_resource_version() {
    let f = fixture();
    f.create("default", "a").await;
    let b = f.create("default", "b").await;
    f.delete("a").await;
    let last = f.other("x").await;
    let exact = |v: Revision| ListOptions { version_match: Some(VersionMatch::Exact), ..at(v) };
    let newer = |v: Revision| ListOptions { version_match: Some(VersionMatch::NotOlderThan), ..at(v) };
    let limited = |v: &str| ListOptions { limit: 1, ..at(v) };
    for (case, options, expected, revision) in [
        ("unset is the latest", at(""), vec!["b"], Some(last)),
        ("zero is any", at("0"), vec!["b"], None),
        ("zero ignores the limit", limited("0"), vec!["b"], None),
        ("not older", newer(b), vec!["b"], None),
        ("unmatched is not older", at(b), vec!["b"], None),
        ("exact", exact(b), vec!["a", "b"], Some(b)),
        ("exact, of another resource's write", exact(last), vec!["b"], Some(last)),
        ("a limit makes it exact", limited(&b.to_string()), vec!["a"], Some(b)),
    ] {
        let list = f.pods.list(options).await.unwrap();
        assert_eq!(names(&list), expected, "{case}");
        assert!(revision.is_none_or(|r| r == list.revision), "{case}: {}", list.revision);
    }
    for options in [at(1000), exact(1000), newer(1000)] {
        too_large(f.impatient().list(options).await.unwrap_err(), last);
    }
}

#[tokio::test]
async fn chunks_are_of_one_state_whatever_is_written_meanwhile() {
    let f = fixture();
    for i in 0..10 {
        f.create(if i % 2 == 0 { "default" } else { "kube-system" }, &format!("p{i}")).await;
    }
    let all = f.pods.list(ListOptions::default()).await.unwrap();
    let expected: Vec<_> = all.items.iter().map(|o| (o.key().clone(), o.revision())).collect();
    let mut options = ListOptions { limit: 3, ..ListOptions::default() };
    let mut found = Vec::new();
    for (remaining, round) in [Some(7), Some(4), Some(1), None].into_iter().zip(0..) {
        let page = f.pods.list(options.clone()).await.unwrap();
        assert_eq!(page.revision, all.revision);
        assert_eq!(page.remaining_item_count, remaining, "round {round}");
        assert_eq!(page.continue_token.is_empty(), remaining.is_none());
        found.extend(page.items.iter().map(|o| (o.key().clone(), o.revision())));
        options.continue_token = page.continue_token;
        // Changes before, at and behind the place where the list goes on.
        f.set("p0", &["spec", "nodeName"], &round.to_string()).await;
        f.create("default", &format!("p2-{round}")).await;
        if round == 1 {
            f.delete("p8").await;
        }
    }
    assert_eq!(found, expected);

    let scope = Scope { namespace: Some("kube-system".into()), name: None };
    let page = f.pods.list(ListOptions { scope, limit: 2, ..ListOptions::default() }).await.unwrap();
    assert_eq!((names(&page), page.remaining_item_count), (vec!["p1", "p3"], Some(3)));
    let token = base64_decode(&page.continue_token);
    assert_eq!(token, json!({"v": "meta.k8s.io/v1", "rv": page.revision, "start": "p3\0"}));
    let selected = ListOptions { limit: 1, selector: selector(|o| o.name() == "p3"), ..ListOptions::default() };
    let page = f.pods.list(selected).await.unwrap();
    assert_eq!((names(&page), page.remaining_item_count), (vec!["p3"], None), "no count with a selector");
    let bad = ListOptions { continue_token: "nonsense!".into(), ..ListOptions::default() };
    assert_eq!(f.pods.list(bad).await.unwrap_err().code, 400);
}

fn base64_decode(token: &str) -> Value {
    use base64::Engine;
    serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token).unwrap()).unwrap()
}

#[tokio::test]
async fn an_expired_continue_token_offers_to_go_on_with_the_present() {
    let f = fixture();
    for name in ["a", "b", "c"] {
        f.create("default", name).await;
    }
    let first = f.pods.list(ListOptions { limit: 1, ..ListOptions::default() }).await.unwrap();
    let old = f.set("b", &["spec", "nodeName"], "n").await;
    let now = f.delete("c").await;
    f.create("default", "d").await;
    f.store.compact(now).await.unwrap();
    let fresh = Cacher::new(f.store.clone(), config("pods"));
    let next = |token: String| ListOptions { continue_token: token, limit: 1, ..ListOptions::default() };
    // A cacher that starts now asks the store, which has forgotten; one that remembers gives the same answer.
    for (name, cacher) in [("a new cacher", &fresh), ("one that remembers", &f.pods)] {
        let expired = cacher.list(next(first.continue_token.clone())).await.unwrap_err();
        assert_eq!((expired.code, &*expired.reason), (410, "Expired"), "{name}");
        assert!(expired.message.starts_with("The provided continue parameter is too old to display a consistent list result."));
        let token = expired.metadata["continue"].as_str().unwrap().to_owned();
        let rest = cacher.list(next(token)).await.unwrap();
        assert_eq!(names(&rest), ["b"], "{name}: from where the first chunk ended, as it is now");
    }
    let exact = ListOptions { version_match: Some(VersionMatch::Exact), ..at(old) };
    let gone = fresh.list(exact).await.unwrap_err();
    assert_eq!((gone.code, &*gone.message), (410, "The resourceVersion for the provided list is too old."));
    // What the store still has is found there.
    let exact = ListOptions { version_match: Some(VersionMatch::Exact), ..at(now) };
    assert_eq!(names(&fresh.list(exact).await.unwrap()), ["a", "b"]);
}

#[tokio::test]
async fn watch_from_a_revision() {
    let f = fixture();
    let a = f.create("default", "a").await;
    let b = f.create("default", "b").await;
    let mut from_a = f.watch(&a.to_string(), |_| {}).await;
    let mut from_any = f.watch("0", |_| {}).await;
    let mut from_now = f.watch("0", |o| o.send_initial_events = SendInitialEvents::No).await;
    let deleted = f.delete("a").await;
    assert_eq!(next(&mut from_a).await, format!("ADDED b@{b}"));
    assert_eq!(next(&mut from_a).await, format!("DELETED a@{deleted}"));
    assert_eq!(next(&mut from_any).await, format!("ADDED a@{a}"));
    assert_eq!(next(&mut from_any).await, format!("ADDED b@{b}"));
    assert_eq!(next(&mut from_any).await, format!("DELETED a@{deleted}"));
    assert_eq!(next(&mut from_now).await, format!("DELETED a@{deleted}"));

    // A cache that starts later, as after a restart, knows what the store remembers.
    let resume = || WatchOptions { resource_version: a.to_string(), ..WatchOptions::default() };
    let mut resumed = Cacher::new(f.store.clone(), config("pods")).watch(resume()).await.unwrap();
    assert_eq!(next(&mut resumed).await, format!("ADDED b@{b}"));
    f.store.compact(deleted).await.unwrap();
    let fresh = Cacher::new(f.store.clone(), config("pods"));
    let options = resume();
    let mut old = fresh.watch(options).await.unwrap();
    assert_eq!(next(&mut old).await, format!("ERROR 410 too old resource version: {a} ({deleted})"));
    assert_eq!(next(&mut old).await, "END");
    // A watch from the future waits for it.
    let mut ahead = f.watch(&(deleted + 1).to_string(), |_| {}).await;
    f.create("default", "skipped").await;
    let seen = f.create("default", "seen").await;
    assert_eq!(next(&mut ahead).await, format!("ADDED seen@{seen}"));
}

#[tokio::test]
async fn initial_events_end_with_a_bookmark() {
    let f = fixture();
    let a = f.create("default", "a").await;
    let other = f.other("x").await;
    let yes = |o: &mut WatchOptions| {
        o.send_initial_events = SendInitialEvents::Yes;
        o.allow_bookmarks = true;
    };
    for (version, least) in [("", other), ("0", a), (&*other.to_string(), other)] {
        let mut watcher = f.watch(version, yes).await;
        assert_eq!(next(&mut watcher).await, format!("ADDED a@{a}"), "{version:?}");
        let end = next(&mut watcher).await;
        let revision: Revision = end.strip_prefix("INITIAL-END ").unwrap().parse().unwrap();
        assert!(revision >= least, "{version:?}: {end}");
    }
    let mut options = WatchOptions { resource_version: "1000".into(), ..WatchOptions::default() };
    yes(&mut options);
    let mut ahead = f.impatient().watch(options).await.unwrap();
    assert!(next(&mut ahead).await.starts_with("ERROR 504 Timeout: Too large resource version: 1000"));
}

#[tokio::test]
async fn selectors_see_objects_enter_and_leave() {
    let f = fixture();
    let mut watcher = f.watch("", |o| o.selector = selector(|o| o.field("spec.nodeName") == Some("n1"))).await;
    let mut named = f.watch("", |o| o.scope = Scope { namespace: Some("default".into()), name: Some("a".into()) }).await;
    let made = f.create("default", "a").await;
    f.create("default", "b").await;
    let entered = f.set("a", &["spec", "nodeName"], "n1").await;
    let changed = f.set("a", &["metadata", "annotations", "x"], "y").await;
    let left = f.set("a", &["spec", "nodeName"], "n2").await;
    assert_eq!(next(&mut watcher).await, format!("ADDED a@{entered}"));
    assert_eq!(next(&mut watcher).await, format!("MODIFIED a@{changed}"));
    let Some(WatchEvent::Object(event)) = watcher.next().await else { panic!("no event") };
    assert_eq!((event.kind, event.object.revision()), (EventKind::Deleted, left));
    assert_eq!(event.object.value()["spec"]["nodeName"], "n1", "the last state that was selected");
    for kind in ["ADDED", "MODIFIED", "MODIFIED", "MODIFIED"].iter().zip([made, entered, changed, left]) {
        assert_eq!(next(&mut named).await, format!("{} a@{}", kind.0, kind.1));
    }
    // The same from the past.
    let mut again = f.watch(&made.to_string(), |o| o.selector = selector(|o| o.field("spec.nodeName") == Some("n1"))).await;
    assert_eq!(next(&mut again).await, format!("ADDED a@{entered}"));
}

#[tokio::test]
async fn a_slow_watcher_is_closed_and_can_come_back() {
    let f = fixture_with(|c| c.limits.watch_buffer = 4);
    let mut slow = f.watch("", |_| {}).await;
    let mut revisions = Vec::new();
    for i in 0..8 {
        revisions.push(f.create("default", &format!("p{i}")).await);
        // Whoever has read the list knows that the cache has passed the event on.
        f.pods.list(ListOptions::default()).await.unwrap();
    }
    for (i, revision) in revisions.iter().enumerate().take(4) {
        assert_eq!(next(&mut slow).await, format!("ADDED p{i}@{revision}"));
    }
    assert_eq!(next(&mut slow).await, "END");
    let mut again = f.watch(&revisions[3].to_string(), |_| {}).await;
    assert_eq!(next(&mut again).await, format!("ADDED p4@{}", revisions[4]));
}

#[tokio::test]
async fn bookmarks_tell_of_what_others_wrote() {
    for (case, interval, timeout) in [
        ("at intervals", Duration::from_millis(20), None),
        ("two seconds before the end", Duration::from_secs(3600), Some(Duration::from_millis(2020))),
    ] {
        let f = fixture_with(|c| c.limits.bookmark_interval = interval);
        let a = f.create("default", "a").await;
        let mut plain = f.watch(&a.to_string(), |_| {}).await;
        let other = f.other("x").await;
        let bookmarks = |o: &mut WatchOptions| (o.allow_bookmarks, o.timeout) = (true, timeout);
        let mut watcher = f.watch(&a.to_string(), bookmarks).await;
        assert_eq!(next(&mut watcher).await, format!("BOOKMARK {other}"), "{case}");
        assert!(plain.try_next().is_none(), "{case}: only for those who asked");
    }
}

#[tokio::test]
async fn preconditions_and_conflicts() {
    let f = fixture();
    let made = f.create("default", "a").await;
    let again = f.pods.create("default", "a", object("default", "a"), None).await.unwrap_err();
    assert_eq!((again.code, &*again.message), (409, "pods \"a\" already exists"));
    let mut with_version = object("default", "b");
    with_version["metadata"]["resourceVersion"] = "7".into();
    let refused = f.pods.create("default", "b", with_version, None).await.unwrap_err();
    assert_eq!(&*refused.message, "resourceVersion should not be set on objects to be created");

    let uid = |uid: &str| Preconditions { uid: Some(uid.into()), ..Preconditions::default() };
    let conflict = f.pods.delete("default", "a", &uid("other"), |_| Ok(())).await.unwrap_err();
    assert_eq!(
        (conflict.code, &*conflict.message),
        (
            409,
            "Operation cannot be fulfilled on pods \"a\": StorageError: invalid object, Code: 4, Key: /registry/pods/default/a, \
             ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: other, UID in object meta: uid-a"
        )
    );
    let version = Preconditions { resource_version: Some(made.to_string()), ..Preconditions::default() };
    let same = |current: Option<Value>| std::future::ready(Ok(Update::from(current.unwrap())));
    let kept = f.pods.guaranteed_update("default", "a", &version, false, same).await.unwrap();
    assert_eq!(kept.revision(), made);
    let missing = f.pods.guaranteed_update("default", "none", &uid("x"), false, same).await.unwrap_err();
    assert!(missing.is_not_found());
    let make = |current: Option<Value>| {
        assert!(current.is_none());
        std::future::ready(Ok(Update::from(object("default", "new"))))
    };
    let new = f.pods.guaranteed_update("default", "new", &Preconditions::default(), true, make).await.unwrap();
    assert_eq!(new.revision(), made + 1);
    let forbidden = f.pods.delete("default", "a", &uid("uid-a"), |_| Err(Status::bad_request("no"))).await.unwrap_err();
    assert_eq!(forbidden.message, "no");
    assert_eq!(f.pods.delete("default", "a", &uid("uid-a"), |_| Ok(())).await.unwrap().revision(), made + 2);
}

/// Random writes against a model that remembers the nodes of all pods at every revision: exact lists tell each of these states,
/// and a watch with a selector leads from any of them to the last.
#[tokio::test]
async fn random_operations() {
    let mut seed = 42u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let f = fixture();
    let mut now: BTreeMap<String, String> = BTreeMap::new();
    let mut states = BTreeMap::from([(f.store.revision().await.unwrap(), now.clone())]);
    for _ in 0..400 {
        let name = format!("p{:02}", random(20));
        let node = format!("n{}", random(3));
        let revision = match now.get(&name) {
            None => {
                now.insert(name.clone(), String::new());
                f.create("default", &name).await
            }
            Some(_) if random(4) == 0 => {
                now.remove(&name);
                f.delete(&name).await
            }
            Some(_) => {
                now.insert(name.clone(), node.clone());
                f.set(&name, &["spec", "nodeName"], &node).await
            }
        };
        // An update to what is there already writes nothing and returns the old revision.
        states.entry(revision).or_insert_with(|| now.clone());
    }
    let on = |state: &BTreeMap<String, String>, node: &str| -> Vec<String> {
        state.iter().filter(|(_, n)| *n == node).map(|(name, _)| name.clone()).collect()
    };
    let on_n1 = || selector(|o| o.field("spec.nodeName") == Some("n1"));
    let last = *states.keys().last().unwrap();
    for (revision, state) in states.iter().step_by(13).skip(1) {
        let exact = ListOptions { version_match: Some(VersionMatch::Exact), ..at(revision) };
        let all = f.pods.list(exact.clone()).await.unwrap();
        let found: BTreeMap<_, _> =
            all.items.iter().map(|o| (o.name().to_owned(), o.field("spec.nodeName").unwrap().to_owned())).collect();
        assert_eq!(&found, state, "at {revision}");
        let mut selected: BTreeSet<String> = names(&f.pods.list(ListOptions { selector: on_n1(), ..exact }).await.unwrap())
            .into_iter()
            .map(String::from)
            .collect();
        assert_eq!(selected.iter().cloned().collect::<Vec<_>>(), on(state, "n1"), "at {revision}");
        let mut watcher = f.watch(&revision.to_string(), |o| o.selector = on_n1()).await;
        while let Some(WatchEvent::Object(event)) = watcher.try_next() {
            let name = event.object.name().to_owned();
            assert!(event.object.revision() > *revision);
            match event.kind {
                EventKind::Added => assert!(selected.insert(name), "{event:?} was there"),
                EventKind::Modified => assert!(selected.contains(&name), "{event:?} was not there"),
                EventKind::Deleted => assert!(selected.remove(&name), "{event:?} was not there"),
            }
        }
        assert_eq!(selected.into_iter().collect::<Vec<_>>(), on(&states[&last], "n1"), "from {revision}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_updates_all_count_and_a_watch_tells_each_once() {
    let f = fixture();
    let made = f.create("default", "a").await;
    let mut watcher = f.watch(&made.to_string(), |_| {}).await;
    let writers = (0..4).map(|_| {
        let pods = f.pods.clone();
        tokio::spawn(async move {
            for _ in 0..25 {
                let add = |current: Option<Value>| {
                    let mut object = current.unwrap();
                    let n = object["spec"]["n"].as_u64().unwrap_or(0);
                    object["spec"]["n"] = (n + 1).into();
                    std::future::ready(Ok(Update::from(object)))
                };
                let written = pods.guaranteed_update("default", "a", &Preconditions::default(), false, add).await.unwrap();
                let read = pods.get("default", "a", "").await.unwrap();
                assert!(read.revision() >= written.revision(), "a writer reads what it wrote");
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(f.pods.get("default", "a", "").await.unwrap().value()["spec"]["n"], 100);
    for i in 1..=100 {
        assert_eq!(next(&mut watcher).await, format!("MODIFIED a@{}", made + i));
    }
}

#[tokio::test]
async fn a_stopped_cacher_closes_its_watchers() {
    let f = fixture();
    let mut watcher = f.watch("", |_| {}).await;
    f.pods.stop();
    assert_eq!(next(&mut watcher).await, "END");
    assert_eq!(f.pods.get("default", "a", "").await.unwrap_err().code, 503);
    let mut dropped = f.others.watch(WatchOptions::default()).await.unwrap();
    drop(f);
    assert_eq!(next(&mut dropped).await, "END");
}

#[tokio::test]
async fn history_is_forgotten_in_time() {
    let f = fixture();
    let first = f.create("default", "a").await;
    let compactor = tokio::spawn(compact_periodically(f.store.clone(), Duration::from_millis(5)));
    // It compacts to what was current an interval ago, as long as something is written.
    let mut last = first;
    while f.store.compacted_revision().await.unwrap() <= first {
        last = f.set("a", &["spec", "nodeName"], &last.to_string()).await;
    }
    assert!(f.store.compacted_revision().await.unwrap() <= last);
    compactor.abort();
}

/// Handlers run on a multi-threaded runtime: every future must be able to move.
#[test]
fn futures_are_send() {
    fn send<T: Send>(_: &T) {}
    fn check(c: &'static Cacher) {
        send(&c.get("", "", ""));
        send(&c.list(ListOptions::default()));
        send(&c.watch(WatchOptions::default()));
        send(&c.create("", "", Value::Null, None));
        static NONE: Preconditions = Preconditions { uid: None, resource_version: None };
        send(&c.delete("", "", &NONE, |_| Ok(())));
        let keep = |v: Option<Value>| async move { Ok(Update::from(v.unwrap_or_default())) };
        send(&c.guaranteed_update("", "", &NONE, false, keep));
    }
    let _ = check;
}
