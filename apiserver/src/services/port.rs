//! Node ports. Upstream: pkg/registry/core/service/portallocator.

use super::spec;
use machinery::field::{Error, Path};
use machinery::{Value, meta};
use rand::RngExt as _;
use std::collections::BTreeSet;

pub struct PortRange {
    low: u16,
    high: u16,
    used: BTreeSet<u16>,
}

impl PortRange {
    pub fn new(low: u16, high: u16) -> Self {
        Self { low, high, used: BTreeSet::new() }
    }
    pub fn bounds(&self) -> (u16, u16) {
        (self.low, self.high)
    }
    /// The ports that are taken, in order.
    pub fn used(&self) -> impl Iterator<Item = u16> + '_ {
        self.used.iter().copied()
    }
    pub fn mark(&mut self, port: u16) {
        if (self.low..=self.high).contains(&port) {
            self.used.insert(port);
        }
    }
    pub fn release(&mut self, port: u16) {
        self.used.remove(&port);
    }
    fn allocate(&mut self, port: u16) -> Result<(), String> {
        if !(self.low..=self.high).contains(&port) {
            return Err(format!(
                "provided port is not in the valid range. The range of valid ports is {}-{}",
                self.low, self.high
            ));
        }
        if self.used.insert(port) { Ok(()) } else { Err("provided port is already allocated".into()) }
    }
    fn next(&mut self) -> Result<u16, String> {
        // The lower part is left to people who choose their own (KEP-3668).
        let size = self.high - self.low + 1;
        let reserved = if size <= 16 { 0 } else { (size / 32).clamp(16, 128) };
        for (low, high) in [(self.low + reserved, self.high), (self.low, (self.low + reserved).saturating_sub(1))] {
            if low > high {
                continue;
            }
            let start = rand::rng().random_range(low..=high);
            if let Some(p) = (start..=high).chain(low..start).find(|p| !self.used.contains(p)) {
                self.used.insert(p);
                return Ok(p);
            }
        }
        Err("range is full".into())
    }
}

/// Takes the node ports that a Service needs and does not hold.
pub fn take(range: &mut PortRange, obj: &mut Value, before: &[u16], taken: &mut Vec<u16>) -> Result<(), Error> {
    let path = Path::new("spec");
    let owned = |p: u16, taken: &[u16]| before.contains(&p) || taken.contains(&p);
    if spec::needs_node_port(obj) {
        let count = meta::list_at(obj, &["spec", "ports"]).len();
        let allocate_missing = spec::allocates_node_ports(obj);
        for i in 0..count {
            let p = path.child("ports").index(i).child("nodePort");
            let port = &meta::list_at(obj, &["spec", "ports"])[i];
            let given = port.get("nodePort").and_then(Value::as_u64).and_then(|n| u16::try_from(n).ok()).unwrap_or(0);
            if given != 0 {
                // One port may serve TCP and UDP of the same Service.
                if !owned(given, taken) {
                    range.allocate(given).map_err(|e| Error::invalid(&p, given, e))?;
                    taken.push(given);
                }
            } else if allocate_missing {
                let shared = spec::port_of_other_protocol(obj, i);
                let chosen = match shared {
                    Some(s) => s,
                    None => {
                        let n = range.next().map_err(|e| Error::internal(&p, format!("failed to allocate a nodePort: {e}")))?;
                        taken.push(n);
                        n
                    }
                };
                spec::set_node_port(obj, i, chosen);
            }
        }
    }
    if spec::needs_health_check_port(obj) {
        let p = path.child("healthCheckNodePort");
        match spec::health_check_port(obj) {
            Some(given) if !owned(given, taken) => {
                range.allocate(given).map_err(|e| Error::invalid(&p, given, e))?;
                taken.push(given);
            }
            Some(_) => {}
            None => {
                let n =
                    range.next().map_err(|e| Error::internal(&p, format!("failed to allocate a HealthCheck NodePort: {e}")))?;
                taken.push(n);
                meta::set(obj, &["spec", "healthCheckNodePort"], n.into());
            }
        }
    }
    Ok(())
}
