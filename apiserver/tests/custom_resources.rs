//! The life of a custom resource as a client sees it: the definition is made and established, its kind is served in every version,
//! objects are written, converted and selected, the definition goes, and its objects with it.

use apiserver::http::body::{self, Body};
use apiserver::{ApiServer, AuthorizationMode, Config};
use auth::UserInfo;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use machinery::{Value, json};

struct Server {
    api: ApiServer,
    _dir: tempfile::TempDir,
}

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const FOOS: &str = "/apis/example.com/v1/namespaces/default/foos";

impl Server {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let config = Config {
            cert_dir: dir.path().to_owned(),
            authorization_mode: vec![AuthorizationMode::Rbac],
            disable_admission_plugins: vec!["ServiceAccount".into()],
            ..Config::default()
        };
        let api = apiserver::build(config, store::memory().expect("a store")).await.expect("a server");
        Self { api, _dir: dir }
    }

    async fn raw(&self, method: &str, uri: &str, headers: &[(&str, &str)], content: String) -> Response<Body> {
        let mut r = Request::builder().method(method).uri(uri);
        for (k, v) in headers {
            r = r.header(*k, *v);
        }
        let mut r = r.body(body::full(content.into_bytes())).expect("a request");
        r.extensions_mut().insert(UserInfo::new("admin", &["system:masters", "system:authenticated"]));
        self.api.handle(r).await
    }

    async fn send(&self, method: &str, uri: &str, content_type: &str, content: &Value) -> (u16, Value) {
        let r = self.raw(method, uri, &[("content-type", content_type)], content.to_string()).await;
        let code = r.status().as_u16();
        let bytes = r.into_body().collect().await.expect("a body").to_bytes();
        (code, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn json(&self, method: &str, uri: &str, content: &Value) -> (u16, Value) {
        self.send(method, uri, "application/json", content).await
    }

    async fn get(&self, uri: &str) -> (u16, Value) {
        let r = self.raw("GET", uri, &[], String::new()).await;
        let code = r.status().as_u16();
        let bytes = r.into_body().collect().await.expect("a body").to_bytes();
        (code, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    /// Watches a collection until an event satisfies `test`.
    async fn wait(&self, uri: &str, mut test: impl FnMut(&Value) -> bool) {
        let mut stream = self.raw("GET", uri, &[], String::new()).await.into_body();
        let mut buffer = Vec::new();
        while let Some(frame) = stream.frame().await {
            buffer.extend_from_slice(frame.expect("a frame").data_ref().expect("data"));
            while let Some(end) = buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                if test(&serde_json::from_slice(&line).expect("an event")) {
                    return;
                }
            }
        }
        panic!("the watch on {uri} ended");
    }

    async fn define(&self, crd: &Value) -> Value {
        let (code, made) = self.json("POST", CRDS, crd).await;
        assert_eq!(code, 201, "{made}");
        self.wait(&format!("{CRDS}?watch=1"), |e| {
            let conditions = e["object"]["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.iter().any(|c| c["type"] == "Established" && c["status"] == "True")
        })
        .await;
        made
    }
}

fn foos() -> Value {
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "required": ["color"], "properties": {
            "color": {"type": "string", "enum": ["red", "green"]}, "size": {"type": "integer", "default": 1},
            "replicas": {"type": "integer"}}},
        "status": {"type": "object", "properties": {"phase": {"type": "string"}, "replicas": {"type": "integer"}}}}});
    let version = |name: &str, storage: bool| {
        json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": schema},
            "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
            "selectableFields": [{"jsonPath": ".spec.color"}],
            "additionalPrinterColumns": [{"name": "Color", "type": "string", "jsonPath": ".spec.color"}]})
    };
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "foos.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "foos", "kind": "Foo", "shortNames": ["fo"], "categories": ["all"]},
            "versions": [version("v1", true), version("v2", false)]}})
}

