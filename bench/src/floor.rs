//! The runtime's own floor: the calls that any kubelet must make for a pod, made bare, on a containerd of the same settings.

use crate::runtime::Runtime;
use crate::startup::Cluster;
use crate::stats::Samples;
use cri::v1 as api;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long one start, or one burst of them, or a removal may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A runtime to measure. What it made is removed with the last of its clones.
#[derive(Clone)]
pub struct Floor {
    calls: cri::Runtime,
    _runtime: Arc<Runtime>,
    logs: PathBuf,
    cgroup_parent: String,
    image: String,
}

/// A started pod, and how long each of its calls took.
pub struct Started {
    sandbox: String,
    container: String,
    pub calls: [Duration; 3],
}

/// Latencies of single starts, whole and by call.
#[derive(Default)]
pub struct Latency {
    pub total: Samples,
    pub sandbox: Samples,
    pub create: Samples,
    pub start: Samples,
}

impl Latency {
    pub fn add(&mut self, s: &Started) {
        self.total.add(s.calls.iter().sum());
        let [sandbox, create, start] = s.calls;
        self.sandbox.add(sandbox);
        self.create.add(create);
        self.start.add(start);
    }
}

fn said(what: &str) -> impl FnOnce(cri::Status) -> String {
    move |e| format!("{what}: {}", e.message())
}

async fn within<T>(what: &str, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let failed = |_| Err(format!("the bare runtime: {what} did not end in {PATIENCE:?}"));
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(failed).map_err(|e| format!("the bare runtime: {e}"))
}

impl Floor {
    /// Starts a containerd below `dir` like the one of this cluster, which must be up.
    pub async fn new(cluster: &Cluster, dir: &Path, image: &str, pause: &str) -> Result<Self, String> {
        let logs = dir.join("pods");
        std::fs::create_dir_all(&logs).map_err(|e| format!("cannot make {}: {e}", logs.display()))?;
        let runtime = Runtime::start(cluster, dir, &[image, pause]).await?;
        let calls = cri::Runtime::connect(&runtime.endpoint()).map_err(|e| e.to_string())?;
        let cgroup_parent = format!("{}/kubepods/besteffort", cluster.cgroup_root.trim_end_matches('/'));
        Ok(Self { calls, _runtime: Arc::new(runtime), logs, cgroup_parent, image: image.into() })
    }

    /// Runs a sandbox, creates a container in it and starts it.
    pub async fn start(&self, name: &str) -> Result<Started, String> {
        within(&format!("start of {name}"), self.start_pod(name)).await
    }

    async fn start_pod(&self, name: &str) -> Result<Started, String> {
        let mut runtime = self.calls.runtime.clone();
        let namespaces = api::NamespaceOption { pid: api::NamespaceMode::Container as i32, ..Default::default() };
        let sandbox_config = api::PodSandboxConfig {
            metadata: Some(api::PodSandboxMetadata {
                name: name.into(),
                uid: name.into(),
                namespace: "bench".into(),
                attempt: 0,
            }),
            hostname: name.into(),
            log_directory: self.logs.display().to_string(),
            linux: Some(api::LinuxPodSandboxConfig {
                cgroup_parent: self.cgroup_parent.clone(),
                security_context: Some(api::LinuxSandboxSecurityContext {
                    namespace_options: Some(namespaces.clone()),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        };
        let container_config = api::ContainerConfig {
            metadata: Some(api::ContainerMetadata { name: "hello".into(), attempt: 0 }),
            image: Some(api::ImageSpec { image: self.image.clone(), ..Default::default() }),
            log_path: format!("{name}.log"),
            linux: Some(api::LinuxContainerConfig {
                security_context: Some(api::LinuxContainerSecurityContext {
                    namespace_options: Some(namespaces),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        };
        let begin = Instant::now();
        let request = api::RunPodSandboxRequest { config: Some(sandbox_config.clone()), ..Default::default() };
        let sandbox = runtime.run_pod_sandbox(request).await.map_err(said("RunPodSandbox"))?.into_inner().pod_sandbox_id;
        let ran = Instant::now();
        let request = api::CreateContainerRequest {
            pod_sandbox_id: sandbox.clone(),
            config: Some(container_config),
            sandbox_config: Some(sandbox_config),
        };
        let container = runtime.create_container(request).await.map_err(said("CreateContainer"))?.into_inner().container_id;
        let created = Instant::now();
        let request = api::StartContainerRequest { container_id: container.clone() };
        runtime.start_container(request).await.map_err(said("StartContainer"))?;
        Ok(Started { sandbox, container, calls: [ran - begin, created - ran, created.elapsed()] })
    }

    /// Removes what `start` made.
    pub async fn remove(&self, s: Started) -> Result<(), String> {
        within("removal", self.remove_pod(s)).await
    }

    async fn remove_pod(&self, s: Started) -> Result<(), String> {
        let mut runtime = self.calls.runtime.clone();
        let stop = api::StopContainerRequest { container_id: s.container, timeout: 0 };
        runtime.stop_container(stop).await.map_err(said("StopContainer"))?;
        let pod_sandbox_id = s.sandbox;
        let stop = api::StopPodSandboxRequest { pod_sandbox_id: pod_sandbox_id.clone() };
        runtime.stop_pod_sandbox(stop).await.map_err(said("StopPodSandbox"))?;
        let remove = api::RemovePodSandboxRequest { pod_sandbox_id };
        runtime.remove_pod_sandbox(remove).await.map(drop).map_err(said("RemovePodSandbox"))
    }

    /// `count` starts at once: the time until the last is done.
    pub async fn burst(&self, count: usize) -> Result<Duration, String> {
        let mut starts = tokio::task::JoinSet::new();
        let begin = Instant::now();
        for n in 0..count {
            let floor = self.clone();
            starts.spawn(async move { floor.start(&format!("burst-{n}")).await });
        }
        let started: Vec<_> = starts.join_all().await.into_iter().collect::<Result<_, _>>()?;
        let took = begin.elapsed();
        let mut removals = tokio::task::JoinSet::new();
        for s in started {
            let floor = self.clone();
            removals.spawn(async move { floor.remove(s).await });
        }
        removals.join_all().await.into_iter().collect::<Result<Vec<()>, _>>()?;
        Ok(took)
    }
}
