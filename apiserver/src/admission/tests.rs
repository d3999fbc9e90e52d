//! Tests of `admission`.

use super::*;
use machinery::json;
use std::collections::BTreeMap;

struct World {
    objects: Mutex<BTreeMap<String, Arc<Value>>>,
    /// Status updates answered with a conflict before one succeeds.
    conflicts: Mutex<u32>,
}

impl World {
    fn new(objects: &[(&str, Value)]) -> Self {
        let key = |r: &str, o: &Value| format!("{r}|{}|{}", meta::namespace(o), meta::name(o));
        let objects = objects.iter().map(|(r, o)| (key(r, o), Arc::new(o.clone()))).collect();
        Self { objects: Mutex::new(objects), conflicts: Mutex::new(0) }
    }
}

#[async_trait]
impl Lister for World {
    fn get(&self, _: &str, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.objects.lock().get(&format!("{resource}|{namespace}|{name}")).cloned()
    }
    fn list(&self, _: &str, resource: &str, namespace: &str) -> Vec<Arc<Value>> {
        let prefix = if namespace.is_empty() { format!("{resource}|") } else { format!("{resource}|{namespace}|") };
        self.objects.lock().iter().filter(|(k, _)| k.starts_with(&prefix)).map(|(_, v)| v.clone()).collect()
    }
    async fn get_live(&self, g: &str, r: &str, ns: &str, n: &str) -> Result<Option<Arc<Value>>, Status> {
        Ok(self.get(g, r, ns, n))
    }
    async fn update_status(&self, _: &str, resource: &str, obj: Value) -> Result<Arc<Value>, Status> {
        let mut conflicts = self.conflicts.lock();
        if *conflicts > 0 {
            *conflicts -= 1;
            return Err(Status::modified(&GroupResource::new("", resource), meta::name(&obj)));
        }
        let obj = Arc::new(obj);
        self.objects.lock().insert(format!("{resource}|{}|{}", meta::namespace(&obj), meta::name(&obj)), obj.clone());
        Ok(obj)
    }
    fn authorizer(&self) -> &dyn Authorizer {
        &auth::authz::Privileged
    }
}

fn attributes(user: &UserInfo, op: Operation, resource: &str, namespace: &str, name: &str) -> Attributes {
    let (path, sub) = resource.split_once('/').unwrap_or((resource, ""));
    let (resource, group) = path.split_once('.').unwrap_or((path, ""));
    let gvr = GroupVersionResource::new(group, "v1", resource);
    let mut a = Attributes::new(user.clone(), op, gvr, GroupVersionKind::new(group, "v1", "Kind"));
    (a.namespace, a.name, a.subresource) = (namespace.into(), name.into(), sub.into());
    a
}

async fn run(a: &Attributes, mut obj: Value, world: &World) -> Result<Value, Status> {
    let chain = Chain::standard(&[], DefaultTolerationSeconds::default());
    chain.admit(a, &mut obj, world).await?;
    chain.validate(a, &obj, world).await?;
    Ok(obj)
}

fn named(ns: &str, name: &str) -> Value {
    json!({"metadata": {"namespace": ns, "name": name, "uid": format!("{name}-uid"), "resourceVersion": "1"}})
}

fn with(mut o: Value, more: Value) -> Value {
    for (k, v) in more.as_object().unwrap() {
        o[k] = v.clone();
    }
    o
}

fn namespaces() -> Vec<(&'static str, Value)> {
    vec![
        ("namespaces", json!({"metadata": {"name": "ns"}, "status": {"phase": "Active"}})),
        ("namespaces", json!({"metadata": {"name": "dying"}, "status": {"phase": "Terminating"}})),
        ("serviceaccounts", with(named("ns", "default"), json!({"imagePullSecrets": [{"name": "registry"}]}))),
        ("serviceaccounts", with(named("ns", "quiet"), json!({"automountServiceAccountToken": false}))),
    ]
}

fn pod(spec: Value) -> Value {
    let mut spec = spec;
    if spec.get("containers").is_none() {
        spec["containers"] = json!([{"name": "c"}]);
    }
    json!({"metadata": {"name": "p", "namespace": "ns"}, "spec": spec})
}

