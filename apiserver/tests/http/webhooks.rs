//! Admission webhooks.

use crate::backend::{self, b64};
use crate::server::{MAPS, Server, admin, read};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use machinery::{Value, json};
use parking_lot::Mutex;
use std::sync::Arc;

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];
const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";

/// A webhook server. `/allow`, `/deny`, `/mutate`, `/warn`, `/error`; `/hang` never answers.
struct Hooks {
    url: String,
    ca: String,
    seen: Arc<Mutex<Vec<Value>>>,
}

fn respond(path: &str, review: &Value) -> Value {
    let mut r = json!({"uid": review["request"]["uid"], "allowed": true});
    match path {
        "/deny" => {
            r["allowed"] = false.into();
            r["status"] = json!({"message": "not today", "code": 403, "reason": "Never"});
        }
        "/mutate" => {
            let patch =
                json!([{"op": "add", "path": "/data/mutated", "value": "yes"}, {"op": "add", "path": "/nonsense", "value": 1}]);
            r["patchType"] = "JSONPatch".into();
            r["patch"] = b64(patch.to_string()).into();
        }
        "/warn" => r["warnings"] = json!(["look out"]),
        _ => {}
    }
    json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": r})
}

async fn answer(seen: Arc<Mutex<Vec<Value>>>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    let bytes = request.into_body().collect().await.unwrap().to_bytes();
    let review: Value = serde_json::from_slice(&bytes).unwrap();
    let text = respond(&path, &review).to_string();
    seen.lock().push(review);
    match path.as_str() {
        "/hang" => std::future::pending().await,
        "/error" => Response::builder().status(500).body(Full::new("broken".into())).unwrap(),
        _ => Response::new(Full::new(text.into())),
    }
}

impl Hooks {
    async fn start() -> Self {
        let seen: Arc<Mutex<Vec<Value>>> = Arc::default();
        let shared = seen.clone();
        let (port, ca) = backend::serve(move |r| answer(shared.clone(), r)).await;
        Self { url: format!("https://127.0.0.1:{port}"), ca, seen }
    }

    fn webhook(&self, path: &str, more: Value) -> Value {
        let mut hook = json!({"name": "hook.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["*"]}],
            "clientConfig": {"url": format!("{}{path}", self.url), "caBundle": self.ca}});
        for (k, v) in more.as_object().unwrap() {
            hook[k] = v.clone();
        }
        hook
    }
}

/// Registers one webhook, and waits until it is heeded: until a map named `marker` meets it or is counted by it.
async fn register(s: &Server, hooks: &Hooks, kind: &str, hook: Value) {
    let resource = if kind == "Mutating" { "mutatingwebhookconfigurations" } else { "validatingwebhookconfigurations" };
    let mut marker = hooks.webhook("/allow", json!({"name": "marker.example.com"}));
    marker["objectSelector"] = json!({"matchLabels": {"marker": "yes"}});
    let configuration = json!({"metadata": {"name": "test"}, "webhooks": [hook, marker]});
    let (code, v) = s.json("POST", &format!("{GROUP}/{resource}"), &configuration).await;
    assert_eq!(code, 201, "{v}");
    let mut last = Value::Null;
    for _ in 0..1000 {
        let marker = json!({"metadata": {"name": "marker", "labels": {"marker": "yes"}}});
        last = s.json("POST", &format!("{MAPS}?dryRun=All"), &marker).await.1;
        if hooks.seen.lock().drain(..).any(|r| r["request"]["name"] == "marker") {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("the webhook is never called: {last}");
}

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"a": "b"}})
}

#[tokio::test]
async fn verdicts() {
    let gone = json!({"url": "https://127.0.0.1:1/x"});
    for (case, kind, path, more, query, code, message) in [
        ("allow", "Validating", "/allow", json!({}), "", 201, ""),
        (
            "deny",
            "Validating",
            "/deny",
            json!({}),
            "",
            403,
            "admission webhook \"hook.example.com\" denied the request: not today",
        ),
        (
            "mutating deny",
            "Mutating",
            "/deny",
            json!({}),
            "",
            403,
            "admission webhook \"hook.example.com\" denied the request: not today",
        ),
        ("ignored when it says no", "Validating", "/deny", json!({"failurePolicy": "Ignore"}), "", 403, "admission webhook"),
        ("warns", "Validating", "/warn", json!({}), "", 201, ""),
        (
            "HTTP error",
            "Validating",
            "/error",
            json!({}),
            "",
            500,
            "failed calling webhook \"hook.example.com\": failed to call webhook: an error on the server (\"broken\")",
        ),
        ("HTTP error ignored", "Validating", "/error", json!({"failurePolicy": "Ignore"}), "", 201, ""),
        ("timeout", "Mutating", "/hang", json!({"timeoutSeconds": 1}), "", 500, "/hang?timeout=1s\": context deadline exceeded"),
        ("timeout ignored", "Mutating", "/hang", json!({"timeoutSeconds": 1, "failurePolicy": "Ignore"}), "", 201, ""),
        (
            "unreachable",
            "Validating",
            "/",
            json!({"clientConfig": gone}),
            "",
            500,
            "dial tcp 127.0.0.1:1: connect: connection refused",
        ),
        ("other objects", "Validating", "/deny", json!({"objectSelector": {"matchLabels": {"x": "y"}}}), "", 201, ""),
        ("other namespaces", "Validating", "/deny", json!({"namespaceSelector": {"matchLabels": {"x": "y"}}}), "", 201, ""),
        ("dry run", "Validating", "/deny", json!({}), "?dryRun=All", 403, "denied the request"),
        (
            "an unpatchable answer",
            "Validating",
            "/mutate",
            json!({}),
            "",
            500,
            "received invalid webhook response: validating webhook may not return response.patch",
        ),
    ] {
        let (hooks, server) = (Hooks::start().await, Server::start().await);
        register(&server, &hooks, kind, hooks.webhook(path, more)).await;
        let r = server.raw(&admin(), "POST", &format!("{MAPS}{query}"), &JSON, map("a").to_string()).await;
        let warning = r.headers().get("warning").map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
        let (got, v) = read(r).await;
        assert_eq!(got, code, "{case}: {v}");
        assert!(v["message"].as_str().unwrap_or("").contains(message), "{case}: {v}");
        assert_eq!(warning, if path == "/warn" { "299 - \"look out\"" } else { "" }, "{case}");
    }
}

