//! The agent put together: from configuration and client to a running kubelet.

use crate::admission;
use crate::cgroups::Cgroups;
use crate::config::{Config, ConfigError};
use crate::context::{Context, PodTable};
use crate::images::Images;
use crate::node::machine::Machine;
use crate::objects::ObjectCache;
use crate::pod::spec;
use crate::pod::worker::Handle;
use crate::runtime::{CriRuntime, POD_UID_LABEL, Runtime};
use client::{Client, Clock, InformerEvent, Informers, ListOptions, Object, Recorder};
use futures::StreamExt;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Node, Pod};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Why the agent did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Runtime(#[from] cri::ConnectError),
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
    #[error("serving certificate: {0}")]
    Tls(String),
}

fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> StartError {
    let what = what.into();
    move |source| StartError::Io { what, source }
}

/// The pods of this node, by UID.
#[derive(Clone, Default)]
pub struct Pods(Arc<Mutex<HashMap<String, Handle>>>);

impl Pods {
    pub fn get(&self, uid: &str) -> Option<Handle> {
        self.0.lock().get(uid).cloned()
    }
    pub fn all(&self) -> Vec<Handle> {
        self.0.lock().values().cloned().collect()
    }
    pub fn find(&self, namespace: &str, name: &str) -> Option<Handle> {
        let all = self.0.lock();
        all.values().find(|h| h.pod().namespace() == namespace && h.pod().name() == name).cloned()
    }
    pub fn insert(&self, uid: String, handle: Handle) {
        self.0.lock().insert(uid, handle);
    }
    pub fn remove(&self, uid: &str) {
        self.0.lock().remove(uid);
    }
    fn wake(&self, uid: &str) {
        if let Some(h) = self.get(uid) {
            h.wake();
        }
    }
}

/// An agent that is ready to run.
pub struct Kubelet {
    config: Config,
    client: Client,
    runtime: Arc<dyn Runtime>,
    clock: Clock,
    serving: watch::Sender<bool>,
}

/// An agent for the runtime that the configuration names.
pub fn build(config: Config, client: Client) -> Result<Kubelet, StartError> {
    config.kubelet.check()?;
    if config.kubelet.fail_swap_on && swap_is_on(&std::fs::read_to_string("/proc/swaps").unwrap_or_default()) {
        let message = "running with swap on is not supported, please disable swap or set failSwapOn to false";
        return Err(ConfigError::Unsupported(message.into()).into());
    }
    let k = &config.kubelet;
    let runtime = Arc::new(CriRuntime::connect(&k.container_runtime_endpoint, &k.image_service_endpoint)?);
    Ok(Kubelet::with_runtime(config, client, runtime, Clock::System))
}

/// Whether `/proc/swaps` lists anything below its heading.
fn swap_is_on(swaps: &str) -> bool {
    swaps.lines().skip(1).any(|l| !l.trim().is_empty())
}

impl Kubelet {
    /// An agent for a given runtime and clock: tests.
    pub fn with_runtime(config: Config, client: Client, runtime: Arc<dyn Runtime>, clock: Clock) -> Self {
        Self { config, client, runtime, clock, serving: watch::Sender::new(false) }
    }

    /// True once the node's port has a certificate to show.
    pub fn serving(&self) -> watch::Receiver<bool> {
        self.serving.subscribe()
    }

