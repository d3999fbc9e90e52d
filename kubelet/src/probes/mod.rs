//! Probes: one task per probe of a running container, from its start to its end; verdicts are kept by container ID
//! (upstream pkg/kubelet/prober).

mod check;
pub mod grpc;
pub mod http;

use crate::context::Context;
use client::EventType;
use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProbeKind {
    Startup,
    Readiness,
    Liveness,
}

impl ProbeKind {
    const ALL: [Self; 3] = [Self::Startup, Self::Readiness, Self::Liveness];
    fn name(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Readiness => "Readiness",
            Self::Liveness => "Liveness",
        }
    }
    fn of(self, c: &Container) -> Option<&Probe> {
        match self {
            Self::Startup => c.startup_probe.as_ref(),
            Self::Readiness => c.readiness_probe.as_ref(),
            Self::Liveness => c.liveness_probe.as_ref(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Success,
    Failure,
}

/// The verdicts in force. Absent: not decided yet. Clones share them.
#[derive(Clone, Default)]
pub struct Results(Arc<Mutex<HashMap<(String, ProbeKind), Verdict>>>);

impl Results {
    pub fn get(&self, container: &str, kind: ProbeKind) -> Option<Verdict> {
        self.0.lock().get(&(container.to_owned(), kind)).copied()
    }
    /// True if it was something else before.
    pub fn set(&self, container: &str, kind: ProbeKind, verdict: Verdict) -> bool {
        self.0.lock().insert((container.to_owned(), kind), verdict) != Some(verdict)
    }
    fn forget(&self, container: &str) {
        self.0.lock().retain(|(c, _), _| c != container);
    }
}

/// The probes of one pod's running containers.
#[derive(Default)]
pub struct PodProbes {
    tasks: HashMap<String, Vec<tokio::task::AbortHandle>>,
}

/// One container to probe.
pub struct Target {
    pub pod: Arc<Pod>,
    pub container: Container,
    pub id: String,
    pub ip: String,
    pub started_at: jiff::Timestamp,
}

impl PodProbes {
    pub fn watches(&self, id: &str) -> bool {
        self.tasks.contains_key(id)
    }

    /// Starts the probes of a container that runs; `wake` is called when a verdict changes. Under an agent that was started anew a
    /// container that was ready or started stays so until a probe says otherwise.
    pub fn start(&mut self, ctx: &Arc<Context>, target: Target, was: (bool, bool), wake: Arc<dyn Fn() + Send + Sync>) {
        let (started_tx, _) = watch::channel(target.container.startup_probe.is_none());
        let started = Arc::new(started_tx);
        let target = Arc::new(target);
        let (was_started, was_ready) = was;
        if was_started {
            ctx.probe_results.set(&target.id, ProbeKind::Startup, Verdict::Success);
            started.send_replace(true);
        }
        if was_ready {
            ctx.probe_results.set(&target.id, ProbeKind::Readiness, Verdict::Success);
        }
        let tasks = ProbeKind::ALL.into_iter().filter_map(|kind| {
            let probe = kind.of(&target.container)?.clone();
            let run = Run { ctx: ctx.clone(), kind, probe, target: target.clone(), started: started.clone(), wake: wake.clone() };
            Some(tokio::spawn(run.run()).abort_handle())
        });
        self.tasks.insert(target.id.clone(), tasks.collect());
    }

    /// Ends the probes of containers that `keep` does not name.
    pub fn retain(&mut self, ctx: &Context, keep: impl Fn(&str) -> bool) {
        self.tasks.retain(|id, tasks| {
            let stay = keep(id);
            if !stay {
                tasks.iter().for_each(tokio::task::AbortHandle::abort);
                ctx.probe_results.forget(id);
            }
            stay
        });
    }
}

struct Run {
    ctx: Arc<Context>,
    kind: ProbeKind,
    probe: Probe,
    target: Arc<Target>,
    started: Arc<watch::Sender<bool>>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

/// A process needs a moment to listen: until the first verdict, refused network probes are tried again this soon, uncounted.
const EARLY: [u64; 5] = [25, 50, 100, 200, 400];

impl Run {
    async fn run(self) {
        let seconds =
            |v: Option<i32>, default: u64| Duration::from_secs(v.and_then(|v| u64::try_from(v).ok()).unwrap_or(default));
        let period = seconds(self.probe.period_seconds, 10).max(Duration::from_secs(1));
        let age = self.ctx.clock.now().duration_since(self.target.started_at);
        let delay = seconds(self.probe.initial_delay_seconds, 0).saturating_sub(Duration::try_from(age).unwrap_or_default());
        if self.kind != ProbeKind::Startup {
            let mut started = self.started.subscribe();
            if started.wait_for(|s| *s).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(delay).await;
        let mut early = EARLY.iter();
        let (mut last, mut count) = (None, 0);
        loop {
            let outcome = self.once().await;
            let network = self.probe.exec.is_none();
            if last.is_none()
                && network
                && outcome.verdict == Verdict::Failure
                && self.kind != ProbeKind::Liveness
                && let Some(ms) = early.next()
            {
                tokio::time::sleep(Duration::from_millis(*ms)).await;
                continue;
            }
            // A container that is over cannot be probed: that is no news.
            let over = outcome.errored && outcome.output.contains("CONTAINER_EXITED");
            if outcome.verdict == Verdict::Failure && !over {
                let what = self.kind.name();
                let message = if outcome.errored {
                    format!("{what} probe errored and resulted in unknown state: {}", outcome.output)
                } else {
                    format!("{what} probe failed: {}", outcome.output)
                };
                self.ctx.container_event(&self.target.pod, &self.target.container, EventType::Warning, "Unhealthy", message);
            }
            if outcome.warning {
                let message = format!("{} probe warning: {}", self.kind.name(), outcome.output);
                self.ctx.container_event(&self.target.pod, &self.target.container, EventType::Warning, "ProbeWarning", message);
            }
            count = if last == Some(outcome.verdict) { count + 1 } else { 1 };
            last = Some(outcome.verdict);
            let threshold = match outcome.verdict {
                Verdict::Success => self.probe.success_threshold.unwrap_or(1),
                Verdict::Failure => self.probe.failure_threshold.unwrap_or(3),
            };
            if !outcome.errored && count >= threshold {
                if self.ctx.probe_results.set(&self.target.id, self.kind, outcome.verdict) {
                    (self.wake)();
                }
                match (self.kind, outcome.verdict) {
                    (ProbeKind::Startup, Verdict::Success) => {
                        self.started.send_replace(true);
                        return;
                    }
                    // The container is about to be killed.
                    (ProbeKind::Startup | ProbeKind::Liveness, Verdict::Failure) => return,
                    _ => {}
                }
            }
            tokio::time::sleep(period).await;
        }
    }

    /// One probe; an error (not a failure) is tried three times.
    async fn once(&self) -> check::Outcome {
        let mut outcome = check::run(&self.ctx, &self.target, &self.probe).await;
        for _ in 0..2 {
            if !outcome.errored {
                break;
            }
            outcome = check::run(&self.ctx, &self.target, &self.probe).await;
        }
        outcome
    }
}
