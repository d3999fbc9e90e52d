//! ClusterIPs: from the ranges of ServiceCIDRs, each held by an IPAddress object that names its Service. Whoever creates the object
//! has the address, so several API servers on one store can't give it out twice. Upstream: pkg/registry/core/service/ipallocator.

use super::{Failure, spec};
use crate::registry::metadata;
use crate::resources::Entry;
use crate::server::Inner;
use ipnet::IpNet;
use machinery::field::{Error, Path};
use machinery::{Status, Value, json, meta};
use rand::RngExt as _;
use std::net::IpAddr;
use std::sync::Arc;
use storage::{Cacher, Preconditions};

const GROUP: &str = "networking.k8s.io";
const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const MANAGER: &str = "ipallocator.k8s.io";
/// Addresses looked at in one range before it counts as full.
const LOOKED_AT: usize = 1 << 20;

/// The usable addresses of a range, by their offset from its base.
#[derive(Clone, Debug)]
pub struct IpRange {
    net: IpNet,
    base: u128,
    /// Usable offsets are 1 to `max` inclusive.
    max: u128,
    /// Offsets up to here are left to people who choose their own, while there are others (KEP-3070).
    reserved: u128,
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(a) => u128::from(u32::from(a)),
        IpAddr::V6(a) => u128::from(a),
    }
}

impl IpRange {
    pub fn new(net: IpNet) -> Self {
        let net = net.trunc();
        let bits = u32::from(net.max_prefix_len() - net.prefix_len());
        let size = if bits >= 64 { 1u128 << 64 } else { 1u128 << bits };
        // The network's own address is never given out, nor IPv4's broadcast.
        let max = if net.network().is_ipv4() { size.saturating_sub(2) } else { size - 1 };
        let reserved = if size <= 16 { 0 } else { (size / 16).clamp(16, 256).min(max) };
        Self { net, base: number(net.network()), max, reserved }
    }
    pub fn is_v6(&self) -> bool {
        self.net.network().is_ipv6()
    }
    fn has(&self, ip: IpAddr) -> bool {
        let offset = number(ip).checked_sub(self.base);
        self.net.contains(&ip) && offset.is_some_and(|o| o >= 1 && o <= self.max)
    }
    fn at(&self, offset: u128) -> IpAddr {
        let n = self.base + offset;
        match self.net {
            IpNet::V4(_) => IpAddr::from(u32::try_from(n).unwrap_or(u32::MAX).to_be_bytes()),
            IpNet::V6(_) => IpAddr::from(n.to_be_bytes()),
        }
    }
    /// All addresses in the order they are tried: from somewhere in the upper part on, then the lower part.
    pub fn candidates(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let parts = [(self.reserved + 1, self.max), (1, self.reserved)];
        parts.into_iter().filter(|(low, high)| low <= high).flat_map(move |(low, high)| {
            let start = rand::rng().random_range(low..=high);
            (start..=high).chain(low..start).take(LOOKED_AT).map(move |o| self.at(o))
        })
    }
}

fn storage_of(server: &Inner, resource: &str) -> Result<(Arc<Entry>, Arc<Cacher>), Status> {
    let entry = server.entry(GROUP, resource)?;
    let storage = entry.storage.clone().ok_or_else(|| Status::internal("nothing is kept of this resource"))?;
    Ok((entry, storage))
}

/// Ranges of the ServiceCIDRs that are in use, the cluster's own first.
async fn ranges(server: &Inner) -> Result<Vec<IpRange>, Status> {
    let (_, storage) = storage_of(server, "servicecidrs")?;
    let mut all: Vec<Value> =
        storage.list(storage::ListOptions::default()).await?.items.iter().map(|o| o.value()).filter(is_ready).collect();
    all.sort_by_key(|c| meta::name(c) != "kubernetes");
    let cidrs = all.iter().flat_map(|c| meta::list_at(c, &["spec", "cidrs"])).filter_map(Value::as_str);
    Ok(cidrs.filter_map(|c| c.parse().ok()).map(IpRange::new).collect())
}

