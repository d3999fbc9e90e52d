//! API aggregation: groups and versions that other servers answer for, by APIService. Who they are and whether they answer
//! ([`availability`]), requests passed on to them ([`proxy`]), what they serve ([`discovery`]), and the APIServices of what this
//! server serves itself ([`register`]). Upstream: kube-aggregator.

pub mod availability;
mod discovery;
pub mod proxy;
pub mod register;

use crate::discovery::{Documents, Remote};
use crate::outbound::{Peer, Trust};
use crate::resources::Table;
use arc_swap::ArcSwap;
use base64::Engine as _;
use machinery::{Value, meta};
use parking_lot::Mutex;
use pki::Pair;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Notify;

pub const GROUP: &str = "apiregistration.k8s.io";

/// An APIService whose requests go to a Service.
pub struct Backend {
    pub name: String,
    pub group: String,
    pub version: String,
    pub namespace: String,
    pub service: String,
    pub port: u16,
    pub peer: Peer,
    pub trust: Trust,
    /// `status` says that it answers.
    pub available: bool,
    group_priority: i64,
    version_priority: i64,
}

impl Backend {
    fn parse(v: &Value, client: Option<&Arc<Pair>>) -> Option<Self> {
        let spec = v.get("spec")?;
        let s = spec.get("service").filter(|s| s.is_object())?;
        let text = |v: &Value, f: &str| meta::str_at(v, &[f]).to_owned();
        let (namespace, service) = (text(s, "namespace"), text(s, "name"));
        let port = u16::try_from(meta::i64_at(s, &["port"]).unwrap_or(443)).ok()?;
        let bundle = base64::engine::general_purpose::STANDARD.decode(meta::str_at(spec, &["caBundle"])).ok()?;
        let trust = Trust {
            ca_bundle: String::from_utf8(bundle).ok()?,
            insecure: meta::bool_at(spec, &["insecureSkipTLSVerify"]),
            client: client.cloned(),
        };
        let available = |c: &Value| c["type"] == "Available" && c["status"] == "True";
        Some(Self {
            name: meta::name(v).to_owned(),
            group: text(spec, "group"),
            version: text(spec, "version"),
            peer: Peer::Service { namespace: namespace.clone(), name: service.clone(), port },
            namespace,
            service,
            port,
            trust,
            available: meta::list_at(v, &["status", "conditions"]).iter().any(available),
            group_priority: meta::i64_at(spec, &["groupPriorityMinimum"]).unwrap_or(0),
            version_priority: meta::i64_at(spec, &["versionPriority"]).unwrap_or(0),
        })
    }

    /// `/apis/GROUP/VERSION`, which every server of the group answers.
    pub fn root(&self) -> String {
        if self.group.is_empty() { format!("/api/{}", self.version) } else { format!("/apis/{}/{}", self.group, self.version) }
    }
}

/// Documents that name the backends, and the table they were made with.
type Merged = Option<(Arc<Table>, Arc<Documents>)>;

/// The backends of a server. Fed from the watch cache of APIServices.
pub struct Aggregation {
    /// What proves to backends that it is this server who names the user.
    client: Option<Arc<Pair>>,
    backends: ArcSwap<BTreeMap<String, Arc<Backend>>>,
    /// What backends said they serve, by name: aggregated discovery's resources.
    discovered: Mutex<BTreeMap<String, Vec<Value>>>,
    merged: Mutex<Merged>,
    /// Something that availability depends on has changed.
    pub changed: Notify,
}

impl Aggregation {
    pub fn new(client: Option<Arc<Pair>>) -> Self {
        Self {
            client,
            backends: ArcSwap::default(),
            discovered: Mutex::default(),
            merged: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// An APIService as it is now, or `None` when it was deleted. Wakes the check of its availability.
    pub fn apply(&self, name: &str, object: Option<&Value>) {
        let backend = object.and_then(|o| Backend::parse(o, self.client.as_ref()));
        let was = self.backends.load().contains_key(name);
        if backend.is_none() && !was {
            return;
        }
        if backend.is_none() {
            self.discovered.lock().remove(name);
        }
        let mut all = BTreeMap::clone(&self.backends.load());
        match backend {
            Some(b) => drop(all.insert(name.to_owned(), Arc::new(b))),
            None => drop(all.remove(name)),
        }
        self.backends.store(Arc::new(all));
        *self.merged.lock() = None;
        self.changed.notify_one();
    }

    /// Whether a change of a Service or its endpoints matters, which then wakes the checks.
    pub fn service_changed(&self, namespace: &str, service: &str) {
        if self.backends.load().values().any(|b| b.namespace == namespace && b.service == service) {
            self.changed.notify_one();
        }
    }

    pub fn all(&self) -> Vec<Arc<Backend>> {
        self.backends.load().values().cloned().collect()
    }

    /// Who answers for a group and version, if it is not this server.
    pub fn backend(&self, group: &str, version: &str) -> Option<Arc<Backend>> {
        self.backends.load().get(&format!("{version}.{group}")).cloned()
    }

    /// Who answers a path: `/apis/GROUP/VERSION` and below.
    pub fn backend_of(&self, path: &str) -> Option<Arc<Backend>> {
        if self.backends.load().is_empty() {
            return None;
        }
        let mut parts = path.trim_start_matches('/').split('/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some("apis"), Some(group), Some(version)) => self.backend(group, version),
            (Some("api"), Some(version), _) => self.backend("", version),
            _ => None,
        }
    }

    /// `apis/GROUP/VERSION` of the backends that answer.
    pub fn roots(&self) -> Vec<String> {
        self.backends.load().values().filter(|b| b.available).map(|b| b.root().trim_start_matches('/').to_owned()).collect()
    }

    /// What a backend serves, as it said.
    pub fn learned(&self, name: &str, resources: Vec<Value>) {
        let mut discovered = self.discovered.lock();
        if discovered.get(name) != Some(&resources) {
            discovered.insert(name.to_owned(), resources);
            *self.merged.lock() = None;
        }
    }

    /// Discovery of this server's own resources and the backends'. `None`: there are no backends.
    pub fn documents(&self, table: &Arc<Table>) -> Option<Arc<Documents>> {
        let backends = self.backends.load_full();
        if backends.is_empty() {
            return None;
        }
        let mut merged = self.merged.lock();
        if let Some((made_with, documents)) = &*merged
            && Arc::ptr_eq(made_with, table)
        {
            return Some(documents.clone());
        }
        let discovered = self.discovered.lock();
        let remote: Vec<Remote> = backends
            .values()
            .filter(|b| !b.group.is_empty())
            .map(|b| Remote {
                group: b.group.clone(),
                version: b.version.clone(),
                priority: (b.group_priority, b.version_priority),
                current: b.available,
                resources: discovered.get(&b.name).cloned().unwrap_or_default(),
            })
            .collect();
        let documents = Arc::new(Documents::with_remote(table.entries(), &remote));
        *merged = Some((table.clone(), documents.clone()));
        Some(documents)
    }
}
