//! The life of a custom resource: the definition is made and established, its kind is served in every version, objects are written,
//! converted and selected, the definition goes, and its objects with it.

use crate::backend;
use crate::server::{APPLY, MERGE, STRATEGIC, Server, admin, read};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use machinery::{Value, json};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const FOOS: &str = "/apis/example.com/v1/namespaces/default/foos";

async fn define(s: &Server, crd: &Value) -> Value {
    let (code, made) = s.json("POST", CRDS, crd).await;
    assert_eq!(code, 201, "{made}");
    let established = |e: &Value| {
        let conditions = e["object"]["status"]["conditions"].as_array();
        conditions.into_iter().flatten().any(|c| c["type"] == "Established" && c["status"] == "True")
    };
    s.watch(&format!("{CRDS}?watch=1")).await.until(established).await;
    made
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
    let made = define(&s, &foos()).await;
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

    let (code, a) = s.patch(&format!("{FOOS}/a"), MERGE, &json!({"spec": {"size": 5}})).await;
    assert_eq!((code, &a["metadata"]["generation"]), (200, &json!(2)), "{a}");
    let status = json!({"status": {"phase": "Up"}, "spec": {"size": 9}});
    let (_, a) = s.patch(&format!("{FOOS}/a/status"), MERGE, &status).await;
    assert_eq!((&a["status"]["phase"], &a["spec"]["size"], &a["metadata"]["generation"]), (&json!("Up"), &json!(5), &json!(2)));
    assert_eq!(s.patch(&format!("{FOOS}/a"), STRATEGIC, &json!({})).await.0, 415);
    let apply = format!("{FOOS}/a?fieldManager=t&force=true");
    let (code, a) = s.patch(&apply, APPLY, &foo("a", &json!({"color": "green", "replicas": 2}))).await;
    assert_eq!((code, &a["spec"]["color"]), (200, &json!("green")), "{a}");
    let (_, scale) = s.get(&format!("{FOOS}/a/scale")).await;
    assert_eq!((&scale["kind"], &scale["spec"]["replicas"]), (&json!("Scale"), &json!(2)), "{scale}");

    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let (_, t) = read(s.raw(&admin(), "GET", FOOS, &table, "").await).await;
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
    // kubectl apply sends the patch that it finds here.
    let patches = &v3["paths"]["/apis/example.com/v1/namespaces/{namespace}/foos/{name}"]["patch"]["requestBody"]["content"];
    assert!(patches.get(MERGE).is_some() && patches.get(STRATEGIC).is_none(), "{patches}");

    let (code, gone) = s.json("DELETE", &format!("{CRDS}/foos.example.com"), &Value::Null).await;
    assert_eq!(code, 200, "{gone}");
    let version = gone["metadata"]["resourceVersion"].as_str().unwrap_or("0").to_owned();
    s.watch(&format!("{CRDS}?watch=1&resourceVersion={version}")).await.until(|e| e["type"] == "DELETED").await;
    // Defined anew, nothing of the old objects is left.
    define(&s, &foos()).await;
    let (_, l) = s.get(FOOS).await;
    assert_eq!(l["items"], json!([]));
}

#[tokio::test]
async fn the_storage_version_may_change() {
    let s = Server::start().await;
    let mut crd = define(&s, &foos()).await;
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

/// A conversion webhook that has sizes of v2 ten times those of v1.
async fn convert(request: Request<Incoming>) -> Response<Full<Bytes>> {
    let bytes = request.into_body().collect().await.expect("a review").to_bytes();
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
    Response::new(Full::new(answer.to_string().into()))
}

/// The definition, with that webhook.
async fn converted() -> Value {
    let (port, ca) = backend::serve(convert).await;
    let client = json!({"url": format!("https://127.0.0.1:{port}/convert"), "caBundle": ca});
    let mut crd = foos();
    crd["spec"]["conversion"] =
        json!({"strategy": "Webhook", "webhook": {"clientConfig": client, "conversionReviewVersions": ["v1"]}});
    crd
}

#[tokio::test]
async fn a_webhook_converts() {
    let s = Server::start().await;
    define(&s, &converted().await).await;
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
    let (code, a) = s.patch(&format!("{two}/a"), MERGE, &json!({"spec": {"size": 70}})).await;
    assert_eq!((code, &a["spec"]["size"], &a["metadata"]["generation"]), (200, &json!(70), &json!(2)), "{a}");
    assert_eq!(s.get(&format!("{FOOS}/a")).await.1["spec"]["size"], 7);
}

/// A selector on a field that only one version has, which lies in the store in the other.
#[tokio::test]
async fn fields_are_selected_in_the_version_that_is_asked_for() {
    let s = Server::start().await;
    let mut crd = converted().await;
    crd["spec"]["versions"][1]["selectableFields"] = json!([{"jsonPath": ".spec.size"}]);
    define(&s, &crd).await;
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

    for change in
        [json!({"size": 50}), json!({"color": "green"}), json!({"size": 10}), json!({"color": "red"}), json!({"size": 50})]
    {
        let (code, a) = s.patch(&format!("{two}/a"), MERGE, &json!({"spec": change})).await;
        assert_eq!(code, 200, "{a}");
    }
    let since = found["metadata"]["resourceVersion"].as_str().expect("a version");
    let mut events = s.watch(&format!("{fifty}&watch=1&resourceVersion={since}")).await;
    for told in [("ADDED", 50), ("MODIFIED", 50), ("DELETED", 50), ("ADDED", 50)] {
        let e = events.next().await.expect("an event");
        assert_eq!((e["type"].as_str(), e["object"]["spec"]["size"].as_i64()), (Some(told.0), Some(told.1)), "{e}");
    }
}
