//! What a version of a definition does to objects: pruning, defaults, validation, columns; and what definitions are refused for.

use extensions::{Version, definition};
use machinery::field::ErrorList;
use machinery::{Value, json};

fn version(schema: Value) -> Version {
    let crd = json!({"metadata": {"name": "foos.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "foos", "kind": "Foo"}}});
    let v = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}}, "selectableFields": [{"jsonPath": ".spec.color"}],
        "additionalPrinterColumns": [{"name": "Color", "type": "string", "jsonPath": ".spec.color"},
            {"name": "Size", "type": "integer", "jsonPath": ".spec.size"}]});
    Version::new(&crd, &v).expect("a version")
}

fn object(spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": "a"}, "spec": spec})
}

fn of_spec(spec: Value) -> Version {
    version(json!({"type": "object", "properties": {"spec": spec}}))
}

fn texts(e: &ErrorList) -> Vec<String> {
    e.iter().map(ToString::to_string).collect()
}

#[test]
fn prunes_and_defaults() {
    for (name, spec, given, want, unknown) in [
        (
            "unknown fields go, at every level",
            json!({"type": "object", "properties": {"a": {"type": "string"},
                "l": {"type": "array", "items": {"type": "object", "properties": {"b": {"type": "string"}}}}}}),
            json!({"a": "x", "z": 1, "l": [{"b": "y", "c": 2}]}),
            json!({"a": "x", "l": [{"b": "y"}]}),
            vec!["spec.l[0].c", "spec.z"],
        ),
        (
            "preserved ones stay, known ones below them don't",
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                "properties": {"k": {"type": "object", "properties": {"a": {"type": "string"}}}}}),
            json!({"any": {"thing": 1}, "k": {"a": "x", "b": 1}}),
            json!({"any": {"thing": 1}, "k": {"a": "x"}}),
            vec!["spec.k.b"],
        ),
        (
            "maps",
            json!({"type": "object", "additionalProperties": {"type": "object", "properties": {"a": {"type": "string"}}}}),
            json!({"one": {"a": "x", "b": 1}}),
            json!({"one": {"a": "x"}}),
            vec!["spec.one.b"],
        ),
        (
            "embedded resources keep their metadata, in form",
            json!({"type": "object", "properties": {"t": {"type": "object", "x-kubernetes-embedded-resource": true,
                "properties": {"spec": {"type": "object"}}}}}),
            json!({"t": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "foo": 1}, "other": 1}}),
            json!({"t": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}}),
            vec!["spec.t.other", "spec.t.metadata.foo"],
        ),
        (
            "defaults, nested, and instead of nulls that may not be",
            json!({"type": "object", "properties": {"a": {"type": "string", "default": "x"},
                "n": {"type": "string", "nullable": true, "default": "y"}, "m": {"type": "string", "default": "z"},
                "gone": {"type": "string"}, "o": {"type": "object", "default": {}, "properties": {"i": {"type": "integer", "default": 3}}}}}),
            json!({"n": null, "m": null, "gone": null}),
            json!({"a": "x", "n": null, "m": "z", "o": {"i": 3}}),
            vec![],
        ),
    ] {
        let v = of_spec(spec);
        let mut obj = object(given);
        let decoded = v.coerce(&mut obj, false).expect(name);
        assert_eq!(obj["spec"], want, "{name}");
        assert_eq!(decoded.unknown, unknown, "{name}");
    }
}

