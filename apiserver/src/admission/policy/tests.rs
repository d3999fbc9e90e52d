//! Policies against requests, on a cluster of a few objects.

use super::*;
use crate::admission::Chain;
use machinery::{GroupVersionKind, GroupVersionResource, json};

struct World(Vec<(&'static str, Value)>);

#[async_trait]
impl Lister for World {
    fn get(&self, _: &str, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.list("", resource, namespace).into_iter().find(|o| meta::name(o) == name)
    }
    fn list(&self, _: &str, resource: &str, namespace: &str) -> Vec<Arc<Value>> {
        let fits = |o: &Value| namespace.is_empty() || meta::namespace(o) == namespace;
        self.0.iter().filter(|(r, o)| *r == resource && fits(o)).map(|(_, o)| Arc::new(o.clone())).collect()
    }
    async fn get_live(&self, g: &str, r: &str, ns: &str, n: &str) -> Result<Option<Arc<Value>>, Status> {
        Ok(self.get(g, r, ns, n))
    }
    async fn update_status(&self, _: &str, _: &str, obj: Value) -> Result<Arc<Value>, Status> {
        Ok(Arc::new(obj))
    }
    fn authorizer(&self) -> &dyn auth::Authorizer {
        &auth::authz::Privileged
    }
}

fn policy(spec: Value) -> Value {
    let mut p = json!({"metadata": {"name": "p", "uid": "p", "resourceVersion": "1"}, "spec": {
        "matchConstraints": {"namespaceSelector": {}, "objectSelector": {}, "resourceRules": [
            {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"], "scope": "*"}]}}});
    p["spec"].as_object_mut().unwrap().extend(spec.as_object().cloned().unwrap());
    p
}

async fn create(family: Family, spec: Value, binding: Value, object: Value) -> Result<(Value, Vec<String>), Status> {
    let mut b = json!({"metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Deny"]}});
    b["spec"].as_object_mut().unwrap().extend(binding.as_object().cloned().unwrap());
    let world = World(vec![
        (family.policies(), policy(spec)),
        (family.bindings(), b),
        ("namespaces", json!({"metadata": {"name": "ns", "labels": {"a": "b"}}})),
        (
            "configmaps",
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "limits", "namespace": "ns"}, "data": {"max": "3"}}),
        ),
    ]);
    let gvr = GroupVersionResource::new("apps", "v1", "deployments");
    let gvk = GroupVersionKind::new("apps", "v1", "Deployment");
    let user = auth::UserInfo::new("admin", &["system:masters"]);
    let mut attrs = Attributes::new(user, Operation::Create, gvr, gvk);
    (attrs.namespace, attrs.name) = ("ns".into(), "d".into());
    let chain = Chain::new(vec![Box::<MutatingAdmissionPolicy>::default(), Box::<ValidatingAdmissionPolicy>::default()]);
    let mut object = object;
    chain.admit(&attrs, &mut object, &world).await?;
    chain.validate(&attrs, &object, &world).await?;
    Ok((object, attrs.take_warnings()))
}

fn deployment(replicas: i64) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "ns"}, "spec": {"replicas": replicas,
        "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

#[tokio::test]
async fn validating() {
    let none = json!({});
    let denied = |why: &str| {
        Some(format!("deployments.apps \"d\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: {why}"))
    };
    for (case, spec, binding, want) in [
        ("holds", json!({"validations": [{"expression": "object.spec.replicas > 0"}]}), &none, None),
        (
            "fails",
            json!({"validations": [{"expression": "object.spec.replicas > 1"}]}),
            &none,
            denied("failed expression: object.spec.replicas > 1"),
        ),
        ("message", json!({"validations": [{"expression": "false", "message": "no"}]}), &none, denied("no")),
        (
            "message by expression",
            json!({"validations": [{"expression": "false", "messageExpression": "'got ' + string(object.spec.replicas)"}]}),
            &none,
            denied("got 1"),
        ),
        (
            "a message that fails",
            json!({"validations": [{"expression": "object.spec.replicas > 1", "messageExpression": "'got ' + object.spec.replicas"}]}),
            &none,
            denied("failed expression: object.spec.replicas > 1"),
        ),
        (
            "variables",
            json!({"variables": [{"name": "n", "expression": "object.spec.replicas"}, {"name": "odd", "expression": "variables.n % 2 == 1"}],
                "validations": [{"expression": "!variables.odd"}]}),
            &none,
            denied("failed expression: !variables.odd"),
        ),
        ("namespace", json!({"validations": [{"expression": "namespaceObject.metadata.labels.a == 'b'"}]}), &none, None),
        (
            "request",
            json!({"validations": [{"expression": "request.operation == 'CREATE' && request.name == 'd'"}]}),
            &none,
            None,
        ),
        (
            "an error",
            json!({"validations": [{"expression": "object.spec.x > 1"}]}),
            &none,
            denied("expression 'object.spec.x > 1' resulted in error: no such key: x"),
        ),
        (
            "an error that is ignored",
            json!({"failurePolicy": "Ignore", "validations": [{"expression": "object.spec.x > 1"}]}),
            &none,
            None,
        ),
        (
            "condition",
            json!({"matchConditions": [{"name": "c", "expression": "object.spec.replicas > 5"}], "validations": [{"expression": "false"}]}),
            &none,
            None,
        ),
        (
            "authorizer",
            json!({"validations": [{"expression": "authorizer.requestResource.check('delete').allowed()"}]}),
            &none,
            None,
        ),
        (
            "parameters",
            json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}, "validations": [{"expression": "object.spec.replicas > int(params.data.max)"}]}),
            &json!({"paramRef": {"name": "limits", "parameterNotFoundAction": "Deny"}}),
            denied("failed expression: object.spec.replicas > int(params.data.max)"),
        ),
        (
            "no parameters",
            json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}, "validations": [{"expression": "true"}]}),
            &json!({"paramRef": {"name": "gone", "parameterNotFoundAction": "Deny"}}),
            denied("failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"),
        ),
    ] {
        let got = create(Family::Validating, spec, binding.clone(), deployment(1)).await.err();
        if let Some(s) = &got {
            assert_eq!((s.code, &*s.reason), (422, "Invalid"), "{case}");
        }
        assert_eq!(got.map(|s| s.message), want, "{case}");
    }
    let (_, warnings) = create(
        Family::Validating,
        json!({"validations": [{"expression": "false", "message": "no"}]}),
        json!({"validationActions": ["Warn"]}),
        deployment(1),
    )
    .await
    .unwrap();
    assert_eq!(warnings, ["Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': no"]);
}

