//! One sync of one claim.

use super::{
    BETA_PROVISIONER, BIND_COMPLETED, BOUND_BY_CONTROLLER, Controller, DEFAULT_CLASS, PROVISIONER, SELECTED_NODE, claim_class,
    matching,
};
use crate::Result;
use crate::core::pod;
use client::{EventType, Object, reference_to};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use std::sync::Arc;

impl Controller {
    pub(super) fn tell(&self, c: &PersistentVolumeClaim, kind: EventType, reason: &str, message: impl Into<String>) {
        self.recorder.event(&reference_to(c), kind, reason, message);
    }

    pub(super) async fn sync_claim(&self, key: &str) -> Result {
        let Some(c) = self.claims.get_key(key) else { return Ok(()) };
        if c.annotation(BIND_COMPLETED).is_some() { self.sync_bound(&c).await } else { self.sync_unbound(&c).await }
    }

    async fn sync_bound(&self, c: &PersistentVolumeClaim) -> Result {
        let name = c.spec.as_ref().and_then(|s| s.volume_name.as_deref()).unwrap_or("");
        if name.is_empty() {
            let message = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!";
            return self.lose(c, "ClaimLost", message).await;
        }
        let Some(v) = self.volumes.get("", name) else {
            let message = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
            return self.lose(c, "ClaimLost", message).await;
        };
        match v.spec.as_ref().and_then(|s| s.claim_ref.as_ref()) {
            None => self.bind(&v, c).await,
            Some(r) if r.uid.as_deref() == Some(c.uid()) => self.bind(&v, c).await,
            Some(_) if matching::is_bound_to(&v, c) => self.bind(&v, c).await,
            Some(_) => {
                let message = "Two claims are bound to the same volume, this one is bound incorrectly";
                self.lose(c, "ClaimMisbound", message).await
            }
        }
    }

    async fn lose(&self, c: &PersistentVolumeClaim, reason: &str, message: &str) -> Result {
        if self.set_claim_phase(c, "Lost").await? {
            self.tell(c, EventType::Warning, reason, message);
        }
        Ok(())
    }

    async fn sync_unbound(&self, c: &PersistentVolumeClaim) -> Result {
        let name = c.spec.as_ref().and_then(|s| s.volume_name.as_deref()).unwrap_or("");
        if name.is_empty() {
            return self.find_volume(c).await;
        }
        let Some(v) = self.volumes.get("", name) else { return self.pending(c).await };
        if v.spec.as_ref().is_some_and(|s| s.claim_ref.is_none()) {
            if let Some(why) = matching::mismatch(&v, c) {
                let message = format!("Cannot bind to requested volume {name:?}: {why}");
                self.tell(c, EventType::Warning, "VolumeMismatch", message);
                return self.pending(c).await;
            }
            return self.bind(&v, c).await;
        }
        if matching::is_bound_to(&v, c) {
            return self.bind(&v, c).await;
        }
        if c.annotation(BOUND_BY_CONTROLLER).is_none() {
            let message = format!("volume {name:?} already bound to a different claim.");
            self.tell(c, EventType::Warning, "FailedBinding", message);
            return self.pending(c).await;
        }
        Err(crate::Error::other(format!("invalid binding of claim {} to volume {name}", c.key())))
    }