fn is_ready(cidr: &Value) -> bool {
    let ready = |c: &Value| meta::str_at(c, &["type"]) == "Ready" && meta::str_at(c, &["status"]) == "True";
    meta::deletion_timestamp(cidr).is_none() && meta::list_at(cidr, &["status", "conditions"]).iter().any(ready)
}

/// The IPAddress of a Service.
fn address(ip: IpAddr, namespace: &str, service: &str) -> Value {
    let family = if ip.is_ipv6() { "IPv6" } else { "IPv4" };
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
        "metadata": {"name": ip.to_string(), "labels": {FAMILY: family, MANAGED_BY: MANAGER}},
        "spec": {"parentRef": {"resource": "services", "namespace": namespace, "name": service}}})
}

/// Whether an IPAddress was made here for the Service.
fn is_held_by(address: &Value, namespace: &str, service: &str) -> bool {
    let parent = |f: &str| meta::str_at(address, &["spec", "parentRef", f]);
    meta::str_at(address, &["metadata", "labels", MANAGED_BY]) == MANAGER
        && (parent("resource"), parent("namespace"), parent("name")) == ("services", namespace, service)
}

/// Takes an address; false if somebody has it.
async fn hold(server: &Inner, ip: IpAddr, namespace: &str, service: &str) -> Result<bool, Status> {
    let (entry, storage) = storage_of(server, "ipaddresses")?;
    let mut obj = address(ip, namespace, service);
    crate::registry::codec::default(&entry, &mut obj);
    metadata::fill_system_fields(&mut obj);
    if entry.strategy.has_generation() {
        meta::set(&mut obj, &["metadata", "generation"], 1.into());
    }
    match storage.create("", &ip.to_string(), obj, None).await {
        Ok(_) => Ok(true),
        Err(s) if s.is_already_exists() => Ok(false),
        Err(s) => Err(s),
    }
}

/// Gives an address back, if it is the Service's.
pub async fn release(server: &Inner, ip: IpAddr, namespace: &str, service: &str) -> Result<(), Status> {
    let (_, storage) = storage_of(server, "ipaddresses")?;
    let not_ours = || Status::new(404, "NotFound", "the address is another's");
    let ours = |o: &storage::Object| if is_held_by(&o.value(), namespace, service) { Ok(()) } else { Err(not_ours()) };
    match storage.delete("", &ip.to_string(), &Preconditions::default(), ours).await {
        Err(s) if !s.is_not_found() => Err(s),
        _ => Ok(()),
    }
}

/// Takes a Service's addresses, one per family of its spec.
pub async fn take(
    server: &Inner,
    obj: &mut Value,
    before: &[IpAddr],
    taken: &mut Vec<IpAddr>,
    dry_run: bool,
) -> Result<(), Failure> {
    if !spec::needs_cluster_ip(obj) || spec::is_headless(obj) {
        return Ok(());
    }
    let (namespace, name) = (meta::namespace(obj).to_owned(), meta::name(obj).to_owned());
    let given = spec::cluster_ips(obj);
    let shown = Value::from(given.clone());
    let path = Path::new("spec").child("clusterIPs");
    let mut known: Option<Vec<IpRange>> = None;
    let mut result: Vec<String> = Vec::new();
    for (i, v6) in spec::families(obj).into_iter().enumerate() {
        let text = given.get(i).map_or("", String::as_str);
        let wanted = text.parse::<IpAddr>().ok();
        // What is no address, validation refuses; what it has, it keeps.
        if !text.is_empty() && wanted.is_none_or(|ip| before.contains(&ip)) {
            result.push(text.to_owned());
            continue;
        }
        if known.is_none() {
            known = Some(ranges(server).await?);
        }
        let mut family = known.iter().flatten().filter(|r| r.is_v6() == v6);
        let Some(ip) = wanted else {
            let free = next(server, family, &namespace, &name, dry_run).await?;
            let full = || Error::invalid(&path, shown.clone(), "failed to allocate a serviceIP: range is full");
            let ip = free.ok_or_else(full)?;
            if !dry_run {
                taken.push(ip);
            }
            result.push(ip.to_string());
            continue;
        };
        let refuse = |why: &str| Error::invalid(&path, shown.clone(), format!("failed to allocate IP {ip}: {why}"));
        // A dry run asks one range, whether or not the address is of it.
        let range = if dry_run { family.next() } else { family.find(|r| r.net.contains(&ip)) };
        let Some(range) = range else {
            return Err(refuse("the provided network does not match the current range").into());
        };
        if !range.has(ip) {
            let why = format!("the provided IP ({ip}) is not in the valid range. The range of valid IPs is {}", range.net);
            return Err(refuse(&why).into());
        }
        if !dry_run {
            if !hold(server, ip, &namespace, &name).await? {
                return Err(refuse("provided IP is already allocated").into());
            }
            taken.push(ip);
        }
        result.push(text.to_owned());
    }
    spec::set_cluster_ips(obj, result);
    Ok(())
}

