//! Static pods: manifests in a directory of the node become pods without the API server's help, so that a control plane can run in
//! them; a mirror pod shows each of them in the API (upstream pkg/kubelet/config, pkg/kubelet/pod/mirror_client.go).

mod defaults;
pub mod manifest;
pub mod mirror;
mod watch;

pub use watch::follow;

use client::Object;
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::sync::Notify;

/// Namespace and name: what static pods are known by, since their UIDs change with their manifests.
pub type Name = (String, String);

pub fn name_of(pod: &Pod) -> Name {
    (pod.namespace().to_owned(), pod.name().to_owned())
}

/// What is known of the node's static pods and their mirrors.
#[derive(Default)]
pub struct StaticPods {
    /// Those that run, or end but are not over yet: the ones that have a mirror.
    shown: Mutex<BTreeMap<Name, Arc<Pod>>>,
    mirrors: Mutex<HashMap<Name, Arc<Pod>>>,
    changed: Notify,
}

impl StaticPods {
    /// The pod is to be shown in the API from now on.
    pub fn show(&self, pod: Arc<Pod>) {
        self.shown.lock().insert(name_of(&pod), pod);
        self.changed.notify_one();
    }
    /// Nothing of it is left on the node.
    pub fn hide(&self, name: &Name) {
        self.shown.lock().remove(name);
        self.changed.notify_one();
    }
    /// The API has this mirror, or none any more.
    pub fn mirrored(&self, name: Name, mirror: Option<Arc<Pod>>) {
        let mut mirrors = self.mirrors.lock();
        match mirror {
            Some(m) => mirrors.insert(name, m),
            None => mirrors.remove(&name),
        };
        self.changed.notify_one();
    }
    /// The pod in the API that shows this one.
    pub fn mirror_of(&self, name: &Name) -> Option<Arc<Pod>> {
        self.mirrors.lock().get(name).cloned()
    }
    fn snapshot(&self) -> (BTreeMap<Name, Arc<Pod>>, HashMap<Name, Arc<Pod>>) {
        (self.shown.lock().clone(), self.mirrors.lock().clone())
    }
}
