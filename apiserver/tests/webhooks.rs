//! Admission webhooks as a client sees them, with a tiny TLS server on the loopback address.

use apiserver::http::body;
use apiserver::{ApiServer, AuthorizationMode, Config};
use auth::UserInfo;
use base64::Engine as _;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use machinery::{Value, json};
use parking_lot::Mutex;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

fn b64(bytes: impl AsRef<[u8]>) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

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

async fn answer(seen: Arc<Mutex<Vec<Value>>>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let bytes = request.into_body().collect().await.unwrap().to_bytes();
    let review: Value = serde_json::from_slice(&bytes).unwrap();
    let text = respond(&path, &review).to_string();
    seen.lock().push(review);
    match path.as_str() {
        "/hang" => std::future::pending().await,
        "/error" => Ok(Response::builder().status(500).body(Full::new("broken".into())).unwrap()),
        _ => Ok(Response::new(Full::new(text.into()))),
    }
}

impl Hooks {
    async fn start() -> Self {
        let ca = pki::Authority::generate("webhook authority").unwrap();
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let pair = ca.issue(&pki::Identity::server("hook", &["localhost".into()], &[local]), Duration::from_secs(3600)).unwrap();
        let tls = TlsAcceptor::from(Arc::new(pki::tls::server_config(&pair, &[]).unwrap()));
        let listener = TcpListener::bind((local, 0)).await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<Value>>> = Arc::default();
        let shared = seen.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (tls, seen) = (tls.clone(), shared.clone());
                tokio::spawn(async move {
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let service = service_fn(move |r| answer(seen.clone(), r));
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { url, ca: ca.cert_pem().to_owned(), seen }
    }

    fn webhook(&self, path: &str, more: Value) -> Value {
        let mut hook = json!({"name": "hook.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["*"]}],
            "clientConfig": {"url": format!("{}{path}", self.url), "caBundle": b64(&self.ca)}});
        for (k, v) in more.as_object().unwrap() {
            hook[k] = v.clone();
        }
        hook
    }
}

struct Server {
    api: ApiServer,
    _dir: tempfile::TempDir,
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";

impl Server {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config =
            Config { cert_dir: dir.path().to_owned(), authorization_mode: vec![AuthorizationMode::Rbac], ..Config::default() };
        let api = apiserver::build(config, store::memory().unwrap()).await.unwrap();
        Self { api, _dir: dir }
    }

    async fn call(&self, method: &str, uri: &str, content: &Value) -> (u16, Value, String) {
        let bytes = if content.is_null() { String::new() } else { content.to_string() };
        let mut r = Request::builder()
            .method(method)
            .uri(uri)
            .header("content-type", "application/json")
            .body(body::full(bytes))
            .unwrap();
        r.extensions_mut().insert(UserInfo::new("admin", &["system:masters"]));
        let r = self.api.handle(r).await;
        let code = r.status().as_u16();
        let warning = r.headers().get("warning").map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
        let bytes = r.into_body().collect().await.unwrap().to_bytes();
        (code, serde_json::from_slice(&bytes).unwrap_or(Value::Null), warning)
    }

    /// Registers one webhook, and waits until it is heeded: until a map named `marker` meets it or is counted by it.
    async fn register(&self, hooks: &Hooks, kind: &str, hook: Value) {
        let resource = if kind == "Mutating" { "mutatingwebhookconfigurations" } else { "validatingwebhookconfigurations" };
        let mut marker = hooks.webhook("/allow", json!({"name": "marker.example.com"}));
        marker["objectSelector"] = json!({"matchLabels": {"marker": "yes"}});
        let configuration = json!({"metadata": {"name": "test"}, "webhooks": [hook, marker]});
        let (code, v, _) = self.call("POST", &format!("{GROUP}/{resource}"), &configuration).await;
        assert_eq!(code, 201, "{v}");
        let mut last = Value::Null;
        for _ in 0..1000 {
            let marker = json!({"metadata": {"name": "marker", "labels": {"marker": "yes"}}});
            last = self.call("POST", &format!("{MAPS}?dryRun=All"), &marker).await.1;
            if hooks.seen.lock().drain(..).any(|r| r["request"]["name"] == "marker") {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("the webhook is never called: {last}");
    }
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
        server.register(&hooks, kind, hooks.webhook(path, more)).await;
        let (got, v, warning) = server.call("POST", &format!("{MAPS}{query}"), &map("a")).await;
        assert_eq!(got, code, "{case}: {v}");
        assert!(v["message"].as_str().unwrap_or("").contains(message), "{case}: {v}");
        assert_eq!(warning, if path == "/warn" { "299 - \"look out\"" } else { "" }, "{case}");
    }
}

#[tokio::test]
async fn what_a_webhook_is_told_and_what_becomes_of_its_patch() {
    let (hooks, server) = (Hooks::start().await, Server::start().await);
    server.register(&hooks, "Mutating", hooks.webhook("/mutate", json!({}))).await;
    let (code, v, _) = server.call("POST", MAPS, &map("a")).await;
    assert_eq!((code, &v["data"]), (201, &json!({"a": "b", "mutated": "yes"})), "{v}");
    assert!(v.get("nonsense").is_none(), "unknown fields of a patch are dropped: {v}");
    let (code, v, _) = server.call("DELETE", &format!("{MAPS}/a"), &Value::Null).await;
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
    server.register(&hooks, "Validating", everything).await;
    let uri = format!("{GROUP}/validatingwebhookconfigurations/test");
    let (code, v, _) = server.call("DELETE", &uri, &Value::Null).await;
    assert_eq!(code, 200, "no webhook keeps its own configuration: {v}");
    let nowhere = hooks.webhook("/", json!({"clientConfig": {"service": {"namespace": "n", "name": "s", "path": ""}}}));
    let configuration = json!({"metadata": {"name": "nowhere"}, "webhooks": [nowhere]});
    let (code, v, _) = server.call("POST", &format!("{GROUP}/validatingwebhookconfigurations?dryRun=All"), &configuration).await;
    assert_eq!(code, 201, "an empty path is the root: {v}");
    let hook = |expression: &str| {
        let conditional = hooks.webhook("/deny", json!({"matchConditions": [{"name": "c", "expression": expression}]}));
        json!({"metadata": {"name": "conditional"}, "webhooks": [conditional]})
    };
    let uri = format!("{GROUP}/validatingwebhookconfigurations");
    let (code, v, _) = server.call("POST", &uri, &hook("object.")).await;
    assert_eq!((code, v["reason"].as_str()), (422, Some("Invalid")), "{v}");
    assert!(v["message"].as_str().unwrap_or("").contains("webhooks[0].matchConditions[0].expression: Invalid value"), "{v}");
    let (code, v, _) = server.call("POST", &uri, &hook("object.metadata.name != 'skip-me'")).await;
    assert_eq!(code, 201, "{v}");
    let dry = format!("{MAPS}?dryRun=All");
    // Once the configuration is known, the one is denied and the other is not.
    while server.call("POST", &dry, &map("a")).await.0 != 403 {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.call("POST", &dry, &map("skip-me")).await.0, 201);
}

#[tokio::test]
async fn a_dry_run_says_so() {
    let (hooks, server) = (Hooks::start().await, Server::start().await);
    server.register(&hooks, "Mutating", hooks.webhook("/allow", json!({"objectSelector": {"matchLabels": {"x": "y"}}}))).await;
    let mut labelled = map("a");
    labelled["metadata"]["labels"] = json!({"x": "y"});
    let (code, v, _) = server.call("POST", &format!("{MAPS}?dryRun=All"), &labelled).await;
    assert_eq!(code, 201, "{v}");
    assert_eq!(hooks.seen.lock()[0]["request"]["dryRun"], true);
}