/// Takes a free address; `None` if all are held.
async fn next<'a>(
    server: &Inner,
    ranges: impl Iterator<Item = &'a IpRange>,
    namespace: &str,
    service: &str,
    dry_run: bool,
) -> Result<Option<IpAddr>, Status> {
    let (_, storage) = storage_of(server, "ipaddresses")?;
    for range in ranges {
        // Upstream shows the network's own address where none is taken.
        if dry_run {
            return Ok(Some(range.net.network()));
        }
        // What the cache does not know may be held by now, too: a few attempts suffice.
        let free = range.candidates().filter(|ip| storage.peek("", &ip.to_string()).is_none());
        let free: Vec<IpAddr> = free.take(64).collect();
        for ip in free {
            if hold(server, ip, namespace, service).await? {
                return Ok(Some(ip));
            }
        }
    }
    Ok(None)
}

/// Makes objects and Services agree: each ClusterIP has its IPAddress, and none is left of a Service that is gone or has another
/// address. `patience` is how old the object of a Service that is still being made may be. Upstream: ipallocator/controller.
pub async fn repair(server: &Inner, services: &[Value], patience: i64) -> Result<(), Status> {
    let (_, storage) = storage_of(server, "ipaddresses")?;
    let addresses: Vec<Value> = storage.list(storage::ListOptions::default()).await?.items.iter().map(|o| o.value()).collect();
    let held = |ip: &str| addresses.iter().find(|a| meta::name(a) == ip);
    for svc in services.iter().filter(|s| spec::needs_cluster_ip(s) && !spec::is_headless(s)) {
        for text in spec::cluster_ips(svc) {
            let Ok(ip) = text.parse::<IpAddr>() else { continue };
            if held(&ip.to_string()).is_none() && hold(server, ip, meta::namespace(svc), meta::name(svc)).await? {
                tracing::info!(%ip, namespace = meta::namespace(svc), service = meta::name(svc), "a ClusterIP was not held");
            }
        }
    }
    let now = machinery::time::Timestamp::now().as_second();
    for a in addresses.iter().filter(|a| meta::str_at(a, &["metadata", "labels", MANAGED_BY]) == MANAGER) {
        let young = machinery::time::parse(meta::str_at(a, &["metadata", "creationTimestamp"]))
            .is_none_or(|t| now - t.as_second() < patience);
        let (namespace, name) =
            (meta::str_at(a, &["spec", "parentRef", "namespace"]), meta::str_at(a, &["spec", "parentRef", "name"]));
        let owner = services.iter().find(|s| meta::namespace(s) == namespace && meta::name(s) == name);
        let used = owner.is_some_and(|s| spec::cluster_ips(s).iter().any(|ip| ip == meta::name(a)));
        if !used
            && !young
            && let Ok(ip) = meta::name(a).parse()
        {
            tracing::info!(%ip, namespace, service = name, "an address was left behind");
            release(server, ip, namespace, name).await?;
        }
    }
    Ok(())
}
