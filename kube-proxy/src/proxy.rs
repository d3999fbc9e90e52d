//! Watches Services and EndpointSlices and keeps the kernel in step: what changed since the last sync goes into one transaction.

use crate::conntrack;
use crate::health_check::HealthChecks;
use crate::kernel::{Fixed, Kernel, Netlink};
use crate::model::{Place, health_check, service_ports};
use crate::plan::{Op, State};
use crate::{Result, services};
use client::k8s_openapi::api::core::v1::{Node, Service};
use client::k8s_openapi::api::discovery::v1::EndpointSlice;
use client::{Client, Informer, InformerEvent, Informers, ListOptions, Object, key_of};
use futures::future::BoxFuture;
use ipnet::Ipv4Net;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// What the proxy is told; names as in upstream's KubeProxyConfiguration where there is one.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// `hostnameOverride`.
    pub node_name: String,
    pub node_ip: Option<Ipv4Addr>,
    /// `clusterCIDR`.
    pub cluster_cidr: Option<Ipv4Net>,
    /// The Service range: gets a route on this node.
    pub service_cidr: Option<Ipv4Net>,
    /// Cluster IPs that a process on this node serves itself; their Services are left alone.
    pub own_service_ips: Vec<Ipv4Addr>,
    /// Pods reach the world outside under the node's address.
    pub masquerade_pods: bool,
}

#[derive(Default)]
struct Dirty {
    services: Mutex<BTreeSet<String>>,
    wake: Notify,
}

impl Dirty {
    fn add(&self, key: String) {
        self.services.lock().insert(key);
        self.wake.notify_one();
    }
}

/// The proxy of one node.
pub struct Proxy {
    config: Config,
    services: Arc<Informer<Service>>,
    slices: Arc<Informer<EndpointSlice>>,
    /// This node alone, for its zone.
    node: Arc<Informer<Node>>,
    dirty: Arc<Dirty>,
    synced: watch::Sender<bool>,
    /// Dropping it would stop the watches.
    _informers: Informers,
}

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const BY_SERVICE: &str = "service";
const ZONE: &str = "topology.kubernetes.io/zone";

fn service_of(slice: &EndpointSlice) -> Option<String> {
    Some(key_of(slice.namespace(), slice.label(SERVICE_NAME)?))
}

/// A proxy that watches with `client`.
pub fn build(config: Config, client: &Client) -> Proxy {
    let informers = Informers::new(client.with_user_agent("kube-proxy/v1.36.3"));
    let services = informers.of::<Service>();
    // Headless Services' slices carry a label that keeps them away from proxies.
    let options = ListOptions { label_selector: "!service.kubernetes.io/headless".into(), ..ListOptions::default() };
    let slices = informers.with::<EndpointSlice>("", options);
    slices.add_index(BY_SERVICE, |s| service_of(s).into_iter().collect());
    let dirty = Arc::new(Dirty::default());
    let d = dirty.clone();
    services.add_handler(move |e| match e {
        InformerEvent::Added(o) | InformerEvent::Updated { new: o, .. } | InformerEvent::Deleted(o) => d.add(o.key()),
    });
    let d = dirty.clone();
    slices.add_handler(move |e| match e {
        InformerEvent::Added(o) | InformerEvent::Deleted(o) => service_of(o).into_iter().for_each(|k| d.add(k)),
        InformerEvent::Updated { old, new } => service_of(old).into_iter().chain(service_of(new)).for_each(|k| d.add(k)),
    });
    let field_selector = format!("metadata.name={}", config.node_name);
    let node = informers.with::<Node>("", ListOptions { field_selector, ..ListOptions::default() });
    let (d, all) = (dirty.clone(), services.clone());
    let zone = |n: &Node| n.label(ZONE).map(str::to_owned);
    node.add_handler(move |e| {
        let moved = match e {
            InformerEvent::Added(n) | InformerEvent::Deleted(n) => zone(n).is_some(),
            InformerEvent::Updated { old, new } => zone(old) != zone(new),
        };
        if moved {
            all.list().iter().for_each(|s| d.add(s.key()));
        }
    });
    Proxy { config, services, slices, node, dirty, synced: watch::Sender::new(false), _informers: informers }
}

