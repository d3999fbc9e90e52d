//! Admission webhooks: MutatingAdmissionWebhook and ValidatingAdmissionWebhook. Configurations are read once per change
//! ([`config`]), matched against a request ([`matching`]), asked ([`review`]) and heeded ([`mutate`], [`validate`]).
//! Upstream: apiserver/pkg/admission/plugin/webhook.

pub mod config;
mod matching;
mod mutate;
mod review;
#[cfg(test)]
mod tests;
mod validate;
mod versioned;

pub use config::Source;

use super::policy::Conditions;
use super::{Attributes, Lister, Plugin};
use crate::resources::Table;
use crate::webhook::Client;
use arc_swap::ArcSwap;
use async_trait::async_trait;
use machinery::{Status, Value, meta};
use std::sync::Arc;

/// Kinds that no webhook is asked about: one that refuses them could not be removed again.
fn exempt(attrs: &Attributes) -> bool {
    attrs.gvk.group == "admissionregistration.k8s.io"
        && matches!(
            &*attrs.gvk.kind,
            "ValidatingWebhookConfiguration"
                | "MutatingWebhookConfiguration"
                | "ValidatingAdmissionPolicy"
                | "ValidatingAdmissionPolicyBinding"
                | "MutatingAdmissionPolicy"
                | "MutatingAdmissionPolicyBinding"
        )
}

/// What both plugins work with.
#[derive(Clone)]
pub struct Shared {
    pub source: Arc<Source>,
    pub client: Arc<Client>,
    pub table: Arc<ArcSwap<Table>>,
}

/// MutatingAdmissionWebhook.
pub struct Mutating(pub Shared);
/// ValidatingAdmissionWebhook.
pub struct Validating(pub Shared);

impl Mutating {
    pub const NAME: &str = "MutatingAdmissionWebhook";
}

#[async_trait]
impl Plugin for Mutating {
    fn name(&self) -> &'static str {
        Self::NAME
    }
    fn handles(&self, attrs: &Attributes) -> bool {
        !exempt(attrs) && !self.0.source.is_empty()
    }
    async fn admit(&self, attrs: &Attributes, obj: &mut Value, cx: &dyn Lister) -> Result<(), Status> {
        mutate::dispatch(&self.0, attrs, obj, cx).await
    }
}

impl Validating {
    pub const NAME: &str = "ValidatingAdmissionWebhook";
}

#[async_trait]
impl Plugin for Validating {
    fn name(&self) -> &'static str {
        Self::NAME
    }
    fn handles(&self, attrs: &Attributes) -> bool {
        exempt(attrs) || !self.0.source.is_empty()
    }
    async fn validate(&self, attrs: &Attributes, obj: &Value, cx: &dyn Lister) -> Result<(), Status> {
        if exempt(attrs) {
            return check_conditions(attrs, obj);
        }
        validate::dispatch(&self.0, attrs, obj, cx).await
    }
}

/// Match conditions that are written must compile; on updates only where they changed.
fn check_conditions(attrs: &Attributes, configuration: &Value) -> Result<(), Status> {
    let known: Vec<&Value> =
        meta::list_at(attrs.old(), &["webhooks"]).iter().flat_map(|h| meta::list_at(h, &["matchConditions"])).collect();
    let mut errors = machinery::field::ErrorList::new();
    for (i, hook) in meta::list_at(configuration, &["webhooks"]).iter().enumerate() {
        let list = meta::list_at(hook, &["matchConditions"]);
        if list.iter().all(|c| known.contains(&c)) {
            continue;
        }
        if let Some(conditions) = Conditions::compile(list) {
            errors.extend(conditions.errors(&machinery::field::Path::new("webhooks").index(i)));
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(&attrs.gvk.group, &attrs.gvk.kind, meta::name(configuration), &errors))
}
