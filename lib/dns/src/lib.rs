//! Cluster DNS for Services and pods, served on the node itself: no pods, an index kept by informers, one task per socket.
//!
//! Names and answers follow the Kubernetes DNS specification 1.1.0 and, where it is silent, CoreDNS's `kubernetes` plugin with
//! `pods insecure` and a TTL of 30 seconds. Everything outside of the cluster domain goes to the node's resolvers.

mod answer;
mod forward;
mod index;
mod informed;
mod resolv_conf;
mod serve;
mod socket;
mod wire;

pub use index::Index;
pub use resolv_conf::nameservers;

use answer::Zone;
use client::{Client, Informers};
use forward::Forwarder;
use futures::future::BoxFuture;
use parking_lot::RwLock;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Version of the naming schema, as `dns-version` tells it.
pub const SCHEMA_VERSION: &str = "1.1.0";

/// What the server is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen, each for UDP and TCP. The addresses need not exist yet.
    pub addresses: Vec<SocketAddr>,
    /// The cluster domain, without a dot at its end.
    pub domain: String,
    /// Resolvers for names outside of the cluster; without any, such names do not exist.
    pub upstreams: Vec<SocketAddr>,
    /// Most queries that wait for resolvers at a time; more are refused with SERVFAIL.
    pub max_forwards: usize,
}

impl Config {
    /// The usual configuration: `cluster.local`, and the resolvers that `/etc/resolv.conf` names, less ourselves.
    pub fn new(addresses: Vec<SocketAddr>) -> Self {
        let mut upstreams = nameservers(Path::new("/etc/resolv.conf"));
        upstreams.retain(|u| !addresses.contains(u));
        Self { addresses, domain: "cluster.local".into(), upstreams, max_forwards: 256 }
    }
}

/// Why the server cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cluster domain {domain:?} is not a name: {reason}")]
    Domain { domain: String, reason: String },
}

/// A server that is built but not yet listening.
pub struct Server {
    addresses: Vec<SocketAddr>,
    resolver: Arc<serve::Resolver>,
    /// Kept: dropping the last clone stops the informers.
    _informers: Option<Informers>,
}

/// Builds a server with informers of its own.
pub fn build(config: Config, client: Client) -> Result<Server, Error> {
    build_shared(config, Informers::new(client))
}

/// Builds a server on informers that other components of the process use too. Must run inside a tokio runtime.
pub fn build_shared(config: Config, informers: Informers) -> Result<Server, Error> {
    let index = informed::keep(&informers);
    let mut server = with_index(config, index)?;
    server._informers = Some(informers);
    Ok(server)
}

/// Builds a server on an index that somebody else keeps.
pub fn with_index(config: Config, index: Arc<RwLock<Index>>) -> Result<Server, Error> {
    let own = config.addresses.iter().map(SocketAddr::ip).collect();
    let zone = Zone::new(&config.domain, own, index)
        .map_err(|e| Error::Domain { domain: config.domain.clone(), reason: e.to_string() })?;
    let upstreams = config.upstreams.iter().filter(|u| !config.addresses.contains(u)).copied().collect();
    let forwarder = Forwarder::new(upstreams, config.max_forwards);
    Ok(Server { addresses: config.addresses, resolver: Arc::new(serve::Resolver { zone, forwarder }), _informers: None })
}

impl Server {
    /// Answers queries until `shutdown`. An address that cannot be bound is tried again, ever more slowly.
    pub fn run(self, shutdown: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(self.run_until(shutdown))
    }

    async fn run_until(self, shutdown: CancellationToken) {
        let mut tasks = tokio::task::JoinSet::new();
        for address in self.addresses {
            tasks.spawn(serve::udp(address, self.resolver.clone()));
            tasks.spawn(serve::tcp(address, self.resolver.clone()));
        }
        shutdown.cancelled().await;
        tasks.shutdown().await;
    }
}
