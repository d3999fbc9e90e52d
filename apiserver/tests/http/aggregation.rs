//! API aggregation: another API server, behind a Service.

use crate::backend;
use crate::server::{Server, admin, read};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use machinery::{Value, json};

const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Says what it serves, and echoes who asked for anything else.
async fn answer(request: Request<Incoming>) -> Response<Full<Bytes>> {
    let header = |n: &str| request.headers().get(n).map(|v| v.to_str().unwrap().to_owned());
    let v = match request.uri().path() {
        "/apis/example.com/v1" => json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "example.com/v1",
            "resources": [{"name": "things", "singularName": "thing", "namespaced": true, "kind": "Thing", "verbs": ["get", "list"]}]}),
        path => json!({"path": path, "query": request.uri().query(), "user": header("x-remote-user"),
            "group": header("x-remote-group"), "token": header("authorization")}),
    };
    Response::builder().header("content-type", "application/json").body(Full::new(v.to_string().into())).unwrap()
}

/// Waits until the APIService's condition has a reason.
async fn until(s: &Server, reason: &str) {
    let watch = format!("{SERVICES}?watch=1&fieldSelector=metadata.name%3Dv1.example.com");
    let has = |e: &Value| e["object"]["status"]["conditions"].as_array().is_some_and(|c| c.iter().any(|c| c["reason"] == reason));
    s.watch(&watch).await.until(has).await;
}

#[tokio::test]
async fn another_server_answers_for_its_group() {
    let (port, ca) = backend::serve(answer).await;
    let s = Server::start().await;
    let (code, v) = s.get(&format!("{SERVICES}/v1.apps")).await;
    assert_eq!((code, &v["status"]["conditions"][0]["reason"]), (200, &json!("Local")), "{v}");

    let service = json!({"metadata": {"name": "v1.example.com"}, "spec": {"group": "example.com", "version": "v1",
        "groupPriorityMinimum": 2000, "versionPriority": 200, "caBundle": ca,
        "service": {"namespace": "default", "name": "backend", "port": port}}});
    let (code, v) = s.json("POST", SERVICES, &service).await;
    assert_eq!(code, 201, "{v}");
    until(&s, "ServiceNotFound").await;
    let things = "/apis/example.com/v1/namespaces/default/things";
    let (code, v) = s.get(things).await;
    assert_eq!((code, v.as_str()), (503, Some("service unavailable\n")));

    let backend = json!({"metadata": {"name": "backend"}, "spec": {"type": "ExternalName", "externalName": "localhost"}});
    let (code, v) = s.json("POST", "/api/v1/namespaces/default/services", &backend).await;
    assert_eq!(code, 201, "{v}");
    until(&s, "Passed").await;
    let spoofed = [("x-remote-user", "root"), ("authorization", "Bearer secret")];
    let (code, v) = read(s.raw(&admin(), "GET", &format!("{things}?limit=1"), &spoofed, "").await).await;
    let want = json!({"path": things, "query": "limit=1", "user": "admin", "group": "system:masters", "token": null});
    assert_eq!((code, v), (200, want));

    let (_, v) = s.get("/apis/example.com").await;
    assert_eq!(v["preferredVersion"]["groupVersion"], "example.com/v1", "{v}");
    let (_, v) = read(s.raw(&admin(), "GET", "/apis", &[("accept", AGGREGATED)], "").await).await;
    let found = v["items"].as_array().unwrap().iter().find(|g| g["metadata"]["name"] == "example.com").unwrap();
    assert_eq!(found["versions"][0]["freshness"], "Current");
    assert_eq!(found["versions"][0]["resources"][0]["resource"], "things");
    let (_, v) = s.get("/openapi/v3").await;
    assert_eq!(v["paths"]["apis/example.com/v1"]["serverRelativeURL"], "/openapi/v3/apis/example.com/v1");

    assert_eq!(s.json("DELETE", &format!("{SERVICES}/v1.example.com"), &Value::Null).await.0, 200);
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
        let (code, v) = s.json("POST", SERVICES, &object).await;
        assert_eq!(code, 422, "{case}: {v}");
        assert!(v["message"].as_str().unwrap().contains(message), "{case}: {v}");
    }
}
