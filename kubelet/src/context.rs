//! What every part of the node agent shares.

use crate::config::Config;
use crate::node::machine::Machine;
use crate::objects::ObjectCache;
use crate::probes::Results;
use crate::runtime::Runtime;
use client::{Client, Clock, EventType, Informer, Recorder};
use k8s_openapi::api::core::v1::{ConfigMap, Container, Node, ObjectReference, Pod, Secret, Service};
use std::sync::Arc;

/// The agent's surroundings: configuration, runtime, API, clock. One per process, behind an `Arc`.
pub struct Context {
    pub config: Config,
    pub machine: Machine,
    pub runtime: Arc<dyn Runtime>,
    /// `containerd` or `cri-o`: the scheme of container IDs in statuses.
    pub runtime_name: String,
    pub client: Client,
    pub recorder: Recorder,
    pub clock: Clock,
    pub config_maps: ObjectCache<ConfigMap>,
    pub secrets: ObjectCache<Secret>,
    pub services: Arc<Informer<Service>>,
    pub node: Arc<Informer<Node>>,
    pub probe_results: Results,
    pub cgroups: crate::cgroups::Cgroups,
    pub images: crate::images::Images,
    /// Sysctls that pods may set.
    pub sysctls: crate::admission::sysctl::Allowed,
}

impl Context {
    pub fn event(&self, about: &ObjectReference, kind: EventType, reason: &str, message: impl Into<String>) {
        self.recorder.event(about, kind, reason, message);
    }
    pub fn pod_event(&self, pod: &Pod, kind: EventType, reason: &str, message: impl Into<String>) {
        self.event(&client::reference_to(pod), kind, reason, message);
    }
    pub fn container_event(&self, pod: &Pod, c: &Container, kind: EventType, reason: &str, message: impl Into<String>) {
        self.event(&container_reference(pod, c), kind, reason, message);
    }
    pub fn node_reference(&self) -> ObjectReference {
        let name = self.config.node_name.clone();
        // Upstream puts the name in the UID too, as kubectl describe looks events up by both.
        ObjectReference { kind: Some("Node".into()), name: Some(name.clone()), uid: Some(name), ..Default::default() }
    }
    /// The API's container ID: `containerd://…`.
    pub fn container_id(&self, id: &str) -> String {
        format!("{}://{id}", self.runtime_name)
    }
    /// `NAMESPACE_NAME_UID` below the log root.
    pub fn pod_log_dir(&self, pod: &Pod) -> std::path::PathBuf {
        let m = &pod.metadata;
        let part = |v: &Option<String>| v.clone().unwrap_or_default();
        let name = format!("{}_{}_{}", part(&m.namespace), part(&m.name), part(&m.uid));
        std::path::Path::new(&self.config.kubelet.pod_logs_dir).join(name)
    }
}

/// A reference to one container of a pod, for its events.
pub fn container_reference(pod: &Pod, c: &Container) -> ObjectReference {
    let init = crate::pod::spec::init_containers(pod).iter().any(|i| i.name == c.name);
    let list = if init {
        "initContainers"
    } else if crate::pod::spec::containers(pod).iter().any(|i| i.name == c.name) {
        "containers"
    } else {
        "ephemeralContainers"
    };
    ObjectReference { field_path: Some(format!("spec.{list}{{{}}}", c.name)), ..client::reference_to(pod) }
}

/// `name_namespace(uid)`, as upstream prints pods in messages.
pub fn pod_text(pod: &Pod) -> String {
    let m = &pod.metadata;
    let part = |v: &Option<String>| v.clone().unwrap_or_default();
    format!("{}_{}({})", part(&m.name), part(&m.namespace), part(&m.uid))
}