fn foo(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
async fn a_definition_and_its_objects_come_and_go() {
    let s = Server::start().await;
    assert_eq!(s.get(FOOS).await.0, 404);
    let made = s.define(&foos()).await;
    assert_eq!(made["spec"]["names"]["listKind"], "FooList");
    assert_eq!(made["status"]["storedVersions"], json!(["v1"]));

    let (code, a) = s.json("POST", FOOS, &foo("a", &json!({"color": "red", "odd": 1}))).await;
    assert_eq!(code, 201, "{a}");
    assert_eq!(a["spec"], json!({"color": "red", "size": 1}));
    assert_eq!(a["metadata"]["generation"], 1);
    let (code, e) = s.json("POST", FOOS, &foo("b", &json!({"color": "blue"}))).await;
    assert_eq!(code, 422);
    assert_eq!(
        e["message"],
        "Foo.example.com \"b\" is invalid: spec.color: Unsupported value: \"blue\": supported values: \"red\", \"green\""
    );
    let strict = format!("{FOOS}?fieldValidation=Strict");
    let (code, e) = s.json("POST", &strict, &foo("b", &json!({"color": "red", "odd": 1}))).await;
    assert_eq!(code, 400);
    assert!(e["message"].as_str().is_some_and(|m| m.ends_with("strict decoding error: unknown field \"spec.odd\"")), "{e}");
    let (code, _) = s.json("POST", FOOS, &foo("b", &json!({"color": "green"}))).await;
    assert_eq!(code, 201);

    let (_, l) = s.get(&format!("{FOOS}?fieldSelector=spec.color%3Dgreen")).await;
    assert_eq!(l["kind"], "FooList");
    assert_eq!(l["items"].as_array().map(Vec::len), Some(1));
    let (_, v2) = s.get(&FOOS.replace("/v1/", "/v2/")).await;
    assert_eq!(v2["items"][0]["apiVersion"], "example.com/v2");

    let merge = "application/merge-patch+json";
    let (code, a) = s.send("PATCH", &format!("{FOOS}/a"), merge, &json!({"spec": {"size": 5}})).await;
    assert_eq!((code, &a["metadata"]["generation"]), (200, &json!(2)), "{a}");
    let status = json!({"status": {"phase": "Up"}, "spec": {"size": 9}});
    let (_, a) = s.send("PATCH", &format!("{FOOS}/a/status"), merge, &status).await;
    assert_eq!((&a["status"]["phase"], &a["spec"]["size"], &a["metadata"]["generation"]), (&json!("Up"), &json!(5), &json!(2)));
    let strategic = "application/strategic-merge-patch+json";
    assert_eq!(s.send("PATCH", &format!("{FOOS}/a"), strategic, &json!({})).await.0, 415);
    let apply = format!("{FOOS}/a?fieldManager=t&force=true");
    let (code, a) =
        s.send("PATCH", &apply, "application/apply-patch+yaml", &foo("a", &json!({"color": "green", "replicas": 2}))).await;
    assert_eq!((code, &a["spec"]["color"]), (200, &json!("green")), "{a}");
    let (_, scale) = s.get(&format!("{FOOS}/a/scale")).await;
    assert_eq!((&scale["kind"], &scale["spec"]["replicas"]), (&json!("Scale"), &json!(2)), "{scale}");

    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let r = s.raw("GET", FOOS, &table, String::new()).await.into_body().collect().await.expect("a body").to_bytes();
    let t: Value = serde_json::from_slice(&r).expect("a Table");
    assert_eq!(t["columnDefinitions"][1]["name"], "Color");
    assert_eq!(t["rows"][0]["cells"], json!(["a", "green"]));

    let (_, group) = s.get("/apis/example.com").await;
    assert_eq!(group["preferredVersion"]["version"], "v2");
    let (_, list) = s.get("/apis/example.com/v1").await;
    assert_eq!(list["resources"][0]["shortNames"], json!(["fo"]));
    let (_, v2) = s.get("/openapi/v2").await;
    let of = &v2["definitions"]["com.example.v1.Foo"];
    assert_eq!(of["properties"]["spec"]["properties"]["color"]["enum"], json!(["red", "green"]));
    let (_, v3) = s.get("/openapi/v3/apis/example.com/v1").await;
    assert!(v3["components"]["schemas"]["com.example.v1.FooList"].is_object());

    let (code, gone) = s.json("DELETE", &format!("{CRDS}/foos.example.com"), &Value::Null).await;
    assert_eq!(code, 200, "{gone}");
    let version = gone["metadata"]["resourceVersion"].as_str().unwrap_or("0").to_owned();
    s.wait(&format!("{CRDS}?watch=1&resourceVersion={version}"), |e| e["type"] == "DELETED").await;
    // Defined anew, nothing of the old objects is left.
    s.define(&foos()).await;
    let (_, l) = s.get(FOOS).await;
    assert_eq!(l["items"], json!([]));
}

#[tokio::test]
async fn the_storage_version_may_change() {
    let s = Server::start().await;
    let mut crd = s.define(&foos()).await;
    let (code, _) = s.json("POST", FOOS, &foo("a", &json!({"color": "red"}))).await;
    assert_eq!(code, 201);
    let (_, now) = s.get(&format!("{CRDS}/foos.example.com")).await;
    crd = {
        crd["metadata"] = now["metadata"].clone();
        crd
    };
    crd["spec"]["versions"][0]["storage"] = false.into();
    crd["spec"]["versions"][1]["storage"] = true.into();
    let (code, changed) = s.json("PUT", &format!("{CRDS}/foos.example.com"), &crd).await;
    assert_eq!(code, 200, "{changed}");
    assert_eq!(changed["status"]["storedVersions"], json!(["v1", "v2"]));
    for v in ["v1", "v2"] {
        let (code, a) = s.get(&format!("{}/a", FOOS.replace("/v1/", &format!("/{v}/")))).await;
        assert_eq!((code, &a["apiVersion"], &a["spec"]["color"]), (200, &json!(format!("example.com/{v}")), &json!("red")));
    }
    let mut without = changed.clone();
    without["spec"]["versions"].as_array_mut().expect("versions").remove(0);
    let (code, e) = s.json("PUT", &format!("{CRDS}/foos.example.com"), &without).await;
    assert_eq!(code, 422, "{e}");
}

/// A conversion webhook that has sizes of v2 ten times those of v1. Returns its `clientConfig`.
async fn converter(dir: &std::path::Path) -> Value {
    use base64::Engine as _;
    let localhost = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    let spec = pki::ClusterSpec {
        node_name: "hook".into(),
        node_ips: vec![localhost],
        service_ips: Vec::new(),
        dns_domain: "cluster.local".into(),
        extra_names: Vec::new(),
        server_url: "https://127.0.0.1:1".into(),
    };
    let certs = pki::ClusterPki::ensure(dir, &spec).expect("certificates");
    let tls = pki::tls::server_config(&certs.api_server, &[certs.ca.cert_pem()]).expect("TLS");
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(tls));
    let listener = tokio::net::TcpListener::bind((localhost, 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = hyper::service::service_fn(|r: Request<hyper::body::Incoming>| async move {
                    let bytes = r.into_body().collect().await.expect("a review").to_bytes();
                    let review: Value = serde_json::from_slice(&bytes).expect("JSON");
                    let mut objects = review["request"]["objects"].clone();
                    for o in objects.as_array_mut().expect("objects") {
                        let up = review["request"]["desiredAPIVersion"] == "example.com/v2";
                        let size = o["spec"]["size"].as_i64().expect("a size");
                        o["spec"]["size"] = if up { size * 10 } else { size / 10 }.into();
                        o["apiVersion"] = review["request"]["desiredAPIVersion"].clone();
                    }
                    let answer = json!({"apiVersion": review["apiVersion"], "kind": "ConversionReview", "response": {
                        "uid": review["request"]["uid"], "result": {"status": "Success"}, "convertedObjects": objects}});
                    Ok::<_, std::convert::Infallible>(Response::new(body::full(answer.to_string())))
                });
                let io = hyper_util::rt::TokioIo::new(stream);
                let _ = hyper_util::server::conn::auto::Builder::new(hyper_util::rt::TokioExecutor::new())
                    .serve_connection(io, service)
                    .await;
            });
        }
    });
    let ca = base64::engine::general_purpose::STANDARD.encode(certs.ca.cert_pem());
    json!({"url": format!("https://127.0.0.1:{port}/convert"), "caBundle": ca})
}

