//! AdmissionReview: the question, the answer, and what is wrong with answers (admission/plugin/webhook/request, …/errors).

use super::config::Hook;
use super::matching::Invocation;
use crate::admission::{Attributes, Operation};
use crate::webhook::Client;
use base64::Engine as _;
use machinery::{Status, Value, json, meta};

/// Why a webhook's word does not let a request pass.
#[derive(Debug)]
pub enum Refusal {
    /// It could not be asked, or did not make sense; `failurePolicy` decides.
    Calling(String),
    /// It said no.
    Rejected(Status),
    /// The server's own trouble.
    Other(Status),
}

impl Refusal {
    /// What becomes of the request: a webhook that cannot be asked may be passed over.
    pub fn verdict(self, hook: &Hook) -> Result<(), Status> {
        match self {
            Self::Calling(why) if hook.fail_open => {
                let configuration = &hook.configuration;
                tracing::warn!(webhook = hook.name, configuration, why, "calling a webhook failed, which is ignored");
                Ok(())
            }
            Self::Calling(why) => Err(failed(hook, &why)),
            Self::Rejected(s) | Self::Other(s) => Err(s),
        }
    }
}

/// What a webhook that allows asks for.
#[derive(Debug, Default)]
pub struct Allowed {
    /// Operations of a JSON patch.
    pub patch: Vec<Value>,
}

/// The first version of AdmissionReview that both sides know.
fn version(hook: &Hook) -> Option<&str> {
    hook.versions.iter().map(String::as_str).find(|v| matches!(*v, "v1" | "v1beta1"))
}

fn request(attrs: &Attributes, what: &Invocation, uid: &str, object: &Value, old: &Value) -> Value {
    let mut r = crate::admission::request::request(attrs, &what.kind, &what.resource, uid);
    r["object"] = object.clone();
    r["oldObject"] = old.clone();
    if attrs.operation == Operation::Connect {
        // What connects is described by its options.
        r["object"] = r["options"].take();
    }
    r
}

/// Asks a webhook about a request. Warnings go to the client.
pub async fn ask(
    client: &Client,
    hook: &Hook,
    attrs: &Attributes,
    what: &Invocation,
    object: &Value,
    old: &Value,
    mutating: bool,
) -> Result<Allowed, Refusal> {
    if attrs.dry_run && !hook.dry_run {
        return Err(Refusal::Other(Status::bad_request(format!("admission webhook {:?} does not support dry run", hook.name))));
    }
    let version = version(hook).ok_or_else(|| {
        let why = "webhook does not accept known AdmissionReview versions (v1, v1beta1)";
        Refusal::Calling(format!("could not create admission objects: {why}"))
    })?;
    let uid = uuid::Uuid::new_v4().to_string();
    let review = json!({"kind": "AdmissionReview", "apiVersion": format!("admission.k8s.io/{version}"),
        "request": request(attrs, what, &uid, object, old)});
    let config = hook.client.as_ref().map_err(|e| Refusal::Calling(format!("could not get REST client: {e}")))?;
    let called = client.call(config, &review, hook.timeout).await;
    let answer = called.map_err(|e| Refusal::Calling(format!("failed to call webhook: {e}")))?;
    let response = verify(&answer, version, &uid, mutating)
        .map_err(|e| Refusal::Calling(format!("received invalid webhook response: {e}")))?;
    for w in meta::list_at(response, &["warnings"]).iter().filter_map(Value::as_str) {
        attrs.warn(w);
    }
    if !meta::bool_at(response, &["allowed"]) {
        return Err(Refusal::Rejected(rejection(&hook.name, response.get("status"))));
    }
    let patch = if mutating { patch_of(response).map_err(Refusal::Calling)? } else { Vec::new() };
    Ok(Allowed { patch })
}

fn patch_of(response: &Value) -> Result<Vec<Value>, String> {
    let undecodable = |e: &dyn std::fmt::Display| format!("received undecodable patch in webhook response: {e}");
    let text = meta::str_at(response, &["patch"]);
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).map_err(|e| undecodable(&e))?;
    let kind = meta::str_at(response, &["patchType"]);
    if !matches!(kind, "JSONPatch" | "") {
        return Err(format!("unsupported patch type {kind:?}"));
    }
    crate::http::body::check_depth(&bytes).map_err(|e| undecodable(&e))?;
    serde_json::from_slice(&bytes).map_err(|e| undecodable(&e))
}

