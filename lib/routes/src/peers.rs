//! What the Node objects say of the others' pods.

use client::Object;
use client::k8s_openapi::api::core::v1::Node;
use ipnet::Ipv4Net;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Another node's range of pods, by name of the node: where they are and through whom.
pub type Peers = BTreeMap<String, (Ipv4Net, Ipv4Addr)>;

/// Every other node that has a range and an address. Where two claim one range, the older node has it.
pub fn peers(nodes: &[Arc<Node>], own: &str) -> Peers {
    let mut nodes: Vec<&Arc<Node>> = nodes.iter().collect();
    nodes.sort_by_key(|n| (n.metadata.creation_timestamp.as_ref().map(|t| t.0), n.name().to_owned()));
    let mut taken = Vec::new();
    let mut all = Peers::new();
    for n in nodes {
        let Some(range) = range(n) else { continue };
        if taken.contains(&range) {
            continue;
        }
        taken.push(range);
        if let Some(address) = address(n)
            && n.name() != own
        {
            all.insert(n.name().to_owned(), (range, address));
        }
    }
    all
}

/// The range of one node's pods.
pub fn range(n: &Node) -> Option<Ipv4Net> {
    let spec = n.spec.as_ref()?;
    spec.pod_cidrs.iter().flatten().chain(&spec.pod_cidr).find_map(|c| c.parse().ok())
}

fn address(n: &Node) -> Option<Ipv4Addr> {
    let all = n.status.as_ref()?.addresses.as_ref()?;
    all.iter().filter(|a| a.type_ == "InternalIP").find_map(|a| a.address.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn of_nodes() {
        let node = |name: &str, cidr: &str, ip: &str, age: &str| {
            let n = json!({"metadata": {"name": name, "creationTimestamp": age}, "spec": {"podCIDR": cidr},
                "status": {"addresses": [{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": ip}]}});
            Arc::new(serde_json::from_value::<Node>(n).expect("a node"))
        };
        let (old, new) = ("2024-01-01T00:00:00Z", "2024-02-01T00:00:00Z");
        let all = [
            node("a", "10.244.0.0/24", "192.0.2.1", old),
            node("b", "10.244.1.0/24", "192.0.2.2", old),
            node("no range", "", "192.0.2.3", old),
            node("six", "fd00::/64", "2001:db8::1", old),
            node("thief", "10.244.1.0/24", "192.0.2.4", new),
            node("thief of ours", "10.244.0.0/24", "192.0.2.5", new),
        ];
        let want = Peers::from([("b".to_owned(), ("10.244.1.0/24".parse().expect("a net"), Ipv4Addr::new(192, 0, 2, 2)))]);
        assert_eq!(peers(&all, "a"), want);
    }
}
