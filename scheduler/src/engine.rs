//! The scheduling loop's state: applies what informers and bindings report, tries pods, hands decisions to tasks that write them.

use crate::cache::Cache;
use crate::change::{Change, Storage};
use crate::cycle::{self, Failure, Filters};
use crate::framework::{Cycle, Profile};
use crate::listers::Listers;
use crate::nominator::Nominator;
use crate::plugins;
use crate::plugins::default_preemption::{Preemption, preempt};
use crate::pod::PodInfo;
use crate::queue::{Queue, Queued, Uid};
use crate::status::{Code, Diagnosis};
use crate::{Config, writes};
use client::{Client, EventType, Object, Recorder, reference_to};
use k8s_openapi::api::core::v1::{Node, Pod};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Longest message of an event.
const MAX_EVENT_MESSAGE: usize = 1024;

/// How long writes under way may take when the scheduler stops.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// What the loop is told.
#[derive(Debug)]
pub enum Message {
    Node {
        old: Option<Arc<Node>>,
        new: Arc<Node>,
    },
    NodeDeleted(Arc<Node>),
    Pod {
        old: Option<Arc<Pod>>,
        new: Arc<Pod>,
    },
    PodDeleted(Arc<Pod>),
    Namespace,
    Storage(Storage),
    Bound(Uid),
    BindingFailed {
        uid: Uid,
        error: String,
    },
    /// Victims could not be evicted.
    PreemptionFailed(Uid),
}

pub struct Engine {
    config: Config,
    client: Client,
    listers: Listers,
    recorder: Recorder,
    tx: UnboundedSender<Message>,
    profile: Profile,
    cache: Cache,
    queue: Queue,
    nominator: Nominator,
    /// Where the next search of nodes starts.
    start: usize,
    bindings: JoinSet<()>,
}

/// What is to be done about a pod's nomination.
type Nomination = Option<String>;

impl Engine {
    pub fn new(config: Config, client: Client, listers: Listers, recorder: Recorder, tx: UnboundedSender<Message>) -> Self {
        Self {
            queue: Queue::new(config.pod_initial_backoff, config.pod_max_backoff),
            config,
            client,
            listers,
            recorder,
            tx,
            profile: plugins::default_profile(),
            cache: Cache::default(),
            nominator: Nominator::default(),
            start: 0,
            bindings: JoinSet::new(),
        }
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.queue.next_deadline()
    }

