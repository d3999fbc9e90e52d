//! Addresses and node ports of Services: what is taken, and taking it as part of a write. Kept in memory, rebuilt from the Services
//! when the server starts. Upstream: pkg/registry/core/service/storage/{alloc,storage}.go.

mod ip;
mod port;
mod spec;

use crate::config::Config;
use crate::resources::Entry;
use crate::server::Inner;
use ip::IpRange;
use machinery::{Status, Value, meta};
use parking_lot::Mutex;
use port::PortRange;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::OnceCell;

/// All that Services hold.
pub struct Allocators {
    state: Arc<Mutex<State>>,
    filled: OnceCell<()>,
}

struct State {
    /// One per family; the first is the default.
    ranges: Vec<IpRange>,
    ports: PortRange,
}

/// What a write has taken and what it will give back: undone when dropped, unless committed.
#[derive(Default)]
pub struct Reservation {
    state: Option<Arc<Mutex<State>>>,
    taken: Held,
    given_back: Held,
}

/// Addresses and ports of one Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Held {
    ips: Vec<IpAddr>,
    ports: Vec<u16>,
}

impl Held {
    fn of(svc: &Value) -> Self {
        if svc.is_null() {
            return Self::default();
        }
        let ips = if spec::needs_cluster_ip(svc) {
            spec::cluster_ips(svc).iter().filter_map(|s| s.parse().ok()).collect()
        } else {
            Vec::new()
        };
        let mut ports: Vec<u16> = Vec::new();
        if spec::needs_node_port(svc) {
            ports.extend(spec::node_ports(svc));
        }
        ports.extend(spec::health_check_port(svc));
        ports.sort_unstable();
        ports.dedup();
        Self { ips, ports }
    }
    fn minus(&self, other: &Self) -> Self {
        Self {
            ips: self.ips.iter().filter(|i| !other.ips.contains(i)).copied().collect(),
            ports: self.ports.iter().filter(|p| !other.ports.contains(p)).copied().collect(),
        }
    }
}

impl Reservation {
    /// Nothing was taken.
    pub fn none() -> Self {
        Self::default()
    }
    /// The write is stored: what it took is its own, what it gave up is free.
    pub fn commit(mut self) {
        if let Some(state) = self.state.take() {
            state.lock().free(&self.given_back);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(state) = self.state.take() {
            state.lock().free(&self.taken);
        }
    }
}

impl State {
    fn free(&mut self, held: &Held) {
        for ip in &held.ips {
            for r in &mut self.ranges {
                r.release(*ip);
            }
        }
        for p in &held.ports {
            self.ports.release(*p);
        }
    }
    fn mark(&mut self, held: &Held) {
        for ip in &held.ips {
            for r in &mut self.ranges {
                r.mark(*ip);
            }
        }
        for p in &held.ports {
            self.ports.mark(*p);
        }
    }
}

impl Allocators {
    pub fn new(config: &Config) -> Self {
        let ranges = config.service_cluster_ip_range.iter().map(|n| IpRange::new(*n)).collect();
        let (low, high) = config.service_node_port_range;
        Self { state: Arc::new(Mutex::new(State { ranges, ports: PortRange::new(low, high) })), filled: OnceCell::new() }
    }

    /// Marks what the stored Services hold, once.
    async fn fill(&self, entry: &Entry) -> Result<(), Status> {
        self.filled
            .get_or_try_init(|| async {
                let storage = entry.storage.as_ref().ok_or_else(|| Status::internal("services are not kept"))?;
                let all = storage.list(storage::ListOptions::default()).await?;
                let mut state = self.state.lock();
                for o in &all.items {
                    state.mark(&Held::of(&o.value()));
                }
                Ok(())
            })
            .await
            .map(|_| ())
    }

    /// Takes what a new or changed Service needs, completing its spec. For other kinds nothing happens.
    pub async fn begin(
        &self,
        _server: &Arc<Inner>,
        entry: &Entry,
        obj: &mut Value,
        old: Option<&Value>,
        dry_run: bool,
    ) -> Result<Reservation, Status> {
        if !entry.is("", "services") {
            return Ok(Reservation::none());
        }
        self.fill(entry).await?;
        let mut state = self.state.lock();
        if let Some(old) = old {
            spec::carry_over(obj, old);
        }
        spec::normalize(obj, old);
        let families: Vec<bool> = state.ranges.iter().map(IpRange::is_v6).collect();
        spec::default_families(obj, old, &families).map_err(|e| invalid(obj, e))?;

        let before = old.map(Held::of).unwrap_or_default();
        let mut taken = Held::default();
        let outcome = take(&mut state, obj, &before, &mut taken);
        if let Err(e) = outcome {
            state.free(&taken);
            return Err(invalid(obj, e));
        }
        if dry_run {
            state.free(&taken);
            return Ok(Reservation::none());
        }
        let given_back = before.minus(&Held::of(obj));
        Ok(Reservation { state: Some(self.state.clone()), taken, given_back })
    }

    /// A Service is gone.
    pub fn release(&self, entry: &Entry, svc: &Value) {
        if entry.is("", "services") {
            self.state.lock().free(&Held::of(svc));
        }
    }
}

fn invalid(obj: &Value, e: machinery::field::Error) -> Status {
    Status::invalid("", "Service", meta::name(obj), &vec![e])
}

/// Takes addresses and ports that the Service does not hold yet.
fn take(state: &mut State, obj: &mut Value, before: &Held, taken: &mut Held) -> Result<(), machinery::field::Error> {
    ip::take(&mut state.ranges, obj, &before.ips, &mut taken.ips)?;
    port::take(&mut state.ports, obj, &before.ports, &mut taken.ports)
}

#[cfg(test)]
mod tests;
