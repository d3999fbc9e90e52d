//! The tunnel to nodes beyond a router: one VXLAN link per node, whose ends find each other without asking anybody, since a node's
//! address says its hardware address. Routers on the way see UDP between nodes and need to know nothing of pods.

use crate::{Error, Result};
use nlink::FdbEntryBuilder;
use nlink::netlink::link::VxlanLink;
use nlink::netlink::neigh::Neighbor;
use nlink::netlink::{Connection, Route};
use std::net::Ipv4Addr;

/// The link's name.
pub const LINK: &str = "skiff-vxlan";
const VNI: u32 = 84;
/// Linux' own port of VXLAN, which other networks for Kubernetes use too; firewalls between nodes have to let UDP to it pass.
const PORT: u16 = 8472;
/// What the envelope takes: outer IPv4, UDP, VXLAN and inner Ethernet headers.
const OVERHEAD: u32 = 50;

fn nl<T>(action: impl Into<String>, r: nlink::netlink::Result<T>) -> Result<T> {
    r.map_err(|source| Error { action: action.into(), source })
}

/// The hardware address of the tunnel's end on the node with this address: a locally administered one.
fn hardware(node: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = node.octets();
    [0x0a, 0x58, a, b, c, d]
}

/// Index of the link; none if it is not there.
pub async fn index(route: &Connection<Route>) -> Result<Option<u32>> {
    Ok(nl("find the tunnel", route.get_link_by_name(LINK).await)?.map(|l| l.ifindex()))
}

/// Makes the link of the node with the address `own` over the link with the index `below`; answers its index. One that was made for
/// another address or another size is made anew.
pub async fn open(route: &Connection<Route>, own: Ipv4Addr, below: u32) -> Result<u32> {
    let lower = nl("look at the link below the tunnel", route.get_link_by_index(below).await)?;
    let mtu = lower.and_then(|l| l.mtu()).unwrap_or(1500).saturating_sub(OVERHEAD).max(1280 - OVERHEAD);
    if let Some(there) = nl("find the tunnel", route.get_link_by_name(LINK).await)? {
        if there.address() == Some(&hardware(own)[..]) && there.mtu() == Some(mtu) {
            return Ok(there.ifindex());
        }
        close(route).await?;
    }
    let link = VxlanLink::new(LINK, VNI).local(own).port(PORT).learning(false).address(hardware(own)).mtu(mtu);
    nl("make the tunnel (VXLAN)", route.add_link(link).await)?;
    nl("set the tunnel up", route.set_link_up(LINK).await)?;
    index(route).await.map(|i| i.unwrap_or(0))
}

/// The node with this address is an end of the tunnel.
pub async fn add(route: &Connection<Route>, link: u32, peer: Ipv4Addr) -> Result<()> {
    let neighbor = Neighbor::with_index_v4(link, peer).lladdr(hardware(peer)).permanent();
    nl(format!("add {peer} to the tunnel"), route.replace_neighbor(neighbor).await)?;
    let entry = FdbEntryBuilder::new(hardware(peer)).ifindex(link).dst(peer.into()).self_();
    nl(format!("add {peer} to the tunnel"), route.replace_fdb(entry).await)
}

/// It is no more.
pub async fn remove(route: &Connection<Route>, link: u32, peer: Ipv4Addr) -> Result<()> {
    nl(format!("remove {peer} from the tunnel"), route.del_neighbor_if_exists(Neighbor::with_index_v4(link, peer)).await)?;
    let entry = FdbEntryBuilder::new(hardware(peer)).ifindex(link).dst(peer.into()).self_();
    match route.del_fdb_entry(entry).await {
        Err(e) if !e.is_not_found() => nl(format!("remove {peer} from the tunnel"), Err(e)),
        _ => Ok(()),
    }
}

/// Removes the link, and its routes with it.
pub async fn close(route: &Connection<Route>) -> Result<()> {
    nl("remove the tunnel", route.del_link_if_exists(LINK).await).map(drop)
}
