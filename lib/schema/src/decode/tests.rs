//! Tests of `decode`.

use super::*;
use crate::registry::Registry;
use serde_json::json;

fn of(group: &str, version: &str, kind: &str) -> Typed<'static> {
    Registry::builtin().typed_kind(group, version, kind).expect(kind)
}

#[test]
fn zero_values_as_go_writes_them() {
    let cases = [
        (
            "structs are written, empty scalars and lists are not",
            ("apps", "v1", "Deployment"),
            json!({"metadata": {"name": "d", "labels": {}, "creationTimestamp": null},
                   "spec": {"replicas": 0, "paused": false, "selector": null, "template": {"spec": {"containers": [
                       {"name": "c", "image": "", "args": [], "resources": {"limits": {"cpu": "1000m", "memory": 1024}}}]}}}}),
            json!({"metadata": {"name": "d"}, "status": {},
                   "spec": {"replicas": 0, "selector": null, "strategy": {}, "template": {"metadata": {}, "spec": {"containers": [
                       {"name": "c", "resources": {"limits": {"cpu": "1", "memory": "1024"}}}]}}}}),
        ),
        (
            "a nil list without omitempty is null",
            ("rbac.authorization.k8s.io", "v1", "ClusterRole"),
            json!({"kind": "ClusterRole", "metadata": {"name": "r"}}),
            json!({"kind": "ClusterRole", "metadata": {"name": "r"}, "rules": null}),
        ),
        (
            "times, bytes",
            ("", "v1", "Secret"),
            json!({"metadata": {"creationTimestamp": "2026-01-02T05:04:05.9+02:00"}, "data": {"a": "Zm9v\n", "b": ""}}),
            json!({"metadata": {"creationTimestamp": "2026-01-02T03:04:05Z"}, "data": {"a": "Zm9v", "b": ""}}),
        ),
    ];
    for (name, (g, v, k), input, want) in cases {
        let (got, problems) = decode(input.to_string().as_bytes(), of(g, v, k), Mode::Strict).expect(name);
        assert_eq!((&got, &problems[..]), (&want, &[][..]), "{name}");
        let mut tree = input;
        normalize(&mut tree, of(g, v, k)).expect(name);
        assert_eq!(tree, want, "{name}, from a tree");
    }
}

#[test]
fn problems_in_document_order() {
    let body = br#"{"zzz": 1, "spec": {"foo": {"x": 1, "x": 2}, "replicas": 1, "replicas": 2,
        "template": {"spec": {"containers": [{"name": "a"}, {"name": "b", "bar": true, "env": [{"name": "A", "Name": "B"}]}]}},
        "selector": {"matchLabels": {"a": "b", "a": "c"}}}}"#;
    let (_, problems) = decode(body, of("apps", "v1", "Deployment"), Mode::Strict).expect("decodes");
    assert_eq!(
        strict_error(&problems),
        "strict decoding error: unknown field \"zzz\", unknown field \"spec.foo\", duplicate field \"spec.replicas\", \
         unknown field \"spec.template.spec.containers[1].bar\", unknown field \
         \"spec.template.spec.containers[1].env[0].Name\", duplicate field \"spec.selector.matchLabels.a\""
    );
    assert!(decode(body, of("apps", "v1", "Deployment"), Mode::Lenient).expect("decodes").1.is_empty());
}

#[test]
fn mismatches_in_gos_words() {
    let pod = ("", "v1", "Pod");
    let cases = [
        (
            ("apps", "v1", "Deployment"),
            r#"{"spec": {"replicas": "3"}}"#,
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            ("apps", "v1", "Deployment"),
            r#"{"spec": {"replicas": 3000000000}}"#,
            "json: cannot unmarshal number 3000000000 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            pod,
            r#"{"spec": {"containers": {}}}"#,
            "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            pod,
            r#"{"spec": {"containers": [{"imagePullPolicy": 1}]}}"#,
            "json: cannot unmarshal number into Go struct field Container.spec.containers.imagePullPolicy of type v1.PullPolicy",
        ),
        (
            pod,
            r#"{"metadata": {"labels": {"a": true}}}"#,
            "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (pod, r#"[]"#, "json: cannot unmarshal array into Go value of type v1.Pod"),
        (
            pod,
            r#"{"spec": {"volumes": [{"secret": {"items": 1}}]}}"#,
            "json: cannot unmarshal number into Go struct field SecretVolumeSource.spec.volumes.VolumeSource.secret.items of type []v1.KeyToPath",
        ),
        (
            ("", "v1", "ResourceQuota"),
            r#"{"spec": {"hard": {"cpu": true}}}"#,
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (("", "v1", "Secret"), r#"{"data": {"a": "?"}}"#, "illegal base64 data at input byte 0"),
        (pod, r#"{"spec": {"#, "unexpected end of JSON input"),
        (pod, r#"{"spec": x}"#, "invalid character 'x' looking for beginning of value"),
        (pod, r#"{} x"#, "invalid character 'x' after top-level value"),
    ];
    for ((g, v, k), body, want) in cases {
        let got = decode(body.as_bytes(), of(g, v, k), Mode::Strict).expect_err(body).to_string();
        assert_eq!(got, want, "{body}");
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(decode(deep.as_bytes(), of("", "v1", "Pod"), Mode::Strict).is_err());
}

#[test]
fn schemas_of_crds_are_walked() {
    let body = json!({"spec": {"group": "g", "names": {"kind": "K", "plural": "ks"}, "scope": "Cluster", "versions": [{"name": "v1",
        "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "properties": {"a": {"type": "array",
        "items": {"type": "string", "minLength": 0, "title": ""}}, "b": {"additionalProperties": true}}}}}]}});
    let (got, _) =
        decode(body.to_string().as_bytes(), of("apiextensions.k8s.io", "v1", "CustomResourceDefinition"), Mode::Strict)
            .expect("decodes");
    let schema = got.pointer("/spec/versions/0/schema/openAPIV3Schema/properties").expect("schema");
    assert_eq!(
        schema,
        &json!({"a": {"type": "array", "items": {"type": "string", "minLength": 0}}, "b": {"additionalProperties": true}})
    );
}
