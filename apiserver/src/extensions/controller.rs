//! Follows the definitions: accepts names, compiles what changed, swaps the table of resources, and writes what came of it to
//! their status. Resources are served before a status says so.

use super::cleanup;
use super::entries::Family;
use crate::resources::{Entry, Table};
use crate::server::Inner;
use extensions::definition;
use machinery::{Status, Value, meta};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use storage::{Preconditions, Update};
use tokio::sync::Notify;

pub const GROUP: &str = "apiextensions.k8s.io";
pub const RESOURCE: &str = "customresourcedefinitions";

/// What is known of the definitions.
#[derive(Default)]
pub struct Known {
    /// As last seen, by name.
    crds: Mutex<BTreeMap<String, Value>>,
    changed: Notify,
}

/// What the controller keeps between rounds.
struct Controller {
    server: Arc<Inner>,
    known: Arc<Known>,
    builtin: Vec<Arc<Entry>>,
    families: HashMap<String, Arc<Family>>,
    /// Definitions whose objects are being deleted, by UID.
    cleaning: HashMap<String, tokio::task::JoinHandle<()>>,
}

/// Serves the resources of all definitions from here on; those there are before this returns.
pub async fn start(server: &Arc<Inner>) -> Result<(), crate::startup::Error> {
    let known = Arc::new(Known::default());
    let tell = known.clone();
    crate::startup::feed(server, GROUP, RESOURCE, move |_, name, obj| {
        match obj {
            Some(o) => _ = tell.crds.lock().insert(name.to_owned(), o.clone()),
            None => _ = tell.crds.lock().remove(name),
        }
        tell.changed.notify_one();
    })
    .await?;
    let builtin = server.table.load().entries().to_vec();
    let mut c = Controller { server: server.clone(), known, builtin, families: HashMap::new(), cleaning: HashMap::new() };
    c.reconcile().await;
    let shutdown = server.shutdown.clone();
    tokio::spawn(async move {
        let work = async {
            loop {
                c.known.changed.notified().await;
                c.reconcile().await;
            }
        };
        tokio::select! {
            () = work => {}
            () = shutdown.cancelled() => {}
        }
    });
    Ok(())
}

impl Controller {
    async fn reconcile(&mut self) {
        let mut crds: Vec<Value> = self.known.crds.lock().values().cloned().collect();
        // Who came first keeps a name.
        crds.sort_by_key(|c| (meta::str_at(c, &["metadata", "creationTimestamp"]).to_owned(), meta::name(c).to_owned()));
        let now = crate::registry::metadata::now();
        let mut writes = Vec::new();
        for i in 0..crds.len() {
            let mut crd = crds[i].clone();
            let mut changed = definition::names::accept(&mut crd, &crds, &now);
            changed |= self.compile(&mut crd, &now);
            if changed {
                writes.push(crd.clone());
            }
            crds[i] = crd;
        }
        self.swap(&crds);
        for crd in writes {
            self.write_status(crd).await;
        }
        self.clean(&crds);
    }

    /// The family of a definition, compiled anew if its spec changed. True if a condition changed.
    fn compile(&mut self, crd: &mut Value, now: &str) -> bool {
        let name = meta::name(crd).to_owned();
        let generation = meta::i64_at(crd, &["metadata", "generation"]).unwrap_or(0);
        let uid = meta::uid(crd);
        if self.families.get(&name).is_some_and(|f| f.uid == uid && f.generation == generation) {
            return false;
        }
        match Family::new(&self.server, crd) {
            Ok(f) => {
                if let Some(old) = self.families.insert(name, Arc::new(f)) {
                    old.retire();
                }
                false
            }
            Err(why) => {
                tracing::warn!(crd = name, why, "a definition can't be served");
                if let Some(old) = self.families.remove(&name) {
                    old.retire();
                }
                definition::set_condition(crd, "NonStructuralSchema", "True", "Violations", &why, now)
            }
        }
    }

    fn swap(&mut self, crds: &[Value]) {
        let gone = |name: &String| !crds.iter().any(|c| meta::name(c) == name);
        let removed: Vec<String> = self.families.keys().filter(|n| gone(n)).cloned().collect();
        for name in removed {
            if let Some(f) = self.families.remove(&name) {
                f.retire();
            }
        }
        let mut entries = self.builtin.clone();
        for crd in crds.iter().filter(|c| definition::is(c, "Established")) {
            if let Some(f) = self.families.get(meta::name(crd)) {
                entries.extend(f.entries(crd));
            }
        }
        let old = self.server.table.load_full();
        if same(old.entries(), &entries) {
            return;
        }
        self.server.table.store(Arc::new(Table::new(entries)));
    }

    async fn write_status(&self, crd: Value) {
        let name = meta::name(&crd).to_owned();
        let result = async {
            let storage = self.server.entry(GROUP, RESOURCE)?.storage.clone().ok_or_else(|| Status::internal("no storage"))?;
            let version = meta::resource_version(&crd).to_owned();
            let preconditions = Preconditions { resource_version: Some(version), ..Preconditions::default() };
            let round = |_: Option<Value>| {
                let value = crd.clone();
                async move { Ok(Update { value, ttl: None }) }
            };
            storage.guaranteed_update("", &name, &preconditions, false, round).await
        }
        .await;
        match result {
            Ok(_) => {}
            // It changed or went meanwhile: its event brings it back here.
            Err(s) if s.is_conflict() || s.is_not_found() => {}
            Err(s) => tracing::warn!(crd = name, error = %s, "writing the status of a definition"),
        }
    }

    /// Deletes the objects of definitions that are being deleted.
    fn clean(&mut self, crds: &[Value]) {
        self.cleaning.retain(|_, task| !task.is_finished());
        for crd in crds.iter().filter(|c| meta::deletion_timestamp(c).is_some()) {
            if !meta::finalizers(crd).iter().any(|f| f == definition::FINALIZER) {
                continue;
            }
            let uid = meta::uid(crd).to_owned();
            if self.cleaning.contains_key(&uid) {
                continue;
            }
            let family = self.families.get(meta::name(crd)).cloned();
            let entry = self
                .server
                .table
                .load()
                .entries()
                .iter()
                .find(|e| e.custom.as_ref().is_some_and(|c| c.family.uid == uid))
                .cloned();
            // A family without a served version still has objects.
            let entry = entry.or_else(|| family.as_ref().and_then(|f| f.any_entry(crd)));
            let task = tokio::spawn(cleanup::run(self.server.clone(), meta::name(crd).to_owned(), uid.clone(), entry));
            self.cleaning.insert(uid, task);
        }
    }
}

/// The same resources, served alike: the table need not change.
fn same(a: &[Arc<Entry>], b: &[Arc<Entry>]) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| {
            Arc::ptr_eq(a, b)
                || a.gvk == b.gvk
                    && a.row.short_names == b.row.short_names
                    && a.row.categories == b.row.categories
                    && a.row.singular == b.row.singular
                    && a.row.list_kind == b.row.list_kind
                    && matches!((&a.custom, &b.custom), (Some(x), Some(y))
                        if Arc::ptr_eq(&x.family, &y.family) && x.terminating == y.terminating)
        })
}