#[tokio::test]
async fn a_webhook_converts() {
    let s = Server::start().await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut crd = foos();
    crd["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {
        "clientConfig": converter(dir.path()).await, "conversionReviewVersions": ["v1"]}});
    s.define(&crd).await;
    let two = FOOS.replace("/v1/", "/v2/");
    let (code, a) = s.json("POST", FOOS, &foo("a", &json!({"color": "red", "size": 3}))).await;
    assert_eq!(code, 201, "{a}");
    let mut b = foo("b", &json!({"color": "red", "size": 50}));
    b["apiVersion"] = "example.com/v2".into();
    let (code, b) = s.json("POST", &two, &b).await;
    assert_eq!((code, &b["spec"]["size"]), (201, &json!(50)), "{b}");
    let sizes =
        |l: &Value| -> Vec<Value> { l["items"].as_array().into_iter().flatten().map(|o| o["spec"]["size"].clone()).collect() };
    assert_eq!(sizes(&s.get(FOOS).await.1), [json!(3), json!(5)]);
    assert_eq!(sizes(&s.get(&two).await.1), [json!(30), json!(50)]);
    let merge = "application/merge-patch+json";
    let (code, a) = s.send("PATCH", &format!("{two}/a"), merge, &json!({"spec": {"size": 70}})).await;
    assert_eq!((code, &a["spec"]["size"], &a["metadata"]["generation"]), (200, &json!(70), &json!(2)), "{a}");
    assert_eq!(s.get(&format!("{FOOS}/a")).await.1["spec"]["size"], 7);
}