#[tokio::test]
async fn mutating() {
    let apply = |e: &str| json!({"mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": e}}]});
    let patch = |e: &str| json!({"mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": e}}]});
    for (case, spec, path, want) in [
        ("field", apply("Object{spec: Object.spec{replicas: object.spec.replicas + 9}}"), "/spec/replicas", json!(10)),
        ("map", apply("Object{metadata: Object.metadata{annotations: {'x': 'y'}}}"), "/metadata/annotations/x", json!("y")),
        ("kept", apply("Object{metadata: Object.metadata{labels: {'x': 'y'}}}"), "/spec/replicas", json!(1)),
        (
            "keyed list",
            apply(
                "Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{containers: [Object.spec.template.spec.containers{name: 'side', image: 's'}]}}}}",
            ),
            "/spec/template/spec/containers/1/name",
            json!("side"),
        ),
        ("patch", patch("[JSONPatch{op: 'replace', path: '/spec/replicas', value: 7}]"), "/spec/replicas", json!(7)),
        (
            "key",
            patch(
                "[JSONPatch{op: 'add', path: '/metadata/labels', value: {}}, JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b'), value: 'c'}]",
            ),
            "/metadata/labels/a~1b",
            json!("c"),
        ),
    ] {
        let (made, _) =
            create(Family::Mutating, spec, json!({}), deployment(1)).await.unwrap_or_else(|e| panic!("{case}: {}", e.message));
        assert_eq!(made.pointer(path), Some(&want), "{case}");
    }
    let wrong = apply("Object{spec: Object.other{replicas: 1}}");
    let got = create(Family::Mutating, wrong, json!({}), deployment(1)).await.unwrap_err();
    assert!(
        got.message.starts_with("policy 'p' with binding 'b' denied request: type mismatch: unexpected type name"),
        "{}",
        got.message
    );
}

#[test]
fn policies_that_do_not_compile() {
    for (case, family, spec, want) in [
        ("good", Family::Validating, json!({"validations": [{"expression": "object.x == 1"}]}), &[][..]),
        (
            "unknown name",
            Family::Validating,
            json!({"validations": [{"expression": "foo"}]}),
            &[
                "spec.validations[0].expression: Invalid value: \"foo\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'foo' (in container '')\n | foo\n | ^",
            ],
        ),
        (
            "type",
            Family::Validating,
            json!({"validations": [{"expression": "1"}]}),
            &["spec.validations[0].expression: Invalid value: \"1\": must evaluate to bool but got int"],
        ),
        (
            "mutation",
            Family::Mutating,
            json!({"mutations": [{"applyConfiguration": {"expression": "{}"}}]}),
            &[
                "spec.mutations[0].applyConfiguration.expression: Invalid value: \"{}\": must evaluate to Object but got map(dyn, dyn)",
            ],
        ),
    ] {
        let errors = Policy::compile(family, Arc::new(policy(spec))).errors();
        assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), want, "{case}");
    }
}
