//! Stale flows. UDP has no end of its own: a client that keeps sending keeps the flow to an endpoint that is gone, so the tracked
//! flow is deleted when the endpoint goes, or when a Service that had none gets its first.

use crate::model::{Endpoint, ServicePort};
use crate::{Error, Result};
use nlink::netlink::netfilter::{ConntrackFilter, IpProtocol};
use nlink::netlink::{Connection, Netfilter};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// UDP flows to an address and port (`None`: the port on any address), answered by `reply_from` (`None`: by anybody).
#[derive(Clone, Debug, PartialEq)]
pub struct Stale {
    pub to: Option<Ipv4Addr>,
    pub port: u16,
    pub reply_from: Option<Endpoint>,
}

const UDP: u8 = 17;

/// The flows that a change of a Service port makes stale. A cluster IP and the external addresses may have different endpoints.
pub fn stale(old: Option<&ServicePort>, new: Option<&ServicePort>) -> Vec<Stale> {
    let Some(port) = old.or(new).filter(|p| p.protocol == UDP) else { return Vec::new() };
    let gone = |reach: &dyn Fn(&ServicePort) -> BTreeSet<Endpoint>| -> Vec<Option<Endpoint>> {
        let [before, after] = [old, new].map(|p| p.map(reach).unwrap_or_default());
        if before.is_empty() && !after.is_empty() {
            return vec![None];
        }
        before.difference(&after).map(|e| Some(*e)).collect()
    };
    let inside = gone(&|p| p.internal().clone());
    let outside = gone(&|p| if p.external_local { &p.endpoints | &p.local_endpoints } else { p.endpoints.clone() });
    let at = |to: Option<Ipv4Addr>, port: u16, replies: &[Option<Endpoint>]| {
        replies.iter().map(|r| Stale { to, port, reply_from: *r }).collect::<Vec<_>>()
    };
    let mut out: Vec<Stale> = port.cluster_ip.iter().flat_map(|ip| at(Some(*ip), port.port, &inside)).collect();
    out.extend(port.external_ips.iter().flat_map(|ip| at(Some(*ip), port.port, &outside)));
    if port.node_port != 0 {
        out.extend(at(None, port.node_port, &outside));
    }
    out
}

/// Deletes such flows.
pub async fn forget(stale: &[Stale]) -> Result<()> {
    if stale.is_empty() {
        return Ok(());
    }
    let nl = |action, source| Error::Netlink { action, source };
    let ct = Connection::<Netfilter>::new().map_err(|e| nl("open netlink", e))?;
    for s in stale {
        let mut f = ConntrackFilter::new().proto(IpProtocol::Udp).orig_dst_port(s.port);
        if let Some(ip) = s.to {
            f = f.orig_dst(ip);
        }
        if let Some((ip, port)) = s.reply_from {
            f = f.reply_src(ip).reply_src_port(port);
        }
        ct.del_conntrack_matching(&f).await.map_err(|e| nl("delete stale flows", e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_flows_are_stale() {
        let port = |protocol: u8, endpoints: &[&str]| ServicePort {
            protocol,
            port: 53,
            cluster_ip: "10.96.0.9".parse().ok(),
            node_port: 30053,
            endpoints: endpoints.iter().map(|e| (e.parse().expect("an address"), 5353)).collect(),
            ..ServicePort::default()
        };
        let here = |all: &[&str], here: &[&str]| {
            Some(ServicePort { internal_local: true, local_endpoints: port(17, here).endpoints, ..port(17, all) })
        };
        for (name, old, new, want) in [
            (
                "traffic that stays here: the one here goes last",
                here(&["10.244.1.2"], &["10.244.0.2"]),
                here(&["10.244.1.2"], &[]),
                1,
            ),
            (
                "traffic that stays here: the first one here",
                here(&["10.244.1.2"], &[]),
                here(&["10.244.1.2"], &["10.244.0.2"]),
                1,
            ),
            ("TCP ends by itself", Some(port(6, &["10.244.0.2"])), None, 0),
            (
                "an endpoint goes: cluster IP and node port",
                Some(port(17, &["10.244.0.2", "10.244.0.3"])),
                Some(port(17, &["10.244.0.3"])),
                2,
            ),
            ("the first endpoint comes", Some(port(17, &[])), Some(port(17, &["10.244.0.3"])), 2),
            ("one more endpoint", Some(port(17, &["10.244.0.2"])), Some(port(17, &["10.244.0.2", "10.244.0.3"])), 0),
            ("the Service goes", Some(port(17, &["10.244.0.2"])), None, 2),
        ] {
            assert_eq!(stale(old.as_ref(), new.as_ref()).len(), want, "{name}");
        }
    }
}
