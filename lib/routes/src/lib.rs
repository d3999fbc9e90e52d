//! Routes from a node to the pods of the others: the range of each node is reached through that node's address, without a tunnel and
//! without translation. That needs nodes on one link; to a node beyond a router there is no route, and an event says so.

mod kernel;
mod peers;
mod sync;

pub use kernel::{Kernel, Netlink, Reach, remove};
pub use sync::{Config, run};

/// Why the kernel's routes could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[error("{action}: {source}")]
pub struct Error {
    pub action: String,
    pub source: nlink::netlink::Error,
}

pub type Result<T> = std::result::Result<T, Error>;
