//! The link of one pod: a veth pair, the pod's address and routes, the node's route to it.

use crate::config::{Config, Environment};
use crate::ipam::Allocator;
use crate::{Error, Result};
use nlink::netlink::addr::Ipv4Address;
use nlink::netlink::link::VethLink;
use nlink::netlink::neigh::Neighbor;
use nlink::netlink::route::Ipv4Route;
use nlink::netlink::types::route::{RouteProtocol, RouteScope};
use nlink::netlink::{Connection, Route, namespace};
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

/// What pods use as their gateway: the node's end answers for it by a fixed neighbour entry.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// Hardware address of the node's end of every link; each link has one neighbour only, so it need not be unique.
const NODE_MAC: [u8; 6] = [0xee; 6];
/// Marks our routes, as `ip route` shows it: `proto 83`.
pub const PROTOCOL: RouteProtocol = RouteProtocol::Other(83);

/// A pod's address and the names of both ends.
pub struct PodLink {
    pub address: Ipv4Addr,
    pub host_name: String,
    pub host_mac: String,
    pub pod_mac: String,
}

fn nl<T>(action: &'static str, r: nlink::netlink::Result<T>) -> Result<T> {
    r.map_err(|source| Error::Netlink { action, source })
}

fn mac_text(mac: &[u8]) -> String {
    mac.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(":")
}

/// Makes the link and gives the pod an address. What was made is removed again if a step fails.
pub async fn add(config: &Config, env: &Environment) -> Result<PodLink> {
    let host = nl("open netlink", Connection::<Route>::new())?;
    let name = env.link_name();
    // A link of that name is left over from an attempt that the runtime gave up.
    nl("remove an old link", host.del_link_if_exists(name.as_str()).await)?;
    let made = make(config, env, &host, &name).await;
    if made.is_err() {
        let _ = host.del_link_if_exists(name.as_str()).await;
    }
    made
}

async fn make(config: &Config, env: &Environment, host: &Connection<Route>, name: &str) -> Result<PodLink> {
    let subnet = config.subnet()?;
    let netns = nl("open the pod's network namespace", namespace::open_path(&env.netns))?;
    let pod = nl("open netlink in the pod's network namespace", Connection::<Route>::new_in(std::path::Path::new(&env.netns)))?;
    let mut veth = VethLink::new(name, env.interface.as_str()).address(NODE_MAC).peer_netns_fd(&netns);
    if let Some(mtu) = config.mtu {
        veth = veth.mtu(mtu);
    }
    nl("make a veth pair", host.add_link(veth).await)?;
    let host_index = index(host, name).await?;
    link_settings(name)?;
    nl("set the link up", host.set_link_up_by_index(host_index).await)?;

    let address = {
        let mut allocator = Allocator::lock(&config.run_dir())?;
        let routes = nl("list routes", host.get_routes().await)?;
        let taken: HashSet<Ipv4Addr> = routes
            .iter()
            .filter(|r| r.dst_len() == 32)
            .filter_map(|r| match r.destination() {
                Some(IpAddr::V4(a)) => Some(*a),
                _ => None,
            })
            .collect();
        let address = allocator.next(subnet, &taken)?;
        let mut route = Ipv4Route::from_addr(address, 32).dev_index(host_index).scope(RouteScope::Link).protocol(PROTOCOL);
        if let Some(src) = config.node_ip {
            route = route.prefsrc(src);
        }
        nl("add the route to the pod", host.replace_route(route).await)?;
        address
    };

    let pod_link = nl("find the pod's link", pod.get_link_by_name(env.interface.as_str()).await)?;
    let pod_link = pod_link.ok_or_else(|| Error::Config(format!("{} is not in the pod", env.interface)))?;
    let pod_index = pod_link.ifindex();
    nl("set the pod's address", pod.add_address(Ipv4Address::with_index(pod_index, address, 32)).await)?;
    nl("set the pod's link up", pod.set_link_up_by_index(pod_index).await)?;
    let gateway = Ipv4Route::from_addr(GATEWAY, 32).dev_index(pod_index).scope(RouteScope::Link);
    nl("add the pod's route to its gateway", pod.add_route(gateway).await)?;
    let default = Ipv4Route::from_addr(Ipv4Addr::UNSPECIFIED, 0).gateway(GATEWAY).dev_index(pod_index);
    nl("add the pod's default route", pod.add_route(default).await)?;
    let neighbor = Neighbor::with_index_v4(pod_index, GATEWAY).lladdr(NODE_MAC).permanent();
    nl("add the pod's gateway", pod.add_neighbor(neighbor).await)?;
    let pod_mac = pod_link.address().unwrap_or_default().to_vec();
    if let Ok(mac) = <[u8; 6]>::try_from(pod_mac.as_slice()) {
        let neighbor = Neighbor::with_index_v4(host_index, address).lladdr(mac).permanent();
        nl("add the pod as a neighbour", host.add_neighbor(neighbor).await)?;
    }
    Ok(PodLink { address, host_name: name.to_owned(), host_mac: mac_text(&NODE_MAC), pod_mac: mac_text(&pod_mac) })
}

async fn index(conn: &Connection<Route>, name: &str) -> Result<u32> {
    let link = nl("find the link", conn.get_link_by_name(name).await)?;
    link.map(|l| l.ifindex()).ok_or_else(|| Error::Config(format!("link {name} is gone")))
}

/// The node forwards for its pods; a pod may answer from 127.0.0.1 to a host port; replies may come another way than routed.
fn link_settings(name: &str) -> Result<()> {
    for (key, value) in [("forwarding", "1"), ("rp_filter", "0"), ("route_localnet", "1")] {
        let path = format!("/proc/sys/net/ipv4/conf/{name}/{key}");
        std::fs::write(&path, value).map_err(|source| Error::Io { action: format!("write {path}"), source })?;
    }
    Ok(())
}

/// Removes the link; the pod's end, its address and the node's route go with it.
pub async fn remove(env: &Environment) -> Result<()> {
    let host = nl("open netlink", Connection::<Route>::new())?;
    nl("remove the link", host.del_link_if_exists(env.link_name().as_str()).await)?;
    Ok(())
}

/// Whether the link is still there.
pub async fn check(env: &Environment) -> Result<()> {
    let host = nl("open netlink", Connection::<Route>::new())?;
    index(&host, &env.link_name()).await.map(drop)
}

/// Removes every pod link of this network namespace, whoever made it.
pub async fn remove_all() -> Result<()> {
    let host = nl("open netlink", Connection::<Route>::new())?;
    let links = nl("list links", host.get_links().await)?;
    for l in links {
        let name = l.name_or("");
        let ours = name.len() == 14 && name.strip_prefix("sk").is_some_and(|h| h.bytes().all(|b| b.is_ascii_hexdigit()));
        if ours {
            nl("remove a link", host.del_link_if_exists(name).await)?;
        }
    }
    Ok(())
}