#[tokio::test]
async fn what_a_webhook_is_told_and_what_becomes_of_its_patch() {
    let (hooks, server) = (Hooks::start().await, Server::start().await);
    register(&server, &hooks, "Mutating", hooks.webhook("/mutate", json!({}))).await;
    let (code, v) = server.json("POST", MAPS, &map("a")).await;
    assert_eq!((code, &v["data"]), (201, &json!({"a": "b", "mutated": "yes"})), "{v}");
    assert!(v.get("nonsense").is_none(), "unknown fields of a patch are dropped: {v}");
    let (code, v) = server.json("DELETE", &format!("{MAPS}/a"), &Value::Null).await;
    assert_eq!(code, 500, "{v}");
    let message = v["message"].as_str().unwrap_or("");
    assert!(message.contains("attempted to modify the object, which is not supported for this operation"), "{v}");
    let seen = hooks.seen.lock();
    let (create, delete) = (&seen[0]["request"], &seen[1]["request"]);
    assert_eq!(create["kind"], json!({"group": "", "version": "v1", "kind": "ConfigMap"}));
    assert_eq!(create["resource"], json!({"group": "", "version": "v1", "resource": "configmaps"}));
    assert_eq!((&create["operation"], &create["name"], &create["namespace"]), (&json!("CREATE"), &json!("a"), &json!("default")));
    assert_eq!((&create["object"]["data"], &create["oldObject"]), (&json!({"a": "b"}), &Value::Null));
    assert_eq!(create["options"]["kind"], "CreateOptions");
    assert_eq!(create["userInfo"]["username"], "admin");
    assert_eq!((&delete["object"], &delete["oldObject"]["data"]["mutated"]), (&Value::Null, &json!("yes")));
}

#[tokio::test]
async fn configurations_themselves() {
    let (hooks, server) = (Hooks::start().await, Server::start().await);
    let mut everything = hooks.webhook("/deny", json!({}));
    everything["rules"] = json!([{"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"], "operations": ["*"]}]);
    everything["namespaceSelector"] = json!({});
    register(&server, &hooks, "Validating", everything).await;
    let uri = format!("{GROUP}/validatingwebhookconfigurations/test");
    let (code, v) = server.json("DELETE", &uri, &Value::Null).await;
    assert_eq!(code, 200, "no webhook keeps its own configuration: {v}");
    let nowhere = hooks.webhook("/", json!({"clientConfig": {"service": {"namespace": "n", "name": "s", "path": ""}}}));
    let configuration = json!({"metadata": {"name": "nowhere"}, "webhooks": [nowhere]});
    let (code, v) = server.json("POST", &format!("{GROUP}/validatingwebhookconfigurations?dryRun=All"), &configuration).await;
    assert_eq!(code, 201, "an empty path is the root: {v}");
    let hook = |expression: &str| {
        let conditional = hooks.webhook("/deny", json!({"matchConditions": [{"name": "c", "expression": expression}]}));
        json!({"metadata": {"name": "conditional"}, "webhooks": [conditional]})
    };
    let uri = format!("{GROUP}/validatingwebhookconfigurations");
    let (code, v) = server.json("POST", &uri, &hook("object.")).await;
    assert_eq!((code, v["reason"].as_str()), (422, Some("Invalid")), "{v}");
    assert!(v["message"].as_str().unwrap_or("").contains("webhooks[0].matchConditions[0].expression: Invalid value"), "{v}");
    let (code, v) = server.json("POST", &uri, &hook("object.metadata.name != 'skip-me'")).await;
    assert_eq!(code, 201, "{v}");
    let dry = format!("{MAPS}?dryRun=All");
    // Once the configuration is known, the one is denied and the other is not.
    while server.json("POST", &dry, &map("a")).await.0 != 403 {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.json("POST", &dry, &map("skip-me")).await.0, 201);
}

#[tokio::test]
async fn a_dry_run_says_so() {
    let (hooks, server) = (Hooks::start().await, Server::start().await);
    register(&server, &hooks, "Mutating", hooks.webhook("/allow", json!({"objectSelector": {"matchLabels": {"x": "y"}}}))).await;
    let mut labelled = map("a");
    labelled["metadata"]["labels"] = json!({"x": "y"});
    let (code, v) = server.json("POST", &format!("{MAPS}?dryRun=All"), &labelled).await;
    assert_eq!(code, 201, "{v}");
    assert_eq!(hooks.seen.lock()[0]["request"]["dryRun"], true);
}
