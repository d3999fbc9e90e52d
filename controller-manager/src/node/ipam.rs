//! A range of pod addresses for each node, out of the cluster's (pkg/controller/nodeipam, range allocator).

use crate::manager::forever;
use crate::{Context, Result, synced};
use client::{EventType, InformerEvent, Object, Patch, WorkQueue, reference_to};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use parking_lot::Mutex;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;

/// One cluster range, cut into node ranges.
struct Pool {
    range: IpNet,
    mask: u8,
    taken: BTreeSet<u128>,
    next: u128,
}

impl Pool {
    fn new(range: IpNet, mask: u8) -> Self {
        Self { range: range.trunc(), mask, taken: BTreeSet::new(), next: 0 }
    }
    fn bits(&self) -> u8 {
        self.range.max_prefix_len()
    }
    fn size(&self) -> u128 {
        1u128 << (self.mask - self.range.prefix_len()).min(127)
    }
    fn base(&self) -> u128 {
        match self.range.network() {
            std::net::IpAddr::V4(a) => u128::from(u32::from(a)),
            std::net::IpAddr::V6(a) => u128::from(a),
        }
    }
    fn nth(&self, n: u128) -> Option<IpNet> {
        let address = self.base() + (n << (self.bits() - self.mask));
        let ip: std::net::IpAddr = match self.range {
            IpNet::V4(_) => std::net::Ipv4Addr::from(u32::try_from(address).ok()?).into(),
            IpNet::V6(_) => std::net::Ipv6Addr::from(address).into(),
        };
        IpNet::new(ip, self.mask).ok()
    }
    /// The number of a node range, if it is one of ours.
    fn index(&self, net: &IpNet) -> Option<u128> {
        if !self.range.contains(net) || net.prefix_len() < self.mask {
            return None;
        }
        let address = match net.network() {
            std::net::IpAddr::V4(a) => u128::from(u32::from(a)),
            std::net::IpAddr::V6(a) => u128::from(a),
        };
        Some((address - self.base()) >> (self.bits() - self.mask))
    }
    /// The next free range, going round.
    fn allocate(&mut self) -> Option<IpNet> {
        let size = self.size();
        if self.taken.len() as u128 >= size {
            return None;
        }
        let mut n = self.next % size;
        while self.taken.contains(&n) {
            n = (n + 1) % size;
        }
        self.taken.insert(n);
        self.next = n + 1;
        self.nth(n)
    }
}

fn ranges(n: &Node) -> Vec<IpNet> {
    let Some(s) = &n.spec else { return Vec::new() };
    let all = s.pod_cidrs.iter().flatten().chain(s.pod_cidr.as_ref().filter(|_| s.pod_cidrs.is_none()));
    all.filter_map(|c| c.parse().ok()).collect()
}

/// Parses `--cluster-cidr`.
pub fn parse(config: &crate::Config) -> std::result::Result<Vec<(IpNet, u8)>, String> {
    let parts = config.cluster_cidr.split(',').map(str::trim).filter(|s| !s.is_empty());
    parts
        .map(|text| {
            let net: IpNet = text.parse().map_err(|_| format!("{text:?} is not a CIDR"))?;
            let mask = if net.addr().is_ipv4() { config.node_cidr_mask_size_ipv4 } else { config.node_cidr_mask_size_ipv6 };
            if mask < net.prefix_len() || mask > net.max_prefix_len() {
                return Err(format!("node mask size /{mask} does not fit into {text}"));
            }
            Ok((net, mask))
        })
        .collect()
}

pub async fn run(ctx: Context) {
    if !ctx.config.allocate_node_cidrs {
        return;
    }
    // Checked when the manager was built.
    let pools: Vec<Pool> = parse(&ctx.config).unwrap_or_default().into_iter().map(|(r, m)| Pool::new(r, m)).collect();
    let pools = Arc::new(Mutex::new(pools));
    let nodes = ctx.informers.of::<Node>();
    let queue = WorkQueue::new();
    let (q, p) = (queue.clone(), pools.clone());
    nodes.add_handler(move |e| match e {
        InformerEvent::Added(n) | InformerEvent::Updated { new: n, .. } => {
            let held = ranges(n);
            if held.is_empty() {
                q.add(n.name().to_owned());
            }
            for pool in p.lock().iter_mut() {
                let indexes: Vec<u128> = held.iter().filter_map(|net| pool.index(net)).collect();
                pool.taken.extend(indexes);
            }
        }
        InformerEvent::Deleted(n) => {
            for pool in p.lock().iter_mut() {
                for i in ranges(n).iter().filter_map(|net| pool.index(net)).collect::<Vec<_>>() {
                    pool.taken.remove(&i);
                }
            }
        }
    });
    synced!(nodes);
    let recorder = ctx.recorder("cidrAllocator");
    forever(queue.run("node-ipam", 1, move |name: String| {
        let (ctx, nodes, pools, recorder) = (ctx.clone(), nodes.clone(), pools.clone(), recorder.clone());
        async move {
            let Some(n) = nodes.get("", &name).filter(|n| ranges(n).is_empty() && !n.is_terminating()) else {
                return Result::Ok(());
            };
            let chosen: Option<Vec<IpNet>> = pools.lock().iter_mut().map(Pool::allocate).collect();
            let Some(chosen) = chosen.filter(|c| !c.is_empty()) else {
                let m = format!("Node {name} status is now: CIDRNotAvailable");
                recorder.event(&reference_to(&*n), EventType::Normal, "CIDRNotAvailable", m);
                return Err(crate::Error::other(
                    "CIDR allocation failed; there are no remaining CIDRs left to allocate in the accepted range",
                ));
            };
            let texts: Vec<String> = chosen.iter().map(ToString::to_string).collect();
            let patch = Patch::Strategic(json!({"spec": {"podCIDR": texts.first(), "podCIDRs": texts}}));
            let result = ctx.client.patch::<Node>("", &name, &patch).await;
            if result.is_err() {
                let mut pools = pools.lock();
                for (pool, net) in pools.iter_mut().zip(&chosen) {
                    if let Some(i) = pool.index(net) {
                        pool.taken.remove(&i);
                    }
                }
            }
            match result {
                Err(e) if !e.is_not_found() => Err(e.into()),
                _ => Ok(()),
            }
        }
    }))
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_given_once() {
        let mut p = Pool::new("10.244.0.0/22".parse().expect("net"), 24);
        p.taken.insert(1);
        let all: Vec<String> = std::iter::from_fn(|| p.allocate()).map(|n| n.to_string()).collect();
        assert_eq!(all, ["10.244.0.0/24", "10.244.2.0/24", "10.244.3.0/24"]);
        p.taken.remove(&2);
        assert_eq!(p.allocate().map(|n| n.to_string()).as_deref(), Some("10.244.2.0/24"));
        let mut six = Pool::new("fd00::/48".parse().expect("net"), 64);
        six.allocate();
        assert_eq!(six.allocate().map(|n| n.to_string()).as_deref(), Some("fd00:0:0:1::/64"));
    }
}
