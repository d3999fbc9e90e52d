//! For unit tests: a runtime that keeps images and numbers in memory, and a context around it whose API server knows nothing.

use crate::admission::sysctl::Allowed;
use crate::cgroups::Cgroups;
use crate::config::Config;
use crate::context::{Context, PodTable};
use crate::images::Images;
use crate::objects::ObjectCache;
use crate::runtime::{ExecOutput, Result, Runtime, RuntimeError};
use async_trait::async_trait;
use bytes::Bytes;
use client::{Client, Clock, Informers, Recorder, Transport};
use cri::v1 as api;
use futures::stream::BoxStream;
use http_body_util::{BodyExt, Empty};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// Images by name, statistics of containers, and what was asked of them. Whatever tests do not need is not implemented.
#[derive(Default)]
pub struct FakeRuntime {
    pub images: Mutex<Vec<String>>,
    pub pulled: Mutex<Vec<String>>,
    pub stats: Mutex<Vec<api::ContainerStats>>,
    /// Containers that cannot be removed yet. No others are there.
    pub starting: Mutex<Vec<String>>,
}

fn none<T>() -> Result<T> {
    Err(RuntimeError { code: cri::Code::Unimplemented, message: "not in this runtime".into() })
}

fn image(name: &str) -> api::Image {
    api::Image { id: format!("id of {name}"), repo_tags: vec![name.to_owned()], ..Default::default() }
}

#[async_trait]
impl Runtime for FakeRuntime {
    async fn version(&self) -> Result<api::VersionResponse> {
        none()
    }
    async fn status(&self) -> Result<api::StatusResponse> {
        none()
    }
    async fn update_pod_cidr(&self, _: &str) -> Result<()> {
        none()
    }
    async fn run_sandbox(&self, _: &api::PodSandboxConfig, _: &str) -> Result<String> {
        none()
    }
    async fn stop_sandbox(&self, _: &str) -> Result<()> {
        none()
    }
    async fn remove_sandbox(&self, _: &str) -> Result<()> {
        none()
    }
    async fn list_sandboxes(&self, _: &str) -> Result<Vec<api::PodSandbox>> {
        Ok(Vec::new())
    }
    async fn sandbox_status(&self, _: &str) -> Result<api::PodSandboxStatus> {
        none()
    }
    async fn create_container(&self, _: &str, _: &api::ContainerConfig, _: &api::PodSandboxConfig) -> Result<String> {
        none()
    }
    async fn start_container(&self, _: &str) -> Result<()> {
        none()
    }
    async fn stop_container(&self, _: &str, _: i64) -> Result<()> {
        none()
    }
    async fn remove_container(&self, id: &str) -> Result<()> {
        let (code, message) = if self.starting.lock().iter().any(|c| c == id) {
            (cri::Code::Unknown, "container is in starting state, can't be removed")
        } else {
            (cri::Code::NotFound, "no such container")
        };
        Err(RuntimeError { code, message: message.into() })
    }
    async fn list_containers(&self, _: &str) -> Result<Vec<api::Container>> {
        Ok(Vec::new())
    }
    async fn container_status(&self, _: &str) -> Result<api::ContainerStatus> {
        none()
    }
    async fn update_resources(&self, _: &str, _: api::LinuxContainerResources) -> Result<()> {
        none()
    }
    async fn exec_sync(&self, _: &str, _: &[String], _: Duration) -> Result<ExecOutput> {
        none()
    }
    async fn exec_url(&self, _: api::ExecRequest) -> Result<String> {
        none()
    }
    async fn attach_url(&self, _: api::AttachRequest) -> Result<String> {
        none()
    }
    async fn port_forward_url(&self, _: api::PortForwardRequest) -> Result<String> {
        none()
    }
    async fn reopen_log(&self, _: &str) -> Result<()> {
        none()
    }
    async fn container_stats(&self) -> Result<Vec<api::ContainerStats>> {
        Ok(self.stats.lock().clone())
    }
    async fn sandbox_stats(&self) -> Result<Vec<api::PodSandboxStats>> {
        none()
    }
    async fn events(&self) -> Result<BoxStream<'static, Result<api::ContainerEventResponse>>> {
        none()
    }
    async fn list_images(&self) -> Result<Vec<api::Image>> {
        Ok(self.images.lock().iter().map(|i| image(i)).collect())
    }
    async fn image_status(&self, name: &str) -> Result<Option<api::Image>> {
        Ok(self.images.lock().iter().find(|i| *i == name).map(|i| image(i)))
    }
    async fn pull_image(&self, name: &str, _: Option<api::AuthConfig>, _: &api::PodSandboxConfig) -> Result<String> {
        self.pulled.lock().push(name.to_owned());
        self.images.lock().push(name.to_owned());
        Ok(name.to_owned())
    }
    async fn remove_image(&self, _: &str) -> Result<()> {
        none()
    }
    async fn image_fs(&self) -> Result<api::ImageFsInfoResponse> {
        none()
    }
}

/// An API server that has nothing.
struct Nothing;

#[async_trait]
impl Transport for Nothing {
    async fn send(
        &self,
        _: http::Request<Bytes>,
    ) -> std::result::Result<http::Response<client::transport::Body>, client::transport::BoxError> {
        let mut answer = http::Response::new(Empty::new().map_err(|e| match e {}).boxed_unsync());
        *answer.status_mut() = http::StatusCode::NOT_FOUND;
        Ok(answer)
    }
}

/// A context of node `n1` with this runtime.
pub fn context(runtime: Arc<FakeRuntime>) -> Arc<Context> {
    let client = Client::new(Arc::new(Nothing));
    let informers = Informers::new(client.clone());
    let wake: Arc<dyn Fn(&str) + Send + Sync> = Arc::new(|_| {});
    Arc::new(Context {
        config: Config::new("n1", Vec::new()),
        machine: Default::default(),
        runtime,
        runtime_name: "fake".into(),
        recorder: Recorder::start(client.clone(), "kubelet", "n1", Clock::System),
        clock: Clock::System,
        config_maps: ObjectCache::new(client.clone(), wake.clone()),
        secrets: ObjectCache::new(client.clone(), wake.clone()),
        services: informers.of(),
        node: informers.of(),
        probe_results: Default::default(),
        cgroups: Cgroups::detect("", 0).expect("cgroups"),
        images: Images::new(false),
        sysctls: Allowed::new("6.0", &[]).expect("sysctls"),
        allocations: Default::default(),
        static_pods: Default::default(),
        pods: PodTable { active: Box::new(Vec::new), wake },
        client,
    })
}