    /// Waits for the writes under way.
    pub async fn finish(mut self) {
        // A claim may take minutes to be bound; a binding that is cut off is taken up again by the next scheduler.
        let all = async { while self.bindings.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(SHUTDOWN_GRACE, all).await;
    }

    pub fn apply(&mut self, message: Message) {
        match message {
            Message::Node { old, new } => {
                self.cache.set_node(new.clone());
                match old {
                    None => self.changed(&Change::NodeAdded(new)),
                    Some(old) if !only_heartbeat(&old, &new) => self.changed(&Change::NodeUpdated { old, new }),
                    Some(_) => {}
                }
            }
            Message::NodeDeleted(n) => {
                self.cache.remove_node(n.name());
                self.changed(&Change::NodeDeleted);
            }
            Message::Pod { old, new } => self.pod_set(old.as_deref(), new),
            Message::PodDeleted(p) => self.pod_deleted(p.uid()),
            Message::Namespace => self.changed(&Change::Namespace),
            Message::Storage(s) => self.changed(&Change::Storage(s)),
            Message::Bound(uid) => drop(self.queue.remove(&uid)),
            Message::PreemptionFailed(uid) => self.queue.wake(|q| q.info.uid == uid),
            Message::BindingFailed { uid, error } => self.binding_failed(&uid, error),
        }
    }

    fn pod_set(&mut self, old: Option<&Pod>, new: Arc<Pod>) {
        let spec = new.spec.as_ref();
        if spec.and_then(|s| s.node_name.as_deref()).is_some_and(|n| !n.is_empty()) {
            return self.assigned(PodInfo::new(new));
        }
        if spec.and_then(|s| s.scheduler_name.as_deref()) != Some(&*self.config.scheduler_name) {
            return;
        }
        if self.cache.is_assumed(new.uid()) {
            // Its binding is on the way; this version is older.
            return;
        }
        let info = PodInfo::new(new.clone());
        if !info.nominated_node().is_empty() {
            self.nominator.set(&info, info.nominated_node());
        }
        let gated = self.profile.pre_enqueue.iter().any(|p| p.pre_enqueue(&info).is_err());
        match old {
            Some(old) if self.queue.get(&info.uid).is_some() => {
                let retry = old.spec != new.spec
                    || old.metadata.labels != new.metadata.labels
                    || old.metadata.annotations != new.metadata.annotations
                    || old.metadata.deletion_timestamp != new.metadata.deletion_timestamp;
                self.queue.update(info, gated, retry);
            }
            _ => self.queue.add(info, gated),
        }
    }

    /// A pod that is bound, by us or by someone else.
    fn assigned(&mut self, info: Arc<PodInfo>) {
        self.queue.remove(&info.uid);
        self.nominator.remove(&info.uid);
        let assumed = self.cache.is_assumed(&info.uid);
        let before = self.cache.remove_pod(&info.uid);
        if PodInfo::is_terminal(&info.pod) {
            if before.is_some() {
                self.changed(&Change::PodRemoved(info));
            }
            return;
        }
        self.cache.set_pod(&info);
        match before {
            Some(old) if !assumed => {
                let relevant = old.labels() != info.labels() || old.requests.exact != info.requests.exact;
                if relevant {
                    self.changed(&Change::PodUpdated { old, new: info });
                }
            }
            // An assumed pod was announced when it was assumed.
            Some(_) => {}
            None => self.changed(&Change::PodAssigned(info)),
        }
    }

    fn pod_deleted(&mut self, uid: &str) {
        self.queue.remove(uid);
        let nominated = self.nominator.node_of(uid).is_some();
        self.nominator.remove(uid);
        if let Some(p) = self.cache.remove_pod(uid) {
            self.changed(&Change::PodRemoved(p));
        } else if nominated {
            self.changed(&Change::NodeDeleted);
        }
    }

    /// Wakes the pods that a change may help.
    fn changed(&mut self, change: &Change) {
        let (profile, listers) = (&self.profile, &self.listers);
        self.queue.wake(|q: &Queued| {
            q.plugins.is_empty()
                || profile.filters.iter().any(|f| q.plugins.contains(&f.name()) && f.may_help(change, &q.info, listers))
        });
    }

    /// Tries the next pod; false when there is none.
    pub fn schedule_one(&mut self) -> bool {
        self.queue.flush();
        while self.bindings.try_join_next().is_some() {}
        let Some(pod) = self.queue.pop() else { return false };
        if pod.pod.metadata.deletion_timestamp.is_some() {
            let message = format!("skip schedule deleting pod: {}/{}", pod.namespace(), pod.name());
            self.recorder.event(&reference_to(&*pod.pod), EventType::Warning, "FailedScheduling", message);
            self.queue.remove(&pod.uid);
            return true;
        }
        self.cache.settle();
        match self.place(&pod) {
            Ok(slot) => self.reserve_and_bind(pod, slot),
            Err((failure, nomination)) => self.unplaced(&pod, failure, nomination),
        }
        true
    }

    /// Picks a node. On failure, says what became of the pod's nomination.
    fn place(&mut self, pod: &Arc<PodInfo>) -> Result<usize, (Failure, Nomination)> {
        let cycle = Cycle { cache: &self.cache, listers: &self.listers };
        if cycle.cache.order.is_empty() {
            return Err((Failure::NoNodes, Some(String::new())));
        }
        let draw = |n: usize| rand::RngExt::random_range(&mut rand::rng(), 0..n);
        let (mut diagnosis, preemption) = match Filters::new(&self.profile, cycle, &self.nominator, pod) {
            Err(s) if s.code == Code::Error => return Err((Failure::Error(s.message()), Some(String::new()))),
            Err(s) => {
                let mut diagnosis = Diagnosis { nodes: cycle.cache.order.len(), ..Default::default() };
                diagnosis.add_plugin(s.plugin);
                diagnosis.pre_filter = Some(s.message());
                diagnosis.absent = Some(s);
                let preemption = preempt(cycle, None, pod, &diagnosis, draw);
                (diagnosis, preemption)
            }
            Ok(mut filters) => {
                let percentage = usize::from(self.config.percentage_of_nodes_to_score);
                match cycle::feasible(cycle, &mut filters, percentage, &mut self.start) {
                    Ok(nodes) if nodes.len() == 1 => return Ok(nodes[0]),
                    Ok(nodes) => return Ok(cycle::best(&self.profile, cycle, pod, &nodes, draw)),
                    Err(Failure::Unfit(diagnosis)) => {
                        let preemption = preempt(cycle, Some(&mut filters), pod, &diagnosis, draw);
                        (*diagnosis, preemption)
                    }
                    Err(failure) => return Err((failure, Some(String::new()))),
                }
            }
        };
        let nomination = match preemption {
            Preemption::NotEligible(message) => {
                diagnosis.post_filter = message;
                None
            }
            Preemption::NotHelpful(message) => {
                diagnosis.post_filter = message;
                Some(String::new())
            }
            Preemption::Preempt { node, victims } => {
                self.evict(pod, &node, victims);
                Some(node.to_string())
            }
        };
        Err((Failure::Unfit(Box::new(diagnosis)), nomination))
    }

    /// Evicts the victims of a preemption, and withdraws the nominations of lesser pods to that node.
    fn evict(&mut self, pod: &Arc<PodInfo>, node: &Arc<str>, victims: Vec<Arc<PodInfo>>) {
        for lesser in self.nominator.behind(pod, node) {
            self.nominator.remove(&lesser.uid);
            let client = self.client.clone();
            self.bindings.spawn(async move { writes::withdraw_nomination(&client, &lesser).await });
            self.queue.wake(|q| q.info.priority < pod.priority && q.info.nominated_node() == &**node);
        }
        let (client, tx, recorder) = (self.client.clone(), self.tx.clone(), self.recorder.clone());
        let (pod, node, scheduler, clock) = (pod.clone(), node.clone(), self.config.scheduler_name.clone(), self.config.clock);
        self.bindings.spawn(async move {
            for victim in victims {
                if let Err(e) = writes::evict(&client, &victim, &scheduler, clock).await {
                    tracing::warn!(namespace = victim.namespace(), pod = victim.name(), error = %e, "pod not preempted");
                    let _ = tx.send(Message::PreemptionFailed(pod.uid.clone()));
                    return;
                }
                let message = format!("Preempted by pod {} on node {node}", pod.uid);
                recorder.event(&reference_to(&*victim.pod), EventType::Normal, "Preempted", message);
            }
        });
    }

    fn reserve_and_bind(&mut self, pod: Arc<PodInfo>, slot: usize) {
        let mut prepare = Vec::new();
        for plugin in &self.profile.reserves {
            let cycle = Cycle { cache: &self.cache, listers: &self.listers };
            match plugin.reserve(cycle, &pod, &self.cache.nodes[slot]) {
                Ok(work) => prepare.extend(work),
                Err(s) => {
                    self.profile.reserves.iter().for_each(|p| p.unreserve(&pod));
                    return self.unplaced(&pod, Failure::Error(s.message()), Some(String::new()));
                }
            }
        }
        let node = self.cache.nodes[slot].name.clone();
        self.cache.assume(&pod, &node);
        self.nominator.remove(&pod.uid);
        self.changed(&Change::PodAssigned(pod.clone()));
        let earlier = self.queue.get_mut(&pod.uid).and_then(|q| q.write.take());
        let (client, tx, recorder) = (self.client.clone(), self.tx.clone(), self.recorder.clone());
        self.bindings.spawn(async move {
            if let Some(write) = earlier {
                // Else its PodScheduled=False could overtake the binding's True.
                let _ = write.await;
            }
            let outcome = writes::bind(&client, &pod, &node, prepare).await;
            let uid = pod.uid.clone();
            let _ = tx.send(match outcome {
                Ok(()) => {
                    tracing::debug!(namespace = pod.namespace(), pod = pod.name(), uid = &*uid, node = &*node, "bound");
                    let message = format!("Successfully assigned {}/{} to {node}", pod.namespace(), pod.name());
                    recorder.event(&reference_to(&*pod.pod), EventType::Normal, "Scheduled", message);
                    Message::Bound(uid)
                }
                Err(error) => Message::BindingFailed { uid, error },
            });
        });
    }

    fn binding_failed(&mut self, uid: &str, error: String) {
        let Some(pod) = self.queue.get(uid).map(|q| q.info.clone()) else { return };
        self.profile.reserves.iter().for_each(|p| p.unreserve(&pod));
        if let Some(p) = self.cache.forget(uid) {
            self.changed(&Change::PodRemoved(p));
        }
        self.unplaced(&pod, Failure::Error(error), Some(String::new()));
    }

    /// Puts a pod back into the queue and tells why.
    fn unplaced(&mut self, pod: &Arc<PodInfo>, failure: Failure, nomination: Nomination) {
        // The queue may hold a newer version by now.
        let Some(pod) = self.queue.get(&pod.uid).map(|q| q.info.clone()) else { return };
        let (reason, message) = match failure {
            Failure::NoNodes => {
                self.queue.rejected(&pod.uid, Vec::new());
                ("Unschedulable", "no nodes available to schedule pods".to_owned())
            }
            Failure::Unfit(diagnosis) => {
                let message = diagnosis.message();
                self.queue.rejected(&pod.uid, diagnosis.plugins);
                ("Unschedulable", message)
            }
            Failure::Error(message) => {
                tracing::warn!(namespace = pod.namespace(), pod = pod.name(), error = %message, "scheduling failed, will retry");
                self.queue.failed(&pod.uid);
                ("SchedulerError", message)
            }
        };
        if let Some(node) = &nomination {
            self.nominator.set(&pod, node);
        }
        self.recorder.event(&reference_to(&*pod.pod), EventType::Warning, "FailedScheduling", truncated(&message));
        let patch = writes::not_scheduled(&pod.pod, reason, &message, nomination.as_deref(), self.config.clock);
        let (Some(patch), Some(q)) = (patch, self.queue.get_mut(&pod.uid)) else { return };
        let (client, earlier) = (self.client.clone(), q.write.take());
        q.write = Some(tokio::spawn(async move {
            if let Some(write) = earlier {
                let _ = write.await;
            }
            if let Err(e) = client.patch_status::<Pod>(pod.namespace(), pod.name(), &patch).await {
                tracing::debug!(namespace = pod.namespace(), pod = pod.name(), error = %e, "pod condition not written");
            }
        }));
    }
}

/// Whether nothing but conditions' times changed, as the kubelet reports every few minutes.
fn only_heartbeat(old: &Node, new: &Node) -> bool {
    let (a, b) = (old.status.as_ref(), new.status.as_ref());
    old.spec == new.spec
        && old.metadata.labels == new.metadata.labels
        && old.metadata.annotations == new.metadata.annotations
        && a.map(|s| &s.allocatable) == b.map(|s| &s.allocatable)
        && a.map(|s| &s.images) == b.map(|s| &s.images)
}

fn truncated(message: &str) -> String {
    if message.len() <= MAX_EVENT_MESSAGE {
        return message.to_owned();
    }
    let suffix = " ...";
    let mut end = MAX_EVENT_MESSAGE - suffix.len();
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", &message[..end])
}
