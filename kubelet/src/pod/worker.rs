//! The worker of one pod: a task that owns the pod's life on this node, woken by the API, the runtime, probes and its own timers
//! (upstream pkg/kubelet/pod_workers.go).

use super::actions::{self, Actions};
use super::backoff::Backoff;
use super::resize::Resizing;
use super::status::{Failures, Inputs};
use super::writer::Writer;
use super::{kill, restart_all, spec, status};
use crate::admission::Rejection;
use crate::context::Context;
use crate::probes::{PodProbes, Target};
use crate::runtime::PodRecord;
use crate::volumes::Volumes;
use client::{DeleteOptions, EventType, Object};
use cri::v1::ContainerState;
use k8s_openapi::api::core::v1::{Pod, PodCondition, PodStatus, ResourceRequirements};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// Where a pod is in its life. The names are upstream's.
#[allow(clippy::enum_variant_names)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It should run: sandbox and containers are made and kept as its spec says.
    SyncPod,
    /// It ends: containers are being stopped. It never runs again.
    TerminatingPod,
    /// Nothing of it runs. Volumes and cgroup are given back; the object waits for its deletion.
    TerminatedPod,
}

/// What the outside wants of a pod.
#[derive(Clone)]
struct Wish {
    pod: Arc<Pod>,
    /// The object is gone from the API (or the manifest from the directory).
    gone: bool,
    /// End with phase Failed: reason, message, grace.
    evict: Option<(String, String, i64)>,
    /// The eviction is for the node's sake: the pod gets the condition DisruptionTarget.
    disruption: bool,
}

/// The outside's end of a worker.
#[derive(Clone)]
pub struct Handle {
    wish: Arc<watch::Sender<Wish>>,
    wake: Arc<Notify>,
    view: Arc<watch::Sender<View>>,
}

/// What others may see of a pod's worker.
#[derive(Clone)]
pub struct View {
    pub state: State,
    pub status: PodStatus,
    pub record: PodRecord,
}

impl Handle {
    pub fn update(&self, pod: Arc<Pod>) {
        self.wish.send_modify(|w| w.pod = pod);
        self.wake.notify_one();
    }
    pub fn gone(&self) {
        self.wish.send_modify(|w| w.gone = true);
        self.wake.notify_one();
    }
    pub fn evict(&self, reason: &str, message: &str, grace: i64) {
        self.wish.send_modify(|w| {
            w.evict.get_or_insert((reason.to_owned(), message.to_owned(), grace));
        });
        self.wake.notify_one();
    }
    /// Whether its object or manifest is known to be gone.
    pub fn is_gone(&self) -> bool {
        self.wish.borrow().gone
    }
    /// Ends the pod because the node is short of something.
    pub fn evict_for_pressure(&self, message: &str) {
        self.wish.send_modify(|w| w.disruption |= w.evict.is_none());
        self.evict("Evicted", message, 1);
    }
    pub fn is_being_evicted(&self) -> bool {
        self.wish.borrow().evict.is_some() && self.view.borrow().state != State::TerminatedPod
    }
    pub fn wake(&self) {
        self.wake.notify_one();
    }
    pub fn pod(&self) -> Arc<Pod> {
        self.wish.borrow().pod.clone()
    }
    /// It holds what it asked for: it was admitted, and is neither over nor gone from the API.
    pub fn is_active(&self) -> bool {
        let over = |phase: Option<&str>| matches!(phase, Some("Failed" | "Succeeded"));
        let wish = self.wish.borrow();
        let view = self.view.borrow();
        let ended = over(view.status.phase.as_deref()) || over(spec::status(&wish.pod).phase.as_deref());
        !wish.gone && view.state != State::TerminatedPod && !ended
    }
    pub fn view(&self) -> View {
        self.view.borrow().clone()
    }
    /// Tells of every change of the view.
    pub fn views(&self) -> watch::Receiver<View> {
        self.view.subscribe()
    }
}

