//! ClusterIPs of one range. Upstream: pkg/registry/core/service/ipallocator.

use super::spec;
use ipnet::IpNet;
use machinery::Value;
use machinery::field::{Error, Path};
use rand::RngExt as _;
use std::collections::HashSet;
use std::net::IpAddr;

/// Addresses of a range, by their offset from its base.
pub struct IpRange {
    net: IpNet,
    base: u128,
    /// Usable offsets are 1 to `max` inclusive.
    max: u128,
    used: HashSet<u128>,
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
        Self { net, base: number(net.network()), max, used: HashSet::new() }
    }
    pub fn is_v6(&self) -> bool {
        self.net.network().is_ipv6()
    }
    fn offset(&self, ip: IpAddr) -> Option<u128> {
        let off = number(ip).checked_sub(self.base)?;
        (self.net.contains(&ip) && off >= 1 && off <= self.max).then_some(off)
    }
    fn at(&self, offset: u128) -> IpAddr {
        let n = self.base + offset;
        match self.net {
            IpNet::V4(_) => IpAddr::from(u32::try_from(n).unwrap_or(u32::MAX).to_be_bytes()),
            IpNet::V6(_) => IpAddr::from(n.to_be_bytes()),
        }
    }
    pub fn mark(&mut self, ip: IpAddr) {
        if let Some(o) = self.offset(ip) {
            self.used.insert(o);
        }
    }
    pub fn release(&mut self, ip: IpAddr) {
        if let Some(o) = self.offset(ip) {
            self.used.remove(&o);
        }
    }
    fn allocate(&mut self, ip: IpAddr) -> Result<(), String> {
        let o = self
            .offset(ip)
            .ok_or_else(|| format!("the provided IP ({ip}) is not in the valid range. The range of valid IPs is {}", self.net))?;
        if self.used.insert(o) { Ok(()) } else { Err("provided IP is already allocated".into()) }
    }
    /// A free address: beyond the lower part, which is left to people who choose their own, while there is one.
    fn next(&mut self) -> Result<IpAddr, String> {
        let reserved = (self.max / 16).clamp(16.min(self.max), 256);
        for (low, high) in [(reserved + 1, self.max), (1, reserved.min(self.max))] {
            if low > high {
                continue;
            }
            let start = rand::rng().random_range(low..=high);
            let free = (start..=high).chain(low..start).take(1 << 20).find(|o| !self.used.contains(o));
            if let Some(o) = free {
                self.used.insert(o);
                return Ok(self.at(o));
            }
        }
        Err("range is full".into())
    }
}

/// Takes a Service's addresses, one per family of its spec.
pub fn take(ranges: &mut [IpRange], obj: &mut Value, before: &[IpAddr], taken: &mut Vec<IpAddr>) -> Result<(), Error> {
    if !spec::needs_cluster_ip(obj) || spec::is_headless(obj) {
        return Ok(());
    }
    let given = spec::cluster_ips(obj);
    let shown = Value::from(given.clone());
    let path = Path::new("spec").child("clusterIPs");
    let mut result: Vec<String> = Vec::new();
    for (i, v6) in spec::families(obj).into_iter().enumerate() {
        let Some(range) = ranges.iter_mut().find(|r| r.is_v6() == v6) else { continue };
        let text = given.get(i).map_or("", String::as_str);
        if text.is_empty() {
            let ip =
                range.next().map_err(|e| Error::invalid(&path, shown.clone(), format!("failed to allocate a serviceIP: {e}")))?;
            taken.push(ip);
            result.push(ip.to_string());
            continue;
        }
        // What is no address, validation refuses.
        if let Ok(ip) = text.parse::<IpAddr>()
            && !before.contains(&ip)
        {
            range.allocate(ip).map_err(|e| Error::invalid(&path, shown.clone(), format!("failed to allocate IP {ip}: {e}")))?;
            taken.push(ip);
        }
        result.push(text.to_owned());
    }
    spec::set_cluster_ips(obj, result);
    Ok(())
}