    async fn find_volume(&self, c: &PersistentVolumeClaim) -> Result {
        if self.assign_default_class(c).await? {
            return Ok(());
        }
        let class = self.classes.get("", claim_class(c));
        let waits_for_pod = class.as_ref().is_some_and(|s| s.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"));
        let node = c.annotation(SELECTED_NODE);
        let delayed = waits_for_pod && node.is_none();
        let node = node.and_then(|n| self.nodes.get("", n));
        if let Some(v) = matching::best(c, &self.volumes.list(), delayed, node.as_deref()) {
            return self.bind(&v, c).await;
        }
        if delayed {
            let (reason, message) = self.why_delayed(c);
            self.tell(c, EventType::Normal, reason, message);
        } else if !claim_class(c).is_empty() {
            return self.provision(c, class).await;
        } else {
            let message = "no persistent volumes available for this claim and no storage class is set";
            self.tell(c, EventType::Normal, "FailedBinding", message);
        }
        self.pending(c).await
    }

    fn why_delayed(&self, c: &PersistentVolumeClaim) -> (&'static str, String) {
        let users = self.pods.by_index("claim", &c.key());
        let waiting: Vec<&str> =
            users.iter().filter(|p: &&Arc<Pod>| pod::node_name(p).is_empty() && !pod::is_terminal(p)).map(|p| p.name()).collect();
        match waiting.as_slice() {
            [] => ("WaitForFirstConsumer", "waiting for first consumer to be created before binding".into()),
            [one] => ("WaitForPodScheduled", format!("waiting for pod {one} to be scheduled")),
            many => ("WaitForPodScheduled", format!("waiting for pods {} to be scheduled", many.join(","))),
        }
    }

    /// A claim without a class gets the default one that has appeared since.
    async fn assign_default_class(&self, c: &PersistentVolumeClaim) -> Result<bool> {
        let unset = c.spec.as_ref().is_some_and(|s| s.storage_class_name.is_none()) && claim_class(c).is_empty();
        if !unset {
            return Ok(false);
        }
        let created = |s: &StorageClass| s.metadata.creation_timestamp.as_ref().map(|t| t.0);
        let mut defaults: Vec<Arc<StorageClass>> =
            self.classes.list().into_iter().filter(|s| s.annotation(DEFAULT_CLASS) == Some("true")).collect();
        defaults.sort_by(|a, b| created(b).cmp(&created(a)).then_with(|| a.name().cmp(b.name())));
        let Some(class) = defaults.first() else { return Ok(false) };
        let mut new = c.clone();
        new.spec.get_or_insert_default().storage_class_name = Some(class.name().to_owned());
        self.ctx.client.update(&new).await?;
        Ok(true)
    }

    /// Hands the claim to its class's provisioner.
    async fn provision(&self, c: &PersistentVolumeClaim, class: Option<Arc<StorageClass>>) -> Result {
        let Some(class) = class else {
            let message = format!("storageclass.storage.k8s.io {:?} not found", claim_class(c));
            self.tell(c, EventType::Warning, "ProvisioningFailed", message);
            return self.pending(c).await;
        };
        if class.provisioner == "kubernetes.io/no-provisioner" {
            // Volumes of such classes are made by hand.
            return self.pending(c).await;
        }
        if c.annotation(PROVISIONER) != Some(&class.provisioner) || c.annotation(BETA_PROVISIONER) != Some(&class.provisioner) {
            let mut new = c.clone();
            let annotations = new.metadata.annotations.get_or_insert_default();
            for key in [PROVISIONER, BETA_PROVISIONER] {
                annotations.insert(key.to_owned(), class.provisioner.clone());
            }
            let new = self.ctx.client.update(&new).await?;
            let message = format!(
                "Waiting for a volume to be created either by the external provisioner '{}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered.",
                class.provisioner
            );
            self.tell(c, EventType::Normal, "ExternalProvisioning", message);
            return self.pending(&new).await;
        }
        self.pending(c).await
    }

    async fn pending(&self, c: &PersistentVolumeClaim) -> Result {
        self.set_claim_phase(c, "Pending").await.map(drop)
    }

    async fn set_claim_phase(&self, c: &PersistentVolumeClaim, phase: &str) -> Result<bool> {
        if c.status.as_ref().and_then(|s| s.phase.as_deref()) == Some(phase) {
            return Ok(false);
        }
        let mut new = c.clone();
        let status = new.status.get_or_insert_default();
        status.phase = Some(phase.to_owned());
        if phase == "Pending" {
            status.access_modes = None;
            status.capacity = None;
        }
        self.ctx.client.update_status(&new).await?;
        Ok(true)
    }
}
