//! Watches Nodes and keeps the routes as they should be.

use crate::kernel::{Kernel, Netlink, Reach};
use crate::peers::{Peers, peers};
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
            let wait = match sync(&config, &peers(&nodes.list(), &config.node_name), &mut kernel).await {
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

/// Tells once of each node that cannot be reached directly.
fn report(recorder: &Recorder, own: &str, beyond: &BTreeSet<String>, told: &mut BTreeSet<String>) {
    let reference = ObjectReference {
        kind: Some("Node".into()),
        name: Some(own.to_owned()),
        uid: Some(own.to_owned()),
        ..Default::default()
    };
    for message in beyond.difference(told) {
        tracing::error!(message, "no route to the pods of another node");
        recorder.event(&reference, EventType::Warning, "NoDirectRoute", message.clone());
    }
    *told = beyond.clone();
}

/// Sets what is missing or different, removes what is stale. Answers why which nodes have no route; one that fails does not keep the
/// others from theirs.
async fn sync(config: &Config, peers: &Peers, kernel: &mut impl Kernel) -> Result<BTreeSet<String>> {
    let mut stale = kernel.ours().await?;
    let mut beyond = BTreeSet::new();
    let mut failure: Option<Error> = None;
    for (name, (range, address)) in peers {
        match kernel.reach(*address).await {
            Ok(Reach::Link(link)) => {
                if stale.remove(range) != Some(*address)
                    && let Err(e) = kernel.set(*range, *address, link, config.node_ip).await
                {
                    failure = Some(e);
                }
            }
            Ok(Reach::Router(router)) => {
                beyond.insert(format!(
                    "node {name} ({address}) is reached through the router {router}: pods of nodes on different links cannot \
                     reach each other, since tunnels (VXLAN) are not built; give --node-ip an address on a link that all nodes share"
                ));
            }
            Ok(Reach::Local) => {
                beyond.insert(format!("node {name} reports {address}, which is an address of this machine"));
            }
            Err(e) => failure = Some(e),
        }
    }
    for (range, gateway) in stale {
        kernel.delete(range, gateway).await?;
    }
    failure.map_or(Ok(beyond), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipnet::Ipv4Net;
    use std::collections::BTreeMap;

    #[derive(Default)]
    struct Table(BTreeMap<Ipv4Net, Ipv4Addr>, Vec<String>);

    #[async_trait::async_trait]
    impl Kernel for Table {
        async fn ours(&mut self) -> Result<BTreeMap<Ipv4Net, Ipv4Addr>> {
            Ok(self.0.clone())
        }
        /// 192.0.2.0/24 is the link, 192.0.2.1 ourselves, the rest lies behind a router.
        async fn reach(&mut self, address: Ipv4Addr) -> Result<Reach> {
            Ok(match address.octets() {
                [192, 0, 2, 1] => Reach::Local,
                [192, 0, 2, _] => Reach::Link(7),
                _ => Reach::Router(Ipv4Addr::new(192, 0, 2, 254).into()),
            })
        }
        async fn set(&mut self, range: Ipv4Net, gateway: Ipv4Addr, link: u32, _: Option<Ipv4Addr>) -> Result<()> {
            self.1.push(format!("set {range} via {gateway} on {link}"));
            self.0.insert(range, gateway);
            Ok(())
        }
        async fn delete(&mut self, range: Ipv4Net, _: Ipv4Addr) -> Result<()> {
            self.1.push(format!("delete {range}"));
            self.0.remove(&range);
            Ok(())
        }
    }

    #[tokio::test]
    async fn routes_follow_nodes() {
        let config = Config { node_name: "a".into(), node_ip: None };
        let mut table = Table::default();
        for (name, peers, done, beyond) in [
            ("none", &[][..], &[][..], 0),
            ("one", &[("b", "10.244.1.0/24", "192.0.2.2")], &["set 10.244.1.0/24 via 192.0.2.2 on 7"], 0),
            ("the same", &[("b", "10.244.1.0/24", "192.0.2.2")], &[], 0),
            ("moved", &[("b", "10.244.1.0/24", "192.0.2.3")], &["set 10.244.1.0/24 via 192.0.2.3 on 7"], 0),
            ("another behind a router", &[("b", "10.244.1.0/24", "192.0.2.3"), ("c", "10.244.2.0/24", "198.51.100.1")], &[], 1),
            ("gone behind a router", &[("b", "10.244.1.0/24", "198.51.100.2")], &["delete 10.244.1.0/24"], 1),
            ("ourselves", &[("b", "10.244.1.0/24", "192.0.2.1")], &[], 1),
        ] {
            let peers: Peers = peers
                .iter()
                .map(|(n, r, a)| ((*n).to_owned(), (r.parse().expect("a net"), a.parse().expect("an address"))))
                .collect();
            table.1.clear();
            let said = sync(&config, &peers, &mut table).await.expect("syncs");
            assert_eq!(
                (table.1.as_slice(), said.len()),
                (&*done.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>(), beyond),
                "{name}"
            );
        }
    }
}
