//! Keeps the index by informer events.

use crate::Index;
use client::{InformerEvent, Informers, Object};
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use parking_lot::RwLock;
use std::sync::Arc;

/// An index that follows the cluster as long as the informers live.
pub fn keep(informers: &Informers) -> Arc<RwLock<Index>> {
    let index: Arc<RwLock<Index>> = Arc::default();
    let (namespaces, services, slices) =
        (informers.of::<Namespace>(), informers.of::<Service>(), informers.of::<EndpointSlice>());
    let to = index.clone();
    namespaces.add_handler(move |event| match event {
        InformerEvent::Added(n) => to.write().put_namespace(n.name()),
        InformerEvent::Updated { .. } => {}
        InformerEvent::Deleted(n) => to.write().remove_namespace(n.name()),
    });
    let to = index.clone();
    services.add_handler(move |event| match event {
        InformerEvent::Added(s) => to.write().put_service(s),
        InformerEvent::Updated { old, new } if old.spec == new.spec => {}
        InformerEvent::Updated { new, .. } => to.write().put_service(new),
        InformerEvent::Deleted(s) => to.write().remove_service(&s.key()),
    });
    let to = index.clone();
    slices.add_handler(move |event| match event {
        InformerEvent::Added(s) | InformerEvent::Updated { new: s, .. } => to.write().put_slice(s),
        InformerEvent::Deleted(s) => to.write().remove_slice(&s.key()),
    });
    // Once all have listed, a name that is absent does not exist. The task must not keep the index of a dropped server alive.
    let to = Arc::downgrade(&index);
    tokio::spawn(async move {
        namespaces.synced().await;
        services.synced().await;
        slices.synced().await;
        if let Some(index) = to.upgrade() {
            index.write().set_synced();
        }
    });
    index
}
