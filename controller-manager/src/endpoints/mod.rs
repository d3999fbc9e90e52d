//! Endpoints: the older form of a Service's pod addresses (pkg/controller/endpoint).

pub mod services;
mod subsets;
pub mod trigger;

use crate::manager::forever;
use crate::{Context, Result, synced};
use client::{DeleteOptions, EventType, Informer, InformerEvent, Object, Recorder, WorkQueue, reference_to};
use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

const MANAGED_BY: (&str, &str) = ("endpoints.kubernetes.io/managed-by", "endpoint-controller");
pub const HEADLESS: &str = "service.kubernetes.io/headless";
pub const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// Records of the old leader election on Endpoints: not a Service's leftovers.
pub const LEADER_RECORD: &str = "control-plane.alpha.kubernetes.io/leader";

struct Controller {
    ctx: Context,
    services: Arc<Informer<Service>>,
    pods: Arc<Informer<Pod>>,
    endpoints: Arc<Informer<Endpoints>>,
    trigger: Mutex<trigger::Tracker>,
    recorder: Recorder,
}

pub async fn run(ctx: Context) {
    let services = ctx.informers.of::<Service>();
    let pods = ctx.informers.of::<Pod>();
    let endpoints = ctx.informers.of::<Endpoints>();
    let queue = WorkQueue::new();
    services::follow(&services, &pods, &queue);
    let q = queue.clone();
    endpoints.add_handler(move |e| match e {
        InformerEvent::Deleted(e) => q.add(e.key()),
        // After a restart: those whose Service went meanwhile.
        InformerEvent::Added(e) if e.annotation(LEADER_RECORD).is_none() => q.add(e.key()),
        _ => {}
    });
    synced!(services, pods, endpoints);
    let recorder = ctx.recorder("endpoint-controller");
    let workers = ctx.config.concurrent_syncs;
    let c = Arc::new(Controller { ctx, services, pods, endpoints, trigger: Mutex::default(), recorder });
    forever(queue.run("endpoint", workers, move |key: String| {
        let c = c.clone();
        async move { c.sync(&key).await }
    }))
    .await;
}

/// The Service has a cluster IP of its own.
pub fn has_cluster_ip(s: &Service) -> bool {
    !matches!(s.spec.as_ref().and_then(|s| s.cluster_ip.as_deref()), None | Some("" | "None"))
}

impl Controller {
    async fn sync(&self, key: &str) -> Result {
        let Some(service) = self.services.get_key(key) else {
            self.trigger.lock().forget(key);
            let (namespace, name) = client::object::split_key(key);
            // Only what a Service's sync made: others' Endpoints without a Service are theirs.
            let ours = self.endpoints.get_key(key).is_some_and(|e| e.label(MANAGED_BY.0) == Some(MANAGED_BY.1));
            if ours {
                crate::core::error::ignore_not_found(
                    self.ctx.client.delete::<Endpoints>(namespace, name, &DeleteOptions::default()).await,
                )?;
            }
            return Ok(());
        };
        let Some(selector) = services::selector(&service) else { return Ok(()) };
        let pods = services::pods(&self.pods, &service, &selector);
        let time = self.trigger.lock().compute(&service, &pods);
        let mut wanted = subsets::of(&service, &pods);
        let truncated = subsets::truncate(&mut wanted);
        let current = self.endpoints.get_key(key);
        let mut new = current.as_deref().cloned().unwrap_or_else(|| Endpoints {
            metadata: ObjectMeta {
                name: Some(service.name().into()),
                namespace: service.metadata.namespace.clone(),
                ..Default::default()
            },
            subsets: None,
        });
        let mut labels: BTreeMap<String, String> = service.metadata.labels.clone().unwrap_or_default();
        if has_cluster_ip(&service) {
            labels.remove(HEADLESS);
        } else {
            labels.insert(HEADLESS.into(), String::new());
        }
        labels.insert(MANAGED_BY.0.into(), MANAGED_BY.1.into());
        let was_truncated = new.annotation(OVER_CAPACITY).is_some();
        let same = current.is_some()
            && new.subsets.as_deref().unwrap_or_default() == wanted.as_slice()
            && new.metadata.labels.as_ref() == Some(&labels)
            && was_truncated == truncated;
        if same {
            return Ok(());
        }
        new.subsets = (!wanted.is_empty()).then_some(wanted);
        new.metadata.labels = Some(labels);
        let annotations = new.metadata.annotations.get_or_insert_default();
        match time {
            Some(t) => drop(annotations.insert(TRIGGER_TIME.into(), t)),
            None => drop(annotations.remove(TRIGGER_TIME)),
        }
        if truncated {
            annotations.insert(OVER_CAPACITY.into(), "truncated".into());
        } else {
            annotations.remove(OVER_CAPACITY);
        }
        let (result, reason, verb) = if current.is_none() {
            (self.ctx.client.create(service.namespace(), &new).await, "FailedToCreateEndpoint", "create endpoint for service")
        } else {
            (self.ctx.client.update(&new).await, "FailedToUpdateEndpoint", "update endpoint")
        };
        match result {
            Ok(_) => Ok(()),
            Err(e) if e.is_namespace_terminating() => Ok(()),
            // The cache lags: its next event brings the key back.
            Err(e) if e.is_conflict() => Err(e.into()),
            Err(e) => {
                self.recorder.event(&reference_to(&new), EventType::Warning, reason, format!("Failed to {verb} {key}: {e}"));
                Err(e.into())
            }
        }
    }
}
