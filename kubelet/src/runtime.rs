//! The container runtime as the kubelet uses it: a trait, so that pods can be run against a fake one in virtual time, and its
//! implementation over CRI.

use async_trait::async_trait;
use cri::v1 as api;
use futures::StreamExt;
use futures::stream::BoxStream;
use std::collections::HashMap;
use std::time::Duration;

/// A failed runtime call: the runtime's own words, which users see in events and statuses.
#[derive(Clone, Debug, thiserror::Error)]
#[error("rpc error: code = {} desc = {message}", code_name(*.code))]
pub struct RuntimeError {
    pub code: cri::Code,
    pub message: String,
}

impl RuntimeError {
    pub fn is_not_found(&self) -> bool {
        self.code == cri::Code::NotFound
    }
}

impl From<cri::Status> for RuntimeError {
    fn from(s: cri::Status) -> Self {
        Self { code: s.code(), message: s.message().to_owned() }
    }
}

/// gRPC's names for codes, as Go prints them.
fn code_name(code: cri::Code) -> String {
    format!("{code:?}")
}

pub type Result<T> = std::result::Result<T, RuntimeError>;

/// Output of a command run in a container.
#[derive(Clone, Debug, Default)]
pub struct ExecOutput {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub exit_code: i32,
}

/// One pod's sandboxes and containers, newest first, as the runtime knows them.
#[derive(Clone, Debug, Default)]
pub struct PodRecord {
    pub sandboxes: Vec<api::PodSandboxStatus>,
    pub containers: Vec<api::ContainerStatus>,
}

/// The calls the kubelet makes. Times are the runtime's own; cancelling a call is safe, as the record is read anew afterwards.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    async fn version(&self) -> Result<api::VersionResponse>;
    async fn status(&self) -> Result<api::StatusResponse>;
    async fn update_pod_cidr(&self, cidr: &str) -> Result<()>;
    async fn run_sandbox(&self, config: &api::PodSandboxConfig, handler: &str) -> Result<String>;
    async fn stop_sandbox(&self, id: &str) -> Result<()>;
    async fn remove_sandbox(&self, id: &str) -> Result<()>;
    /// Every sandbox; of one pod if `uid` is not empty.
    async fn list_sandboxes(&self, uid: &str) -> Result<Vec<api::PodSandbox>>;
    async fn sandbox_status(&self, id: &str) -> Result<api::PodSandboxStatus>;
    async fn create_container(&self, sandbox: &str, config: &api::ContainerConfig, of: &api::PodSandboxConfig) -> Result<String>;
    async fn start_container(&self, id: &str) -> Result<()>;
    /// Sends the stop signal, and kills after `grace` seconds.
    async fn stop_container(&self, id: &str, grace: i64) -> Result<()>;
    async fn remove_container(&self, id: &str) -> Result<()>;
    async fn list_containers(&self, uid: &str) -> Result<Vec<api::Container>>;
    async fn container_status(&self, id: &str) -> Result<api::ContainerStatus>;
    async fn update_resources(&self, id: &str, linux: api::LinuxContainerResources) -> Result<()>;
    /// A zero timeout is none.
    async fn exec_sync(&self, id: &str, command: &[String], timeout: Duration) -> Result<ExecOutput>;
    async fn exec_url(&self, request: api::ExecRequest) -> Result<String>;
    async fn attach_url(&self, request: api::AttachRequest) -> Result<String>;
    async fn port_forward_url(&self, request: api::PortForwardRequest) -> Result<String>;
    async fn reopen_log(&self, id: &str) -> Result<()>;
    async fn container_stats(&self) -> Result<Vec<api::ContainerStats>>;
    async fn sandbox_stats(&self) -> Result<Vec<api::PodSandboxStats>>;
    /// Changes of containers; `Unimplemented` where the runtime has no event stream.
    async fn events(&self) -> Result<BoxStream<'static, Result<api::ContainerEventResponse>>>;
    async fn list_images(&self) -> Result<Vec<api::Image>>;
    async fn image_status(&self, image: &str) -> Result<Option<api::Image>>;
    async fn pull_image(&self, image: &str, auth: Option<api::AuthConfig>, of: &api::PodSandboxConfig) -> Result<String>;
    async fn remove_image(&self, image: &str) -> Result<()>;
    async fn image_fs(&self) -> Result<api::ImageFsInfoResponse>;

    /// Everything about one pod.
    async fn pod_record(&self, uid: &str) -> Result<PodRecord> {
        let (sandboxes, containers) = futures::try_join!(self.list_sandboxes(uid), self.list_containers(uid))?;
        let mut record = PodRecord::default();
        let statuses = futures::future::join_all(sandboxes.iter().map(|s| self.sandbox_status(&s.id))).await;
        for s in statuses {
            match s {
                Ok(s) => record.sandboxes.push(s),
                Err(e) if e.is_not_found() => {} // removed since it was listed
                Err(e) => return Err(e),
            }
        }
        let statuses = futures::future::join_all(containers.iter().map(|c| self.container_status(&c.id))).await;
        for s in statuses {
            match s {
                Ok(s) => record.containers.push(s),
                Err(e) if e.is_not_found() => {}
                Err(e) => return Err(e),
            }
        }
        record.sandboxes.sort_by_key(|s| std::cmp::Reverse(s.created_at));
        record.containers.sort_by_key(|c| std::cmp::Reverse(c.created_at));
        Ok(record)
    }
}

