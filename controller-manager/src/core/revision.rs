//! Hashes of pod templates for names and labels.

use k8s_openapi::api::core::v1::PodTemplateSpec;

/// The hash in `pod-template-hash`. Upstream hashes Go's own print of the struct, which no other program can; ours hashes the JSON. Names
/// differ, meaning does not: templates are compared by content wherever both could meet.
pub fn template_hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    let mut bytes = serde_json::to_vec(template).unwrap_or_default();
    if let Some(n) = collisions {
        bytes.extend_from_slice(&n.to_le_bytes());
    }
    machinery::hash::name_hash(&bytes)
}

/// The template without a label.
pub fn without_label(template: &PodTemplateSpec, label: &str) -> PodTemplateSpec {
    let mut t = template.clone();
    if let Some(labels) = t.metadata.as_mut().and_then(|m| m.labels.as_mut()) {
        labels.remove(label);
    }
    t
}

/// Semantic equality: absent and empty are alike.
pub fn equal_ignoring_label(a: &PodTemplateSpec, b: &PodTemplateSpec, label: &str) -> bool {
    let normal = |t: &PodTemplateSpec| {
        let mut v = serde_json::to_value(without_label(t, label)).unwrap_or_default();
        prune_empty(&mut v);
        v
    };
    normal(a) == normal(b)
}

/// Removes nulls and empty lists and maps inside objects. An empty `emptyDir: {}` has a meaning, but dropping it on both sides of a
/// comparison only confuses templates that differ in nothing but that, which no valid volume can.
pub fn prune_empty(v: &mut serde_json::Value) {
    match v {
        serde_json::Value::Object(m) => {
            m.values_mut().for_each(prune_empty);
            m.retain(|k, v| {
                let source = k == "emptyDir" || k == "securityContext";
                source || !(v.is_null() || v.as_array().is_some_and(Vec::is_empty) || v.as_object().is_some_and(|o| o.is_empty()))
            });
        }
        serde_json::Value::Array(a) => a.iter_mut().for_each(prune_empty),
        _ => {}
    }
}
