//! Status bodies, resource versions, patches, dry runs, pages, watches, deletion, and input that nobody should send.

use crate::server::{APPLY, MAPS, MERGE, STRATEGIC, Server, admin, config, read};
use apiserver::http::body;
use auth::UserInfo;
use http::Request;
use machinery::{Value, json};

async fn config_map(s: &Server, name: &str, data: Value) -> Value {
    let cm = json!({"metadata": {"name": name}, "data": data});
    let (code, v) = s.json("POST", MAPS, &cm).await;
    assert_eq!(code, 201, "{v}");
    v
}

#[tokio::test]
async fn statuses_are_upstreams() {
    let s = Server::start().await;
    config_map(&s, "a", json!({"k": "v"})).await;
    let cm = |v: Value| v.to_string();
    for (name, method, uri, content, code, reason, message) in [
        (
            "not found",
            "GET",
            "/api/v1/namespaces/default/configmaps/b",
            String::new(),
            404,
            "NotFound",
            "configmaps \"b\" not found",
        ),
        ("exists", "POST", MAPS, cm(json!({"metadata": {"name": "a"}})), 409, "AlreadyExists", "configmaps \"a\" already exists"),
        (
            "unknown resource",
            "GET",
            "/api/v1/foos",
            String::new(),
            404,
            "NotFound",
            "the server could not find the requested resource",
        ),
        (
            "method",
            "PUT",
            MAPS,
            "{}".into(),
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        ),
        (
            "no name",
            "POST",
            MAPS,
            "{}".into(),
            422,
            "Invalid",
            "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required",
        ),
        (
            "bad name",
            "POST",
            MAPS,
            cm(json!({"metadata": {"name": "A_"}})),
            422,
            "Invalid",
            "ConfigMap \"A_\" is invalid: metadata.name: Invalid value: \"A_\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        ),
        (
            "other namespace",
            "POST",
            MAPS,
            cm(json!({"metadata": {"name": "x", "namespace": "y"}})),
            400,
            "BadRequest",
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            "no namespace",
            "POST",
            "/api/v1/namespaces/nope/configmaps",
            cm(json!({"metadata": {"name": "x"}})),
            404,
            "NotFound",
            "namespaces \"nope\" not found",
        ),
        (
            "strict",
            "POST",
            "/api/v1/namespaces/default/configmaps?fieldValidation=Strict",
            cm(json!({"metadata": {"name": "x"}, "foo": 1})),
            400,
            "BadRequest",
            "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"foo\"",
        ),
        (
            "type",
            "POST",
            MAPS,
            cm(json!({"metadata": {"name": "x"}, "data": {"a": 1}})),
            400,
            "BadRequest",
            "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct field ConfigMap.data of type string",
        ),
        (
            "selector",
            "GET",
            "/api/v1/namespaces/default/configmaps?fieldSelector=a%3Db",
            String::new(),
            400,
            "BadRequest",
            "\"a\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
        ),
    ] {
        let (got, v) = s.send(method, uri, "application/json", content).await;
        assert_eq!(
            (got, v["reason"].as_str().unwrap_or(""), v["message"].as_str().unwrap_or("")),
            (code, reason, message),
            "{name}: {v}"
        );
        assert_eq!(v["kind"], "Status", "{name}");
    }
}

#[tokio::test]
async fn updates_respect_resource_versions() {
    let s = Server::start().await;
    let a = config_map(&s, "a", json!({"k": "1"})).await;
    let uri = "/api/v1/namespaces/default/configmaps/a";
    let mut next = a.clone();
    next["data"]["k"] = "2".into();
    let (code, b) = s.json("PUT", uri, &next).await;
    assert_eq!(code, 200);
    assert_ne!(a["metadata"]["resourceVersion"], b["metadata"]["resourceVersion"]);
    assert_eq!(
        (&a["metadata"]["uid"], &a["metadata"]["creationTimestamp"]),
        (&b["metadata"]["uid"], &b["metadata"]["creationTimestamp"])
    );
    let (code, v) = s.json("PUT", uri, &next).await;
    assert_eq!((code, v["reason"].as_str()), (409, Some("Conflict")));
    assert_eq!(
        v["message"],
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again"
    );
    // A write that changes nothing makes no version.
    let (_, again) = s.json("PUT", uri, &b).await;
    assert_eq!(again["metadata"]["resourceVersion"], b["metadata"]["resourceVersion"]);
    // A dry run answers as the write would, and writes nothing.
    let mut dry = b.clone();
    dry["data"]["k"] = "3".into();
    let (code, v) = s.json("PUT", &format!("{uri}?dryRun=All"), &dry).await;
    assert_eq!((code, &v["data"]["k"]), (200, &json!("3")));
    assert_eq!(s.get(uri).await.1["data"]["k"], "2");
}

#[tokio::test]
async fn patches() {
    let s = Server::start().await;
    config_map(&s, "a", json!({"k": "1", "gone": "x"})).await;
    let uri = "/api/v1/namespaces/default/configmaps/a?fieldManager=test";
    for (content_type, patch, want) in [
        (MERGE, json!({"data": {"gone": null, "m": "2"}}), json!({"k": "1", "m": "2"})),
        ("application/json-patch+json", json!([{"op": "replace", "path": "/data/k", "value": "9"}]), json!({"k": "9", "m": "2"})),
        (STRATEGIC, json!({"data": {"s": "3"}}), json!({"k": "9", "m": "2", "s": "3"})),
    ] {
        let (code, v) = s.send("PATCH", uri, content_type, patch.to_string()).await;
        assert_eq!((code, &v["data"]), (200, &want), "{content_type}: {v}");
    }
    let apply =
        |k: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}, "data": {"k": k}}).to_string();
    let b = "/api/v1/namespaces/default/configmaps/b";
    let (code, v) = s.send("PATCH", &format!("{b}?fieldManager=one"), APPLY, apply("1")).await;
    assert_eq!(code, 201, "{v}");
    assert_eq!(v["metadata"]["managedFields"][0]["manager"], "one");
    let (code, v) = s.send("PATCH", &format!("{b}?fieldManager=two"), APPLY, apply("2")).await;
    assert_eq!(
        (code, v["message"].as_str().unwrap_or("")),
        (409, "Apply failed with 1 conflict: conflict with \"one\": .data.k")
    );
    let (code, _) = s.send("PATCH", &format!("{b}?fieldManager=two&force=true"), APPLY, apply("2")).await;
    assert_eq!(code, 200);
    let (code, _) = s.send("PATCH", b, APPLY, apply("2")).await;
    assert_eq!(code, 422, "apply needs a field manager");
    let (code, v) = s.send("PATCH", b, "text/plain", "x").await;
    assert_eq!((code, v["reason"].as_str()), (415, Some("UnsupportedMediaType")));
}

