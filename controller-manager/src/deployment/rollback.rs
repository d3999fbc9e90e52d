//! Rollback by the annotation that `extensions/v1beta1` left behind. `kubectl rollout undo` patches the template instead.

use super::{Controller, HASH_LABEL, annotations};
use crate::Result;
use crate::core::revision::{equal_ignoring_label, without_label};
use client::{EventType, Object};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

/// The revision asked for; 0 is the previous one.
pub fn requested(d: &Deployment) -> Option<i64> {
    d.annotation(annotations::ROLLBACK_TO)?.parse().ok()
}

impl Controller {
    pub(super) async fn rollback(&self, d: &mut Deployment, list: Vec<ReplicaSet>) -> Result {
        let sets = self.revisions(d, list, true).await?;
        let mut wanted = requested(d).unwrap_or(0);
        if wanted == 0 {
            let mut numbers: Vec<i64> = sets.all().filter_map(annotations::revision).collect();
            numbers.sort_unstable_by(|a, b| b.cmp(a));
            wanted = numbers.get(1).copied().unwrap_or(0);
            if wanted == 0 {
                self.event(d, EventType::Warning, "DeploymentRollbackRevisionNotFound", "Unable to find last revision.".into());
                return self.end_rollback(d).await;
            }
        }
        let Some(target) = sets.all().find(|rs| annotations::revision(*rs) == Some(wanted)).cloned() else {
            let message = "Unable to find the revision to rollback to.";
            self.event(d, EventType::Warning, "DeploymentRollbackRevisionNotFound", message.into());
            return self.end_rollback(d).await;
        };
        let template = target.spec.as_ref().and_then(|s| s.template.clone()).unwrap_or_default();
        let spec = d.spec.get_or_insert_default();
        if equal_ignoring_label(&spec.template, &template, HASH_LABEL) {
            let message = format!("The rollback revision contains the same template as current deployment {:?}", d.name());
            self.event(d, EventType::Warning, "DeploymentRollbackTemplateUnchanged", message);
        } else {
            spec.template = without_label(&template, HASH_LABEL);
            let own = d.metadata.annotations.get_or_insert_default();
            own.retain(|k, _| annotations::is_own(k));
            for (k, v) in target.metadata.annotations.iter().flatten().filter(|(k, _)| !annotations::is_own(k)) {
                own.insert(k.clone(), v.clone());
            }
            let message = format!("Rolled back deployment {:?} to revision {wanted}", d.name());
            self.event(d, EventType::Normal, "DeploymentRollback", message);
        }
        self.end_rollback(d).await
    }

    async fn end_rollback(&self, d: &mut Deployment) -> Result {
        if let Some(a) = &mut d.metadata.annotations {
            a.remove(annotations::ROLLBACK_TO);
        }
        self.ctx.client.update(d).await?;
        Ok(())
    }
}
