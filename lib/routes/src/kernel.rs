//! The kernel's routes of ours, told from everybody else's by their protocol number.

use crate::{Error, Result};
use ipnet::Ipv4Net;
use nlink::netlink::route::Ipv4Route;
use nlink::netlink::types::route::RouteProtocol;
use nlink::netlink::{Connection, Route};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// `proto` of our routes in `ip route`.
const PROTOCOL: RouteProtocol = RouteProtocol::Other(84);

/// How an address is reached from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It is a neighbour on this link.
    Link(u32),
    /// A router lies between.
    Router(IpAddr),
    /// It is an address of this machine itself.
    Local,
}

/// What the routes are kept in; tests have one of their own.
#[async_trait::async_trait]
pub trait Kernel: Send {
    /// Our routes: range and gateway.
    async fn ours(&mut self) -> Result<BTreeMap<Ipv4Net, Ipv4Addr>>;
    async fn reach(&mut self, address: Ipv4Addr) -> Result<Reach>;
    /// Adds or changes the route to a range; `source` is what packets from the node itself carry.
    async fn set(&mut self, range: Ipv4Net, gateway: Ipv4Addr, link: u32, source: Option<Ipv4Addr>) -> Result<()>;
    async fn delete(&mut self, range: Ipv4Net, gateway: Ipv4Addr) -> Result<()>;
}

/// The kernel of this network namespace.
pub struct Netlink(Connection<Route>);

fn nl<T>(action: impl Into<String>, r: nlink::netlink::Result<T>) -> Result<T> {
    r.map_err(|source| Error { action: action.into(), source })
}

impl Netlink {
    pub fn open() -> Result<Self> {
        Ok(Self(nl("open netlink", Connection::<Route>::new())?))
    }
}

#[async_trait::async_trait]
impl Kernel for Netlink {
    async fn ours(&mut self) -> Result<BTreeMap<Ipv4Net, Ipv4Addr>> {
        let all = nl("list routes", self.0.get_routes().await)?;
        let ours = all.iter().filter(|r| r.protocol() == PROTOCOL);
        Ok(ours
            .filter_map(|r| match (r.destination()?, r.gateway()?) {
                (IpAddr::V4(to), IpAddr::V4(via)) => Some((Ipv4Net::new(*to, r.dst_len()).ok()?, *via)),
                _ => None,
            })
            .collect())
    }

    async fn reach(&mut self, address: Ipv4Addr) -> Result<Reach> {
        use nlink::netlink::types::route::RouteType;
        let route = nl(format!("find the way to {address}"), self.0.lookup_route(address.into()).await)?;
        Ok(match (route.route_type(), route.gateway().or(route.via()), route.oif()) {
            (RouteType::Local, _, _) => Reach::Local,
            (_, Some(router), _) => Reach::Router(*router),
            (_, None, link) => Reach::Link(link.unwrap_or(0)),
        })
    }

    async fn set(&mut self, range: Ipv4Net, gateway: Ipv4Addr, link: u32, source: Option<Ipv4Addr>) -> Result<()> {
        let mut route =
            Ipv4Route::from_addr(range.network(), range.prefix_len()).gateway(gateway).dev_index(link).protocol(PROTOCOL);
        if let Some(s) = source {
            route = route.prefsrc(s);
        }
        nl(format!("set the route to {range} via {gateway}"), self.0.replace_route(route).await)
    }

    async fn delete(&mut self, range: Ipv4Net, gateway: Ipv4Addr) -> Result<()> {
        // Without the gateway the kernel would look for a route of another scope.
        let route = Ipv4Route::from_addr(range.network(), range.prefix_len()).gateway(gateway).protocol(PROTOCOL);
        nl(format!("remove the route to {range}"), self.0.del_route_if_exists(route).await).map(drop)
    }
}

/// Removes every route of ours from this network namespace.
pub fn remove() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Error { action: "start".into(), source: e.into() })?;
    runtime.block_on(async {
        let mut kernel = Netlink::open()?;
        for (range, gateway) in kernel.ours().await? {
            kernel.delete(range, gateway).await?;
        }
        Ok(())
    })
}
