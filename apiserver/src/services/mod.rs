//! Addresses and node ports of Services: taking them as part of a write, and giving them back. Both are kept in the store, where
//! several API servers meet. Upstream: pkg/registry/core/service/storage/{alloc,storage}.go.

mod held_ports;
mod ip;
mod port;
mod spec;

use crate::resources::Entry;
use crate::server::Inner;
use machinery::{Status, Value, meta};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long a write may hold addresses and ports for a Service that is not stored yet (the request timeout).
const PATIENCE: Duration = Duration::from_secs(60);
/// Deletions of IPAddresses are looked into together.
const SETTLE: Duration = Duration::from_secs(5);

/// Why nothing was taken.
pub enum Failure {
    /// What is wrong with the Service.
    Field(machinery::field::Error),
    Status(Status),
}

impl From<machinery::field::Error> for Failure {
    fn from(e: machinery::field::Error) -> Self {
        Self::Field(e)
    }
}

impl From<Status> for Failure {
    fn from(s: Status) -> Self {
        Self::Status(s)
    }
}

impl Failure {
    fn status(self, obj: &Value) -> Status {
        match self {
            Self::Field(e) => Status::invalid("", "Service", meta::name(obj), &vec![e]),
            Self::Status(s) => s,
        }
    }
}

/// What a write has taken and what it will give back: undone when dropped, unless committed.
#[derive(Default)]
pub struct Reservation(Option<Box<Reserved>>);

struct Reserved {
    server: Arc<Inner>,
    namespace: String,
    name: String,
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

    /// Gives all back. What cannot be given back now, the repair finds.
    async fn free(self, server: &Inner, namespace: &str, name: &str) {
        for ip in self.ips {
            if let Err(error) = ip::release(server, ip, namespace, name).await {
                tracing::warn!(%ip, %error, "an address could not be given back");
            }
        }
        if self.ports.is_empty() {
            return;
        }
        let freed = held_ports::change(server, |range| {
            self.ports.iter().for_each(|p| range.release(*p));
            Ok(())
        });
        if freed.await.is_err() {
            tracing::warn!(ports = ?self.ports, "node ports could not be given back");
        }
    }
}

impl Reservation {
    /// Nothing was taken.
    pub fn none() -> Self {
        Self::default()
    }
    /// The write is stored: what it took is its own, what it gave up is free.
    pub async fn commit(mut self) {
        if let Some(r) = self.0.take() {
            let Reserved { server, namespace, name, given_back, .. } = *r;
            given_back.free(&server, &namespace, &name).await;
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let Some(r) = self.0.take().filter(|r| r.taken != Held::default()) else { return };
        // The request may have been cut off: this goes on without it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let Reserved { server, namespace, name, taken, .. } = *r;
            runtime.spawn(async move { taken.free(&server, &namespace, &name).await });
        }
    }
}

/// Takes what a new or changed Service needs, completing its spec. For other kinds nothing happens.
pub async fn begin(
    server: &Arc<Inner>,
    entry: &Entry,
    obj: &mut Value,
    old: Option<&Value>,
    dry_run: bool,
) -> Result<Reservation, Status> {
    if !entry.is("", "services") {
        return Ok(Reservation::none());
    }
    if let Some(old) = old {
        spec::carry_over(obj, old);
    }
    spec::normalize(obj, old);
    let families: Vec<bool> = server.config.service_cluster_ip_range.iter().map(|n| n.network().is_ipv6()).collect();
    spec::default_families(obj, old, &families).map_err(|e| Failure::from(e).status(obj))?;

    let before = old.map(Held::of).unwrap_or_default();
    // What was taken before something fails, or the request is cut off, is undone by dropping this.
    let reserved = Box::new(Reserved {
        server: server.clone(),
        namespace: meta::namespace(obj).to_owned(),
        name: meta::name(obj).to_owned(),
        taken: Held::default(),
        given_back: Held::default(),
    });
    let mut reservation = Reservation(Some(reserved));
    if let Some(r) = &mut reservation.0 {
        take(server, obj, &before, &mut r.taken, dry_run).await.map_err(|e| e.status(obj))?;
        r.given_back = before.minus(&Held::of(obj));
    }
    Ok(if dry_run { Reservation::none() } else { reservation })
}

