//! A request as webhooks and policies are told of it: AdmissionRequest (k8s.io/api/admission/v1) without its objects.

use super::Attributes;
use machinery::{GroupVersionKind, GroupVersionResource, Value, json};

/// `kind` and `resource` are what a rule matched: the request's own, or another version's.
pub fn request(attrs: &Attributes, kind: &GroupVersionKind, resource: &GroupVersionResource, uid: &str) -> Value {
    let of_kind = |k: &GroupVersionKind| json!({"group": k.group, "version": k.version, "kind": k.kind});
    let of_resource = |r: &GroupVersionResource| json!({"group": r.group, "version": r.version, "resource": r.resource});
    let mut out = json!({
        "uid": uid,
        "kind": of_kind(kind),
        "resource": of_resource(resource),
        "requestKind": of_kind(&attrs.gvk),
        "requestResource": of_resource(&attrs.gvr),
        "operation": attrs.operation.as_str(),
        "userInfo": auth::review::user_value(&attrs.user),
        "dryRun": attrs.dry_run,
        "options": attrs.options,
    });
    let texts = [
        ("subResource", &attrs.subresource),
        ("requestSubResource", &attrs.subresource),
        ("name", &attrs.name),
        ("namespace", &attrs.namespace),
    ];
    for (k, v) in texts.into_iter().filter(|(_, v)| !v.is_empty()) {
        out[k] = v.as_str().into();
    }
    out
}
