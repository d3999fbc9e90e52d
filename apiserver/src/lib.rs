//! The Kubernetes API server: HTTP front, handlers, admission, streaming proxies.
//!
//! [`build`] makes a server over a store; [`ApiServer::handle`] answers a request, whether it came over TLS ([`ApiServer::serve`])
//! or from a component of the same process ([`transport`]).

pub mod admission;
mod aggregation;
mod bootstrap;
pub mod config;
mod context;
mod discovery;
mod extensions;
mod flow_control;
mod handle;
mod health;
pub mod http;
mod inprocess;
mod metrics;
mod objects;
mod openapi;
mod outbound;
mod registry;
mod resources;
mod router;
mod serve;
mod server;
mod services;
mod startup;
mod subresources;
mod version;
mod webhook;

pub use config::{AuthorizationMode, Config};
pub use handle::PeerCertificates;
pub use inprocess::transport;
pub use resources::serves;
pub use server::ApiServer;
pub use startup::{admission_plugins, build};
pub use version::GIT_VERSION;
