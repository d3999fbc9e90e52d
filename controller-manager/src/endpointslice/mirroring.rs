//! Mirrors of Endpoints that people or programs make themselves, for Services without a selector (pkg/controller/endpointslicemirroring).

use super::reconcile::{self, Desired, PortKey};
use super::{MANAGED_BY, SERVICE_NAME, managed_slices};
use crate::core::error::ignore_not_found;
use crate::core::error::unless_namespace_ends;
use crate::endpoints::{LEADER_RECORD, TRIGGER_TIME};
use crate::manager::forever;
use crate::{Context, Result, synced};
use client::object::controller_reference;
use client::{DeleteOptions, EventType, Informer, InformerEvent, Object, Recorder, WorkQueue, reference_to};
use k8s_openapi::api::core::v1::{EndpointAddress, Endpoints, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointSlice};
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

const CONTROLLER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Addresses mirrored of one subset.
const MAX_PER_SUBSET: usize = 1000;

struct Controller {
    ctx: Context,
    endpoints: Arc<Informer<Endpoints>>,
    services: Arc<Informer<Service>>,
    slices: Arc<Informer<EndpointSlice>>,
    written: reconcile::Written,
    recorder: Recorder,
}

pub async fn run(ctx: Context) {
    let endpoints = ctx.informers.of::<Endpoints>();
    let services = ctx.informers.of::<Service>();
    let slices = managed_slices(&ctx, CONTROLLER);
    let queue = WorkQueue::new();
    let q = queue.clone();
    endpoints.add_handler(move |e| match e {
        InformerEvent::Added(e) | InformerEvent::Deleted(e) | InformerEvent::Updated { new: e, .. } => q.add(e.key()),
    });
    let q = queue.clone();
    services.add_handler(move |e| match e {
        InformerEvent::Added(s) | InformerEvent::Deleted(s) => q.add(s.key()),
        InformerEvent::Updated { old, new } => {
            let selects = |s: &Service| s.spec.as_ref().is_some_and(|s| s.selector.is_some());
            if selects(old) != selects(new) {
                q.add(new.key());
            }
        }
    });
    let q = queue.clone();
    slices.add_handler(move |e| {
        let (InformerEvent::Added(s) | InformerEvent::Updated { new: s, .. } | InformerEvent::Deleted(s)) = e;
        if let Some(name) = s.label(SERVICE_NAME) {
            q.add(client::key_of(s.namespace(), name));
        }
    });
    synced!(endpoints, services, slices);
    let recorder = ctx.recorder("endpoint-slice-mirroring-controller");
    let workers = ctx.config.concurrent_syncs;
    let c = Arc::new(Controller { ctx, endpoints, services, slices, written: Default::default(), recorder });
    forever(queue.run("endpoint_slice_mirroring", workers, move |key: String| {
        let c = c.clone();
        async move { c.sync(&key).await }
    }))
    .await;
}

fn is_mirrored(e: &Endpoints) -> bool {
    e.label(SKIP) != Some("true") && e.annotation(LEADER_RECORD).is_none()
}

impl Controller {
    async fn sync(&self, key: &str) -> Result {
        let endpoints = self.endpoints.get_key(key).filter(|e| is_mirrored(e));
        let service = self.services.get_key(key).filter(|s| s.spec.as_ref().is_none_or(|s| s.selector.is_none()));
        let existing = self.slices.by_index("service", key);
        let Some((endpoints, _)) = endpoints.zip(service) else {
            self.written.forget(key);
            for s in existing {
                ignore_not_found(
                    self.ctx.client.delete::<EndpointSlice>(s.namespace(), s.name(), &DeleteOptions::default()).await,
                )?;
            }
            return Ok(());
        };
        if self.written.is_stale(key, &existing) {
            return Ok(());
        }
        let (wanted, skipped) = desired(&endpoints);
        if skipped > 0 {
            let message = format!("{skipped} IPs skipped when mirroring to EndpointSlices");
            self.recorder.event(&reference_to(&*endpoints), EventType::Warning, "TooManyAddressesToMirror", message);
        }
        let time = endpoints.annotation(TRIGGER_TIME).map(str::to_owned);
        let mut plan = reconcile::plan(existing, wanted, &|s| dress(&endpoints, s), time.as_deref());
        // No placeholder for Endpoints without addresses.
        let empty = |s: &EndpointSlice| s.endpoints.as_ref().is_none_or(Vec::is_empty);
        plan.create.retain(|s| !empty(s));
        unless_namespace_ends(self.written.apply(&self.ctx.client, key, plan).await)
    }
}

fn desired(e: &Endpoints) -> (Desired, usize) {
    let mut wanted = Desired::default();
    let mut skipped = 0;
    for subset in e.subsets.iter().flatten() {
        let mut ports: PortKey = subset
            .ports
            .iter()
            .flatten()
            .map(|p| {
                let protocol = p.protocol.clone().unwrap_or_else(|| "TCP".into());
                (p.name.clone().unwrap_or_default(), Some(p.port), protocol, p.app_protocol.clone())
            })
            .collect();
        ports.sort();
        let ready = subset.addresses.iter().flatten().map(|a| (a, true));
        let not_ready = subset.not_ready_addresses.iter().flatten().map(|a| (a, false));
        let mut seen: HashSet<&str> = HashSet::new();
        for (address, ready) in ready.chain(not_ready) {
            let Some((family, endpoint)) = endpoint(address, ready) else {
                skipped += 1;
                continue;
            };
            if seen.len() >= MAX_PER_SUBSET {
                skipped += 1;
            } else if seen.insert(&address.ip) {
                wanted.entry(family.to_owned()).or_default().entry(ports.clone()).or_default().push(endpoint);
            }
        }
    }
    (wanted, skipped)
}

fn endpoint(a: &EndpointAddress, ready: bool) -> Option<(&'static str, Endpoint)> {
    let ip: IpAddr = a.ip.parse().ok()?;
    let endpoint = Endpoint {
        addresses: vec![ip.to_string()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..Default::default() }),
        target_ref: a.target_ref.clone(),
        node_name: a.node_name.clone(),
        hostname: a.hostname.clone().filter(|h| !h.is_empty()),
        ..Default::default()
    };
    Some((if ip.is_ipv6() { "IPv6" } else { "IPv4" }, endpoint))
}

fn dress(e: &Endpoints, slice: &mut EndpointSlice) -> bool {
    let mut labels = e.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.into(), e.name().to_owned());
    labels.insert(MANAGED_BY.into(), CONTROLLER.into());
    let mut annotations = e.metadata.annotations.clone().unwrap_or_default();
    annotations.retain(|k, _| k != TRIGGER_TIME && k != LAST_APPLIED);
    let meta = &mut slice.metadata;
    if meta.name.is_none() {
        meta.generate_name = Some(format!("{}-", e.name()));
        meta.namespace.clone_from(&e.metadata.namespace);
    }
    let mut old = meta.annotations.clone().unwrap_or_default();
    old.remove(TRIGGER_TIME);
    let owned = meta.owner_references.iter().flatten().any(|o| o.uid == e.uid());
    if owned && meta.labels.as_ref() == Some(&labels) && old == annotations {
        return false;
    }
    meta.labels = Some(labels);
    meta.annotations = Some(annotations);
    meta.owner_references = Some(vec![controller_reference(e)]);
    true
}