/// The task's own state.
pub struct Worker {
    pub(super) ctx: Arc<Context>,
    handle: Handle,
    uid: String,
    state: State,
    pub(super) record: PodRecord,
    pub(super) failures: Failures,
    pub(super) backoff: Backoff,
    pub(super) volumes: Volumes,
    probes: PodProbes,
    status: PodStatus,
    writer: Writer,
    /// Something failed that has no time of its own: try again soon.
    pub(super) failed: bool,
    retries: u32,
    /// The node did not take it: nothing is started, and its status says only that.
    rejected: bool,
    wake_at: Option<Instant>,
    /// Resources last given to a container, by its ID.
    pub(super) given: HashMap<String, cri::v1::LinuxContainerResources>,
    /// The same as the API writes them.
    pub(super) actuated: HashMap<String, ResourceRequirements>,
    pub(super) resizing: Resizing,
}

/// The whole status of a pod that the node does not take.
fn refused(pod: &Pod, r: &Rejection) -> PodStatus {
    PodStatus {
        phase: Some("Failed".into()),
        reason: Some(r.reason.clone()),
        message: Some(format!("Pod was rejected: {}", r.message)),
        qos_class: Some(spec::qos_class(pod).to_owned()),
        observed_generation: pod.metadata.generation,
        ..spec::status(pod).clone()
    }
}

/// Starts the worker of a pod, which only tells about its failure if it was rejected; `finished` is called at its end, when nothing of the pod is left on the node.
pub fn spawn(ctx: Arc<Context>, pod: Arc<Pod>, rejection: Option<Rejection>, finished: impl FnOnce() + Send + 'static) -> Handle {
    let mut status = spec::status(&pod).clone();
    if let Some(r) = &rejection {
        ctx.pod_event(&pod, EventType::Warning, &r.reason, r.message.clone());
        status = refused(&pod, r);
    }
    let view = View { state: State::SyncPod, status: status.clone(), record: PodRecord::default() };
    let handle = Handle {
        wish: Arc::new(watch::Sender::new(Wish { pod: pod.clone(), gone: false, evict: None, disruption: false })),
        wake: Arc::new(Notify::new()),
        view: Arc::new(watch::Sender::new(view)),
    };
    let uid = pod.uid().to_owned();
    let worker = Worker {
        writer: Writer::start(ctx.clone(), &pod),
        ctx,
        handle: handle.clone(),
        uid,
        state: State::SyncPod,
        record: PodRecord::default(),
        failures: Failures::new(),
        backoff: Backoff::new(Duration::from_secs(10), Duration::from_secs(300)),
        volumes: Volumes::default(),
        probes: PodProbes::default(),
        status,
        failed: false,
        retries: 0,
        rejected: rejection.is_some(),
        wake_at: None,
        given: HashMap::new(),
        actuated: HashMap::new(),
        resizing: Resizing::default(),
    };
    tokio::spawn(async move {
        worker.run().await;
        finished();
    });
    handle
}

impl Worker {
    async fn run(mut self) {
        if matches!(self.status.phase.as_deref(), Some("Failed" | "Succeeded")) {
            self.state = State::TerminatingPod;
        }
        loop {
            self.failed = false;
            self.wake_at = None;
            let wish = self.wish();
            if self.state == State::SyncPod && wish.must_end() {
                self.enter(State::TerminatingPod);
            }
            match self.state {
                State::SyncPod => {
                    let handle = self.handle.clone();
                    let terminal = tokio::select! {
                        biased;
                        terminal = self.sync(&wish.pod) => terminal,
                        () = ending(&handle) => continue,
                    };
                    if terminal {
                        self.enter(State::TerminatingPod);
                        continue;
                    }
                }
                State::TerminatingPod => {
                    if self.terminate(&wish).await {
                        self.enter(State::TerminatedPod);
                        continue;
                    }
                }
                State::TerminatedPod => {
                    if self.finish(&wish).await {
                        return;
                    }
                }
            }
            self.sleep().await;
        }
    }

    fn wish(&self) -> Wish {
        self.handle.wish.borrow().clone()
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.retries = 0;
        self.handle.view.send_modify(|v| v.state = state);
        if state == State::TerminatedPod {
            self.ctx.allocations.release(&self.uid);
            self.ctx.room_made();
        }
    }