#[tokio::test]
async fn pods_get_their_defaults() {
    let world = World::new(&namespaces());
    let root = UserInfo::new("root", &[]);
    let create = attributes(&root, Operation::Create, "pods", "ns", "p");
    let p = run(&create, pod(json!({})), &world).await.unwrap();
    let spec = &p["spec"];
    assert_eq!(spec["serviceAccountName"], "default");
    assert_eq!(spec["imagePullSecrets"], json!([{"name": "registry"}]));
    assert_eq!((&spec["priority"], &spec["preemptionPolicy"]), (&json!(0), &json!("PreemptLowerPriority")));
    assert_eq!(spec["tolerations"].as_array().unwrap().len(), 2);
    let volume = spec["volumes"][0]["name"].as_str().unwrap();
    assert!(volume.starts_with("kube-api-access-") && volume.len() == "kube-api-access-xxxxx".len(), "{volume}");
    assert_eq!(spec["containers"][0]["volumeMounts"][0]["name"], volume);
    let again = run(&create, p.clone(), &world).await.unwrap();
    assert_eq!(again, p, "idempotent");
    let quiet = run(&create, pod(json!({"serviceAccountName": "quiet"})), &world).await.unwrap();
    assert!(quiet["spec"].get("volumes").is_none());
}

#[tokio::test]
async fn refusals() {
    let mut objects = namespaces();
    objects.push(("priorityclasses", with(named("", "high"), json!({"value": 1000}))));
    objects.push((
        "limitranges",
        with(
            named("ns", "limits"),
            json!({"spec": {"limits": [{"type": "Container", "max": {"memory": "1Gi"},
        "default": {"memory": "512Mi"}, "defaultRequest": {"memory": "256Mi"}}]}}),
        ),
    ));
    let world = World::new(&objects);
    let root = UserInfo::new("root", &[]);
    let cases = [
        (
            "terminating namespace",
            attributes(&root, Operation::Create, "configmaps", "dying", "c"),
            named("dying", "c"),
            "configmaps \"c\" is forbidden: unable to create new content in namespace dying because it is being terminated",
        ),
        (
            "no namespace",
            attributes(&root, Operation::Create, "configmaps", "lost", "c"),
            named("lost", "c"),
            "namespaces \"lost\" not found",
        ),
        (
            "default namespace",
            attributes(&root, Operation::Delete, "namespaces", "default", "default"),
            Value::Null,
            "namespaces \"default\" is forbidden: this namespace may not be deleted",
        ),
        (
            "no such account",
            attributes(&root, Operation::Create, "pods", "ns", "p"),
            pod(json!({"serviceAccountName": "x"})),
            "pods \"p\" is forbidden: error looking up service account ns/x: serviceaccount \"x\" not found",
        ),
        (
            "no such priority",
            attributes(&root, Operation::Create, "pods", "ns", "p"),
            pod(json!({"priorityClassName": "x"})),
            "pods \"p\" is forbidden: no PriorityClass with name x was found",
        ),
        (
            "own priority",
            attributes(&root, Operation::Create, "pods", "ns", "p"),
            pod(json!({"priorityClassName": "high", "priority": 7})),
            "pods \"p\" is forbidden: the integer value of priority (7) must not be provided in pod spec; priority admission controller \
             computed 1000 from the given PriorityClass name",
        ),
        (
            "over the limit",
            attributes(&root, Operation::Create, "pods", "ns", "p"),
            pod(json!({"containers": [{"name": "c", "resources": {"limits": {"memory": "2Gi"}}}]})),
            "pods \"p\" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi",
        ),
    ];
    for (case, a, obj, want) in cases {
        assert_eq!(run(&a, obj, &world).await.unwrap_err().message, want, "{case}");
    }
    let a = attributes(&root, Operation::Create, "pods", "ns", "p");
    let p = run(&a, pod(json!({})), &world).await.unwrap();
    assert_eq!(p["spec"]["containers"][0]["resources"], json!({"limits": {"memory": "512Mi"}, "requests": {"memory": "256Mi"}}));
    let note = "LimitRanger plugin set: memory request for container c; memory limit for container c";
    assert_eq!(p["metadata"]["annotations"]["kubernetes.io/limit-ranger"], note);
}

