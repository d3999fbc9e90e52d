//! Starting a pod's sandbox and containers (upstream kuberuntime_manager.go SyncPod, kuberuntime_container.go startContainer).

use super::container::{RESTART_COUNT, Start};
use super::worker::Worker;
use super::{container, env, hooks, kill, mounts, sandbox, spec, status};
use crate::context::pod_text;
use crate::images;
use crate::pod::actions::KillReason;
use client::{EventType, Object};
use cri::v1 as api;
use k8s_openapi::api::core::v1::{Container, Pod};
use std::sync::Arc;
use std::time::Duration;

/// A container that did not start: reason and message of its waiting state, and when to try again.
pub struct NotStarted {
    pub reason: String,
    pub message: String,
    pub retry: Option<Duration>,
}

impl NotStarted {
    fn new(reason: &str, message: impl Into<String>) -> Self {
        Self { reason: reason.to_owned(), message: message.into(), retry: None }
    }
}

impl Worker {
    /// Makes the pod's sandbox and reads its addresses.
    pub(super) async fn start_sandbox(&mut self, pod: &Pod, attempt: u32) -> Result<String, String> {
        let ctx = self.ctx.clone();
        let warn = |m: String| {
            ctx.pod_event(pod, EventType::Warning, "FailedCreatePodSandBox", m.clone());
            m
        };
        let config =
            sandbox::config(&ctx, pod, attempt).map_err(|e| warn(format!("Failed to generate sandbox config for pod: {e}")))?;
        std::fs::create_dir_all(&config.log_directory)
            .map_err(|e| warn(format!("Failed to create pod sandbox: create log directory {:?}: {e}", config.log_directory)))?;
        let handler = self.runtime_handler(pod).await.map_err(&warn)?;
        let id =
            ctx.runtime.run_sandbox(&config, &handler).await.map_err(|e| warn(format!("Failed to create pod sandbox: {e}")))?;
        let s = ctx.runtime.sandbox_status(&id).await.map_err(|e| e.to_string())?;
        self.record.sandboxes.insert(0, s);
        Ok(id)
    }

    /// The runtime's handler for the pod's RuntimeClass.
    async fn runtime_handler(&self, pod: &Pod) -> Result<String, String> {
        let Some(name) = spec::spec(pod).runtime_class_name.as_deref().filter(|n| !n.is_empty()) else {
            return Ok(String::new());
        };
        let class = self.ctx.client.get::<k8s_openapi::api::node::v1::RuntimeClass>("", name).await;
        class.map(|c| c.handler).map_err(|e| format!("Failed to create pod sandbox: failed to get runtime class {name:?}: {e}"))
    }

    /// Starts one container, unless it is backing off. On failure notes why.
    pub(super) async fn start_container(&mut self, pod: &Pod, c: &Container, sandbox: &str, target: Option<&str>) -> bool {
        let started = match self.crash_loop(pod, c) {
            Some(waiting) => Err(waiting),
            None => self.try_start(pod, c, sandbox, target).await,
        };
        match started {
            Ok(()) => {
                self.failures.remove(&c.name);
                true
            }
            Err(e) => {
                if let Some(retry) = e.retry {
                    self.wake_in(retry);
                } else {
                    self.failed = true;
                }
                self.failures.insert(c.name.clone(), (e.reason, e.message));
                false
            }
        }
    }

    /// The back-off of a container that ended before.
    fn crash_loop(&mut self, pod: &Pod, c: &Container) -> Option<NotStarted> {
        let exited =
            |s: &&api::ContainerStatus| spec::container_name(s) == c.name && s.state() == api::ContainerState::ContainerExited;
        let last = self.record.containers.iter().find(exited)?;
        let finished = jiff::Timestamp::from_nanosecond(last.finished_at.into()).ok()?;
        let key = format!("{}_{}", c.name, container::container_hash(c));
        let now = self.ctx.clock.now();
        if let Some(left) = self.backoff.remaining(&key, finished, now) {
            let text = pod_text(pod);
            // Once per back-off, however often the pod is looked at meanwhile.
            if self.failures.get(&c.name).is_none_or(|(reason, _)| reason != "CrashLoopBackOff") {
                let message = format!("Back-off restarting failed container {} in pod {text}", c.name);
                self.ctx.container_event(pod, c, EventType::Warning, "BackOff", message);
            }
            let delay = images::go_millis(self.backoff.delay(&key));
            return Some(NotStarted {
                reason: "CrashLoopBackOff".into(),
                message: format!("back-off {delay} restarting failed container={} pod={text}", c.name),
                retry: Some(left),
            });
        }
        self.backoff.next(&key, finished, now);
        None
    }