/// Labels every object of the kubelet carries in the runtime (upstream's kubelet/types/labels.go).
pub const POD_NAME_LABEL: &str = "io.kubernetes.pod.name";
pub const POD_NAMESPACE_LABEL: &str = "io.kubernetes.pod.namespace";
pub const POD_UID_LABEL: &str = "io.kubernetes.pod.uid";
pub const CONTAINER_NAME_LABEL: &str = "io.kubernetes.container.name";

/// The runtime behind a CRI socket.
pub struct CriRuntime {
    connection: cri::Runtime,
    images: cri::Runtime,
}

impl CriRuntime {
    /// `image_endpoint` empty: the same as `endpoint`.
    pub fn connect(endpoint: &str, image_endpoint: &str) -> std::result::Result<Self, cri::ConnectError> {
        let connection = cri::Runtime::connect(endpoint)?;
        let images = if image_endpoint.is_empty() { connection.clone() } else { cri::Runtime::connect(image_endpoint)? };
        Ok(Self { connection, images })
    }
}

fn by_pod(uid: &str) -> HashMap<String, String> {
    if uid.is_empty() { HashMap::new() } else { HashMap::from([(POD_UID_LABEL.to_owned(), uid.to_owned())]) }
}

/// Calls one method of a service and unwraps the answer.
macro_rules! call {
    ($service:expr, $method:ident, $request:expr) => {{
        let mut service = $service.clone();
        service.$method($request).await?.into_inner()
    }};
}

fn missing(what: &str) -> RuntimeError {
    RuntimeError { code: cri::Code::Internal, message: format!("the runtime answered without {what}") }
}

