//! The node agent: pod workers over CRI, volumes, probes, the node's HTTPS server.
//!
//! [`build`] makes a [`Kubelet`] of a [`Config`] and a client; [`Kubelet::run`] runs it. One task per pod ([`pod::worker`]) owns the
//! pod's life here, woken by the API, the runtime's events, probes and timers.

mod admission;
pub mod certificates;
mod cgroups;
pub mod config;
mod config_file;
mod context;
mod credentials;
mod dispatch;
mod eviction;
mod file_changes;
mod image_gc;
mod image_name;
mod images;
mod kubelet;
mod local_storage;
mod logs;
mod node;
mod objects;
mod orphans;
mod pod;
mod probes;
pub mod runtime;
mod server;
mod static_pods;
#[cfg(test)]
mod testing;
mod volumes;

pub use config::{Config, ConfigError, KubeletConfiguration};
pub use kubelet::{Kubelet, StartError, build};