    async fn try_start(&mut self, pod: &Pod, c: &Container, sandbox_id: &str, target: Option<&str>) -> Result<(), NotStarted> {
        let ctx = Arc::clone(&self.ctx);
        let warn = |m: &str| ctx.container_event(pod, c, EventType::Warning, "Failed", format!("Error: {m}"));
        let attempt = self.record.sandboxes.first().and_then(|s| s.metadata.as_ref()).map_or(0, |m| m.attempt);
        let sandbox_config = sandbox::config(&ctx, pod, attempt).map_err(|e| NotStarted::new("CreateContainerConfigError", e))?;
        let no_image = |e: images::ImageError| {
            warn(e.reason);
            NotStarted { reason: e.reason.to_owned(), message: e.message, retry: e.retry }
        };
        let image = images::ensure(&ctx, pod, c, &sandbox_config).await.map_err(no_image)?;
        let mounted = images::volumes(&ctx, pod, c, &sandbox_config).await.map_err(no_image)?;
        let ips = status::pod_ips(&ctx, pod, &self.record);
        let restart_count = self.restart_count(pod, c);
        let refuse = |m: String| {
            warn(&m);
            NotStarted::new("CreateContainerConfigError", m)
        };
        let env = env::make(&ctx, pod, c, &ips, &self.volumes.ready).await.map_err(refuse)?;
        let volumes = mounts::Sources { ready: &self.volumes.ready, images: &mounted };
        let mounts = mounts::make(&ctx, pod, c, &volumes, &ips, &env).map_err(refuse)?;
        let start = Start { restart_count, env: &env, image_ref: &image.id, image: &image, target, mounts };
        let config = container::config(&ctx, pod, c, start).map_err(refuse)?;
        let id = ctx.runtime.create_container(sandbox_id, &config, &sandbox_config).await.map_err(|e| {
            warn(&e.message);
            NotStarted::new("CreateContainerError", e.message)
        })?;
        ctx.container_event(pod, c, EventType::Normal, "Created", "Container created");
        let ran = ctx.runtime.start_container(&id).await;
        let s = ctx.runtime.container_status(&id).await.map_err(|e| NotStarted::new("RunContainerError", e.message))?;
        self.record.containers.insert(0, s.clone());
        ran.map_err(|e| {
            warn(&e.message);
            NotStarted::new("RunContainerError", e.message)
        })?;
        ctx.container_event(pod, c, EventType::Normal, "Started", "Container started");
        self.link_log(pod, c, &id, &s.log_path);
        let Some(hook) = c.lifecycle.as_ref().and_then(|l| l.post_start.as_ref()) else { return Ok(()) };
        let ip = ips.first().map(String::as_str).unwrap_or("");
        if let Err(e) = hooks::run(&ctx, pod, c, &id, ip, hook).await {
            ctx.container_event(pod, c, EventType::Warning, "FailedPostStartHook", "PostStartHook failed");
            let order =
                kill::Order { message: "FailedPostStartHook", reason: KillReason::Other, grace_override: None, ips: &ips };
            let killed = kill::container(&ctx, pod, &s, order, async {}).await;
            if let Err(e) = killed {
                tracing::warn!(pod = pod.name(), container = c.name, error = %e, "container not killed after its failed postStart hook");
            }
            return Err(NotStarted::new("PostStartHookError", e));
        }
        Ok(())
    }

    /// One more than the last container of this name, or than the last log where that one is gone.
    fn restart_count(&self, pod: &Pod, c: &Container) -> u32 {
        if let Some(s) = spec::newest(&self.record, &c.name) {
            return s.annotations.get(RESTART_COUNT).and_then(|n| n.parse::<u32>().ok()).map_or(1, |n| n + 1);
        }
        let Ok(dir) = std::fs::read_dir(self.ctx.pod_log_dir(pod).join(&c.name)) else { return 0 };
        let number = |e: std::fs::DirEntry| e.file_name().to_str()?.split('.').next()?.parse::<u32>().ok();
        dir.flatten().filter_map(number).max().map_or(0, |n| n + 1)
    }

    /// The log under its old name, for log collectors.
    fn link_log(&self, pod: &Pod, c: &Container, id: &str, log: &str) {
        let name = format!("{}_{}_{}-{id}.log", pod.name(), pod.namespace(), c.name);
        if let Err(e) = std::os::unix::fs::symlink(log, self.ctx.config.container_log_links.join(name)) {
            tracing::debug!(pod = pod.name(), container = c.name, error = %e, "log not linked");
        }
    }
}
