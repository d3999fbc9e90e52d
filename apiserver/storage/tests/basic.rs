//! Writing, reading back and watching through one cacher on a store in memory.

use machinery::{GroupResource, Value, json};
use std::sync::Arc;
use storage::{Cacher, Config, ListOptions, Preconditions, Update, WatchEvent, WatchOptions};

fn pods() -> Arc<Cacher> {
    let store = store::memory().expect("a store in memory opens");
    Cacher::new(store, Config::new(GroupResource::new("", "pods"), "/registry/pods/"))
}

fn pod(name: &str, app: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default", "labels": {"app": app}}})
}

#[tokio::test]
async fn a_write_is_seen_by_reads_and_watches() {
    let pods = pods();
    let mut watcher = pods.watch(WatchOptions::default()).await.unwrap();
    let made = pods.create("default", "a", pod("a", "web"), None).await.unwrap();
    assert_eq!(made.revision(), 2);
    assert_eq!(made.value()["metadata"]["resourceVersion"], "2");
    assert_eq!((made.namespace(), made.name(), made.label("app")), ("default", "a", Some("web")));

    let list = pods.list(ListOptions::default()).await.unwrap();
    assert_eq!(list.revision, 2);
    assert_eq!(list.items[0].bytes(), made.bytes());
    let got = pods.get("default", "a", "").await.unwrap();
    assert_eq!(got.bytes(), made.bytes());

    let relabel = |current: Option<Value>| {
        let mut value = current.unwrap();
        value["metadata"]["labels"]["app"] = "db".into();
        std::future::ready(Ok(Update::from(value)))
    };
    let none = Preconditions::default();
    let changed = pods.guaranteed_update("default", "a", &none, false, relabel).await.unwrap();
    assert_eq!(changed.revision(), 3);
    let unchanged = pods.guaranteed_update("default", "a", &none, false, relabel).await.unwrap();
    assert_eq!(unchanged.revision(), 3, "an update that changes nothing is not written");
    let gone = pods.delete("default", "a", &none, |_| Ok(())).await.unwrap();
    assert_eq!(gone.revision(), 4);
    assert!(pods.get("default", "a", "").await.unwrap_err().is_not_found());

    for expected in [
        r#"{"type":"ADDED","object":{"apiVersion":"v1","kind":"Pod","metadata":{"resourceVersion":"2","labels":{"app":"web"},"name":"a","namespace":"default"}}}"#,
        r#"{"type":"MODIFIED","object":{"apiVersion":"v1","kind":"Pod","metadata":{"resourceVersion":"3","labels":{"app":"db"},"name":"a","namespace":"default"}}}"#,
        r#"{"type":"DELETED","object":{"apiVersion":"v1","kind":"Pod","metadata":{"resourceVersion":"4","labels":{"app":"db"},"name":"a","namespace":"default"}}}"#,
    ] {
        let Some(WatchEvent::Object(event)) = watcher.next().await else { panic!("no event") };
        assert_eq!(std::str::from_utf8(event.frame()).unwrap().trim_end(), expected);
    }
}
