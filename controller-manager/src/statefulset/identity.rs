//! Who a pod of a StatefulSet is: its ordinal, name, labels and volumes.

use super::{claims, replicas, spec};
use crate::core::pod_control::from_template;
use client::Object;
use client::object::controller_reference;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume};

pub const REVISION: &str = "controller-revision-hash";
const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// `web-3` is 3 of `web`.
pub fn parent_and_ordinal(name: &str) -> Option<(&str, i32)> {
    let (parent, n) = name.rsplit_once('-')?;
    let digits = !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| n.parse().ok()).flatten().map(|n| (parent, n))
}
pub fn ordinal(pod: &Pod) -> i32 {
    parent_and_ordinal(pod.name()).map_or(-1, |(_, n)| n)
}
pub fn is_member(set: &StatefulSet, pod: &Pod) -> bool {
    parent_and_ordinal(pod.name()).is_some_and(|(parent, _)| parent == set.name())
}
pub fn start(set: &StatefulSet) -> i32 {
    spec(set).ordinals.as_ref().and_then(|o| o.start).unwrap_or(0)
}
pub fn in_range(set: &StatefulSet, ordinal: i32) -> bool {
    ordinal >= start(set) && ordinal < start(set) + replicas(set)
}
pub fn revision(pod: &Pod) -> &str {
    pod.label(REVISION).unwrap_or("")
}

/// The name label is right (the name itself cannot change).
pub fn identity_matches(set: &StatefulSet, pod: &Pod) -> bool {
    is_member(set, pod) && pod.namespace() == set.namespace() && pod.label(POD_NAME) == Some(pod.name())
}

/// Every claim template has its volume.
pub fn storage_matches(set: &StatefulSet, pod: &Pod) -> bool {
    let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
    let n = ordinal(pod);
    spec(set).volume_claim_templates.iter().flatten().all(|t| {
        let want = claims::name(set, t, n);
        volumes.clone().any(|v| v.name == t.name() && v.persistent_volume_claim.as_ref().is_some_and(|c| c.claim_name == want))
    })
}

pub fn set_identity(set: &StatefulSet, pod: &mut Pod, ordinal: i32) {
    let name = format!("{}-{ordinal}", set.name());
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(POD_NAME.into(), name.clone());
    labels.insert(POD_INDEX.into(), ordinal.to_string());
    pod.metadata.name = Some(name);
    pod.metadata.namespace.clone_from(&set.metadata.namespace);
}

/// Claim volumes first, then the template's others.
pub fn set_storage(set: &StatefulSet, pod: &mut Pod, ordinal: i32) {
    let templates = spec(set).volume_claim_templates.as_deref().unwrap_or_default();
    let pod_spec = pod.spec.get_or_insert_default();
    let mut volumes: Vec<Volume> = templates
        .iter()
        .map(|t| Volume {
            name: t.name().to_owned(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: claims::name(set, t, ordinal),
                read_only: None,
            }),
            ..Default::default()
        })
        .collect();
    let others = pod_spec.volumes.take().unwrap_or_default();
    volumes.extend(others.into_iter().filter(|v| templates.iter().all(|t| t.name() != v.name)));
    pod_spec.volumes = (!volumes.is_empty()).then_some(volumes);
}

/// Pod `ordinal` of a revision.
pub fn new_pod(set: &StatefulSet, template: &PodTemplateSpec, revision: &str, ordinal: i32) -> Pod {
    let mut pod = from_template(template, set.name(), set.namespace(), controller_reference(set));
    pod.metadata.generate_name = Some(format!("{}-", set.name()));
    set_identity(set, &mut pod, ordinal);
    set_storage(set, &mut pod, ordinal);
    let name = pod.metadata.name.clone();
    let pod_spec = pod.spec.get_or_insert_default();
    pod_spec.hostname = name;
    pod_spec.subdomain = spec(set).service_name.clone().filter(|s| !s.is_empty());
    pod.metadata.labels.get_or_insert_default().insert(REVISION.into(), revision.to_owned());
    pod
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, want) in [
            ("web-0", Some(("web", 0))),
            ("my-db-12", Some(("my-db", 12))),
            ("web", None),
            ("web-", None),
            ("web-a", None),
            ("web-99999999999", None),
        ] {
            assert_eq!(parent_and_ordinal(name), want, "{name}");
        }
    }
}