#[tokio::test]
async fn quotas() {
    let mut objects = namespaces();
    let status = json!({"hard": {"pods": "2", "requests.cpu": "1", "services.nodeports": "1"},
        "used": {"pods": "1", "requests.cpu": "600m", "services.nodeports": "0"}});
    objects.push(("resourcequotas", with(named("ns", "q"), json!({"spec": {}, "status": status}))));
    let world = World::new(&objects);
    *world.conflicts.lock() = 2;
    let root = UserInfo::new("root", &[]);
    let create = attributes(&root, Operation::Create, "pods", "ns", "p");
    let asking = |cpu: &str| pod(json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}));
    let e = run(&create, pod(json!({})), &world).await.unwrap_err();
    assert_eq!(e.message, "pods \"p\" is forbidden: failed quota: q: must specify requests.cpu for: c");
    let e = run(&create, asking("500m"), &world).await.unwrap_err();
    assert_eq!(
        e.message,
        "pods \"p\" is forbidden: exceeded quota: q, requested: requests.cpu=500m, used: requests.cpu=600m, limited: requests.cpu=1"
    );
    let mut dry = attributes(&root, Operation::Create, "pods", "ns", "p");
    dry.dry_run = true;
    run(&dry, asking("400m"), &world).await.unwrap();
    run(&create, asking("400m"), &world).await.unwrap();
    let used = world.get("", "resourcequotas", "ns", "q").unwrap()["status"]["used"].clone();
    assert_eq!(used, json!({"pods": "2", "requests.cpu": "1", "services.nodeports": "0"}));
    let e = run(&create, asking("0"), &world).await.unwrap_err();
    assert_eq!(e.message, "pods \"p\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2");
    let service = |kind: &str| with(named("ns", "s"), json!({"spec": {"type": kind, "ports": [{"port": 80}]}}));
    let mut update = attributes(&root, Operation::Update, "services", "ns", "s");
    update.old_object = Some(Arc::new(service("ClusterIP")));
    run(&update, service("NodePort"), &world).await.unwrap();
    update.old_object = Some(Arc::new(service("NodePort")));
    run(&update, service("NodePort"), &world).await.unwrap();
    assert_eq!(world.get("", "resourcequotas", "ns", "q").unwrap()["status"]["used"]["services.nodeports"], "1");
}

#[tokio::test]
async fn nodes_are_confined() {
    let mut objects = namespaces();
    let on = |name: &str, node: &str| {
        with(
            named("ns", name),
            json!({"spec": {"nodeName": node, "volumes": [{"name": "t", "projected":
        {"sources": [{"serviceAccountToken": {"audience": "vault"}}]}}]}}),
        )
    };
    objects.extend([("pods", on("mine", "a")), ("pods", on("theirs", "b")), ("nodes", named("", "a"))]);
    let world = World::new(&objects);
    let node = UserInfo::new("system:node:a", &["system:nodes"]);
    let a = |op, resource: &str, ns: &str, name: &str| attributes(&node, op, resource, ns, name);
    let bound = |pod: &str, audience: &str| {
        json!({"spec": {"audiences": [audience], "boundObjectRef":
        {"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": format!("{pod}-uid")}}})
    };
    let owner = json!({"apiVersion": "v1", "kind": "Node", "name": "a", "uid": "a-uid", "controller": true});
    let mirror = json!({"metadata": {"name": "m", "namespace": "ns", "annotations": {"kubernetes.io/config.mirror": "h"},
        "ownerReferences": [owner]}, "spec": {"nodeName": "a", "containers": []}});
    let labelled = |l: &str| json!({"metadata": {"name": "a", "labels": {l: "x"}}});
    let cases = [
        ("own node", a(Operation::Create, "nodes", "", "a"), labelled("kubernetes.io/hostname"), None),
        (
            "other node",
            a(Operation::Create, "nodes", "", "b"),
            named("", "b"),
            Some("node \"a\" is not allowed to modify node \"b\""),
        ),
        (
            "restricted label",
            a(Operation::Create, "nodes", "", "a"),
            labelled("node-restriction.kubernetes.io/x"),
            Some("node \"a\" is not allowed to set the following labels: node-restriction.kubernetes.io/x"),
        ),
        (
            "control plane label",
            a(Operation::Create, "nodes", "", "a"),
            labelled("node-role.kubernetes.io/control-plane"),
            Some("node \"a\" is not allowed to set the following labels: node-role.kubernetes.io/control-plane"),
        ),
        ("delete own pod", a(Operation::Delete, "pods", "ns", "mine"), Value::Null, None),
        (
            "delete another's pod",
            a(Operation::Delete, "pods", "ns", "theirs"),
            Value::Null,
            Some("node \"a\" can only delete pods with spec.nodeName set to itself"),
        ),
        ("mirror pod", a(Operation::Create, "pods", "ns", "m"), mirror, None),
        (
            "other pod",
            a(Operation::Create, "pods", "ns", "p"),
            pod(json!({"nodeName": "a"})),
            Some("pod does not have \"kubernetes.io/config.mirror\" annotation, node \"a\" can only create mirror pods"),
        ),
        ("token of own pod", a(Operation::Create, "serviceaccounts/token", "ns", "default"), bound("mine", "vault"), None),
        (
            "token of another's pod",
            a(Operation::Create, "serviceaccounts/token", "ns", "default"),
            bound("theirs", "vault"),
            Some("node requested token bound to a pod scheduled on a different node"),
        ),
        (
            "token for another audience",
            a(Operation::Create, "serviceaccounts/token", "ns", "default"),
            bound("mine", "other"),
            Some(
                "audience \"other\" not found in pod spec volume, system:node:a is not authorized to request tokens for this audience",
            ),
        ),
        (
            "no token",
            a(Operation::Create, "serviceaccounts/token", "ns", "default"),
            json!({}),
            Some("node requested token not bound to a pod"),
        ),
    ];
    for (case, a, obj, refused) in cases {
        let got = run(&a, obj, &world).await.err().map(|e| e.message);
        match (got, refused) {
            (None, None) => {}
            (Some(got), Some(want)) => assert!(got.ends_with(&format!("is forbidden: {want}")), "{case}: {got}"),
            (got, _) => panic!("{case}: {got:?}"),
        }
    }
}

