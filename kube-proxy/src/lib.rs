//! Services to nftables: verdict maps, changed incrementally over netlink in one transaction per sync.
//!
//! `model` says what the kernel should hold for each Service port, `plan` turns a change of that into operations, `kernel` carries
//! operations out on our own table, `proxy` watches Services and EndpointSlices and drives the three. `health_check` tells load
//! balancers which nodes have endpoints.

mod claims;
mod conntrack;
mod health_check;
mod kernel;
mod model;
mod plan;
mod proxy;
mod services;

pub use kernel::{Fixed, Kernel, Netlink, TABLE};
pub use model::ServicePort;
pub use plan::State;
pub use proxy::{Config, Proxy, build};

/// Why the kernel's tables could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{action}: {source}")]
    Netlink { action: &'static str, source: nlink::netlink::Error },
    #[error("{action}: {source}")]
    Io { action: String, source: std::io::Error },
    #[error("{0} is no name for a chain")]
    Name(String),
}

pub type Result<T> = std::result::Result<T, Error>;

/// Removes our tables and link from this network namespace.
pub fn remove() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| Error::Io { action: "start".into(), source })?;
    runtime.block_on(async {
        kernel::remove().await?;
        services::remove().await
    })
}