    /// Runs until `shutdown`. Containers go on running: the next kubelet takes them over.
    pub fn run(self, shutdown: CancellationToken) -> BoxFuture<'static, Result<(), StartError>> {
        Box::pin(self.run_until(shutdown))
    }

    async fn run_until(self, shutdown: CancellationToken) -> Result<(), StartError> {
        let pods = Pods::default();
        let serving = self.serving.clone();
        let informers = Informers::new(self.client.clone());
        let ctx = self.context(&pods, &informers).await?;
        let mut tasks = JoinSet::new();
        let server = crate::server::Server::bind(ctx.clone(), pods.clone()).await?;
        if ctx.config.kubelet.server_tls_bootstrap {
            tasks.spawn(crate::certificates::serving::run(ctx.clone(), server.certificate.clone(), serving));
        } else {
            serving.send_replace(true);
        }
        tasks.spawn(server.run());
        if let Some(listener) = crate::server::healthz::bind(&ctx).await? {
            tasks.spawn(crate::server::healthz::run(listener));
        }
        let node_changed = Arc::new(Notify::new());
        tasks.spawn(crate::node::register::run(ctx.clone(), node_changed.clone()));
        tasks.spawn(crate::node::lease::run(ctx.clone()));
        tasks.spawn(runtime_events(ctx.clone(), pods.clone()));
        tasks.spawn(housekeeping(ctx.clone(), pods.clone()));
        tasks.spawn(pod_cidr(ctx.clone()));
        let own = format!("spec.nodeName={}", ctx.config.node_name);
        let api_pods = informers.with::<Pod>("", ListOptions { field_selector: own, ..Default::default() });
        tasks.spawn(crate::dispatch::run(ctx.clone(), pods.clone(), api_pods));
        shutdown.cancelled().await;
        tasks.shutdown().await;
        Ok(())
    }

    async fn context(self, pods: &Pods, informers: &Informers) -> Result<Arc<Context>, StartError> {
        let config = self.config;
        let dirs = [config.pods_dir(), config.root_dir.join("plugins"), config.kubelet.pod_logs_dir.clone().into()];
        for dir in dirs.iter().chain([&config.container_log_links]) {
            std::fs::create_dir_all(dir).map_err(io(format!("create {}", dir.display())))?;
        }
        let cgroups = Cgroups::detect(&config.kubelet.cgroup_root, config.kubelet.pod_pids_limit).map_err(io("find cgroups"))?;
        cgroups.create_classes().map_err(io("create the cgroups of pods"))?;
        let version = self.runtime.version().await;
        let runtime_name = version.map(|v| v.runtime_name).unwrap_or_else(|_| "containerd".into());
        let name = &config.node_name;
        let client = self.client.with_user_agent(&format!("kubelet/{}", crate::node::status::VERSION));
        let node_options = ListOptions { field_selector: format!("metadata.name={name}"), ..Default::default() };
        let wake: Arc<dyn Fn(&str) + Send + Sync> = {
            let pods = pods.clone();
            Arc::new(move |uid| pods.wake(uid))
        };
        let machine = Machine::read(&config);
        let sysctls = admission::sysctl::Allowed::new(&machine.kernel, &config.kubelet.allowed_unsafe_sysctls)?;
        Ok(Arc::new(Context {
            machine,
            sysctls,
            runtime: self.runtime,
            runtime_name,
            recorder: Recorder::start(client.clone(), "kubelet", name, self.clock),
            clock: self.clock,
            config_maps: ObjectCache::new(client.clone(), wake.clone()),
            secrets: ObjectCache::new(client.clone(), wake.clone()),
            allocations: Default::default(),
            static_pods: Default::default(),
            pods: PodTable {
                active: {
                    let pods = pods.clone();
                    Box::new(move || pods.all().iter().filter(|h| h.is_active()).map(Handle::pod).collect())
                },
                wake,
            },
            services: informers.of(),
            node: informers.with::<Node>("", node_options),
            probe_results: Default::default(),
            cgroups,
            images: Images::new(config.kubelet.serialize_image_pulls),
            client,
            config,
        }))
    }
}

