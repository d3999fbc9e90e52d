//! Binding in four writes, each of which can be the last before a crash: the volume points to the claim, its phase, the claim points
//! to the volume, its phase.

use super::{BIND_COMPLETED, BOUND_BY_CONTROLLER, Controller};
use crate::Result;
use client::{Object, reference_to};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};

impl Controller {
    pub(super) async fn bind(&self, v: &PersistentVolume, c: &PersistentVolumeClaim) -> Result {
        let v = self.bind_volume(v, c).await?;
        let v = self.set_volume_phase(&v, "Bound", "").await?;
        let c = self.bind_claim(&v, c).await?;
        self.complete(&v, &c).await
    }

    async fn bind_volume(&self, v: &PersistentVolume, c: &PersistentVolumeClaim) -> Result<PersistentVolume> {
        let old = v.spec.as_ref().and_then(|s| s.claim_ref.as_ref());
        if old.is_some_and(|r| r.uid.as_deref() == Some(c.uid())) {
            return Ok(v.clone());
        }
        let ours = old.is_none();
        let mut new = v.clone();
        new.spec.get_or_insert_default().claim_ref = Some(reference_to(c));
        if ours {
            new.metadata.annotations.get_or_insert_default().insert(BOUND_BY_CONTROLLER.into(), "yes".into());
        }
        Ok(self.ctx.client.update(&new).await?)
    }

    pub(super) async fn set_volume_phase(&self, v: &PersistentVolume, phase: &str, message: &str) -> Result<PersistentVolume> {
        if v.status.as_ref().and_then(|s| s.phase.as_deref()) == Some(phase) {
            return Ok(v.clone());
        }
        let mut new = v.clone();
        let status = new.status.get_or_insert_default();
        status.phase = Some(phase.to_owned());
        status.message = (!message.is_empty()).then(|| message.to_owned());
        status.last_phase_transition_time = Some(self.ctx.clock.time());
        Ok(self.ctx.client.update_status(&new).await?)
    }

    async fn bind_claim(&self, v: &PersistentVolume, c: &PersistentVolumeClaim) -> Result<PersistentVolumeClaim> {
        let mut new = c.clone();
        let spec = new.spec.get_or_insert_default();
        let by_us = spec.volume_name.as_deref() != Some(v.name());
        spec.volume_name = Some(v.name().to_owned());
        let annotations = new.metadata.annotations.get_or_insert_default();
        if by_us {
            annotations.insert(BOUND_BY_CONTROLLER.into(), "yes".into());
        }
        annotations.entry(BIND_COMPLETED.into()).or_insert_with(|| "yes".into());
        if new == *c {
            return Ok(new);
        }
        Ok(self.ctx.client.update(&new).await?)
    }

    async fn complete(&self, v: &PersistentVolume, c: &PersistentVolumeClaim) -> Result {
        let spec = v.spec.clone().unwrap_or_default();
        let mut new = c.clone();
        let status = new.status.get_or_insert_default();
        let first = status.phase.as_deref() != Some("Bound");
        status.phase = Some("Bound".into());
        status.access_modes = spec.access_modes;
        if first || status.capacity.is_none() {
            status.capacity = spec.capacity;
        }
        if new.status != c.status {
            self.ctx.client.update_status(&new).await?;
        }
        Ok(())
    }
}
