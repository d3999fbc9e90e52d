//! Routes from a node to the pods of the others, without translation: the range of each node is reached through that node's address,
//! as it is where the two share a link, and through a VXLAN tunnel where a router lies between.

mod kernel;
mod peers;
mod sync;
mod tunnel;

pub use kernel::{By, Kernel, Netlink, Own, Reach, Way, remove};
pub use sync::{Config, run};

/// Why the kernel's routes could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[error("{action}: {source}")]
pub struct Error {
    pub action: String,
    pub source: nlink::netlink::Error,
}

pub type Result<T> = std::result::Result<T, Error>;
