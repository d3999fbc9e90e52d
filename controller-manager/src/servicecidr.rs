//! ServiceCIDRs are ready once they are seen, and stay until no address would be left without a range
//! (pkg/controller/servicecidrs).

use crate::core::error::ignore_not_found;
use crate::manager::forever;
use crate::volume::protection::with_finalizer;
use crate::{Context, Result, synced};
use client::{Informer, InformerEvent, ListOptions, Object, WorkQueue};
use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR, ServiceCIDRStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
/// Of addresses that API servers give to Services.
const MANAGED: &str = "ipaddress.kubernetes.io/managed-by=ipallocator.k8s.io";
/// API servers may not have seen yet that a range is going, and give out its addresses.
const GRACE: Duration = Duration::from_secs(10);

struct Controller {
    ctx: Context,
    ranges: Arc<Informer<ServiceCIDR>>,
    addresses: Arc<Informer<IPAddress>>,
    queue: WorkQueue<String>,
}

pub async fn run(ctx: Context) {
    let managed = ListOptions { label_selector: MANAGED.into(), ..Default::default() };
    let c = Arc::new(Controller {
        ranges: ctx.informers.of(),
        addresses: ctx.informers.with("", managed),
        queue: WorkQueue::new(),
        ctx,
    });
    let me = Arc::downgrade(&c);
    c.ranges.add_handler(move |e| {
        let Some(c) = me.upgrade() else { return };
        match e {
            InformerEvent::Added(r) => {
                c.queue.add(r.name().to_owned());
                // One that is going may be covered now.
                let going = c.ranges.list().into_iter().filter(|r| r.is_terminating());
                going.for_each(|r| c.queue.add(r.name().to_owned()));
            }
            InformerEvent::Updated { new: r, .. } | InformerEvent::Deleted(r) => c.queue.add(r.name().to_owned()),
        }
    });
    let me = Arc::downgrade(&c);
    c.addresses.add_handler(move |e| {
        let Some(c) = me.upgrade() else { return };
        let (InformerEvent::Added(a) | InformerEvent::Deleted(a)) = e else { return };
        let Ok(ip) = a.name().parse::<IpAddr>() else { return };
        // Only a range that is going has anything to decide.
        let going = c.ranges.list().into_iter().filter(|r| r.is_terminating() && cidrs(r).iter().any(|n| n.contains(&ip)));
        going.for_each(|r| c.queue.add(r.name().to_owned()));
    });
    synced!(c.ranges, c.addresses);
    let queue = c.queue.clone();
    forever(queue.run("service-cidr", 1, move |name: String| {
        let c = c.clone();
        async move { c.sync(&name).await }
    }))
    .await;
}

fn cidrs(r: &ServiceCIDR) -> Vec<IpNet> {
    r.spec.iter().flat_map(|s| s.cidrs.iter().flatten()).filter_map(|c| c.parse().ok()).collect()
}

/// Whether every address of `range` that is in use, or the whole of it, belongs to another range, too.
fn is_free(range: &ServiceCIDR, all: &[Arc<ServiceCIDR>], addresses: &[Arc<IPAddress>]) -> bool {
    let others: Vec<IpNet> = all.iter().filter(|r| r.name() != range.name()).flat_map(|r| cidrs(r)).collect();
    let own = cidrs(range);
    if own.iter().all(|n| others.iter().any(|o| o.contains(n))) {
        return true;
    }
    let mut used = addresses.iter().filter_map(|a| a.name().parse::<IpAddr>().ok());
    !used.any(|ip| own.iter().any(|n| n.contains(&ip)) && !others.iter().any(|o| o.contains(&ip)))
}

impl Controller {
    async fn sync(&self, name: &str) -> Result {
        let Some(range) = self.ranges.get("", name) else { return Ok(()) };
        if let Some(since) = &range.metadata.deletion_timestamp {
            if !is_free(&range, &self.ranges.list(), &self.addresses.list()) {
                let why =
                    "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";
                return self.condition(&range, "False", "Terminating", why).await;
            }
            let passed = Duration::try_from(self.ctx.now().duration_since(since.0)).unwrap_or_default();
            if passed < GRACE {
                self.queue.add_after(name.to_owned(), GRACE - passed);
                return Ok(());
            }
            if let Some(new) = with_finalizer(&*range, FINALIZER, false) {
                ignore_not_found(self.ctx.client.update(&new).await)?;
            }
            return Ok(());
        }
        if let Some(new) = with_finalizer(&*range, FINALIZER, true) {
            // The change comes back as an event.
            return Ok(ignore_not_found(self.ctx.client.update(&new).await)?);
        }
        self.condition(&range, "True", "", "Kubernetes Service CIDR is ready").await
    }

    async fn condition(&self, range: &ServiceCIDR, status: &str, reason: &str, message: &str) -> Result {
        let mut all = range.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default();
        let told = |c: &Condition| (c.status.as_str(), c.reason.as_str(), c.message.as_str()) == (status, reason, message);
        if all.iter().any(|c| c.type_ == "Ready" && told(c)) {
            return Ok(());
        }
        all.retain(|c| c.type_ != "Ready");
        all.push(Condition {
            type_: "Ready".into(),
            status: status.into(),
            reason: reason.into(),
            message: message.into(),
            last_transition_time: self.ctx.clock.time(),
            observed_generation: None,
        });
        let new = ServiceCIDR { status: Some(ServiceCIDRStatus { conditions: Some(all) }), ..range.clone() };
        Ok(ignore_not_found(self.ctx.client.update_status(&new).await)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_range_in_use_stays() {
        let range = |name: &str, cidrs: &[&str]| {
            let r = serde_json::from_value::<ServiceCIDR>(json!({"metadata": {"name": name}, "spec": {"cidrs": cidrs}}));
            Arc::new(r.expect("a range"))
        };
        let address =
            |ip: &str| Arc::new(serde_json::from_value::<IPAddress>(json!({"metadata": {"name": ip}})).expect("an address"));
        let (a, wide, twin) = (range("a", &["10.1.0.0/24"]), range("wide", &["10.1.0.0/16"]), range("twin", &["10.1.0.0/24"]));
        let half = range("half", &["10.1.0.0/25"]);
        for (name, others, used, want) in [
            ("unused", vec![], vec![], true),
            ("used", vec![], vec!["10.1.0.9"], false),
            ("used elsewhere", vec![], vec!["10.2.0.9"], true),
            ("within another", vec![wide], vec!["10.1.0.9"], true),
            ("the same as another", vec![twin], vec!["10.1.0.9"], true),
            ("partly covered, the used part", vec![half.clone()], vec!["10.1.0.9"], true),
            ("partly covered, another part", vec![half], vec!["10.1.0.200"], false),
        ] {
            let all: Vec<_> = others.into_iter().chain([a.clone()]).collect();
            let used: Vec<_> = used.into_iter().map(address).collect();
            assert_eq!(is_free(&a, &all, &used), want, "{name}");
        }
    }
}