impl Proxy {
    /// True once the kernel holds every Service that the first list told of.
    pub fn synced(&self) -> watch::Receiver<bool> {
        self.synced.subscribe()
    }

    /// Runs until `stop`. The kernel keeps what it holds: a restart interrupts nothing.
    pub fn run(self, kernel: Netlink, stop: CancellationToken) -> BoxFuture<'static, Result<()>> {
        Box::pin(self.run_on(kernel, stop))
    }

    async fn run_on(self, mut kernel: impl Kernel, stop: CancellationToken) -> Result<()> {
        services::sysctls()?;
        if let Some(range) = self.config.service_cidr {
            services::ensure(range, self.config.node_ip, &self.config.own_service_ips).await?;
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = async { self.services.synced().await; self.slices.synced().await; } => {}
        }
        let mut retry = client::retry::Backoff::new(Duration::from_millis(100), Duration::from_secs(30));
        let mut state: Option<State> = None;
        let mut checks = HealthChecks::default();
        loop {
            let outcome = self.sync(&mut kernel, &mut state, &mut checks).await;
            let pause = match outcome {
                Ok(()) => {
                    retry.reset();
                    self.synced.send_replace(true);
                    None
                }
                Err(e) => {
                    tracing::error!(error = %e, "cannot change the data path; it will be made anew");
                    state = None;
                    Some(retry.step())
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.dirty.wake.notified(), if pause.is_none() => {}
                () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => {}
            }
        }
    }

    /// Brings the kernel in step with the informers: all of it the first time and after an error, then what is dirty.
    async fn sync(&self, kernel: &mut impl Kernel, state: &mut Option<State>, checks: &mut HealthChecks) -> Result<()> {
        let mut names = std::mem::take(&mut *self.dirty.services.lock());
        if state.is_none() {
            let fixed = Fixed {
                cluster_cidr: self.config.cluster_cidr,
                service_cidr: self.config.service_cidr,
                masquerade_pods: self.config.masquerade_pods,
            };
            kernel.reset(&fixed).await?;
            names.extend(self.services.list().iter().map(|s| s.key()));
        }
        let current = state.get_or_insert_with(|| State::new(self.config.cluster_cidr));
        let node = self.node.list().into_iter().next();
        let zone = node.as_ref().and_then(|n| n.label(ZONE)).unwrap_or("");
        let here = Place { node: &self.config.node_name, zone };
        let mut wanted = Vec::new();
        let mut stale = Vec::new();
        for name in names {
            let mut known: BTreeSet<String> = current.names_of(&name).into_iter().collect();
            let service = self.services.get_key(&name);
            let slices = self.slices.by_index(BY_SERVICE, &name);
            let check = service.as_ref().and_then(|s| health_check(s, &slices, here.node));
            checks.set(&name, check).await;
            let ports = service.map(|s| service_ports(&s, &slices, here));
            for (port_name, port) in ports.unwrap_or_default() {
                if port.cluster_ip.is_some_and(|ip| self.config.own_service_ips.contains(&ip)) {
                    continue;
                }
                let key = format!("{name}:{port_name}");
                known.remove(&key);
                stale.extend(conntrack::stale(current.get(&key), Some(&port)));
                wanted.push((key, Some(port)));
            }
            for gone in known {
                stale.extend(conntrack::stale(current.get(&gone), None));
                wanted.push((gone, None));
            }
        }
        let mut ops: Vec<Op> = current.change(wanted);
        if ops.is_empty() {
            return Ok(());
        }
        // Elements last: for each rule that looks something up in a map, the kernel walks what the map then holds, which at a start
        // would be the endpoints of all Services before it. And an address that goes from one Service to another is free by then.
        ops.sort_by_key(|op| matches!(op, Op::Add(_)));
        let result = kernel.apply(&ops).await;
        if result.is_ok()
            && let Err(e) = kernel.forget_flows(&stale).await
        {
            tracing::warn!(error = %e, "stale flows were not deleted");
        }
        result
    }
}
