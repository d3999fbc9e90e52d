//! One sync of one volume: its phase, and what becomes of it when its claim is gone.

use super::{BOUND_BY_CONTROLLER, Controller, Key, PROVISIONED_BY};
use crate::Result;
use client::{EventType, Object, reference_to};
use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim};

impl Controller {
    pub(super) async fn sync_volume(&self, name: &str) -> Result {
        let Some(v) = self.volumes.get("", name) else { return Ok(()) };
        let Some(r) = v.spec.as_ref().and_then(|s| s.claim_ref.clone()) else {
            return self.set_volume_phase(&v, "Available", "").await.map(drop);
        };
        let uid = r.uid.clone().unwrap_or_default();
        if uid.is_empty() {
            // Meant for a claim that has not taken it.
            return self.set_volume_phase(&v, "Available", "").await.map(drop);
        }
        let claim = self.living_claim(&r).await?.filter(|c| c.uid() == uid);
        let Some(c) = claim else {
            let phase = v.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("");
            let v = if phase == "Released" || phase == "Failed" {
                (*v).clone()
            } else {
                self.set_volume_phase(&v, "Released", "").await?
            };
            return self.reclaim(&v).await;
        };
        match c.spec.as_ref().and_then(|s| s.volume_name.as_deref()).unwrap_or("") {
            // Half bound: the claim's sync goes on.
            "" => {
                self.queue.add(Key::Claim(c.key()));
                Ok(())
            }
            bound if bound == name => self.set_volume_phase(&v, "Bound", "").await.map(drop),
            _ => self.free(&v).await,
        }
    }

    async fn living_claim(&self, r: &ObjectReference) -> Result<Option<PersistentVolumeClaim>> {
        let (namespace, name) = (r.namespace.as_deref().unwrap_or(""), r.name.as_deref().unwrap_or(""));
        if let Some(c) = self.claims.get(namespace, name).filter(|c| Some(c.uid()) == r.uid.as_deref()) {
            return Ok(Some((*c).clone()));
        }
        // Data is at stake: believe only the server that the claim is gone.
        match self.ctx.client.get::<PersistentVolumeClaim>(namespace, name).await {
            Ok(c) => Ok(Some(c)),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// The claim took another volume.
    async fn free(&self, v: &PersistentVolume) -> Result {
        let spec = v.spec.clone().unwrap_or_default();
        let deletes = spec.persistent_volume_reclaim_policy.as_deref() == Some("Delete");
        if v.annotation(PROVISIONED_BY).is_some() && deletes {
            let v = self.set_volume_phase(v, "Released", "").await?;
            return self.reclaim(&v).await;
        }
        let mut new = v.clone();
        let new_spec = new.spec.get_or_insert_default();
        if v.annotation(BOUND_BY_CONTROLLER).is_some() {
            new_spec.claim_ref = None;
            new.metadata.annotations.get_or_insert_default().remove(BOUND_BY_CONTROLLER);
        } else if let Some(r) = &mut new_spec.claim_ref {
            r.uid = None;
            r.resource_version = None;
        }
        let v = self.ctx.client.update(&new).await?;
        self.set_volume_phase(&v, "Available", "").await.map(drop)
    }

    async fn reclaim(&self, v: &PersistentVolume) -> Result {
        let spec = v.spec.clone().unwrap_or_default();
        let fail = |reason: &'static str, message: String| async move {
            if v.status.as_ref().and_then(|s| s.phase.as_deref()) != Some("Failed") {
                self.set_volume_phase(v, "Failed", &message).await?;
                self.recorder.event(&reference_to(v), EventType::Warning, reason, message);
            }
            Ok(())
        };
        match spec.persistent_volume_reclaim_policy.as_deref().unwrap_or("Retain") {
            "Retain" => Ok(()),
            // Its provisioner sees the phase and deletes it.
            "Delete" if v.annotation(PROVISIONED_BY).is_some() => Ok(()),
            "Delete" => {
                let message =
                    format!("error getting deleter volume plugin for volume {:?}: no deletable volume plugin matched", v.name());
                fail("VolumeFailedDelete", message).await
            }
            "Recycle" => fail("VolumeFailedRecycle", "no recyclable volume plugin matched".into()).await,
            _ => fail("VolumeUnknownReclaimPolicy", "Volume has unrecognized PersistentVolumeReclaimPolicy".into()).await,
        }
    }
}
