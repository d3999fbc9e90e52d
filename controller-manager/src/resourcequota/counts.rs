//! Numbers of objects per namespace, for the resources that some quota counts and no others: one metadata watch each, started when a
//! quota first names the resource and ended with the last one that does.

use super::Controller;
use crate::core::discovery::Discovery;
use client::Client;
use client::metadata::MetadataEvent;
use parking_lot::Mutex;
use quota::Evaluator;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;

/// A quota may name a custom resource before there is one; upstream reads discovery as often.
const UNKNOWN: Duration = Duration::from_secs(30);

/// Group and resource.
type Subject = (String, String);

pub(super) struct Counts {
    client: Client,
    controller: Weak<Controller>,
    followed: Mutex<HashMap<Subject, Followed>>,
}

struct Followed {
    tally: Arc<Mutex<Tally>>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Tally {
    synced: bool,
    /// Namespaces of the objects, by their UIDs.
    objects: HashMap<String, Arc<str>>,
    numbers: HashMap<Arc<str>, usize>,
}

impl Tally {
    fn put(&mut self, uid: String, namespace: &str) {
        let namespace = self.numbers.get_key_value(namespace).map_or_else(|| namespace.into(), |(k, _)| k.clone());
        if self.objects.insert(uid, namespace.clone()).is_none() {
            *self.numbers.entry(namespace).or_default() += 1;
        }
    }
    /// Returns the namespace of an object that was counted.
    fn remove(&mut self, uid: &str) -> Option<Arc<str>> {
        let namespace = self.objects.remove(uid)?;
        if let Some(n) = self.numbers.get_mut(&namespace) {
            *n -= 1;
            if *n == 0 {
                self.numbers.remove(&namespace);
            }
        }
        Some(namespace)
    }
}

impl Counts {
    pub fn new(client: Client, controller: Weak<Controller>) -> Self {
        Self { client, controller, followed: Mutex::default() }
    }

    /// How many objects there are; `None` while they are being counted for the first time: their quotas are queued after that.
    pub fn of(&self, group: &str, resource: &str, namespace: &str) -> Option<usize> {
        let subject = (group.to_owned(), resource.to_owned());
        let mut followed = self.followed.lock();
        let f = followed.entry(subject.clone()).or_insert_with(|| {
            let tally = Arc::new(Mutex::new(Tally::default()));
            let task = tokio::spawn(follow(self.client.clone(), self.controller.clone(), subject, tally.clone()));
            Followed { tally, _task: AbortOnDropHandle::new(task) }
        });
        let tally = f.tally.lock();
        tally.synced.then(|| tally.numbers.get(namespace).copied().unwrap_or(0))
    }

    /// Ends the watches of all other resources.
    pub fn keep(&self, wanted: &BTreeSet<(&str, &str)>) {
        self.followed.lock().retain(|(group, resource), _| wanted.contains(&(group.as_str(), resource.as_str())));
    }
}

async fn follow(client: Client, controller: Weak<Controller>, (group, resource): Subject, tally: Arc<Mutex<Tally>>) {
    let evaluator = Evaluator::of(&group, &resource);
    let path = loop {
        match Discovery::find(&client, &group, &resource).await {
            Ok(Some(r)) if r.namespaced && r.has_verbs(&["create", "list", "watch", "delete"]) => break r.path("", ""),
            Ok(_) => {}
            Err(e) => tracing::debug!(group, resource, error = %e, "discovery for quotas failed, will retry"),
        }
        tokio::time::sleep(UNKNOWN).await;
    };
    let tell = move |event| {
        let Some(c) = controller.upgrade() else { return };
        match event {
            MetadataEvent::Put(o) => {
                let (uid, namespace) = (o.metadata.uid.unwrap_or_default(), o.metadata.namespace.unwrap_or_default());
                tally.lock().put(uid, &namespace);
            }
            MetadataEvent::Gone(uid) => {
                let namespace = tally.lock().remove(&uid);
                if let Some(ns) = namespace {
                    c.replenish(&evaluator, &ns);
                }
            }
            MetadataEvent::Synced => {
                tally.lock().synced = true;
                c.replenish_everywhere(&evaluator);
            }
        }
    };
    client.follow_metadata(path, tell).await;
}
