//! What a namespace says of its deletion.

use super::content::Outcome;
use k8s_openapi::api::core::v1::{NamespaceCondition, NamespaceStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::BTreeMap;

/// Type, reason and message while all is well.
const OK: [(&str, &str, &str); 5] = [
    ("NamespaceDeletionDiscoveryFailure", "ResourcesDiscovered", "All resources successfully discovered"),
    ("NamespaceDeletionGroupVersionParsingFailure", "ParsedGroupVersions", "All legacy kube types successfully parsed"),
    ("NamespaceDeletionContentFailure", "ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
    ("NamespaceContentRemaining", "ContentRemoved", "All content successfully removed"),
    ("NamespaceFinalizersRemaining", "ContentHasNoFinalizers", "All content-preserving finalizers finished"),
];

fn listed(counts: &BTreeMap<String, usize>, join: &str) -> String {
    let parts: Vec<String> = counts.iter().map(|(k, n)| format!("{k} {join} {n} resource instances")).collect();
    parts.join(", ")
}

fn trouble(kind: &str, out: &Outcome) -> Option<(&'static str, String)> {
    match kind {
        "NamespaceDeletionDiscoveryFailure" => out.discovery_error.clone().map(|e| ("DiscoveryFailed", e)),
        "NamespaceDeletionContentFailure" if !out.errors.is_empty() => {
            let mut errors = out.errors.clone();
            errors.sort();
            let text = format!("Failed to delete all resource types, {} remaining: {}", errors.len(), errors.join(", "));
            Some(("ContentDeletionFailed", text))
        }
        "NamespaceContentRemaining" if !out.remaining.is_empty() && !out.only_pods => {
            Some(("SomeResourcesRemain", format!("Some resources are remaining: {}", listed(&out.remaining, "has"))))
        }
        "NamespaceFinalizersRemaining" if !out.finalizers.is_empty() && !out.only_pods => {
            let text = format!("Some content in the namespace has finalizers remaining: {}", listed(&out.finalizers, "in"));
            Some(("SomeFinalizersRemain", text))
        }
        _ => None,
    }
}

/// Brings the conditions up to date; true if any changed.
pub fn update(status: &mut NamespaceStatus, out: &Outcome, now: Time) -> bool {
    let conditions = status.conditions.get_or_insert_default();
    let mut changed = false;
    for (kind, reason, message) in OK {
        let (state, reason, message) = match trouble(kind, out) {
            Some((reason, message)) => ("True", reason, message),
            None => ("False", reason, message.to_owned()),
        };
        let new = NamespaceCondition {
            type_: kind.to_owned(),
            status: state.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: Some(now.clone()),
        };
        match conditions.iter_mut().find(|c| c.type_ == kind) {
            None => conditions.push(new),
            Some(old) if old.status == new.status && old.reason == new.reason && old.message == new.message => continue,
            Some(old) => {
                let since =
                    if old.status == new.status { old.last_transition_time.clone() } else { new.last_transition_time.clone() };
                *old = NamespaceCondition { last_transition_time: since, ..new };
            }
        }
        changed = true;
    }
    changed
}
