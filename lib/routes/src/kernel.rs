//! The kernel's routes of ours, told from everybody else's by their protocol number.

use crate::{Error, Result, tunnel};
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
    /// A router lies between, on this link.
    Router(IpAddr, u32),
    /// It is an address of this machine itself.
    Local,
}

/// The way to another node's pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The other node.
    pub node: Ipv4Addr,
    pub by: By,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// As it is, on a link that both nodes share.
    Link,
    /// In an envelope, past routers that know nothing of pods.
    Tunnel,
}

/// What this node is to the others.
#[derive(Clone, Copy, Debug, Default)]
pub struct Own {
    pub address: Option<Ipv4Addr>,
    /// Its pods.
    pub range: Option<Ipv4Net>,
}

/// What the routes are kept in; tests have one of their own.
#[async_trait::async_trait]
pub trait Kernel: Send {
    /// Our routes, by range.
    async fn ours(&mut self) -> Result<BTreeMap<Ipv4Net, Way>>;
    async fn reach(&mut self, address: Ipv4Addr) -> Result<Reach>;
    /// Adds or changes the route to a range; `link` leads towards the node.
    async fn set(&mut self, range: Ipv4Net, way: Way, link: u32, own: Own) -> Result<()>;
    async fn delete(&mut self, range: Ipv4Net, way: Way) -> Result<()>;
    /// Nothing goes through the tunnel any more.
    async fn close_tunnel(&mut self) -> Result<()>;
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
    async fn ours(&mut self) -> Result<BTreeMap<Ipv4Net, Way>> {
        let tunnel = tunnel::index(&self.0).await?;
        let all = nl("list routes", self.0.get_routes().await)?;
        let ours = all.iter().filter(|r| r.protocol() == PROTOCOL);
        Ok(ours
            .filter_map(|r| match (r.destination()?, r.gateway()?) {
                (IpAddr::V4(to), IpAddr::V4(via)) => {
                    let by = if tunnel.is_some() && r.oif() == tunnel { By::Tunnel } else { By::Link };
                    Some((Ipv4Net::new(*to, r.dst_len()).ok()?, Way { node: *via, by }))
                }
                _ => None,
            })
            .collect())
    }

    async fn reach(&mut self, address: Ipv4Addr) -> Result<Reach> {
        use nlink::netlink::types::route::RouteType;
        let route = nl(format!("find the way to {address}"), self.0.lookup_route(address.into()).await)?;
        let link = route.oif().unwrap_or(0);
        Ok(match (route.route_type(), route.gateway().or(route.via())) {
            (RouteType::Local, _) => Reach::Local,
            (_, Some(router)) => Reach::Router(*router, link),
            (_, None) => Reach::Link(link),
        })
    }

    async fn set(&mut self, range: Ipv4Net, way: Way, link: u32, own: Own) -> Result<()> {
        let route = Ipv4Route::from_addr(range.network(), range.prefix_len()).gateway(way.node).protocol(PROTOCOL);
        let route = match way.by {
            By::Link => with_source(route.dev_index(link), own.address),
            By::Tunnel => {
                let tunnel = tunnel::open(&self.0, own.address.unwrap_or(Ipv4Addr::UNSPECIFIED), link).await?;
                tunnel::add(&self.0, tunnel, way.node).await?;
                // Answers to the node's own address would not come through the tunnel, and routers on the way do not know pods: what
                // the node itself says there carries an address of its pods' range that no pod gets.
                let source = own.range.map(|r| r.network());
                if let Some(address) = source {
                    let address = nlink::netlink::addr::Ipv4Address::new(tunnel::LINK, address, 32);
                    nl("give the tunnel an address", self.0.replace_address(address).await)?;
                }
                with_source(route.dev_index(tunnel).onlink(), source)
            }
        };
        nl(format!("set the route to {range} via {}", way.node), self.0.replace_route(route).await)
    }

    async fn delete(&mut self, range: Ipv4Net, way: Way) -> Result<()> {
        // Without the gateway the kernel would look for a route of another scope.
        let route = Ipv4Route::from_addr(range.network(), range.prefix_len()).gateway(way.node).protocol(PROTOCOL);
        let tunnel = match way.by {
            By::Link => None,
            By::Tunnel => tunnel::index(&self.0).await?,
        };
        let route = match tunnel {
            Some(link) => route.dev_index(link).onlink(),
            None => route,
        };
        nl(format!("remove the route to {range}"), self.0.del_route_if_exists(route).await)?;
        match tunnel {
            Some(link) => tunnel::remove(&self.0, link, way.node).await,
            None => Ok(()),
        }
    }

    async fn close_tunnel(&mut self) -> Result<()> {
        tunnel::close(&self.0).await
    }
}

/// `source` is what packets from the node itself carry.
fn with_source(route: Ipv4Route, source: Option<Ipv4Addr>) -> Ipv4Route {
    match source {
        Some(s) => route.prefsrc(s),
        None => route,
    }
}

/// Removes every route of ours, and the tunnel, from this network namespace.
pub fn remove() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Error { action: "start".into(), source: e.into() })?;
    runtime.block_on(async {
        let mut kernel = Netlink::open()?;
        for (range, way) in kernel.ours().await? {
            kernel.delete(range, way).await?;
        }
        kernel.close_tunnel().await
    })
}
