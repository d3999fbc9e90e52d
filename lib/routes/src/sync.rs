//! Watches Nodes and keeps the routes as they should be.

use crate::kernel::{By, Kernel, Netlink, Own, Reach, Way};
use crate::peers::{Peers, peers, range};
use crate::{Error, Result};
use client::k8s_openapi::api::core::v1::{Node, ObjectReference};
use client::{Client, Clock, EventType, InformerEvent, Informers, Recorder};
use futures::future::BoxFuture;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Links that go down take their routes with them; this often they are looked at without being asked to.
const RESYNC: Duration = Duration::from_secs(60);

/// Whose routes these are.
#[derive(Clone, Debug)]
pub struct Config {
    pub node_name: String,
    pub node_ip: Option<Ipv4Addr>,
}

/// Keeps the routes until `stop`; they stay after it, and a restart interrupts nothing.
pub fn run(config: Config, client: Client, kernel: Netlink, stop: CancellationToken) -> BoxFuture<'static, ()> {
    Box::pin(run_on(config, client, kernel, stop))
}

async fn run_on(config: Config, client: Client, mut kernel: impl Kernel, stop: CancellationToken) {
    let informers = Informers::new(client.clone());
    let nodes = informers.of::<Node>();
    let changed = Arc::new(Notify::new());
    let (wake, own) = (changed.clone(), config.node_name.clone());
    nodes.add_handler(move |e| {
        let differs = match e {
            // Heartbeats change no route.
            InformerEvent::Updated { old, new } => peers(&[(*old).clone()], "") != peers(&[(*new).clone()], ""),
            _ => true,
        };
        if differs {
            wake.notify_one();
        }
    });
    let work = async {
        nodes.synced().await;
        let recorder = Recorder::start(client, "skiff-routes", &own, Clock::System);
        let mut retry = client::retry::Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
        let mut told = BTreeSet::new();
        loop {
            let range = nodes.get("", &config.node_name).and_then(|n| range(&n));
            let own = Own { address: config.node_ip, range };
            let wait = match sync(own, &peers(&nodes.list(), &config.node_name), &mut kernel).await {
                Ok(beyond) => {
                    retry.reset();
                    report(&recorder, &config.node_name, &beyond, &mut told);
                    // Alone there is nothing to look after.
                    if nodes.len() > 1 { RESYNC } else { Duration::MAX }
                }
                Err(e) => {
                    tracing::warn!(error = %e, "routes to the pods of other nodes");
                    retry.step()
                }
            };
            let _ = tokio::time::timeout(wait, changed.notified()).await;
        }
    };
    tokio::select! { () = stop.cancelled() => {}, () = work => {} }
}

/// Tells once of each node that cannot be reached.
fn report(recorder: &Recorder, own: &str, beyond: &BTreeSet<String>, told: &mut BTreeSet<String>) {
    let reference = ObjectReference {
        kind: Some("Node".into()),
        name: Some(own.to_owned()),
        uid: Some(own.to_owned()),
        ..Default::default()
    };
    for message in beyond.difference(told) {
        tracing::error!(message, "no route to the pods of another node");
        recorder.event(&reference, EventType::Warning, "NoRoute", message.clone());
    }
    *told = beyond.clone();
}

