//! The connection: both CRI services over one Unix socket.

use crate::v1::image_service_client::ImageServiceClient;
use crate::v1::runtime_service_client::RuntimeServiceClient;
use hyper_util::rt::TokioIo;
use std::path::PathBuf;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// What may be wrong with an endpoint. A socket that is not there (yet) is no error: the first call reports it.
#[derive(Debug, PartialEq, Eq)]
pub struct ConnectError(String);

impl std::fmt::Display for ConnectError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "container runtime endpoint {:?} is neither unix:///path nor an absolute path", self.0)
    }
}

impl std::error::Error for ConnectError {}

/// Largest message, as upstream's kubelet sets it: a list of many containers exceeds gRPC's default of 4 MiB.
const MAX_MESSAGE: usize = 16 << 20;

/// A container runtime: its two services. Clones share one HTTP/2 connection, made at the first call and made anew when it breaks.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// Sandboxes, containers, exec, stats, events.
    pub runtime: RuntimeServiceClient<Channel>,
    /// Images.
    pub images: ImageServiceClient<Channel>,
}

impl Runtime {
    /// A client for `unix:///path` or `/path`.
    pub fn connect(endpoint: &str) -> Result<Self, ConnectError> {
        let path = socket_path(endpoint)?;
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        }));
        Ok(Self {
            runtime: RuntimeServiceClient::new(channel.clone())
                .max_decoding_message_size(MAX_MESSAGE)
                .max_encoding_message_size(MAX_MESSAGE),
            images: ImageServiceClient::new(channel)
                .max_decoding_message_size(MAX_MESSAGE)
                .max_encoding_message_size(MAX_MESSAGE),
        })
    }
}

fn socket_path(endpoint: &str) -> Result<PathBuf, ConnectError> {
    let path = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
    if path.starts_with('/') { Ok(PathBuf::from(path)) } else { Err(ConnectError(endpoint.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        for (name, endpoint, want) in [
            ("url", "unix:///run/containerd/containerd.sock", Some("/run/containerd/containerd.sock")),
            ("path", "/run/crio/crio.sock", Some("/run/crio/crio.sock")),
            ("tcp", "tcp://127.0.0.1:1", None),
            ("relative", "unix://containerd.sock", None),
        ] {
            assert_eq!(socket_path(endpoint).ok(), want.map(PathBuf::from), "{name}");
        }
    }
}
