//! The claims of a StatefulSet's pods, and who owns them under its retention policy.

use super::identity::{self, in_range};
use super::{Controller, spec};
use crate::{Error, Result};
use client::{EventType, Object, reference_to};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

/// `data-web-0`.
pub fn name(set: &StatefulSet, template: &PersistentVolumeClaim, ordinal: i32) -> String {
    format!("{}-{}-{ordinal}", template.name(), set.name())
}

/// A claim name that one of this set's templates could have made.
pub fn could_be_of(set: &StatefulSet, claim: &str) -> bool {
    let Some((head, _)) = identity::parent_and_ordinal(claim) else { return false };
    spec(set).volume_claim_templates.iter().flatten().any(|t| head == format!("{}-{}", t.name(), set.name()))
}

fn claims_of(set: &StatefulSet, ordinal: i32) -> impl Iterator<Item = PersistentVolumeClaim> + '_ {
    spec(set).volume_claim_templates.iter().flatten().map(move |t| {
        let mut c = t.clone();
        c.metadata.name = Some(name(set, t, ordinal));
        c.metadata.namespace.clone_from(&set.metadata.namespace);
        c.metadata.labels.get_or_insert_default().extend(spec(set).selector.match_labels.clone().unwrap_or_default());
        c.status = None;
        c
    })
}

/// (whenDeleted, whenScaled) are Delete.
fn policy(set: &StatefulSet) -> (bool, bool) {
    let p = spec(set).persistent_volume_claim_retention_policy.as_ref();
    let deletes = |v: Option<&String>| v.is_some_and(|v| v == "Delete");
    (deletes(p.and_then(|p| p.when_deleted.as_ref())), deletes(p.and_then(|p| p.when_scaled.as_ref())))
}

fn reference<K: Object>(owner: &K, name: &str) -> OwnerReference {
    OwnerReference { name: name.to_owned(), ..client::object::controller_reference(owner) }
}

fn names<K: Object>(r: &OwnerReference, owner: &K) -> bool {
    r.api_version == K::API_VERSION && r.kind == K::KIND && r.name == owner.name()
}

fn has_stale<K: Object>(claim: &PersistentVolumeClaim, owner: &K) -> bool {
    claim.metadata.owner_references.iter().flatten().any(|r| names(r, owner) && r.uid != owner.uid())
}

/// Somebody else manages the claim.
fn has_other_controller(claim: &PersistentVolumeClaim, set: &StatefulSet, pod: &Pod) -> bool {
    if policy(set) == (false, false) {
        return false;
    }
    claim.metadata.owner_references.iter().flatten().any(|r| {
        if names(r, set) {
            r.uid != set.uid()
        } else if names(r, pod) {
            r.uid != pod.uid()
        } else {
            r.controller == Some(true)
        }
    })
}

/// The owners the policy wants among (set, pod).
fn wanted_owners(set: &StatefulSet, pod: &Pod) -> (bool, bool) {
    let (deleted, scaled) = policy(set);
    let condemned = !in_range(set, identity::ordinal(pod));
    match (deleted, scaled) {
        (_, true) if condemned => (false, true),
        (deleted, _) => (deleted, false),
    }
}

fn is_up_to_date(claim: &PersistentVolumeClaim, set: &StatefulSet, pod: &Pod) -> bool {
    let refs = claim.metadata.owner_references.as_deref().unwrap_or_default();
    let owned_by = |uid: &str| refs.iter().any(|r| r.uid == uid);
    let owners = (owned_by(set.uid()), owned_by(pod.uid()));
    if has_stale(claim, set) || has_stale(claim, pod) {
        // Its owner is gone: the garbage collector deletes it.
        return true;
    }
    if has_other_controller(claim, set, pod) {
        return owners == (false, false);
    }
    let plain = refs.iter().any(|r| (r.uid == set.uid() || r.uid == pod.uid()) && r.controller != Some(true));
    !plain && owners == wanted_owners(set, pod)
}

impl Controller {
    fn claims_for<'a>(&'a self, set: &'a StatefulSet, pod: &'a Pod) -> impl Iterator<Item = PersistentVolumeClaim> + 'a {
        let n = identity::ordinal(pod);
        let templates = spec(set).volume_claim_templates.iter().flatten();
        templates.filter_map(move |t| self.claims.get(set.namespace(), &name(set, t, n)).map(|c| (*c).clone()))
    }

    /// A claim still belongs to a former pod of this name.
    pub(super) fn claim_is_stale(&self, set: &StatefulSet, pod: &Pod) -> bool {
        policy(set).1 && self.claims_for(set, pod).any(|c| has_stale(&c, pod))
    }

    pub(super) fn retention_matches(&self, set: &StatefulSet, pod: &Pod) -> bool {
        self.claims_for(set, pod).all(|c| is_up_to_date(&c, set, pod))
    }

    pub(super) async fn apply_retention(&self, set: &StatefulSet, pod: &Pod) -> Result {
        for mut c in self.claims_for(set, pod) {
            let foreign = has_other_controller(&c, set, pod);
            if foreign {
                let message = format!(
                    "PersistentVolumeClaim {} has a conflicting OwnerReference that acts as a manging controller, the retention policy is ignored for this claim",
                    c.name()
                );
                self.recorder.event(&reference_to(set), EventType::Warning, "ConflictingController", message);
            }
            if is_up_to_date(&c, set, pod) {
                continue;
            }
            let refs = c.metadata.owner_references.get_or_insert_default();
            refs.retain(|r| !names(r, set) && !names(r, pod));
            if !foreign {
                let (by_set, by_pod) = wanted_owners(set, pod);
                if by_set {
                    refs.push(reference(set, set.name()));
                }
                if by_pod {
                    refs.push(reference(pod, pod.name()));
                }
            }
            self.ctx
                .client
                .update(&c)
                .await
                .map_err(|e| Error::other(format!("could not update claim {} for delete policy ownerRefs: {e}", c.name())))?;
        }
        Ok(())
    }

    /// Makes the claims that are missing.
    pub(super) async fn create_claims(&self, set: &StatefulSet, pod: &Pod) -> Result {
        let mut failed = None;
        for c in claims_of(set, identity::ordinal(pod)) {
            match self.claims.get(c.namespace(), c.name()) {
                Some(existing) if existing.is_terminating() => {
                    failed = Some(Error::other(format!("pvc {} is being deleted", c.name())));
                }
                Some(_) => {}
                None => {
                    let result = self.ctx.client.create(c.namespace(), &c).await;
                    let what = format!("Pod {} in StatefulSet {}", pod.name(), set.name());
                    let about = reference_to(set);
                    match result {
                        Ok(_) => {
                            let m = format!("Create Claim {} {what} success", c.name());
                            self.recorder.event(&about, EventType::Normal, "SuccessfulCreate", m);
                        }
                        // Made already, and not shown yet.
                        Err(e) if e.is_already_exists() => {}
                        Err(e) => {
                            let m = format!("Create Claim {} for {what} failed error: {e}", c.name());
                            self.recorder.event(&about, EventType::Warning, "FailedCreate", m);
                            failed = Some(Error::other(format!("failed to create PVC {}: {e}", c.name())));
                        }
                    }
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }
}
