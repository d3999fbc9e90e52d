//! Starting pods where they are missing and deleting those that are too many, failed or misplaced.

use super::placement::{pin, should_run, tolerations};
use super::{ByNode, Controller, HASH, spec};
use crate::Result;
use crate::core::pod_control::{about, from_template};
use crate::core::{batch, pod};
use client::object::controller_reference;
use client::{EventType, Object, reference_to};
use futures::future::join_all;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use std::sync::Arc;
use std::time::Duration;

const BURST: usize = 250;
const GENERATION: &str = "deprecated.daemonset.template.generation";
/// Back-off between replacements of failing pods on one node.
const FIRST: Duration = Duration::from_secs(1);
const MAX: Duration = Duration::from_secs(15 * 60);

/// What a node needs.
#[derive(Default)]
pub struct Todo {
    pub create: Vec<String>,
    pub delete: Vec<Arc<Pod>>,
}

pub fn allows_surge(ds: &DaemonSet) -> bool {
    super::rolling::surge(ds, 100) > 0
}

/// A pod of the current template.
pub fn is_updated(ds: &DaemonSet, p: &Pod, hash: &str) -> bool {
    let generation = ds.annotation(GENERATION);
    (!hash.is_empty() && p.label(HASH) == Some(hash))
        || (generation.is_some() && p.label("pod-template-generation") == generation)
}

impl Controller {
    pub(super) async fn manage(&self, ds: &Arc<DaemonSet>, by_node: &ByNode, hash: &str) -> Result {
        let mut todo = Todo::default();
        let nodes = self.nodes.list();
        for n in &nodes {
            self.on_node(ds, n, by_node.get(n.name()).map_or(&[], Vec::as_slice), hash, &mut todo);
        }
        // Pods that wait for a node which is gone.
        for (node, pods) in by_node {
            if !nodes.iter().any(|n| n.name() == node) {
                todo.delete.extend(pods.iter().filter(|p| pod::node_name(p).is_empty()).cloned());
            }
        }
        self.apply(ds, todo, hash).await
    }

    fn on_node(&self, ds: &Arc<DaemonSet>, n: &Node, pods: &[Arc<Pod>], hash: &str, todo: &mut Todo) {
        let (start, stay) = should_run(ds, n);
        if start && pods.is_empty() {
            todo.create.push(n.name().to_owned());
            return;
        }
        if !stay {
            todo.delete.extend(pods.iter().filter(|p| !p.is_terminating()).cloned());
            return;
        }
        let mut running: Vec<&Arc<Pod>> = Vec::new();
        for p in pods.iter().filter(|p| !p.is_terminating()) {
            match pod::phase(p) {
                "Failed" => {
                    if self.may_replace(ds, n.name()) {
                        self.event(ds, EventType::Warning, "FailedDaemonPod", p, n, "failed", "kill");
                        todo.delete.push(p.clone());
                    }
                }
                "Succeeded" => {
                    self.event(ds, EventType::Normal, "SucceededDaemonPod", p, n, "succeeded", "delete");
                    todo.delete.push(p.clone());
                }
                _ => running.push(p),
            }
        }
        if !allows_surge(ds) {
            todo.delete.extend(running.into_iter().skip(1).cloned());
            return;
        }
        if running.len() <= 1 {
            if running.is_empty() && start {
                todo.create.push(n.name().to_owned());
            }
            return;
        }
        // In a surge there may be one of each; what is more goes.
        let (mut new, mut old) = (None, None);
        for p in running {
            let slot = if p.label(HASH) == Some(hash) { &mut new } else { &mut old };
            if slot.is_none() { *slot = Some(p) } else { todo.delete.push(p.clone()) }
        }
        if let (Some(new), Some(old)) = (new, old)
            && (!pod::is_ready(old) || pod::is_available(new, super::min_ready(ds), self.ctx.now()))
        {
            todo.delete.push(old.clone());
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn event(&self, ds: &DaemonSet, kind: EventType, reason: &str, p: &Pod, n: &Node, state: &str, verb: &str) {
        let message = format!("Found {state} daemon pod {} on node {}, will try to {verb} it", p.key(), n.name());
        self.control.recorder.event(&reference_to(ds), kind, reason, message);
    }

    /// A failing pod is replaced at growing intervals; asks for a later sync when it is too early.
    fn may_replace(&self, ds: &DaemonSet, node: &str) -> bool {
        let generation = ds.status.as_ref().and_then(|s| s.observed_generation).unwrap_or(0);
        let key = format!("{}/{generation}/{node}", ds.uid());
        let now = tokio::time::Instant::now();
        let mut failures = self.failures.lock();
        failures.retain(|_, (_, at)| now.duration_since(*at) < MAX * 2);
        let (count, last) = failures.get(&key).copied().unwrap_or((0, now));
        let delay = if count == 0 { Duration::ZERO } else { (FIRST * 2u32.saturating_pow(count - 1)).min(MAX) };
        let passed = now.duration_since(last);
        if passed < delay {
            self.queue.add_after(ds.key(), delay - passed);
            return false;
        }
        failures.insert(key, ((count + 1).min(16), now));
        true
    }

    pub(super) async fn apply(&self, ds: &Arc<DaemonSet>, mut todo: Todo, hash: &str) -> Result {
        todo.create.truncate(BURST);
        todo.delete.truncate(BURST);
        if todo.create.is_empty() && todo.delete.is_empty() {
            return Ok(());
        }
        let key = ds.key();
        self.expectations.expect(&key, todo.create.len(), todo.delete.iter().map(|p| p.key()));
        let reference = about(&**ds);
        let mut template = spec(ds).template.clone();
        let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
        labels.insert(HASH.into(), hash.to_owned());
        if let Some(g) = ds.annotation(GENERATION) {
            labels.insert("pod-template-generation".into(), g.to_owned());
        }
        tolerations(template.spec.get_or_insert_default());
        let base = from_template(&template, ds.name(), ds.namespace(), controller_reference(&**ds));
        let (created, result) = batch::slow_start(todo.create.len(), |i| {
            let mut p = base.clone();
            pin(p.spec.get_or_insert_default(), &todo.create[i]);
            let (control, reference) = (&self.control, &reference);
            async move { control.create(&p, reference).await.map(drop) }
        })
        .await;
        for _ in created..todo.create.len() {
            self.expectations.creation_observed(&key);
        }
        let deleted = join_all(todo.delete.iter().map(|p| async {
            let r = self.control.delete(p.namespace(), p.name(), &reference).await;
            if r.is_err() {
                self.expectations.deletion_observed(&key, &p.key());
            }
            r
        }))
        .await;
        result?;
        deleted.into_iter().find(|r| r.as_ref().is_err_and(|e| !e.is_not_found())).unwrap_or(Ok(()))
    }
}
