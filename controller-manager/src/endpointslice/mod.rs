//! EndpointSlices of Services with selectors (pkg/controller/endpointslice, k8s.io/endpointslice), and mirrors of hand-made Endpoints.

mod desired;
pub mod mirroring;
mod reconcile;

use crate::endpoints::{services, trigger};
use crate::manager::forever;
use crate::{Context, Result, synced};
use client::{EventType, Informer, InformerEvent, ListOptions, Object, Recorder, WorkQueue, reference_to};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use parking_lot::Mutex;
use std::sync::Arc;

pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const CONTROLLER: &str = "endpointslice-controller.k8s.io";
const ZONE: &str = "topology.kubernetes.io/zone";

struct Controller {
    ctx: Context,
    services: Arc<Informer<Service>>,
    pods: Arc<Informer<Pod>>,
    nodes: Arc<Informer<Node>>,
    slices: Arc<Informer<EndpointSlice>>,
    written: reconcile::Written,
    trigger: Mutex<trigger::Tracker>,
    recorder: Recorder,
}

/// The informer of the slices one controller manages, indexed by Service.
fn managed_slices(ctx: &Context, controller: &str) -> Arc<Informer<EndpointSlice>> {
    let ours = ListOptions { label_selector: format!("{MANAGED_BY}={controller}"), ..Default::default() };
    let slices = ctx.informers.with::<EndpointSlice>("", ours);
    slices.add_index("service", |s: &EndpointSlice| {
        s.label(SERVICE_NAME).map(|n| client::key_of(s.namespace(), n)).into_iter().collect()
    });
    slices
}

pub async fn run(ctx: Context) {
    let services = ctx.informers.of::<Service>();
    let pods = ctx.informers.of::<Pod>();
    let nodes = ctx.informers.of::<Node>();
    let slices = managed_slices(&ctx, CONTROLLER);
    let queue = WorkQueue::new();
    services::follow(&services, &pods, &queue);
    let q = queue.clone();
    slices.add_handler(move |e| {
        let (InformerEvent::Added(s) | InformerEvent::Updated { new: s, .. } | InformerEvent::Deleted(s)) = e;
        if let Some(name) = s.label(SERVICE_NAME) {
            q.add(client::key_of(s.namespace(), name));
        }
    });
    let (q, by_node) = (queue.clone(), Arc::downgrade(&services));
    nodes.add_handler(move |e| {
        // A node's zone is in its pods' endpoints.
        let InformerEvent::Updated { old, new } = e else { return };
        if old.label(ZONE) != new.label(ZONE) {
            by_node.upgrade().into_iter().flat_map(|s| s.list()).for_each(|s| q.add(s.key()));
        }
    });
    synced!(services, pods, nodes, slices);
    let recorder = ctx.recorder("endpoint-slice-controller");
    let workers = ctx.config.concurrent_syncs;
    let c = Arc::new(Controller {
        ctx,
        services,
        pods,
        nodes,
        slices,
        written: Default::default(),
        trigger: Mutex::default(),
        recorder,
    });
    forever(queue.run("endpoint_slice", workers, move |key: String| {
        let c = c.clone();
        async move { c.sync(&key).await }
    }))
    .await;
}

impl Controller {
    async fn sync(&self, key: &str) -> Result {
        let Some(service) = self.services.get_key(key) else {
            self.trigger.lock().forget(key);
            self.written.forget(key);
            // The garbage collector deletes the slices.
            return Ok(());
        };
        let Some(selector) = services::selector(&service) else { return Ok(()) };
        if service.is_terminating() {
            return Ok(());
        }
        let existing = self.slices.by_index("service", key);
        if self.written.is_stale(key, &existing) {
            // Our own writes are still on their way here; each brings the key back.
            return Ok(());
        }
        let pods = services::pods(&self.pods, &service, &selector);
        let time = self.trigger.lock().compute(&service, &pods);
        let zone = |node: &str| self.nodes.get("", node).and_then(|n| n.label(ZONE).map(str::to_owned));
        let wanted = desired::of(&service, &pods, zone);
        let plan = reconcile::plan(existing, wanted, &|s| desired::dress(&service, s), time.as_deref());
        match self.written.apply(&self.ctx.client, key, plan).await {
            Err(e) if e.is_namespace_terminating() => Ok(()),
            Err(e) => {
                if !e.is_conflict() && !e.is_not_found() {
                    let message = format!("Error updating Endpoint Slices for Service {key}: {e}");
                    self.recorder.event(&reference_to(&*service), EventType::Warning, "FailedToUpdateEndpointSlices", message);
                }
                Err(e)
            }
            Ok(()) => Ok(()),
        }
    }
}