/// A selector on a field that only one version has, which lies in the store in the other.
#[tokio::test]
async fn fields_are_selected_in_the_version_that_is_asked_for() {
    let s = Server::start().await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut crd = foos();
    crd["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {
        "clientConfig": converter(dir.path()).await, "conversionReviewVersions": ["v1"]}});
    crd["spec"]["versions"][1]["selectableFields"] = json!([{"jsonPath": ".spec.size"}]);
    s.define(&crd).await;
    let two = FOOS.replace("/v1/", "/v2/");
    for (name, size) in [("a", 3), ("b", 5)] {
        let (code, made) = s.json("POST", FOOS, &foo(name, &json!({"color": "red", "size": size}))).await;
        assert_eq!(code, 201, "{made}");
    }
    let fifty = format!("{two}?fieldSelector=spec.size%3D50");
    let (_, found) = s.get(&fifty).await;
    let names: Vec<&Value> = found["items"].as_array().into_iter().flatten().map(|o| &o["metadata"]["name"]).collect();
    assert_eq!(names, ["b"]);
    assert_eq!(s.get(&format!("{FOOS}?fieldSelector=spec.size%3D5")).await.0, 400);
    assert_eq!(s.get(&format!("{FOOS}?fieldSelector=spec.color%3Dred")).await.1["items"].as_array().map(Vec::len), Some(2));

    let merge = "application/merge-patch+json";
    for change in
        [json!({"size": 50}), json!({"color": "green"}), json!({"size": 10}), json!({"color": "red"}), json!({"size": 50})]
    {
        let (code, a) = s.send("PATCH", &format!("{two}/a"), merge, &json!({"spec": change})).await;
        assert_eq!(code, 200, "{a}");
    }
    let since = found["metadata"]["resourceVersion"].as_str().expect("a version");
    let mut told = Vec::new();
    s.wait(&format!("{fifty}&watch=1&resourceVersion={since}"), |e| {
        told.push((e["type"].clone(), e["object"]["spec"]["size"].clone()));
        told.len() == 4
    })
    .await;
    let told: Vec<_> = told.iter().map(|(kind, size)| (kind.as_str().unwrap_or(""), size.as_i64().unwrap_or(0))).collect();
    assert_eq!(told, [("ADDED", 50), ("MODIFIED", 50), ("DELETED", 50), ("ADDED", 50)]);
}
