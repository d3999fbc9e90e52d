//! The Service range on this node: a link that leads nowhere carries its route, so that a local connect to a cluster IP finds a
//! route before nftables rewrites it, and nothing ever leaves by the default route. Addresses that the node itself serves (cluster
//! DNS) are put on the same link.

use crate::{Error, Result};
use ipnet::Ipv4Net;
use nlink::netlink::addr::Ipv4Address;
use nlink::netlink::link::BridgeLink;
use nlink::netlink::route::Ipv4Route;
use nlink::netlink::types::route::RouteScope;
use nlink::netlink::{Connection, Route};
use std::net::Ipv4Addr;

/// A bridge without ports: every kernel that runs containers has bridges, not every one has dummy links.
pub const LINK: &str = "skiff-svc";

fn nl<T>(action: &'static str, r: nlink::netlink::Result<T>) -> Result<T> {
    r.map_err(|source| Error::Netlink { action, source })
}

/// Makes the link with the range's route and the node's own service addresses; idempotent.
pub async fn ensure(range: Ipv4Net, source: Option<Ipv4Addr>, own: &[Ipv4Addr]) -> Result<()> {
    let route = nl("open netlink", Connection::<Route>::new())?;
    if nl("find the service link", route.get_link_by_name(LINK).await)?.is_none() {
        nl("make the service link", route.add_link(BridgeLink::new(LINK)).await)?;
    }
    nl("set the service link up", route.set_link_up(LINK).await)?;
    for ip in own {
        nl("add a service address", route.replace_address(Ipv4Address::new(LINK, *ip, 32)).await)?;
    }
    let mut r = Ipv4Route::from_addr(range.network(), range.prefix_len()).dev(LINK).scope(RouteScope::Link);
    if let Some(src) = source {
        r = r.prefsrc(src);
    }
    nl("add the service range's route", route.replace_route(r).await)
}

/// The kernel settings that Services need.
pub fn sysctls() -> Result<()> {
    for (key, value) in [("net/ipv4/ip_forward", "1"), ("net/ipv4/conf/all/route_localnet", "1")] {
        let path = format!("/proc/sys/{key}");
        if std::fs::read_to_string(&path).is_ok_and(|v| v.trim() == value) {
            continue;
        }
        std::fs::write(&path, value).map_err(|source| Error::Io { action: format!("write {path}"), source })?;
    }
    // Where pods hang on a bridge, their packets must pass through nftables too; without the module there is no bridge.
    let _ = std::fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", "1");
    Ok(())
}

/// Removes the link.
pub async fn remove() -> Result<()> {
    let route = nl("open netlink", Connection::<Route>::new())?;
    nl("remove the service link", route.del_link_if_exists(LINK).await).map(drop)
}