#[tokio::test]
async fn lists_come_in_pages_and_watches_resume() {
    let s = Server::start().await;
    for n in ["a", "b", "c"] {
        config_map(&s, n, json!({})).await;
    }
    let names = |v: &Value| {
        v["items"].as_array().unwrap().iter().map(|i| i["metadata"]["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (_, first) = s.get(&format!("{MAPS}?limit=2")).await;
    assert_eq!((names(&first), &first["metadata"]["remainingItemCount"]), (vec!["a".to_owned(), "b".into()], &json!(1)));
    config_map(&s, "d", json!({})).await;
    let token = first["metadata"]["continue"].as_str().unwrap();
    let (_, rest) = s.get(&format!("{MAPS}?limit=2&continue={token}")).await;
    assert_eq!(names(&rest), ["c"], "a continued list is of the same moment");
    assert_eq!(rest["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);

    let rv = first["metadata"]["resourceVersion"].as_str().unwrap();
    let mut events = s.watch(&format!("{MAPS}?watch=1&resourceVersion={rv}")).await;
    let event = events.next().await.unwrap();
    assert_eq!((event["type"].as_str(), event["object"]["metadata"]["name"].as_str()), (Some("ADDED"), Some("d")));
    let (code, _) = s.send("DELETE", "/api/v1/namespaces/default/configmaps/d", "", "").await;
    assert_eq!(code, 200);
    assert_eq!(events.next().await.unwrap()["type"], "DELETED");

    // One that ended at once instead would be asked for again without end by the components of the same process.
    s.api.shutdown();
    assert!(events.next().await.is_none(), "a server that goes down ends its watches");
    let (code, v) = s.get(&format!("{MAPS}?watch=1&resourceVersion={rv}")).await;
    assert_eq!((code, v["reason"].as_str()), (503, Some("ServiceUnavailable")), "and begins none");
}

#[tokio::test]
async fn finalizers_hold_and_preconditions_guard() {
    let s = Server::start().await;
    let uri = "/api/v1/namespaces/default/configmaps/f";
    let (_, f) = s.json("POST", MAPS, &json!({"metadata": {"name": "f", "finalizers": ["example.com/x"]}})).await;
    let wrong = json!({"preconditions": {"uid": "other"}});
    assert_eq!(s.json("DELETE", uri, &wrong).await.0, 409);
    let (code, v) = s.send("DELETE", uri, "", "").await;
    assert_eq!((code, v["metadata"]["deletionGracePeriodSeconds"].as_i64()), (200, Some(0)));
    assert!(v["metadata"]["deletionTimestamp"].is_string());
    let patch = json!({"metadata": {"finalizers": null}}).to_string();
    let (code, _) = s.send("PATCH", uri, MERGE, patch).await;
    assert_eq!(code, 200);
    assert_eq!(s.get(uri).await.0, 404, "the last finalizer's removal deletes");
    // A collection at once.
    config_map(&s, "x", json!({})).await;
    assert_eq!(s.send("DELETE", MAPS, "", "").await.0, 200);
    assert_eq!(s.get(MAPS).await.1["items"], json!([]));
    assert!(f["metadata"]["uid"].is_string());
}

#[tokio::test]
async fn the_kubernetes_service_returns() {
    let s = Server::start().await;
    let uri = "/api/v1/namespaces/default/services";
    let (_, list) = s.get(uri).await;
    let rv = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let (code, _) = s.send("DELETE", &format!("{uri}/kubernetes"), "", "").await;
    assert_eq!(code, 200);
    s.watch(&format!("{uri}?watch=1&resourceVersion={rv}")).await.until(|e| e["type"] == "ADDED").await;
    assert_eq!(s.get(&format!("{uri}/kubernetes")).await.1["spec"]["clusterIP"], "10.96.0.1");
}

#[tokio::test]
async fn strangers_are_refused() {
    let s = Server::start().await;
    let joe = UserInfo::new("joe", &["system:authenticated"]);
    let (code, v) = read(s.raw(&joe, "GET", MAPS, &[], "").await).await;
    assert_eq!(code, 403);
    assert_eq!(
        v["message"],
        "configmaps is forbidden: User \"joe\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"default\""
    );
    let r = s.api.handle(Request::get("/api/v1/nodes").header("authorization", "Bearer x").body(body::empty()).unwrap()).await;
    assert_eq!(r.status(), 401);
}

#[tokio::test]
async fn tokens_may_be_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens.csv");
    std::fs::write(&file, "secret,ann,1,\"system:masters,x\"\n").unwrap();
    let config = apiserver::Config { token_auth_file: Some(file), ..config(dir.path()) };
    let s = Server::with(dir, config, store::memory().unwrap()).await;
    for (token, code) in [("secret", 200), ("other", 401)] {
        let asked = Request::get("/api/v1/nodes").header("authorization", format!("Bearer {token}"));
        assert_eq!(s.api.handle(asked.body(body::empty()).unwrap()).await.status(), code, "{token}");
    }
}

#[tokio::test]
async fn hostile_input_is_an_answer() {
    let s = Server::start().await;
    let deep = format!("{{\"metadata\":{}{}}}", "{\"a\":".repeat(50_000), "}".repeat(50_000));
    let huge = format!("{{\"data\":{{\"a\":\"{}\"}}}}", "x".repeat(4 << 20));
    for (name, method, uri, content_type, content, code) in [
        ("truncated", "POST", MAPS, "application/json", "{\"metadata\":{\"name\":".to_owned(), 400),
        ("no object", "POST", MAPS, "application/json", "[1]".into(), 400),
        ("empty", "POST", MAPS, "application/json", String::new(), 400),
        ("deep", "POST", MAPS, "application/json", deep, 400),
        ("huge", "POST", MAPS, "application/json", huge, 413),
        ("no protobuf", "POST", MAPS, "application/vnd.kubernetes.protobuf", "k8s\0garbage".into(), 400),
        ("bad yaml", "POST", MAPS, "application/yaml", "a: [".into(), 400),
        ("media type", "POST", MAPS, "application/xml", "<a/>".into(), 415),
        ("bad patch", "PATCH", "/api/v1/namespaces/default/configmaps/a", "application/json-patch+json", "{".into(), 400),
        ("bad limit", "GET", "/api/v1/pods?limit=x", "", String::new(), 400),
        ("bad version", "GET", "/api/v1/pods?resourceVersion=x&watch=1", "", String::new(), 400),
        ("odd escapes", "GET", "/api/v1/namespaces/%zz/pods/%00", "", String::new(), 404),
        ("no such path", "GET", "/nothing", "", String::new(), 404),
    ] {
        let (got, v) = s.send(method, uri, content_type, content).await;
        assert_eq!(got, code, "{name}: {v}");
    }
}

/// A pod on a node is deleted gracefully; evictions ask the budget first.
#[tokio::test]
async fn pods_go_gracefully() {
    let s = Server::start().await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = |name: &str| {
        json!({"metadata": {"name": name, "labels": {"app": "a"}},
            "spec": {"containers": [{"name": "c", "image": "i"}], "terminationGracePeriodSeconds": 7}})
    };
    for n in ["p", "q"] {
        let (code, v) = s.json("POST", pods, &pod(n)).await;
        assert_eq!(code, 201, "{v}");
        let binding = json!({"metadata": {"name": n}, "target": {"kind": "Node", "name": "n1"}});
        assert_eq!(s.json("POST", &format!("{pods}/{n}/binding"), &binding).await.0, 201);
        let (code, v) = s.json("POST", &format!("{pods}/{n}/binding"), &binding).await;
        assert_eq!(code, 409, "{v}");
        let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}).to_string();
        let uri = format!("{pods}/{n}/status");
        assert_eq!(s.send("PATCH", &uri, STRATEGIC, status).await.0, 200);
    }
    let (_, v) = s.send("DELETE", &format!("{pods}/p"), "", "").await;
    assert_eq!((&v["metadata"]["deletionGracePeriodSeconds"], &v["spec"]["nodeName"]), (&json!(7), &json!("n1")), "{v}");
    assert_eq!(s.get(&format!("{pods}/p")).await.0, 200, "the kubelet has the last word");
    let (code, _) = s.send("DELETE", &format!("{pods}/p?gracePeriodSeconds=0"), "", "").await;
    assert_eq!((code, s.get(&format!("{pods}/p")).await.0), (200, 404));

    let budget = json!({"metadata": {"name": "b"}, "spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"app": "a"}}}});
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    assert_eq!(s.json("POST", budgets, &budget).await.0, 201);
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "q"}});
    let (code, v) = s.json("POST", &format!("{pods}/q/eviction"), &eviction).await;
    assert_eq!((code, v["reason"].as_str()), (429, Some("TooManyRequests")), "{v}");
    assert_eq!(s.send("DELETE", &format!("{budgets}/b"), "", "").await.0, 200);
    assert_eq!(s.json("POST", &format!("{pods}/q/eviction"), &eviction).await.0, 201);
    assert!(s.get(&format!("{pods}/q")).await.1["metadata"]["deletionTimestamp"].is_string());
}

#[tokio::test]
async fn a_pods_generation_follows_its_spec() {
    let s = Server::start().await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let (_, v) = s.json("POST", pods, &pod).await;
    assert_eq!(v["metadata"]["generation"], 1, "{v}");
    let debugger = json!({"name": "d", "image": "i", "terminationMessagePolicy": "File", "imagePullPolicy": "Always"});
    let cases = [
        ("labels", "", json!({"metadata": {"labels": {"a": "b"}}}), 1),
        ("deadline", "", json!({"spec": {"activeDeadlineSeconds": 50}}), 2),
        ("debugger", "/ephemeralcontainers", json!({"spec": {"ephemeralContainers": [debugger]}}), 3),
    ];
    for (case, subresource, patch, want) in cases {
        let uri = format!("{pods}/p{subresource}");
        let (code, v) = s.send("PATCH", &uri, STRATEGIC, patch.to_string()).await;
        assert_eq!((code, &v["metadata"]["generation"]), (200, &json!(want)), "{case}: {v}");
    }
}

#[tokio::test]
async fn an_autoscaler_has_two_versions() {
    let s = Server::start().await;
    let hpa = json!({"metadata": {"name": "h"}, "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 50,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}});
    let v1 = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
    let (code, v) = s.json("POST", v1, &hpa).await;
    assert_eq!((code, v["apiVersion"].as_str()), (201, Some("autoscaling/v1")), "{v}");
    assert_eq!((&v["spec"]["minReplicas"], &v["spec"]["targetCPUUtilizationPercentage"]), (&json!(1), &json!(50)));
    let (_, v) = s.get(&format!("{}/h", v1.replace("/v1/", "/v2/"))).await;
    assert_eq!(v["spec"]["metrics"][0]["resource"]["target"], json!({"type": "Utilization", "averageUtilization": 50}));
    let patch = r#"{"spec": {"targetCPUUtilizationPercentage": 70}}"#;
    let (code, v) = s.send("PATCH", &format!("{v1}/h"), MERGE, patch).await;
    assert_eq!((code, &v["spec"]["targetCPUUtilizationPercentage"]), (200, &json!(70)), "{v}");
    let (_, list) = s.get(v1).await;
    assert_eq!((list["kind"].as_str(), list["items"].as_array().map(Vec::len)), (Some("HorizontalPodAutoscalerList"), Some(1)));
    let (_, group) = s.get("/apis/autoscaling").await;
    assert_eq!(group["preferredVersion"]["version"], "v2");
}

#[tokio::test]
async fn two_servers_give_out_no_address_twice() {
    let (dir, store) = (tempfile::tempdir().unwrap(), store::memory().unwrap());
    let config = apiserver::Config {
        service_cluster_ip_range: vec!["10.96.0.0/28".parse().unwrap()],
        service_node_port_range: (30000, 30019),
        ..config(dir.path())
    };
    let a = Server::with(dir, config.clone(), store.clone()).await;
    let servers = [a, Server::with(tempfile::tempdir().unwrap(), config, store).await];
    let services = "/api/v1/namespaces/default/services";
    let service = |name: &str, ip: &str| json!({"metadata": {"name": name}, "spec": {"type": "NodePort", "clusterIP": ip, "ports": [{"port": 80}]}});
    let (mut ips, mut ports) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
    // The Service `kubernetes` has one of the 14.
    for i in 0..13 {
        let (code, v) = servers[i % 2].json("POST", services, &service(&format!("s{i}"), "")).await;
        assert_eq!(code, 201, "{v}");
        ips.insert(v["spec"]["clusterIP"].as_str().unwrap().to_owned());
        ports.insert(v["spec"]["ports"][0]["nodePort"].as_u64().unwrap());
    }
    assert_eq!((ips.len(), ports.len(), ips.contains("10.96.0.1")), (13, 13, false));
    let taken = ips.first().unwrap().clone();
    for (name, server, ip, dry, want) in [
        ("full", 0, "", "", "failed to allocate a serviceIP: range is full"),
        ("taken", 1, taken.as_str(), "", "provided IP is already allocated"),
        ("outside", 0, "10.97.0.5", "", "the provided network does not match the current range"),
        ("broadcast", 0, "10.96.0.15", "?dryRun=All", "The range of valid IPs is 10.96.0.0/28"),
    ] {
        let (code, v) = servers[server].json("POST", &format!("{services}{dry}"), &service("x", ip)).await;
        assert_eq!(code, 422, "{name}");
        assert!(v["message"].as_str().unwrap().contains(want), "{name}: {v}");
    }

    let addresses = "/apis/networking.k8s.io/v1/ipaddresses";
    let (_, s3) = servers[0].get(&format!("{services}/s3")).await;
    let ip = s3["spec"]["clusterIP"].as_str().unwrap();
    let (_, address) = servers[1].get(&format!("{addresses}/{ip}")).await;
    assert_eq!(address["spec"]["parentRef"], json!({"resource": "services", "namespace": "default", "name": "s3"}));
    assert_eq!(address["metadata"]["labels"]["ipaddress.kubernetes.io/managed-by"], "ipallocator.k8s.io");
    // What one server frees, the other has; a change of type gives back, too.
    assert_eq!(servers[1].send("DELETE", &format!("{services}/s3"), "", "").await.0, 200);
    assert_eq!(servers[0].get(&format!("{addresses}/{ip}")).await.0, 404);
    let (code, v) = servers[0].json("POST", services, &service("again", ip)).await;
    assert_eq!(code, 201, "{v}");
    let external = r#"{"spec": {"type": "ExternalName", "externalName": "x.example", "ports": null}}"#;
    let (code, v) = servers[0].send("PATCH", &format!("{services}/again"), MERGE, external).await;
    assert_eq!(code, 200, "{v}");
    assert_eq!(servers[1].get(&format!("{addresses}/{ip}")).await.0, 404);

    // Another range serves once it is ready.
    let ranges = "/apis/networking.k8s.io/v1/servicecidrs";
    let more = json!({"metadata": {"name": "more"}, "spec": {"cidrs": ["203.0.113.0/24"]}});
    assert_eq!(servers[0].json("POST", ranges, &more).await.0, 201);
    assert_eq!(servers[1].json("POST", services, &service("far", "203.0.113.10")).await.0, 422);
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
    let (code, v) = servers[0].send("PATCH", &format!("{ranges}/more/status"), MERGE, ready.to_string()).await;
    assert_eq!(code, 200, "{v}");
    let (code, v) = servers[1].json("POST", services, &service("far", "203.0.113.10")).await;
    assert_eq!((code, v["spec"]["clusterIP"].as_str()), (201, Some("203.0.113.10")), "{v}");
}

#[tokio::test]
async fn requests_are_told_their_flow_schema() {
    let s = Server::start().await;
    let flow = "/apis/flowcontrol.apiserver.k8s.io/v1";
    let (_, probes) = s.get(&format!("{flow}/flowschemas/probes")).await;
    assert_eq!(probes["status"]["conditions"][0]["status"], "False", "{probes}");
    let (_, level) = s.get(&format!("{flow}/prioritylevelconfigurations/exempt")).await;
    let r = s.api.handle(Request::builder().uri("/readyz").body(body::full("")).unwrap()).await;
    let told = |h: &str| r.headers().get(h).and_then(|v| v.to_str().ok());
    assert_eq!(told("x-kubernetes-pf-flowschema-uid"), probes["metadata"]["uid"].as_str());
    assert_eq!(told("x-kubernetes-pf-prioritylevel-uid"), level["metadata"]["uid"].as_str());
    let (_, all) = s.get(&format!("{flow}/flowschemas")).await;
    assert_eq!(all["items"].as_array().map(Vec::len), Some(11));
}

#[tokio::test]
async fn a_deletion_that_lost_a_race_says_so() {
    let s = Server::start().await;
    for i in 0..50 {
        let name = format!("m{i}");
        let made = json!({"metadata": {"name": name, "finalizers": ["example.com/x"]}});
        let (_, made) = s.json("POST", MAPS, &made).await;
        let path = format!("{MAPS}/{name}");
        let options = json!({"preconditions": {"resourceVersion": made["metadata"]["resourceVersion"]}});
        let label = format!(r#"{{"metadata": {{"labels": {{"a": "{i}"}}}}}}"#);
        let (_, (code, _)) =
            tokio::join!(s.send("PATCH", &path, MERGE, label), s.send("DELETE", &path, "application/json", options.to_string()),);
        let (_, now) = s.get(&path).await;
        let marked = now["metadata"]["deletionTimestamp"].is_string();
        assert_eq!((code == 200, code == 409), (marked, !marked), "{code}: {now}");
    }
}

/// What is sent, as it is.
async fn text(s: &Server, uri: &str, accept: &str) -> String {
    let r = s.raw(&admin(), "GET", uri, &[("accept", accept)], "").await;
    let bytes = http_body_util::BodyExt::collect(r.into_body()).await.expect("a body").to_bytes();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn documents_and_lists_are_written_as_go_writes_them() {
    let s = Server::start().await;
    config_map(&s, "a", json!({"kind": "x"})).await;
    let beta = "application/json;as=Table;v=v1beta1;g=meta.k8s.io";
    let part = "application/json;as=PartialObjectMetadataList;v=v1beta1;g=meta.k8s.io";
    for (name, uri, accept, starts, holds) in [
        ("version", "/version", "*/*", "{\n  \"major\": \"1\",\n", "\"gitVersion\": \"v1.36"),
        (
            "resources",
            "/api/v1",
            "application/json",
            r#"{"kind":"APIResourceList","groupVersion":"v1","resources":[{"name":"bindings","singularName""#,
            r#""shortNames":["po"],"categories":["all"],"storageVersionHash":"#,
        ),
        (
            "group",
            "/apis/apps",
            "application/json",
            r#"{"kind":"APIGroup","apiVersion":"v1","name":"apps","versions":[{"groupVersion":"apps/v1","version":"v1"}],"preferred"#,
            "}}\n",
        ),
        (
            "items of a built-in kind have no type of their own",
            MAPS,
            "application/json",
            r#"{"kind":"ConfigMapList","apiVersion":"v1","metadata":"#,
            r#""items":[{"data":{"kind":"x"},"metadata":{"#,
        ),
        ("an older Table", MAPS, beta, "{", r#""apiVersion":"meta.k8s.io/v1beta1""#),
        ("older metadata", MAPS, part, "{", r#"{"apiVersion":"meta.k8s.io/v1beta1","kind":"PartialObjectMetadata","#),
    ] {
        let text = text(&s, uri, accept).await;
        assert!(text.starts_with(starts) && text.contains(holds), "{name}: {text}");
    }
    assert!(!text(&s, MAPS, beta).await.contains("meta.k8s.io/v1\""));
}

#[tokio::test]
async fn a_request_may_say_how_long_it_may_take() {
    let s = Server::start().await;
    for (name, timeout, code, message) in [
        ("longer than allowed", "3m", 200, ""),
        ("none", "0s", 200, ""),
        ("no duration", "invalid", 400, "invalid timeout specified in the request URL - time: invalid duration \"invalid\""),
    ] {
        let (got, v) = s.get(&format!("{MAPS}?timeout={timeout}")).await;
        assert_eq!((got, v["message"].as_str().unwrap_or_default()), (code, message), "{name}");
    }
}

#[tokio::test]
async fn claims_are_for_one_device_and_slices_are_selected_by_node() {
    let s = Server::start().await;
    let claim = json!({"metadata": {"name": "c"}, "spec": {"devices": {"requests": [{"name": "a", "exactly": {"deviceClassName": "gold"}}]}}});
    let (_, v) = s.json("POST", "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims", &claim).await;
    let want = json!({"deviceClassName": "gold", "allocationMode": "ExactCount", "count": 1});
    assert_eq!(v["spec"]["devices"]["requests"][0]["exactly"], want, "{v}");
    let slices = "/apis/resource.k8s.io/v1/resourceslices";
    let slice = json!({"metadata": {"name": "a"}, "spec": {"driver": "d", "nodeName": "n", "pool": {"name": "p", "resourceSliceCount": 1}}});
    let (code, v) = s.json("POST", slices, &slice).await;
    assert_eq!(code, 201, "{v}");
    for (selector, count) in [("spec.nodeName%3Dn", 1), ("spec.driver%3Dother", 0)] {
        let (_, v) = s.get(&format!("{slices}?fieldSelector={selector}")).await;
        assert_eq!(v["items"].as_array().map(Vec::len), Some(count), "{selector}: {v}");
    }
}
