//! PodDisruptionBudgets: how many pods may be evicted now (pkg/controller/disruption).

use crate::core::follow::resolve;
use crate::core::{intstr, pod, selectors};
use crate::manager::forever;
use crate::{Context, Result, synced};
use client::{EventType, Informer, InformerEvent, Object, Recorder, WorkQueue, reference_to};
use jiff::SignedDuration;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// An eviction that the API server allowed but that has not happened by then did not happen.
const DELETION_TIMEOUT: SignedDuration = SignedDuration::from_mins(2);

struct Controller {
    ctx: Context,
    budgets: Arc<Informer<PodDisruptionBudget>>,
    pods: Arc<Informer<Pod>>,
    deployments: Arc<Informer<Deployment>>,
    sets: Arc<Informer<ReplicaSet>>,
    controllers: Arc<Informer<ReplicationController>>,
    stateful: Arc<Informer<StatefulSet>>,
    queue: WorkQueue<String>,
    recorder: Recorder,
}

fn selects(b: &PodDisruptionBudget, p: &Pod) -> bool {
    let s = selectors::from_label_selector(b.spec.as_ref().and_then(|s| s.selector.as_ref()));
    s.is_ok_and(|s| selectors::matches(&s, p.metadata.labels.as_ref()))
}

pub async fn run(ctx: Context) {
    let budgets = ctx.informers.of::<PodDisruptionBudget>();
    let pods = ctx.informers.of::<Pod>();
    let queue = WorkQueue::new();
    let q = queue.clone();
    budgets.add_handler(move |e| match e {
        InformerEvent::Added(b) | InformerEvent::Updated { new: b, .. } | InformerEvent::Deleted(b) => q.add(b.key()),
    });
    let (q, all) = (queue.clone(), budgets.clone());
    pods.add_handler(move |e| {
        let (InformerEvent::Added(p) | InformerEvent::Updated { new: p, .. } | InformerEvent::Deleted(p)) = &e;
        let old = if let InformerEvent::Updated { old, .. } = &e { Some(*old) } else { None };
        for b in all.list_namespace(p.namespace()) {
            if selects(&b, p) || old.is_some_and(|o| selects(&b, o)) {
                q.add(b.key());
            }
        }
    });
    let c = Arc::new(Controller {
        deployments: ctx.informers.of(),
        sets: ctx.informers.of(),
        controllers: ctx.informers.of(),
        stateful: ctx.informers.of(),
        recorder: ctx.recorder("controllermanager"),
        ctx,
        budgets,
        pods,
        queue: queue.clone(),
    });
    synced!(c.budgets, c.pods, c.deployments, c.sets, c.controllers, c.stateful);
    forever(queue.run("disruption", 1, move |key: String| {
        let c = c.clone();
        async move { c.sync(&key).await }
    }))
    .await;
}

impl Controller {
    async fn sync(&self, key: &str) -> Result {
        let Some(b) = self.budgets.get_key(key) else { return Ok(()) };
        let pods: Vec<Arc<Pod>> = self.pods.list_namespace(b.namespace()).into_iter().filter(|p| selects(&b, p)).collect();
        if pods.is_empty() {
            self.recorder.event(&reference_to(&*b), EventType::Normal, "NoPods", "No matching pods found");
        }
        let old = b.status.clone().unwrap_or_default();
        let mut status = match self.count(&b, &pods) {
            Ok((expected, desired)) => self.status(&b, &old, &pods, expected, desired),
            Err(message) => {
                self.recorder.event(
                    &reference_to(&*b),
                    EventType::Warning,
                    "CalculateExpectedPodCountFailed",
                    format!("Failed to calculate the number of expected pods: {message}"),
                );
                let mut s = PodDisruptionBudgetStatus { disruptions_allowed: Some(0), ..old.clone() };
                set_condition(&mut s, "False", "SyncFailed", &message, b.metadata.generation, self.ctx.clock.time());
                s
            }
        };
        status.observed_generation = b.metadata.generation;
        if status == old {
            return Ok(());
        }
        let new = PodDisruptionBudget { status: Some(status), ..(*b).clone() };
        match self.ctx.client.update_status(&new).await {
            Err(e) if !e.is_not_found() => Err(e.into()),
            _ => Ok(()),
        }
    }

