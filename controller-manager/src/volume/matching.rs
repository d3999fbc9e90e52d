//! Which volume suits a claim best (component-helpers/storage/volume FindMatchingVolume).

use super::{claim_class, volume_class};
use crate::core::node::selector_matches;
use crate::core::selectors;
use client::Object;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use machinery::quantity::Quantity;
use std::sync::Arc;

fn quantity(q: Option<&k8s_openapi::apimachinery::pkg::api::resource::Quantity>) -> Quantity {
    q.and_then(|q| q.0.parse().ok()).unwrap_or_else(|| Quantity::new(0, machinery::quantity::Format::BinarySI))
}
pub fn requested(c: &PersistentVolumeClaim) -> Quantity {
    let r = c.spec.as_ref().and_then(|s| s.resources.as_ref()).and_then(|r| r.requests.as_ref());
    quantity(r.and_then(|r| r.get("storage")))
}
pub fn capacity(v: &PersistentVolume) -> Quantity {
    quantity(v.spec.as_ref().and_then(|s| s.capacity.as_ref()).and_then(|c| c.get("storage")))
}
fn mode(m: Option<&String>) -> &str {
    m.map_or("Filesystem", String::as_str)
}

/// The volume's claimRef names this claim.
pub fn is_bound_to(v: &PersistentVolume, c: &PersistentVolumeClaim) -> bool {
    v.spec.as_ref().and_then(|s| s.claim_ref.as_ref()).is_some_and(|r| {
        let uid = r.uid.as_deref().unwrap_or("");
        r.name.as_deref() == Some(c.name()) && r.namespace.as_deref() == Some(c.namespace()) && (uid.is_empty() || uid == c.uid())
    })
}

/// Why a volume asked for by name cannot serve the claim.
pub fn mismatch(v: &PersistentVolume, c: &PersistentVolumeClaim) -> Option<&'static str> {
    let (vs, cs) = (v.spec.as_ref()?, c.spec.as_ref()?);
    if capacity(v) < requested(c) {
        return Some("requested PV is too small");
    }
    if claim_class(c) != volume_class(v) {
        return Some("storageClassName does not match");
    }
    if mode(vs.volume_mode.as_ref()) != mode(cs.volume_mode.as_ref()) {
        return Some("incompatible volumeMode");
    }
    let has = |m: &String| vs.access_modes.iter().flatten().any(|h| h == m);
    (!cs.access_modes.iter().flatten().all(has)).then_some("incompatible accessMode")
}

/// The volume that is meant for the claim already, else the smallest free one that suits it. With `delayed`, only the former.
pub fn best(
    c: &PersistentVolumeClaim,
    volumes: &[Arc<PersistentVolume>],
    delayed: bool,
    node: Option<&Node>,
) -> Option<Arc<PersistentVolume>> {
    let spec = c.spec.as_ref()?;
    let selector = spec.selector.as_ref().map(|s| selectors::from_label_selector(Some(s)));
    let mut best: Option<&Arc<PersistentVolume>> = None;
    for v in volumes {
        let Some(vs) = &v.spec else { continue };
        if mode(vs.volume_mode.as_ref()) != mode(spec.volume_mode.as_ref()) || v.is_terminating() {
            continue;
        }
        if is_bound_to(v, c) {
            if capacity(v) >= requested(c) {
                return Some(v.clone());
            }
            continue;
        }
        let reachable = || {
            let required = vs.node_affinity.as_ref().and_then(|a| a.required.as_ref());
            node.is_none_or(|n| required.is_none_or(|r| selector_matches(r, n)))
        };
        let chosen = || match &selector {
            None => true,
            Some(Ok(s)) => selectors::matches(s, v.metadata.labels.as_ref()),
            Some(Err(_)) => false,
        };
        let free = vs.claim_ref.is_none() && v.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Available");
        if !delayed
            && free
            && mismatch(v, c).is_none()
            && chosen()
            && reachable()
            && best.is_none_or(|b| capacity(v) < capacity(b))
        {
            best = Some(v);
        }
    }
    best.cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn volume(name: &str, size: &str, rest: Value) -> Arc<PersistentVolume> {
        let mut spec = json!({"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "storageClassName": "gold"});
        spec.as_object_mut().expect("object").extend(rest.as_object().expect("object").clone());
        let v = json!({"metadata": {"name": name, "labels": {"disk": name}}, "spec": spec, "status": {"phase": "Available"}});
        Arc::new(serde_json::from_value(v).expect("volume"))
    }

    #[test]
    fn matches() {
        let volumes = [
            volume("big", "10Gi", json!({})),
            volume("fit", "2Gi", json!({})),
            volume("small", "512Mi", json!({})),
            volume("block", "1Gi", json!({"volumeMode": "Block"})),
            volume("mine", "5Gi", json!({"claimRef": {"namespace": "ns", "name": "prebound"}})),
            volume("taken", "1Gi", json!({"claimRef": {"namespace": "ns", "name": "other"}})),
        ];
        for (case, name, spec, delayed, want) in [
            ("smallest sufficient", "c", json!({"storageClassName": "gold"}), false, Some("fit")),
            ("other class", "c", json!({"storageClassName": "silver"}), false, None),
            ("access mode missing", "c", json!({"storageClassName": "gold", "accessModes": ["ReadWriteMany"]}), false, None),
            (
                "selector",
                "c",
                json!({"storageClassName": "gold", "selector": {"matchLabels": {"disk": "big"}}}),
                false,
                Some("big"),
            ),
            ("block mode", "c", json!({"storageClassName": "gold", "volumeMode": "Block"}), false, Some("block")),
            ("pre-bound", "prebound", json!({"storageClassName": "gold"}), false, Some("mine")),
            ("delayed takes pre-bound", "prebound", json!({"storageClassName": "gold"}), true, Some("mine")),
            ("delayed takes nothing else", "c", json!({"storageClassName": "gold"}), true, None),
        ] {
            let mut spec = spec;
            spec["resources"] = json!({"requests": {"storage": "1Gi"}});
            let c = serde_json::from_value(json!({"metadata": {"name": name, "namespace": "ns"}, "spec": spec})).expect("claim");
            assert_eq!(best(&c, &volumes, delayed, None).as_ref().map(|v| v.name()), want, "{case}");
        }
    }
}
