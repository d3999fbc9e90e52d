//! ConfigMaps and Secrets that pods of this node refer to: each is watched on its own, since a node may read only those, from the
//! first pod that needs it to the last.

use client::watch::WatchEvent;
use client::{Client, ListOptions, Object};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// What is known of an object.
#[derive(Clone)]
enum State<K> {
    /// Not read yet.
    Pending,
    Found(Arc<K>),
    Absent,
    /// It could not be read; the reason.
    Failed(String),
}

struct Entry<K> {
    state: watch::Receiver<State<K>>,
    task: tokio::task::AbortHandle,
    users: HashSet<String>,
}

type Wake = Arc<dyn Fn(&str) + Send + Sync>;
type Entries<K> = Arc<Mutex<HashMap<(String, String), Entry<K>>>>;

/// Objects of one kind. `wake` is called with a pod's UID when an object it uses changed.
pub struct ObjectCache<K> {
    client: Client,
    entries: Entries<K>,
    wake: Wake,
}

impl<K: Object> ObjectCache<K> {
    pub fn new(client: Client, wake: Wake) -> Self {
        Self { client, entries: Default::default(), wake }
    }

    /// The object, on behalf of a pod; `None` if it does not exist. Waits for the first answer of the API server.
    pub async fn get(&self, pod_uid: &str, namespace: &str, name: &str) -> Result<Option<Arc<K>>, String> {
        let mut state = {
            let key = (namespace.to_owned(), name.to_owned());
            let mut entries = self.entries.lock();
            let entry = entries.entry(key.clone()).or_insert_with(|| self.start(key));
            entry.users.insert(pod_uid.to_owned());
            entry.state.clone()
        };
        let known = state.wait_for(|s| !matches!(s, State::Pending)).await.map_err(|_| "watch ended".to_owned())?.clone();
        match known {
            State::Found(k) => Ok(Some(k)),
            State::Failed(e) => Err(e),
            State::Absent | State::Pending => Ok(None),
        }
    }

    fn start(&self, key: (String, String)) -> Entry<K> {
        let (tx, rx) = watch::channel(State::Pending);
        let task = tokio::spawn(follow(self.client.clone(), key, tx, self.entries.clone(), self.wake.clone())).abort_handle();
        Entry { state: rx, task, users: HashSet::new() }
    }

    /// Ends the watches that only this pod needed.
    pub fn release(&self, pod_uid: &str) {
        self.entries.lock().retain(|_, e| {
            e.users.remove(pod_uid);
            if e.users.is_empty() {
                e.task.abort();
            }
            !e.users.is_empty()
        });
    }
}

async fn follow<K: Object>(client: Client, key: (String, String), tx: watch::Sender<State<K>>, entries: Entries<K>, wake: Wake) {
    let (namespace, name) = &key;
    let mut delay = Duration::from_millis(250);
    // The API server may learn a moment after this node that a pod here refers to the object.
    let mut patience = (0..6).map(|n| Duration::from_millis(10 << n));
    let publish = |state: State<K>| {
        let first = matches!(*tx.borrow(), State::Pending);
        tx.send_replace(state);
        if !first {
            let users = entries.lock().get(&key).map(|e| e.users.clone()).unwrap_or_default();
            users.iter().for_each(|uid| wake(uid));
        }
    };
    loop {
        let options = ListOptions { field_selector: format!("metadata.name={name}"), ..Default::default() };
        let listed = client.list::<K>(namespace, &options).await;
        let revision = match listed {
            Ok(mut list) => {
                delay = Duration::from_millis(250);
                let found = list.items.pop();
                let same = match (&*tx.borrow(), &found) {
                    (State::Found(old), Some(new)) => old.resource_version() == new.resource_version(),
                    (State::Absent, None) => true,
                    _ => false,
                };
                if !same {
                    publish(found.map_or(State::Absent, |k| State::Found(Arc::new(k))));
                }
                list.metadata.resource_version
            }
            Err(e) => {
                if e.is_forbidden()
                    && let Some(wait) = patience.next()
                {
                    tokio::time::sleep(wait).await;
                    continue;
                }
                if !matches!(*tx.borrow(), State::Found(_)) {
                    publish(State::Failed(e.to_string()));
                }
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(Duration::from_secs(30));
                continue;
            }
        };
        let options = ListOptions { resource_version: revision, ..options };
        let Ok(mut events) = client.watch_path::<K>(&K::collection_path(namespace), &options, 570).await else {
            tokio::time::sleep(delay).await;
            continue;
        };
        while let Some(Ok(event)) = events.next().await {
            match event {
                WatchEvent::Added(k) | WatchEvent::Modified(k) => publish(State::Found(Arc::new(k))),
                WatchEvent::Deleted(_) => publish(State::Absent),
                WatchEvent::Bookmark { .. } => {}
            }
        }
    }
}
