//! API aggregation as a client sees it: another API server, behind a Service, with TLS on the loopback address.

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
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Says what it serves, and echoes who asked for anything else.
async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let header = |n: &str| request.headers().get(n).map(|v| v.to_str().unwrap().to_owned());
    let v = match request.uri().path() {
        "/apis/example.com/v1" => json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "example.com/v1",
            "resources": [{"name": "things", "singularName": "thing", "namespaced": true, "kind": "Thing", "verbs": ["get", "list"]}]}),
        path => json!({"path": path, "query": request.uri().query(), "user": header("x-remote-user"),
            "group": header("x-remote-group"), "token": header("authorization")}),
    };
    Ok(Response::builder().header("content-type", "application/json").body(Full::new(v.to_string().into())).unwrap())
}

/// Starts the other server; its port and its authority.
async fn backend() -> (u16, String) {
    let ca = pki::Authority::generate("authority").unwrap();
    let identity = pki::Identity::server("backend", &["backend.default.svc".into()], &[]);
    let pair = ca.issue(&identity, Duration::from_secs(3600)).unwrap();
    let tls = TlsAcceptor::from(Arc::new(pki::tls::server_config(&pair, &[]).unwrap()));
    let listener = TcpListener::bind(("localhost", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let tls = tls.clone();
            tokio::spawn(async move {
                let Ok(stream) = tls.accept(stream).await else { return };
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
            });
        }
    });
    (port, ca.cert_pem().to_owned())
}

struct Server {
    api: ApiServer,
    _dir: tempfile::TempDir,
}

const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

impl Server {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config =
            Config { cert_dir: dir.path().to_owned(), authorization_mode: vec![AuthorizationMode::Rbac], ..Config::default() };
        let api = apiserver::build(config, store::memory().unwrap()).await.unwrap();
        Self { api, _dir: dir }
    }

    async fn call(&self, method: &str, uri: &str, headers: &[(&str, &str)], content: &Value) -> (u16, Value) {
        let bytes = if content.is_null() { String::new() } else { content.to_string() };
        let mut r = Request::builder().method(method).uri(uri).header("content-type", "application/json");
        for (k, v) in headers {
            r = r.header(*k, *v);
        }
        let mut r = r.body(body::full(bytes)).unwrap();
        r.extensions_mut().insert(UserInfo::new("admin", &["system:masters"]));
        let r = self.api.handle(r).await;
        let code = r.status().as_u16();
        let bytes = r.into_body().collect().await.unwrap().to_bytes();
        (code, serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned().into()))
    }

    async fn get(&self, uri: &str) -> (u16, Value) {
        self.call("GET", uri, &[], &Value::Null).await
    }

    /// Waits until the APIService's condition has a reason.
    async fn until(&self, reason: &str) {
        let name = "v1.example.com";
        let watch = format!("{SERVICES}?watch=1&fieldSelector=metadata.name%3D{name}");
        let mut r = Request::get(watch).body(body::empty()).unwrap();
        r.extensions_mut().insert(UserInfo::new("admin", &["system:masters"]));
        let mut events = self.api.handle(r).await.into_body();
        let mut seen = String::new();
        while let Some(frame) = events.frame().await {
            seen.push_str(std::str::from_utf8(&frame.unwrap().into_data().unwrap()).unwrap());
            if seen.lines().last().unwrap_or("").contains(&format!("\"reason\":\"{reason}\"")) {
                return;
            }
        }
        panic!("the watch ended: {seen}");
    }
}

#[tokio::test]
async fn another_server_answers_for_its_group() {
    let (port, ca) = backend().await;
    let s = Server::start().await;
    let (code, v) = s.get(&format!("{SERVICES}/v1.apps")).await;
    assert_eq!((code, &v["status"]["conditions"][0]["reason"]), (200, &json!("Local")), "{v}");

    let ca = base64::engine::general_purpose::STANDARD.encode(ca);
    let service = json!({"metadata": {"name": "v1.example.com"}, "spec": {"group": "example.com", "version": "v1",
        "groupPriorityMinimum": 2000, "versionPriority": 200, "caBundle": ca,
        "service": {"namespace": "default", "name": "backend", "port": port}}});
    let (code, v) = s.call("POST", SERVICES, &[], &service).await;
    assert_eq!(code, 201, "{v}");
    s.until("ServiceNotFound").await;
    let things = "/apis/example.com/v1/namespaces/default/things";
    let (code, v) = s.get(things).await;
    assert_eq!((code, v.as_str()), (503, Some("service unavailable\n")));

    let backend = json!({"metadata": {"name": "backend"}, "spec": {"type": "ExternalName", "externalName": "localhost"}});
    let (code, v) = s.call("POST", "/api/v1/namespaces/default/services", &[], &backend).await;
    assert_eq!(code, 201, "{v}");
    s.until("Passed").await;
    let spoofed = [("x-remote-user", "root"), ("authorization", "Bearer secret")];
    let (code, v) = s.call("GET", &format!("{things}?limit=1"), &spoofed, &Value::Null).await;
    let want = json!({"path": things, "query": "limit=1", "user": "admin", "group": "system:masters", "token": null});
    assert_eq!((code, v), (200, want));

    let (_, v) = s.get("/apis/example.com").await;
    assert_eq!(v["preferredVersion"]["groupVersion"], "example.com/v1", "{v}");
    let (_, v) = s.call("GET", "/apis", &[("accept", AGGREGATED)], &Value::Null).await;
    let found = v["items"].as_array().unwrap().iter().find(|g| g["metadata"]["name"] == "example.com").unwrap();
    assert_eq!(found["versions"][0]["freshness"], "Current");
    assert_eq!(found["versions"][0]["resources"][0]["resource"], "things");
    let (_, v) = s.get("/openapi/v3").await;
    assert_eq!(v["paths"]["apis/example.com/v1"]["serverRelativeURL"], "/openapi/v3/apis/example.com/v1");

    assert_eq!(s.call("DELETE", &format!("{SERVICES}/v1.example.com"), &[], &Value::Null).await.0, 200);
    while s.get("/apis/example.com").await.0 != 404 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn api_services_are_checked() {
    let s = Server::start().await;
    let base = |name: &str, spec: Value| {
        let mut all = json!({"group": "example.com", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1});
        spec.as_object().unwrap().iter().for_each(|(k, v)| all[k] = v.clone());
        json!({"metadata": {"name": name}, "spec": all})
    };
    for (case, object, message) in [
        ("name", base("other", json!({})), "must be `spec.version+\".\"+spec.group`: \"v1.example.com\""),
        ("priority", base("v1.example.com", json!({"versionPriority": 2000})), "must be positive and less than 1000"),
        (
            "local",
            base("v1.example.com", json!({"insecureSkipTLSVerify": true})),
            "local APIServices may not have insecureSkipTLSVerify",
        ),
        ("service", base("v1.example.com", json!({"service": {"name": "a"}})), "spec.service.namespace: Required value"),
    ] {
        let (code, v) = s.call("POST", SERVICES, &[], &object).await;
        assert_eq!(code, 422, "{case}: {v}");
        assert!(v["message"].as_str().unwrap().contains(message), "{case}: {v}");
    }
}