    /// (pods there should be, pods that must be healthy).
    fn count(&self, b: &PodDisruptionBudget, pods: &[Arc<Pod>]) -> std::result::Result<(i32, i32), String> {
        let spec = b.spec.clone().unwrap_or_default();
        let here = i32::try_from(pods.len()).unwrap_or(i32::MAX);
        if let Some(v) = &spec.max_unavailable {
            let expected = self.expected(pods)?;
            let may = intstr::scaled(v, expected, true)?;
            return Ok((expected, (expected - may).max(0)));
        }
        match &spec.min_available {
            Some(IntOrString::Int(n)) => Ok((here, *n)),
            Some(v) => {
                let expected = self.expected(pods)?;
                Ok((expected, intstr::scaled(v, expected, true)?))
            }
            None => Ok((here, 0)),
        }
    }

    /// The sum of the sizes of the pods' controllers.
    fn expected(&self, pods: &[Arc<Pod>]) -> std::result::Result<i32, String> {
        let mut sizes: HashMap<String, i32> = HashMap::new();
        for p in pods {
            // Pods without a controller are not counted.
            let Some(r) = p.controller() else { continue };
            if sizes.contains_key(&r.uid) {
                continue;
            }
            let ns = p.namespace();
            let size = if let Some(s) = resolve(&self.sets, ns, r) {
                match s.controller().and_then(|d| resolve(&self.deployments, ns, d)) {
                    Some(d) => {
                        sizes.insert(d.uid().to_owned(), d.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1));
                        continue;
                    }
                    None => s.spec.as_ref().and_then(|s| s.replicas),
                }
            } else if let Some(s) = resolve(&self.stateful, ns, r) {
                s.spec.as_ref().and_then(|s| s.replicas)
            } else if let Some(s) = resolve(&self.controllers, ns, r) {
                s.spec.as_ref().and_then(|s| s.replicas)
            } else {
                return Err(format!("found no controllers for pod {:?}", p.name()));
            };
            sizes.insert(r.uid.clone(), size.unwrap_or(1));
        }
        Ok(sizes.values().sum())
    }

    fn status(
        &self,
        b: &PodDisruptionBudget,
        old: &PodDisruptionBudgetStatus,
        pods: &[Arc<Pod>],
        expected: i32,
        desired: i32,
    ) -> PodDisruptionBudgetStatus {
        let now = self.ctx.now();
        let mut disrupted: BTreeMap<String, Time> = BTreeMap::new();
        for p in pods.iter().filter(|p| !p.is_terminating()) {
            let Some(at) = old.disrupted_pods.as_ref().and_then(|d| d.get(p.name())) else { continue };
            let left = DELETION_TIMEOUT - now.duration_since(at.0);
            if left.is_positive() {
                disrupted.insert(p.name().to_owned(), at.clone());
                self.queue.add_after(b.key(), Duration::try_from(left).unwrap_or(Duration::ZERO));
            } else {
                let message = "Pod was expected by PDB to be deleted but it wasn't";
                self.recorder.event(&reference_to(&**p), EventType::Warning, "NotDeleted", format!("{message}: {}", b.key()));
            }
        }
        let healthy =
            |p: &&Arc<Pod>| pod::is_ready(p) && !p.is_terminating() && !pod::is_terminal(p) && !disrupted.contains_key(p.name());
        let current = i32::try_from(pods.iter().filter(healthy).count()).unwrap_or(i32::MAX);
        let allowed = if expected <= 0 { 0 } else { (current - desired).max(0) };
        let mut s = PodDisruptionBudgetStatus {
            current_healthy: Some(current),
            desired_healthy: Some(desired),
            expected_pods: Some(expected),
            disruptions_allowed: Some(allowed),
            disrupted_pods: (!disrupted.is_empty()).then_some(disrupted),
            observed_generation: b.metadata.generation,
            conditions: old.conditions.clone(),
        };
        let (state, reason) = if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
        set_condition(&mut s, state, reason, "", b.metadata.generation, self.ctx.clock.time());
        s
    }
}

fn set_condition(
    s: &mut PodDisruptionBudgetStatus,
    state: &str,
    reason: &str,
    message: &str,
    generation: Option<i64>,
    now: Time,
) {
    let list = s.conditions.get_or_insert_default();
    let mut new = Condition {
        type_: "DisruptionAllowed".into(),
        status: state.into(),
        reason: reason.into(),
        message: message.into(),
        observed_generation: generation,
        last_transition_time: now,
    };
    match list.iter_mut().find(|c| c.type_ == new.type_) {
        Some(old) => {
            if old.status == new.status {
                new.last_transition_time = old.last_transition_time.clone();
            }
            *old = new;
        }
        None => list.push(new),
    }
}