/// Takes addresses and ports that the Service does not hold yet.
async fn take(server: &Inner, obj: &mut Value, before: &Held, taken: &mut Held, dry_run: bool) -> Result<(), Failure> {
    ip::take(server, obj, &before.ips, &mut taken.ips, dry_run).await?;
    if !spec::needs_node_port(obj) && !spec::needs_health_check_port(obj) {
        return Ok(());
    }
    let (new, ports) = held_ports::change(server, |range| {
        let (mut new, mut ports) = (obj.clone(), Vec::new());
        port::take(range, &mut new, &before.ports, &mut ports)?;
        if dry_run {
            ports.drain(..).for_each(|p| range.release(p));
        }
        Ok((new, ports))
    })
    .await?;
    *obj = new;
    taken.ports = ports;
    Ok(())
}

/// An object is gone; if it was a Service, what it held is free.
pub async fn released(server: &Inner, entry: &Entry, last: &storage::Object) {
    if entry.is("", "services") {
        let svc = last.value();
        Held::of(&svc).free(server, meta::namespace(&svc), meta::name(&svc)).await;
    }
}

async fn all(server: &Inner) -> Result<Vec<Value>, Status> {
    let entry = server.entry("", "services")?;
    let storage = entry.storage.as_ref().ok_or_else(|| Status::internal("services are not kept"))?;
    Ok(storage.list(storage::ListOptions::default()).await?.items.iter().map(|o| o.value()).collect())
}

/// Makes what is held and what Services say agree, as the server starts.
pub async fn repair(server: &Arc<Inner>) -> Result<(), Status> {
    let services = all(server).await?;
    let patience = i64::try_from(PATIENCE.as_secs()).unwrap_or(i64::MAX);
    ip::repair(server, &services, patience).await?;
    let left_behind = reconcile_ports(server, &services, &BTreeSet::new()).await?;
    if left_behind.is_empty() {
        return Ok(());
    }
    // Another server may be about to store the Services of those: only what is still unused then is free.
    let server = server.clone();
    tokio::spawn(async move {
        let shutdown = server.shutdown.clone();
        tokio::select! {
            () = tokio::time::sleep(PATIENCE) => {}
            () = shutdown.cancelled() => return,
        }
        let done = match all(&server).await {
            Ok(services) => reconcile_ports(&server, &services, &left_behind).await,
            Err(s) => Err(s),
        };
        if let Err(error) = done {
            tracing::warn!(%error, "node ports that were left behind stay taken");
        }
    });
    Ok(())
}

/// Marks the ports of all Services, and frees those of `unused` that none has. Returns the other ports that no Service has.
async fn reconcile_ports(server: &Inner, services: &[Value], unused: &BTreeSet<u16>) -> Result<BTreeSet<u16>, Status> {
    let wanted: BTreeSet<u16> = services.iter().flat_map(|s| Held::of(s).ports).collect();
    let done = held_ports::change(server, |range| {
        unused.difference(&wanted).for_each(|p| range.release(*p));
        wanted.iter().for_each(|p| range.mark(*p));
        Ok(range.used().filter(|p| !wanted.contains(p)).collect())
    });
    done.await.map_err(|e| e.status(&Value::Null))
}

/// Puts back IPAddresses of Services that somebody deletes.
pub fn keep(server: Arc<Inner>, deleted: Arc<tokio::sync::Notify>) {
    tokio::spawn(async move {
        let shutdown = server.shutdown.clone();
        let work = async {
            loop {
                deleted.notified().await;
                tokio::time::sleep(SETTLE).await;
                let services = all(&server).await;
                let done = match services {
                    Ok(services) => ip::repair(&server, &services, i64::MAX).await,
                    Err(s) => Err(s),
                };
                if let Err(error) = done {
                    tracing::warn!(%error, "keeping the addresses of Services");
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = shutdown.cancelled() => {}
        }
    });
}

#[cfg(test)]
mod tests;