/// Wakes pods when their containers change: by the runtime's event stream, or, where it has none, by listing once a second while
/// there are pods (upstream's generic PLEG).
async fn runtime_events(ctx: Arc<Context>, pods: Pods) {
    loop {
        match ctx.runtime.events().await {
            Ok(mut events) => {
                // Something may have happened before the stream began.
                pods.all().iter().for_each(Handle::wake);
                while let Some(Ok(e)) = events.next().await {
                    let of = e.pod_sandbox_status.and_then(|s| s.metadata).map(|m| m.uid);
                    match of {
                        Some(uid) => pods.wake(&uid),
                        None => pods.all().iter().for_each(Handle::wake),
                    }
                }
            }
            Err(e) if e.code == cri::Code::Unimplemented => return relist(ctx, pods).await,
            Err(e) => tracing::warn!(error = %e, "no runtime events"),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn relist(ctx: Arc<Context>, pods: Pods) {
    let mut last: HashMap<String, (String, i32)> = HashMap::new();
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if pods.0.lock().is_empty() {
            continue;
        }
        let Ok((containers, sandboxes)) =
            futures::future::try_join(ctx.runtime.list_containers(""), ctx.runtime.list_sandboxes("")).await
        else {
            continue;
        };
        let uid = |labels: &HashMap<String, String>| labels.get(POD_UID_LABEL).cloned().unwrap_or_default();
        let now: HashMap<String, (String, i32)> = containers
            .iter()
            .map(|c| (c.id.clone(), (uid(&c.labels), c.state)))
            .chain(sandboxes.iter().map(|s| (s.id.clone(), (uid(&s.labels), s.state))))
            .collect();
        let changed = now.iter().filter(|(id, v)| last.get(*id) != Some(v)).map(|(_, v)| &v.0);
        let gone = last.iter().filter(|(id, _)| !now.contains_key(*id)).map(|(_, v)| &v.0);
        for uid in changed.chain(gone).collect::<HashSet<_>>() {
            pods.wake(uid);
        }
        last = now;
    }
}

/// How often images are looked at.
const IMAGE_GC_PERIOD: Duration = Duration::from_secs(300);

/// Rare chores: log rotation, limits of local storage, node pressure, unused images, the weight of the Burstable class.
async fn housekeeping(ctx: Arc<Context>, pods: Pods) {
    let mut images = crate::image_gc::ImageCollector::default();
    let mut images_due = tokio::time::Instant::now();
    let mut burstable_now = None;
    loop {
        tokio::time::sleep(Duration::from_secs(10)).await;
        let all = pods.all();
        crate::logs::rotate(&ctx, &all).await;
        if images_due <= tokio::time::Instant::now() {
            images.collect(&ctx).await;
            images_due = tokio::time::Instant::now() + IMAGE_GC_PERIOD;
        }
        crate::eviction::relieve(&ctx, &all, &mut images).await;
        crate::local_storage::enforce(&ctx, &all).await;
        let burstable = all.iter().filter(|h| h.is_active()).map(|h| ctx.allocations.of(&h.pod()));
        let milli: i64 = burstable
            .filter(|p| spec::qos_class(p) == "Burstable")
            .map(|p| crate::pod::resources::pod_total(&p, "cpu", false, |m| spec::milli_cpu(Some(m))))
            .sum();
        if burstable_now != Some(milli) {
            match ctx.cgroups.set_burstable(milli) {
                Ok(()) => burstable_now = Some(milli),
                Err(e) => tracing::debug!(error = %e, "weight of the burstable class not set"),
            }
        }
    }
}

/// Tells the runtime the node's pod CIDR once it is known.
async fn pod_cidr(ctx: Arc<Context>) {
    let (tx, mut rx) = mpsc::unbounded_channel();
    ctx.node.add_handler(move |event| {
        if let InformerEvent::Added(n) | InformerEvent::Updated { new: n, .. } = event
            && let Some(cidr) = n.spec.as_ref().and_then(|s| s.pod_cidr.clone())
        {
            let _ = tx.send(cidr);
        }
    });
    let mut told = String::new();
    while let Some(cidr) = rx.recv().await {
        if cidr != told {
            match ctx.runtime.update_pod_cidr(&cidr).await {
                Ok(()) => told = cidr,
                Err(e) => tracing::warn!(error = %e, "runtime does not take the pod CIDR"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap() {
        let heading = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
        assert!(!swap_is_on(heading) && !swap_is_on(""));
        assert!(swap_is_on(&format!("{heading}/dev/sda2  partition\t1\t0\t-2\n")));
    }
}