/// Sets what is missing or different, removes what is stale. Answers why which nodes have no route; one that fails does not keep the
/// others from theirs.
async fn sync(own: Own, peers: &Peers, kernel: &mut impl Kernel) -> Result<BTreeSet<String>> {
    let mut stale = kernel.ours().await?;
    let mut tunnelled = stale.values().any(|w| w.by == By::Tunnel);
    let mut beyond = BTreeSet::new();
    let mut failure: Option<Error> = None;
    for (name, (range, address)) in peers {
        let (by, link) = match kernel.reach(*address).await {
            Ok(Reach::Link(link)) => (By::Link, link),
            Ok(Reach::Router(_, link)) => (By::Tunnel, link),
            Ok(Reach::Local) => {
                beyond.insert(format!("node {name} reports {address}, which is an address of this machine"));
                continue;
            }
            Err(e) => {
                failure = Some(e);
                continue;
            }
        };
        let way = Way { node: *address, by };
        let former = stale.remove(range);
        // Until this node's own range is known it has no address for the tunnel; a change of its Node comes with it.
        let early = by == By::Tunnel && own.range.is_none();
        if former == Some(way) || early {
            continue;
        }
        if let Some(former) = former.filter(|f| f.by != by) {
            // Routes by different links stand beside each other else.
            kernel.delete(*range, former).await?;
        }
        tunnelled |= by == By::Tunnel;
        if let Err(e) = kernel.set(*range, way, link, own).await {
            if by == By::Tunnel {
                beyond.insert(format!("node {name} ({address}) lies beyond a router, and there is no tunnel to it: {e}"));
            }
            failure = Some(e);
        }
    }
    for (range, way) in stale {
        kernel.delete(range, way).await?;
    }
    if tunnelled && !kernel.ours().await?.values().any(|w| w.by == By::Tunnel) && failure.is_none() {
        kernel.close_tunnel().await?;
    }
    match failure {
        // What is said of a node is said even though the rest is tried again.
        Some(e) if beyond.is_empty() => Err(e),
        _ => Ok(beyond),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipnet::Ipv4Net;
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    #[derive(Default)]
    struct Table(BTreeMap<Ipv4Net, Way>, Vec<String>);

    #[async_trait::async_trait]
    impl Kernel for Table {
        async fn ours(&mut self) -> Result<BTreeMap<Ipv4Net, Way>> {
            Ok(self.0.clone())
        }
        /// 192.0.2.0/24 is the link, 192.0.2.1 ourselves, the rest lies behind a router.
        async fn reach(&mut self, address: Ipv4Addr) -> Result<Reach> {
            Ok(match address.octets() {
                [192, 0, 2, 1] => Reach::Local,
                [192, 0, 2, _] => Reach::Link(7),
                _ => Reach::Router(Ipv4Addr::new(192, 0, 2, 254).into(), 7),
            })
        }
        async fn set(&mut self, range: Ipv4Net, way: Way, link: u32, _: Own) -> Result<()> {
            self.1.push(format!("set {range} via {} by {:?} on {link}", way.node, way.by));
            self.0.insert(range, way);
            Ok(())
        }
        async fn delete(&mut self, range: Ipv4Net, _: Way) -> Result<()> {
            self.1.push(format!("delete {range}"));
            self.0.remove(&range);
            Ok(())
        }
        async fn close_tunnel(&mut self) -> Result<()> {
            self.1.push("close".into());
            Ok(())
        }
    }

    #[tokio::test]
    async fn routes_follow_nodes() {
        let own = Own { address: None, range: "10.244.0.0/24".parse().ok() };
        let mut table = Table::default();
        let (b, c) = ("10.244.1.0/24", "10.244.2.0/24");
        for (name, peers, done, beyond) in [
            ("none", &[][..], &[][..], 0),
            ("one", &[("b", b, "192.0.2.2")], &["set 10.244.1.0/24 via 192.0.2.2 by Link on 7"], 0),
            ("the same", &[("b", b, "192.0.2.2")], &[], 0),
            ("moved", &[("b", b, "192.0.2.3")], &["set 10.244.1.0/24 via 192.0.2.3 by Link on 7"], 0),
            (
                "another behind a router",
                &[("b", b, "192.0.2.3"), ("c", c, "198.51.100.1")],
                &["set 10.244.2.0/24 via 198.51.100.1 by Tunnel on 7"],
                0,
            ),
            ("it goes", &[("b", b, "192.0.2.3")], &["delete 10.244.2.0/24", "close"], 0),
            (
                "gone behind a router",
                &[("b", b, "198.51.100.2")],
                &["delete 10.244.1.0/24", "set 10.244.1.0/24 via 198.51.100.2 by Tunnel on 7"],
                0,
            ),
            ("ourselves", &[("b", b, "192.0.2.1")], &["delete 10.244.1.0/24", "close"], 1),
        ] {
            let peers: Peers = peers
                .iter()
                .map(|(n, r, a)| ((*n).to_owned(), (r.parse().expect("a net"), a.parse().expect("an address"))))
                .collect();
            table.1.clear();
            let said = sync(own, &peers, &mut table).await.expect("syncs");
            assert_eq!(
                (table.1.as_slice(), said.len()),
                (&*done.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>(), beyond),
                "{name}"
            );
        }
    }
}