#[test]
fn validates_in_upstreams_words() {
    for (name, spec, given, want) in [
        (
            "type",
            json!({"type": "object", "properties": {"a": {"type": "string"}}}),
            json!({"a": 1}),
            vec!["spec.a: Invalid value: \"integer\": spec.a in body must be of type string: \"integer\""],
        ),
        (
            "required and enum",
            json!({"type": "object", "required": ["b"], "properties": {"a": {"type": "string", "enum": ["x", "y"]}, "b": {"type": "string"}}}),
            json!({"a": "z"}),
            vec!["spec.a: Unsupported value: \"z\": supported values: \"x\", \"y\"", "spec.b: Required value"],
        ),
        (
            "bounds",
            json!({"type": "object", "properties": {"n": {"type": "integer", "minimum": 2}, "m": {"type": "number", "maximum": 1.5},
                "s": {"type": "string", "pattern": "^a+$"}, "t": {"type": "string", "maxLength": 2}, "l": {"type": "array", "maxItems": 1, "items": {"type": "integer"}}}}),
            json!({"n": 1, "m": 2.5, "s": "b", "t": "abc", "l": [1, 2]}),
            vec![
                "spec.l: Too many: 2: must have at most 1 item",
                "spec.m: Invalid value: 2.5: spec.m in body should be less than or equal to 1.5",
                "spec.n: Invalid value: 1: spec.n in body should be greater than or equal to 2",
                "spec.s: Invalid value: \"b\": spec.s in body should match '^a+$'",
                "spec.t: Too long: may not be more than 2 bytes",
            ],
        ),
        (
            "formats",
            json!({"type": "object", "properties": {"d": {"type": "string", "format": "date-time"}, "i": {"type": "string", "format": "ipv4"}, "u": {"type": "string", "format": "unknown"}}}),
            json!({"d": "2026-01-02T03:04:05Z", "i": "1.2.3", "u": "x"}),
            vec!["spec.i: Invalid value: \"1.2.3\": spec.i in body must be of type ipv4: \"1.2.3\""],
        ),
        (
            "int or string",
            json!({"type": "object", "properties": {"p": {"x-kubernetes-int-or-string": true}}}),
            json!({"p": true}),
            vec!["spec.p: Invalid value: \"boolean\": spec.p in body must be of type integer,string: \"boolean\""],
        ),
        (
            "nothing twice",
            json!({"type": "object", "properties": {"s": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
                "m": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                    "items": {"type": "object", "properties": {"k": {"type": "string"}}}}}}),
            json!({"s": ["a", "a"], "m": [{"k": "1"}, {"k": "1"}]}),
            vec!["spec.m[1]: Duplicate value: {\"k\":\"1\"}", "spec.s[1]: Duplicate value: \"a\""],
        ),
        (
            "any of",
            json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
                "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}),
            json!({}),
            vec!["<nil>: Invalid value: \"\": \"spec\" must validate at least one schema (anyOf)", "spec.a: Required value"],
        ),
    ] {
        let e = of_spec(spec).validate(&object(given));
        let mut got = texts(&e);
        got.sort();
        assert_eq!(got, want, "{name}");
    }
}

#[test]
fn an_update_may_leave_what_was_wrong() {
    let v = of_spec(
        json!({"type": "object", "properties": {"a": {"type": "string", "maxLength": 1}, "b": {"type": "string", "maxLength": 1}}}),
    );
    let old = object(json!({"a": "long", "b": "x"}));
    assert!(v.validate_update(&object(json!({"a": "long", "b": "y"})), &old).is_empty());
    let e = v.validate_update(&object(json!({"a": "longer", "b": "y"})), &old);
    assert_eq!(texts(&e), ["spec.a: Too long: may not be more than 1 bytes"]);
}

#[test]
fn columns_and_selectable_fields() {
    let v = of_spec(json!({"type": "object", "properties": {"color": {"type": "string"}, "size": {"type": "integer"}}}));
    let obj = object(json!({"color": "red", "size": 3}));
    let cells: Vec<Value> = v.columns.iter().map(|c| c.cell(&obj, 0)).collect();
    assert_eq!(cells, [json!("red"), json!(3)]);
    assert_eq!(v.selectable_fields(&obj), [("spec.color", "red".to_owned())]);
    assert_eq!(v.selectable_fields(&object(json!({}))), [("spec.color", String::new())]);
}

