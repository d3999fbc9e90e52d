//! The default pod network: a CNI plugin that gives each pod a point-to-point link to its node, and the files that tell the
//! runtime of it.
//!
//! A pod's `eth0` has its address alone (/32) and reaches everything through 169.254.1.1, which is the node's end of the link;
//! the node has one route per pod. There is no bridge, so every packet between pods is routed and seen by nftables, a pod reaches
//! itself through its Service like any other, and no kernel setting about bridges matters. The routes are the address book too:
//! an address is taken while a route of ours leads to it, so nothing is left behind when a pod's link goes.

pub mod config;
mod host_ports;
mod install;
mod ipam;
mod loopback;
mod plugin;
mod pod_link;

pub use config::Config;
pub use install::{Network, PLUGIN, install, remove};
pub use plugin::{main, result_error};

/// Why the plugin failed, as the CNI specification numbers it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("incompatible CNI version {0:?}")]
    Version(String),
    #[error("invalid environment: {0}")]
    Environment(String),
    #[error("cannot decode the network configuration: {0}")]
    Decode(String),
    #[error("{0}")]
    Config(String),
    #[error("no address is left in {0}")]
    Exhausted(ipnet::Ipv4Net),
    #[error("{action}: {source}")]
    Netlink { action: &'static str, source: nlink::netlink::Error },
    #[error("{action}: {source}")]
    Io { action: String, source: std::io::Error },
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Error codes of the specification; 100 and above are ours.
    pub fn code(&self) -> u32 {
        match self {
            Self::Version(_) => 1,
            Self::Environment(_) => 4,
            Self::Io { .. } => 5,
            Self::Decode(_) => 6,
            Self::Config(_) => 7,
            Self::Exhausted(_) => 100,
            Self::Netlink { .. } => 101,
        }
    }
}