#[async_trait]
impl Runtime for CriRuntime {
    async fn version(&self) -> Result<api::VersionResponse> {
        Ok(call!(self.connection.runtime, version, api::VersionRequest::default()))
    }
    async fn status(&self) -> Result<api::StatusResponse> {
        Ok(call!(self.connection.runtime, status, api::StatusRequest::default()))
    }
    async fn update_pod_cidr(&self, cidr: &str) -> Result<()> {
        let network_config = Some(api::NetworkConfig { pod_cidr: cidr.to_owned() });
        let runtime_config = Some(api::RuntimeConfig { network_config });
        call!(self.connection.runtime, update_runtime_config, api::UpdateRuntimeConfigRequest { runtime_config });
        Ok(())
    }
    async fn run_sandbox(&self, config: &api::PodSandboxConfig, handler: &str) -> Result<String> {
        let r = api::RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: handler.to_owned() };
        Ok(call!(self.connection.runtime, run_pod_sandbox, r).pod_sandbox_id)
    }
    async fn stop_sandbox(&self, id: &str) -> Result<()> {
        call!(self.connection.runtime, stop_pod_sandbox, api::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() });
        Ok(())
    }
    async fn remove_sandbox(&self, id: &str) -> Result<()> {
        call!(self.connection.runtime, remove_pod_sandbox, api::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() });
        Ok(())
    }
    async fn list_sandboxes(&self, uid: &str) -> Result<Vec<api::PodSandbox>> {
        let filter = Some(api::PodSandboxFilter { label_selector: by_pod(uid), ..Default::default() });
        Ok(call!(self.connection.runtime, list_pod_sandbox, api::ListPodSandboxRequest { filter }).items)
    }
    async fn sandbox_status(&self, id: &str) -> Result<api::PodSandboxStatus> {
        let r = api::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false };
        call!(self.connection.runtime, pod_sandbox_status, r).status.ok_or_else(|| missing("a sandbox status"))
    }
    async fn create_container(&self, sandbox: &str, config: &api::ContainerConfig, of: &api::PodSandboxConfig) -> Result<String> {
        let r = api::CreateContainerRequest {
            pod_sandbox_id: sandbox.to_owned(),
            config: Some(config.clone()),
            sandbox_config: Some(of.clone()),
        };
        Ok(call!(self.connection.runtime, create_container, r).container_id)
    }
    async fn start_container(&self, id: &str) -> Result<()> {
        call!(self.connection.runtime, start_container, api::StartContainerRequest { container_id: id.to_owned() });
        Ok(())
    }
    async fn stop_container(&self, id: &str, grace: i64) -> Result<()> {
        call!(self.connection.runtime, stop_container, api::StopContainerRequest { container_id: id.to_owned(), timeout: grace });
        Ok(())
    }
    async fn remove_container(&self, id: &str) -> Result<()> {
        call!(self.connection.runtime, remove_container, api::RemoveContainerRequest { container_id: id.to_owned() });
        Ok(())
    }
    async fn list_containers(&self, uid: &str) -> Result<Vec<api::Container>> {
        let filter = Some(api::ContainerFilter { label_selector: by_pod(uid), ..Default::default() });
        Ok(call!(self.connection.runtime, list_containers, api::ListContainersRequest { filter }).containers)
    }
    async fn container_status(&self, id: &str) -> Result<api::ContainerStatus> {
        let r = api::ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
        call!(self.connection.runtime, container_status, r).status.ok_or_else(|| missing("a container status"))
    }
    async fn update_resources(&self, id: &str, linux: api::LinuxContainerResources) -> Result<()> {
        let r = api::UpdateContainerResourcesRequest { container_id: id.to_owned(), linux: Some(linux), ..Default::default() };
        call!(self.connection.runtime, update_container_resources, r);
        Ok(())
    }
    async fn exec_sync(&self, id: &str, command: &[String], timeout: Duration) -> Result<ExecOutput> {
        // Rounded up: the runtime counts whole seconds, and 0 means for ever.
        let seconds = i64::try_from(timeout.as_millis().div_ceil(1000)).unwrap_or(i64::MAX);
        let r = api::ExecSyncRequest { container_id: id.to_owned(), cmd: command.to_vec(), timeout: seconds };
        let out = call!(self.connection.runtime, exec_sync, r);
        Ok(ExecOutput { stdout: out.stdout, stderr: out.stderr, exit_code: out.exit_code })
    }
    async fn exec_url(&self, request: api::ExecRequest) -> Result<String> {
        Ok(call!(self.connection.runtime, exec, request).url)
    }
    async fn attach_url(&self, request: api::AttachRequest) -> Result<String> {
        Ok(call!(self.connection.runtime, attach, request).url)
    }
    async fn port_forward_url(&self, request: api::PortForwardRequest) -> Result<String> {
        Ok(call!(self.connection.runtime, port_forward, request).url)
    }
    async fn reopen_log(&self, id: &str) -> Result<()> {
        call!(self.connection.runtime, reopen_container_log, api::ReopenContainerLogRequest { container_id: id.to_owned() });
        Ok(())
    }
    async fn container_stats(&self) -> Result<Vec<api::ContainerStats>> {
        Ok(call!(self.connection.runtime, list_container_stats, api::ListContainerStatsRequest::default()).stats)
    }
    async fn sandbox_stats(&self) -> Result<Vec<api::PodSandboxStats>> {
        Ok(call!(self.connection.runtime, list_pod_sandbox_stats, api::ListPodSandboxStatsRequest::default()).stats)
    }
    async fn events(&self) -> Result<BoxStream<'static, Result<api::ContainerEventResponse>>> {
        let stream = call!(self.connection.runtime, get_container_events, api::GetEventsRequest::default());
        Ok(stream.map(|e| e.map_err(RuntimeError::from)).boxed())
    }
    async fn list_images(&self) -> Result<Vec<api::Image>> {
        Ok(call!(self.images.images, list_images, api::ListImagesRequest::default()).images)
    }
    async fn image_status(&self, image: &str) -> Result<Option<api::Image>> {
        let image = Some(api::ImageSpec { image: image.to_owned(), ..Default::default() });
        Ok(call!(self.images.images, image_status, api::ImageStatusRequest { image, verbose: false }).image)
    }
    async fn pull_image(&self, image: &str, auth: Option<api::AuthConfig>, of: &api::PodSandboxConfig) -> Result<String> {
        let image = Some(api::ImageSpec { image: image.to_owned(), ..Default::default() });
        let r = api::PullImageRequest { image, auth, sandbox_config: Some(of.clone()) };
        Ok(call!(self.images.images, pull_image, r).image_ref)
    }
    async fn remove_image(&self, image: &str) -> Result<()> {
        let image = Some(api::ImageSpec { image: image.to_owned(), ..Default::default() });
        call!(self.images.images, remove_image, api::RemoveImageRequest { image });
        Ok(())
    }
    async fn image_fs(&self) -> Result<api::ImageFsInfoResponse> {
        Ok(call!(self.images.images, image_fs_info, api::ImageFsInfoRequest::default()))
    }
}