#[tokio::test]
async fn storage_and_ingress_defaults() {
    let mut objects = namespaces();
    let class = |name: &str, key: &str, time: &str| json!({"metadata": {"name": name, "creationTimestamp": time, "annotations": {key: "true"}}});
    let sc = "storageclass.kubernetes.io/is-default-class";
    objects.extend([
        ("storageclasses", class("old", sc, "2026-01-01T00:00:00Z")),
        ("storageclasses", class("new", sc, "2026-02-01T00:00:00Z")),
        ("ingressclasses", class("web", "ingressclass.kubernetes.io/is-default-class", "2026-01-01T00:00:00Z")),
    ]);
    let world = World::new(&objects);
    let root = UserInfo::new("root", &[]);
    let create = attributes(&root, Operation::Create, "persistentvolumeclaims", "ns", "c");
    let claim = run(&create, named("ns", "c"), &world).await.unwrap();
    assert_eq!(claim["spec"]["storageClassName"], "new");
    assert_eq!(claim["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    let none = run(&create, with(named("ns", "c"), json!({"spec": {"storageClassName": ""}})), &world).await.unwrap();
    assert_eq!(none["spec"]["storageClassName"], "");
    let create = attributes(&root, Operation::Create, "ingresses.networking.k8s.io", "ns", "i");
    assert_eq!(run(&create, named("ns", "i"), &world).await.unwrap()["spec"]["ingressClassName"], "web");
    let size = |s: &str| {
        with(named("ns", "c"), json!({"spec": {"resources": {"requests": {"storage": s}}}, "status": {"phase": "Bound"}}))
    };
    let mut grow = attributes(&root, Operation::Update, "persistentvolumeclaims", "ns", "c");
    grow.old_object = Some(Arc::new(size("1Gi")));
    let e = run(&grow, size("2Gi"), &world).await.unwrap_err();
    assert!(e.message.contains("only dynamically provisioned pvc can be resized"), "{}", e.message);
    run(&grow, size("1024Mi"), &world).await.unwrap();
}

#[tokio::test]
async fn pods_learn_the_topology_of_their_node() {
    let mut objects = namespaces();
    objects.push(("nodes", json!({"metadata": {"name": "n", "labels": {"topology.kubernetes.io/zone": "z", "other": "x"}}})));
    let world = World::new(&objects);
    let root = UserInfo::new("root", &[]);
    let binding = |kind: &str| json!({"metadata": {"name": "p", "labels": {"a": "b"}}, "target": {"kind": kind, "name": "n"}});
    for (name, resource, obj, want) in [
        ("bound", "pods/binding", binding("Node"), json!({"a": "b", "topology.kubernetes.io/zone": "z"})),
        ("bound to something else", "pods/binding", binding(""), json!({"a": "b"})),
        ("born on a node", "pods", pod(json!({"nodeName": "n"})), json!({"topology.kubernetes.io/zone": "z"})),
        ("without a node", "pods", pod(json!({})), Value::Null),
    ] {
        let create = attributes(&root, Operation::Create, resource, "ns", "p");
        let admitted = run(&create, obj, &world).await.unwrap();
        assert_eq!(admitted["metadata"]["labels"], want, "{name}");
    }
}