    /// Until something happens or a timer is due.
    async fn sleep(&mut self) {
        if self.failed {
            // Failures without a time of their own: a second, doubling to a quarter of a minute.
            self.wake_in(Duration::from_secs(1 << self.retries.min(4)));
            self.retries += 1;
        } else {
            self.retries = 0;
        }
        let wake = self.handle.wake.notified();
        match self.wake_at {
            Some(at) => {
                let _ = tokio::time::timeout_at(at, wake).await;
            }
            None => wake.await,
        }
    }

    /// Makes sure that the next sync starts within `delay`.
    pub(super) fn wake_in(&mut self, delay: Duration) {
        let at = Instant::now() + delay;
        self.wake_at = Some(self.wake_at.map_or(at, |w| w.min(at)));
    }

    pub(super) fn wake(&self) {
        self.handle.wake();
    }

    /// One pass over the pod; true if it is over for good.
    async fn sync(&mut self, pod: &Arc<Pod>) -> bool {
        let pod = &*self.allocate(pod);
        match self.ctx.runtime.pod_record(&self.uid).await {
            Ok(r) => self.record = r,
            Err(e) => {
                tracing::warn!(pod = pod.name(), uid = self.uid, error = %e, "runtime does not tell about the pod");
                self.failed = true;
                return false;
            }
        }
        let expired = self.deadline(pod);
        if self.publish(pod, false, expired) {
            return true;
        }
        if let Err(e) = self.ctx.cgroups.ensure_pod(pod) {
            let message = format!("unable to ensure pod container exists: {e}");
            self.ctx.pod_event(pod, EventType::Warning, "FailedCreatePodContainer", message);
            self.failed = true;
            return false;
        }
        if !self.sync_volumes(pod).await {
            return false;
        }
        if restart_all::begun(&self.status) {
            if !self.remove_containers(pod).await {
                self.failed = true;
                return false;
            }
            self.publish(pod, false, None);
        }
        self.resize(pod).await;
        let plan = actions::compute(pod, &self.record, &self.ctx.probe_results);
        self.carry_out(pod, &plan).await;
        self.publish(pod, false, None)
    }

    /// Phase Failed once the pod ran longer than activeDeadlineSeconds.
    fn deadline(&mut self, pod: &Pod) -> Option<(String, String)> {
        let seconds = spec::spec(pod).active_deadline_seconds?;
        let started = self.status.start_time.clone()?;
        let age = self.ctx.clock.now().duration_since(started.0);
        let left = jiff::SignedDuration::from_secs(seconds) - age;
        if left.is_positive() {
            self.wake_in(Duration::try_from(left).unwrap_or_default());
            return None;
        }
        let message = "Pod was active on the node longer than the specified deadline";
        self.ctx.pod_event(pod, EventType::Normal, "DeadlineExceeded", message);
        Some(("DeadlineExceeded".into(), message.into()))
    }

    async fn sync_volumes(&mut self, pod: &Pod) -> bool {
        let first = self.volumes.ready.is_empty();
        if first {
            let made = std::fs::create_dir_all(self.ctx.config.pod_dir(&self.uid).join("volumes"));
            if let Err(e) = made {
                let message = format!("error making pod data directories: {e}");
                self.ctx.pod_event(pod, EventType::Warning, "Failed", message);
                self.failed = true;
                return false;
            }
        }
        match self.volumes.sync(&self.ctx, pod).await {
            Ok(renewal) => {
                if let Some(d) = renewal {
                    self.wake_in(d);
                }
                true
            }
            Err(errors) => {
                for e in &errors {
                    let message = format!("MountVolume.SetUp failed for volume {:?} : {}", e.volume, e.message);
                    self.ctx.pod_event(pod, EventType::Warning, "FailedMount", message);
                }
                self.failed = true;
                // Volumes that were ready stay so: a deleted ConfigMap does not stop what runs.
                errors.iter().all(|e| self.volumes.ready.contains_key(&e.volume))
            }
        }
    }