/// The `response` of a review that fits the question.
fn verify<'a>(review: &'a Value, version: &str, uid: &str, mutating: bool) -> Result<&'a Value, String> {
    let response = review.get("response").filter(|r| r.is_object()).ok_or("webhook response was absent")?;
    if version != "v1" {
        return Ok(response);
    }
    let found = meta::str_at(response, &["uid"]);
    if found != uid {
        return Err(format!("expected response.uid={uid:?}, got {found:?}"));
    }
    let kind = |v: &str, k: &str| {
        let (g, v) = v.split_once('/').unwrap_or(("", v));
        format!("{g}/{v}, Kind={k}")
    };
    let (want, got) = (
        kind("admission.k8s.io/v1", "AdmissionReview"),
        kind(meta::str_at(review, &["apiVersion"]), meta::str_at(review, &["kind"])),
    );
    if want != got {
        return Err(format!("expected webhook response of {want}, got {got}"));
    }
    let patch = !meta::str_at(response, &["patch"]).is_empty();
    let patch_type = response.get("patchType").and_then(Value::as_str);
    match (mutating, patch, patch_type) {
        (true, true, None) => Err("webhook returned response.patch but not response.patchType".into()),
        (true, false, Some(_)) => Err("webhook returned response.patchType but not response.patch".into()),
        (true, true, Some("")) => Err("webhook returned invalid response.patchType of \"\"".into()),
        (false, true, _) => Err("validating webhook may not return response.patch".into()),
        (false, false, Some(_)) => Err("validating webhook may not return response.patchType".into()),
        _ => Ok(response),
    }
}

/// The Status of a request that a webhook denied.
fn rejection(hook: &str, result: Option<&Value>) -> Status {
    let null = Value::Null;
    let result = result.unwrap_or(&null);
    let text = |f: &str| meta::str_at(result, &[f]);
    let denied = format!("admission webhook {hook:?} denied the request");
    let message = match (text("message"), text("reason")) {
        ("", "") => format!("{denied} without explanation"),
        ("", reason) => format!("{denied}: {reason}"),
        (message, _) => format!("{denied}: {message}"),
    };
    let code = meta::i64_at(result, &["code"]).and_then(|c| u16::try_from(c).ok()).filter(|c| (400..600).contains(c));
    let mut s = Status::new(code.unwrap_or(400), text("reason"), message);
    s.details = meta::map_at(result, &["details"]).clone();
    s
}

/// The Status of a request whose webhook failed.
pub fn failed(hook: &Hook, why: &str) -> Status {
    Status::internal(format!("failed calling webhook {:?}: {why}", hook.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejections_say_who_and_why() {
        for (case, status, code, reason, message) in [
            ("nothing", None, 400, "", "admission webhook \"w.x.io\" denied the request without explanation"),
            (
                "message",
                Some(json!({"message": "no", "code": 403, "reason": "R"})),
                403,
                "R",
                "admission webhook \"w.x.io\" denied the request: no",
            ),
            ("reason", Some(json!({"reason": "Nope"})), 400, "Nope", "admission webhook \"w.x.io\" denied the request: Nope"),
            (
                "a success",
                Some(json!({"status": "Success", "code": 200})),
                400,
                "",
                "admission webhook \"w.x.io\" denied the request without explanation",
            ),
        ] {
            let s = rejection("w.x.io", status.as_ref());
            assert_eq!((s.code, &*s.reason, &*s.message), (code, reason, message), "{case}");
        }
    }

    #[test]
    fn answers_that_do_not_fit() {
        let review = |r: Value| json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": r});
        for (case, answer, mutating, want) in [
            ("good", review(json!({"uid": "u", "allowed": true})), true, None),
            (
                "absent",
                json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"}),
                true,
                Some("webhook response was absent"),
            ),
            ("uid", review(json!({"uid": "x"})), true, Some("expected response.uid=\"u\", got \"x\"")),
            (
                "kind",
                json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1beta1", "response": {"uid": "u"}}),
                true,
                Some(
                    "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got admission.k8s.io/v1beta1, Kind=AdmissionReview",
                ),
            ),
            (
                "no type",
                review(json!({"uid": "u", "patch": "W10="})),
                true,
                Some("webhook returned response.patch but not response.patchType"),
            ),
            (
                "no patch",
                review(json!({"uid": "u", "patchType": "JSONPatch"})),
                true,
                Some("webhook returned response.patchType but not response.patch"),
            ),
            (
                "validating",
                review(json!({"uid": "u", "patch": "W10="})),
                false,
                Some("validating webhook may not return response.patch"),
            ),
        ] {
            assert_eq!(verify(&answer, "v1", "u", mutating).err().as_deref(), want, "{case}");
        }
        assert!(verify(&json!({"response": {"uid": "x"}}), "v1beta1", "u", true).is_ok(), "the older version checks less");
    }
}