fn crd(schema: Value) -> Value {
    json!({"metadata": {"name": "foos.example.com"}, "status": {"storedVersions": ["v1"]},
        "spec": {"group": "example.com", "scope": "Namespaced", "conversion": {"strategy": "None"},
            "names": {"plural": "foos", "singular": "foo", "kind": "Foo", "listKind": "FooList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}})
}

#[test]
fn definitions_that_are_refused() {
    let root = "spec.validation.openAPIV3Schema";
    for (name, schema, want) in [
        ("a good one", json!({"type": "object", "properties": {"spec": {"type": "object"}}}), vec![]),
        (
            "no type",
            json!({"properties": {"a": {"type": "string"}}}),
            vec![format!("{root}.type: Required value: must not be empty at the root")],
        ),
        (
            "no type of a field",
            json!({"type": "object", "properties": {"a": {"properties": {"b": {"type": "string"}}}}}),
            vec![format!("{root}.properties[a].type: Required value: must not be empty for specified object fields")],
        ),
        (
            "type in a junctor",
            json!({"type": "object", "properties": {"a": {"type": "string", "not": {"type": "string"}}}}),
            vec![format!("{root}.properties[a].not.type: Forbidden: must be empty to be structural")],
        ),
        (
            "a validated field without a schema",
            json!({"type": "object", "anyOf": [{"properties": {"b": {"minimum": 1}}}]}),
            vec![format!("{root}.properties[b]: Required value: because it is defined in {root}.anyOf[0].properties[b]")],
        ),
        (
            "a default that is none",
            json!({"type": "object", "properties": {"a": {"type": "string", "default": 1}}}),
            vec![format!(
                "{root}.properties[a].default: Invalid value: \"integer\":  in body must be of type string: \"integer\""
            )],
        ),
        (
            "keys that may be absent",
            json!({"type": "object", "properties": {"l": {"type": "array", "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["k"], "items": {"type": "object", "properties": {"k": {"type": "string"}}}}}}),
            vec![format!(
                "{root}.properties[l].items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            )],
        ),
        (
            "an unsupported word",
            json!({"type": "object", "properties": {"a": {"type": "string", "$ref": "#/x"}}}),
            vec![format!("{root}.properties[a].$ref: Forbidden: $ref is not supported")],
        ),
    ] {
        let mut e = ErrorList::new();
        definition::validate(&crd(schema), None, &mut e);
        assert_eq!(texts(&e), want, "{name}");
    }
}

#[test]
fn names_are_given_once() {
    let now = "2026-01-01T00:00:00Z";
    let mut first = crd(json!({"type": "object"}));
    assert!(definition::names::accept(&mut first, &[], now));
    assert!(definition::is(&first, "Established") && definition::is(&first, "NamesAccepted"));
    let mut second = crd(json!({"type": "object"}));
    second["spec"]["names"] = json!({"plural": "bars", "singular": "bar", "kind": "Foo", "listKind": "BarList"});
    definition::names::accept(&mut second, std::slice::from_ref(&first), now);
    assert!(!definition::is(&second, "Established"));
    let why = definition::condition(&second, "NamesAccepted").expect("a condition");
    assert_eq!((&why["reason"], &why["message"]), (&json!("KindConflict"), &json!("\"Foo\" is already in use")));
    assert!(!definition::names::accept(&mut first.clone(), std::slice::from_ref(&first), now), "nothing changes twice");
}

#[test]
fn versions_in_the_order_of_discovery() {
    let mut v = vec!["v1alpha1", "foo1", "v2", "v1", "v1beta2", "v10", "v1beta1", "bar"];
    v.sort_by(|a, b| definition::compare_versions(a, b));
    assert_eq!(v, ["v10", "v2", "v1", "v1beta2", "v1beta1", "v1alpha1", "bar", "foo1"]);
}

#[test]
fn rules_hold() {
    let rules = |list: Value| {
        of_spec(json!({"type": "object", "x-kubernetes-validations": list, "properties": {
            "min": {"type": "integer"}, "max": {"type": "integer"}, "name": {"type": "string",
                "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "name is immutable"}]}}}))
    };
    let old = object(json!({"min": 1, "max": 2, "name": "a"}));
    for (name, list, given, want) in [
        ("holds", json!([{"rule": "self.min <= self.max"}]), json!({"min": 1, "max": 2, "name": "a"}), vec![]),
        (
            "the rule is the message",
            json!([{"rule": "self.min <= self.max"}]),
            json!({"min": 3, "max": 2, "name": "a"}),
            vec!["spec: Invalid value: failed rule: self.min <= self.max"],
        ),
        (
            "message, reason and field",
            json!([{"rule": "self.min <= self.max", "message": "too large", "reason": "FieldValueForbidden", "fieldPath": ".min"}]),
            json!({"min": 3, "max": 2, "name": "a"}),
            vec!["spec.min: Forbidden: too large"],
        ),
        (
            "a message that is computed",
            json!([{"rule": "self.min <= self.max", "messageExpression": "'min is ' + string(self.min)"}]),
            json!({"min": 3, "max": 2, "name": "a"}),
            vec!["spec: Invalid value: min is 3"],
        ),
        (
            "a transition",
            json!([]),
            json!({"min": 1, "max": 2, "name": "b"}),
            vec!["spec.name: Invalid value: \"b\": name is immutable"],
        ),
        (
            "an old value that may be missing",
            json!([{"rule": "oldSelf.hasValue() && self.max >= oldSelf.value().max", "message": "shrinks", "optionalOldSelf": true}]),
            json!({"min": 1, "max": 1, "name": "a"}),
            vec!["spec: Invalid value: shrinks"],
        ),
        (
            "what is missing fails the rule",
            json!([{"rule": "self.min > 0"}]),
            json!({"max": 1, "name": "a"}),
            vec!["spec: Invalid value: no such key: min evaluating rule: self.min > 0"],
        ),
    ] {
        let e = rules(list).validate_update(&object(given), &old);
        assert_eq!(texts(&e), want, "{name}");
    }
}

#[test]
fn rules_that_are_refused() {
    for (name, rule, want) in [
        ("no such field", json!({"rule": "self.nope"}), "undefined field 'nope'"),
        ("no bool", json!({"rule": "self.a"}), "cel expression must evaluate to a bool"),
        ("no message", json!({"rule": "self.a == 'x'", "messageExpression": "1"}), "messageExpression must evaluate to a string"),
        ("no reason", json!({"rule": "true", "reason": "Because"}), "Unsupported value: \"Because\""),
        ("nothing", json!({"rule": " "}), "rule is not specified"),
    ] {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"a": {"type": "string"}},
            "x-kubernetes-validations": [rule]}}});
        let mut e = ErrorList::new();
        definition::validate(&crd(schema), None, &mut e);
        assert!(e.len() == 1 && e[0].to_string().contains(want), "{name}: {:?}", texts(&e));
    }
}