    async fn carry_out(&mut self, pod: &Pod, plan: &Actions) {
        let ctx = self.ctx.clone();
        if plan.kill_pod {
            if !plan.create_sandbox {
                tracing::debug!(pod = pod.name(), uid = self.uid, "all containers are over");
            } else if !plan.sandbox_id.is_empty() {
                ctx.pod_event(pod, EventType::Normal, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.");
            }
            if let Err(e) = kill::pod(&ctx, pod, &self.record, None).await {
                ctx.pod_event(pod, EventType::Warning, "FailedKillPod", format!("error killing pod: {e}"));
                self.failed = true;
                return;
            }
        } else {
            let ips = status::pod_ips(&ctx, pod, &self.record);
            for k in &plan.to_kill {
                let Some(s) = self.record.containers.iter().find(|s| s.id == k.id).cloned() else { continue };
                let order = kill::Order { message: &k.message, reason: k.reason, grace_override: None, ips: &ips };
                if let Err(e) = kill::container(&ctx, pod, &s, order, async {}).await {
                    tracing::warn!(pod = pod.name(), container = k.name, error = %e, "container not killed");
                    self.failed = true;
                    return;
                }
                self.reread(&k.id).await;
            }
        }
        let sandbox = if plan.create_sandbox {
            if !spec::host_network(pod) && !self.network_ready(pod).await {
                return;
            }
            match self.start_sandbox(pod, plan.attempt).await {
                Ok(id) => id,
                Err(e) => {
                    tracing::info!(pod = pod.name(), uid = self.uid, error = e, "sandbox not created");
                    self.failed = true;
                    return;
                }
            }
        } else {
            plan.sandbox_id.clone()
        };
        if sandbox.is_empty() || (plan.kill_pod && !plan.create_sandbox) {
            return;
        }
        self.start_all(pod, plan, &sandbox).await;
        self.collect_garbage(pod).await;
    }

    async fn start_all(&mut self, pod: &Pod, plan: &Actions, sandbox: &str) {
        let ephemeral = spec::ephemeral_containers(pod);
        for i in &plan.ephemeral_to_start {
            let Some((c, target)) = ephemeral.get(*i) else { continue };
            let target = target.as_ref().and_then(|t| spec::newest(&self.record, t)).map(|s| s.id.clone());
            self.start_container(pod, c, sandbox, target.as_deref()).await;
        }
        for i in &plan.init_to_start {
            let Some(c) = spec::init_containers(pod).get(*i) else { continue };
            if !self.start_container(pod, c, sandbox, None).await && !spec::is_sidecar(c) {
                return;
            }
            // A sidecar without a startup probe lets the next one start at once.
            self.publish(pod, false, None);
            if spec::is_sidecar(c) && c.startup_probe.is_none() {
                self.handle.wake();
            }
        }
        for i in &plan.containers_to_start {
            let Some(c) = spec::containers(pod).get(*i) else { continue };
            self.start_container(pod, c, sandbox, None).await;
        }
    }

    pub(super) async fn reread(&mut self, id: &str) {
        if let Ok(s) = self.ctx.runtime.container_status(id).await
            && let Some(have) = self.record.containers.iter_mut().find(|c| c.id == id)
        {
            *have = s;
        }
    }

    async fn network_ready(&mut self, pod: &Pod) -> bool {
        let status = self.ctx.runtime.status().await;
        let Some(problem) = crate::node::status::network_problem(&status) else { return true };
        let message = format!("network is not ready: {problem}");
        self.ctx.pod_event(pod, EventType::Warning, "NetworkNotReady", message);
        self.failed = true;
        false
    }

    /// Keeps one dead container per name, and no dead sandbox besides the newest.
    async fn collect_garbage(&mut self, pod: &Pod) {
        let mut seen = HashMap::new();
        let mut extra = Vec::new();
        for s in &self.record.containers {
            let dead = s.state() == ContainerState::ContainerExited;
            let n = seen.entry(spec::container_name(s).to_owned()).or_insert(0);
            if dead {
                *n += 1;
                if *n > 1 {
                    extra.push((s.id.clone(), s.log_path.clone()));
                }
            }
        }
        for (id, log) in extra {
            match self.ctx.runtime.remove_container(&id).await {
                Ok(()) => {
                    crate::logs::remove(&log);
                    self.record.containers.retain(|c| c.id != id);
                }
                Err(e) => tracing::debug!(pod = pod.name(), container = id, error = %e, "dead container stays"),
            }
        }
        let old: Vec<String> = self.record.sandboxes.iter().skip(1).map(|s| s.id.clone()).collect();
        if old.is_empty() {
            return;
        }
        let Ok(containers) = self.ctx.runtime.list_containers(&self.uid).await else { return };
        for id in old.iter().filter(|id| !containers.iter().any(|c| c.pod_sandbox_id == **id)) {
            if self.ctx.runtime.stop_sandbox(id).await.is_ok() && self.ctx.runtime.remove_sandbox(id).await.is_ok() {
                self.record.sandboxes.retain(|s| s.id != *id);
            }
        }
    }

    /// Makes the status anew and sends it; true if the pod's phase is final.
    fn publish(&mut self, pod: &Pod, terminal: bool, evict: Option<(String, String)>) -> bool {
        if self.rejected {
            self.writer.put(self.status.clone());
            return true;
        }
        self.follow_probes(pod, terminal);
        let inputs = Inputs {
            pod,
            record: &self.record,
            old: &self.status,
            failures: &self.failures,
            actuated: &self.actuated,
            resizing: &self.resizing,
            terminal,
            evict,
        };
        let mut status = status::generate(&self.ctx, &inputs);
        if terminal && status.pod_ip.is_none() {
            // The sandbox is gone, and its addresses with it: keep them for those who read the status.
            status.pod_ip = self.status.pod_ip.clone();
            status.pod_ips = self.status.pod_ips.clone();
        }
        self.status = status.clone();
        self.handle.view.send_modify(|view| {
            view.status = status.clone();
            view.record = self.record.clone();
        });
        let over = matches!(status.phase.as_deref(), Some("Failed" | "Succeeded"));
        self.writer.put(status);
        over
    }

    /// Starts probes of containers that run and ends those of containers that do not.
    fn follow_probes(&mut self, pod: &Pod, terminal: bool) {
        let ctx = self.ctx.clone();
        let ips = status::pod_ips(&ctx, pod, &self.record);
        let ip = ips.first().cloned().unwrap_or_default();
        let record = &self.record;
        let running = |id: &str| record.containers.iter().any(|s| s.id == id && s.state() == ContainerState::ContainerRunning);
        self.probes.retain(&ctx, |id| running(id) && !terminal);
        if terminal {
            return;
        }
        let sidecars = spec::init_containers(pod).iter().filter(|c| spec::is_sidecar(c));
        for c in spec::containers(pod).iter().chain(sidecars) {
            let Some(s) = spec::newest(record, &c.name).filter(|s| s.state() == ContainerState::ContainerRunning) else {
                continue;
            };
            let probed = c.liveness_probe.is_some() || c.readiness_probe.is_some() || c.startup_probe.is_some();
            if !probed || self.probes.watches(&s.id) {
                continue;
            }
            let id = ctx.container_id(&s.id);
            let mut before = self.status.container_statuses.iter().chain(&self.status.init_container_statuses).flatten();
            let before = before.rfind(|b| b.container_id.as_deref() == Some(&id));
            let was = before.map_or((false, false), |b| (b.started == Some(true), b.ready));
            let target = Target {
                pod: Arc::new(pod.clone()),
                container: c.clone(),
                id: s.id.clone(),
                ip: ip.clone(),
                started_at: jiff::Timestamp::from_nanosecond(s.started_at.into()).unwrap_or_default(),
            };
            let handle = self.handle.clone();
            self.probes.start(&ctx, target, was, Arc::new(move || handle.wake()));
        }
    }

    /// Stops everything; true when nothing runs any more.
    async fn terminate(&mut self, wish: &Wish) -> bool {
        let ctx = self.ctx.clone();
        let pod = &*ctx.allocations.of(&wish.pod);
        match ctx.runtime.pod_record(&self.uid).await {
            Ok(r) => self.record = r,
            Err(e) => {
                tracing::warn!(pod = pod.name(), uid = self.uid, error = %e, "runtime does not tell about the pod");
                self.failed = true;
                return false;
            }
        }
        let evict = wish.evict.clone().map(|(r, m, _)| (r, m));
        if let Some((_, message)) = evict.as_ref().filter(|_| wish.disruption) {
            self.disrupted(pod, message);
        }
        self.publish(pod, false, evict.clone());
        let grace = match &wish.evict {
            Some((_, _, grace)) => Some(*grace),
            None => Some(spec::grace_period(pod)),
        };
        let (handle, record) = (self.handle.clone(), self.record.clone());
        let mut shorter = std::pin::pin!(shortened(&handle, pod.metadata.deletion_grace_period_seconds));
        let mut kill = std::pin::pin!(kill::pod(&ctx, pod, &record, grace));
        let killed = loop {
            tokio::select! {
                biased;
                r = &mut kill => break r,
                () = &mut shorter => {
                    self.handle.wake(); // once more, with less patience
                    return false;
                }
                // Containers that take their time are probed until they are gone: who still sends to them has to know.
                () = handle.wake.notified() => {
                    self.publish(pod, false, evict.clone());
                }
            }
        };
        if let Err(e) = killed {
            ctx.pod_event(pod, EventType::Warning, "FailedKillPod", format!("error killing pod: {e}"));
            self.failed = true;
            return false;
        }
        if let Ok(r) = ctx.runtime.pod_record(&self.uid).await {
            self.record = r;
        }
        self.publish(pod, true, evict);
        true
    }

    /// Says in the pod's conditions that the node ended it.
    fn disrupted(&mut self, pod: &Pod, message: &str) {
        let conditions = self.status.conditions.get_or_insert_default();
        if !conditions.iter().any(|c| c.type_ == "DisruptionTarget") {
            conditions.push(PodCondition {
                type_: "DisruptionTarget".into(),
                status: "True".into(),
                reason: Some("TerminationByKubelet".into()),
                message: Some(message.to_owned()),
                last_transition_time: Some(self.ctx.clock.time()),
                observed_generation: pod.metadata.generation,
                ..Default::default()
            });
        }
    }

    /// Gives back what the pod used. With its deletion the object and the containers go too; true once nothing is left.
    async fn finish(&mut self, wish: &Wish) -> bool {
        let pod = &*wish.pod;
        let ctx = self.ctx.clone();
        if let Err(e) = self.volumes.tear_down(&ctx, &self.uid) {
            tracing::warn!(pod = pod.name(), uid = self.uid, error = %e, "pod directory not removed");
            self.failed = true;
            return false;
        }
        ctx.config_maps.release(&self.uid);
        ctx.secrets.release(&self.uid);
        let deleted = pod.metadata.deletion_timestamp.is_some();
        if !wish.gone && !deleted {
            ctx.cgroups.remove_pod(pod).await;
            return false; // over, but there for people to look at
        }
        if !wish.gone && !spec::is_static(pod) {
            self.writer.flushed().await;
            let options = DeleteOptions { grace_period_seconds: Some(0), uid: Some(self.uid.clone()), ..Default::default() };
            match ctx.client.delete::<Pod>(pod.namespace(), pod.name(), &options).await {
                Ok(()) => {}
                Err(e) if e.is_not_found() || e.is_conflict() => {}
                Err(e) => {
                    tracing::warn!(pod = pod.name(), uid = self.uid, error = %e, "pod not deleted");
                    self.failed = true;
                    return false;
                }
            }
        }
        // A start that was under way when the pod's end was asked for may have made something since.
        match ctx.runtime.pod_record(&self.uid).await {
            Ok(r) => self.record = r,
            Err(e) => tracing::warn!(pod = pod.name(), uid = self.uid, error = %e, "runtime does not tell about the pod"),
        }
        if !kill::remove(&ctx, &self.record).await {
            self.failed = true;
            return false;
        }
        ctx.cgroups.remove_pod(pod).await;
        crate::logs::remove_pod(&ctx, pod);
        true
    }
}

impl Wish {
    fn must_end(&self) -> bool {
        self.gone || self.evict.is_some() || self.pod.metadata.deletion_timestamp.is_some()
    }
}

/// Resolves when the pod has to end.
async fn ending(handle: &Handle) {
    let _ = handle.wish.subscribe().wait_for(Wish::must_end).await;
}

/// Resolves when the grace period becomes shorter than `than`.
async fn shortened(handle: &Handle, than: Option<i64>) {
    let shorter = |w: &Wish| {
        let now = w.pod.metadata.deletion_grace_period_seconds;
        now.is_some_and(|n| than.is_none_or(|t| n < t))
    };
    let _ = handle.wish.subscribe().wait_for(shorter).await;
}
