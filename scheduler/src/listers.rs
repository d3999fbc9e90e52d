//! What plugins look up besides nodes and pods: informers of the other kinds.

use client::{Informer, Informers};
use k8s_openapi::api::apps::v1::{ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume, PersistentVolumeClaim, ReplicationController, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment};
use std::sync::Arc;

pub struct Listers {
    pub namespaces: Arc<Informer<Namespace>>,
    pub claims: Arc<Informer<PersistentVolumeClaim>>,
    pub volumes: Arc<Informer<PersistentVolume>>,
    pub classes: Arc<Informer<StorageClass>>,
    pub csi_nodes: Arc<Informer<CSINode>>,
    pub csi_drivers: Arc<Informer<CSIDriver>>,
    pub csi_capacities: Arc<Informer<CSIStorageCapacity>>,
    pub attachments: Arc<Informer<VolumeAttachment>>,
    pub services: Arc<Informer<Service>>,
    pub replica_sets: Arc<Informer<ReplicaSet>>,
    pub replication_controllers: Arc<Informer<ReplicationController>>,
    pub stateful_sets: Arc<Informer<StatefulSet>>,
    pub disruption_budgets: Arc<Informer<PodDisruptionBudget>>,
    /// Counts changes of claims, for bindings that wait for theirs.
    pub claims_changed: Arc<tokio::sync::watch::Sender<u64>>,
}

impl Listers {
    pub fn new(informers: &Informers) -> Self {
        Self {
            namespaces: informers.of(),
            claims: informers.of(),
            volumes: informers.of(),
            classes: informers.of(),
            csi_nodes: informers.of(),
            csi_drivers: informers.of(),
            csi_capacities: informers.of(),
            attachments: informers.of(),
            services: informers.of(),
            replica_sets: informers.of(),
            replication_controllers: informers.of(),
            stateful_sets: informers.of(),
            disruption_budgets: informers.of(),
            claims_changed: Arc::new(tokio::sync::watch::Sender::new(0)),
        }
    }

    /// Waits for the first list of each.
    pub async fn synced(&self) {
        tokio::join!(
            self.namespaces.synced(),
            self.claims.synced(),
            self.volumes.synced(),
            self.classes.synced(),
            self.csi_nodes.synced(),
            self.csi_drivers.synced(),
            self.csi_capacities.synced(),
            self.attachments.synced(),
            self.services.synced(),
            self.replica_sets.synced(),
            self.replication_controllers.synced(),
            self.stateful_sets.synced(),
            self.disruption_budgets.synced(),
        );
    }
}
