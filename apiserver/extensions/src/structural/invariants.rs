//! What makes a schema structural. Upstream: apiextensions-apiserver/pkg/apiserver/schema/{validation,complete}.go.

use super::Schema;
use machinery::field::{Error, ErrorList, Path};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Reasons why a schema is not structural, sorted by their text.
pub fn validate(s: &Schema, path: &Path) -> ErrorList {
    let mut e = ErrorList::new();
    invariants(s, Level::Root, path, &mut e);
    complete_values(s, s, path, path, &mut e);
    e.sort_by_key(ToString::to_string);
    e
}

fn invariants(s: &Schema, level: Level, path: &Path, e: &mut ErrorList) {
    if s.ty == "array" && s.items.is_none() {
        e.push(Error::required(&path.child("items"), "must be specified"));
    }
    if let Some(items) = &s.items {
        invariants(items, Level::Item, &path.child("items"), e);
    }
    for (k, p) in &s.properties {
        invariants(p, Level::Field, &path.child("properties").key(k), e);
    }
    let ty = path.child("type");
    if let Some(a) = &s.additional {
        let additional = path.child("additionalProperties");
        if level == Level::Root {
            e.push(Error::forbidden(&additional, "must not be used at the root"));
        }
        if let Some(a) = a.schema() {
            invariants(a, Level::Field, &additional, e);
        }
        if s.embedded {
            e.push(Error::forbidden(&additional, "must not be used if x-kubernetes-embedded-resource is set"));
        }
    }
    for (on, name) in
        [(s.preserve_unknown, "x-kubernetes-preserve-unknown-fields"), (s.embedded, "x-kubernetes-embedded-resource")]
    {
        if s.int_or_string && on {
            e.push(Error::invalid(&path.child(name), true, "must be false if x-kubernetes-int-or-string is true"));
        }
    }
    values(s, int_or_string(&s.any_of), s.all_of.first().is_some_and(|a| int_or_string(&a.any_of)), path, e);

    if s.embedded && s.ty != "object" {
        let why = "must be object if x-kubernetes-embedded-resource is true";
        e.push(if s.ty.is_empty() { Error::required(&ty, why) } else { Error::invalid(&ty, s.ty.as_str(), why) });
    } else if s.ty.is_empty() && !s.int_or_string && !s.preserve_unknown {
        e.push(Error::required(
            &ty,
            match level {
                Level::Root => "must not be empty at the root",
                Level::Item => "must not be empty for specified array items",
                Level::Field => "must not be empty for specified object fields",
            },
        ));
    }
    if level == Level::Root && !s.ty.is_empty() && s.ty != "object" {
        e.push(Error::invalid(&ty, s.ty.as_str(), "must be object at the root"));
    }
    let resource = level == Level::Root || s.embedded;
    for name in ["kind", "apiVersion"] {
        if let Some(p) = s.properties.get(name).filter(|p| resource && p.ty != "string") {
            e.push(Error::invalid(&path.child("properties").key(name).child("type"), p.ty.as_str(), "must be string"));
        }
    }
    if let Some(m) = s.properties.get("metadata") {
        let at = path.child("properties").key("metadata");
        if resource && m.ty != "object" {
            e.push(Error::invalid(&at.child("type"), m.ty.as_str(), "must be object"));
        }
        if level == Level::Root && !bare_metadata(m) {
            e.push(Error::forbidden(
                &at,
                "must not specify anything other than name and generateName, but metadata is implicitly specified",
            ));
        }
    }
    if s.embedded && !s.preserve_unknown && s.properties.is_empty() {
        e.push(Error::required(
            &path.child("properties"),
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
        ));
    }
}

/// Says nothing but what names have to look like.
fn bare_metadata(m: &Schema) -> bool {
    m.properties.keys().all(|k| k == "name" || k == "generateName")
        && m.additional.is_none()
        && m.items.is_none()
        && !m.has_title
        && !m.has_description
        && no_extensions(m)
        && !m.nullable
        && m.format.is_empty()
        && m.required.is_empty()
        && m.all_of.is_empty()
        && m.one_of.is_empty()
        && m.any_of.is_empty()
        && m.not.is_none()
        && m.max_properties.is_none()
        && m.min_properties.is_none()
        && m.enum_values.is_none()
}

fn no_extensions(s: &Schema) -> bool {
    !(s.preserve_unknown || s.embedded || s.int_or_string)
        && s.list_type.is_none()
        && s.map_type.is_none()
        && s.list_keys.is_empty()
        && s.validations.is_empty()
}

/// `anyOf: [{type: integer}, {type: string}]`, and nothing else in it.
fn int_or_string(any: &[Schema]) -> bool {
    let plain = |s: &Schema, ty: &str| {
        s.ty == ty
            && s.properties.is_empty()
            && s.additional.is_none()
            && s.items.is_none()
            && s.pattern.is_none()
            && s.format.is_empty()
            && s.maximum.is_none()
            && s.minimum.is_none()
            && s.max_length.is_none()
            && s.min_length.is_none()
            && s.enum_values.is_none()
            && s.default.is_none()
            && s.multiple_of.is_none()
            && no_extensions(s)
    };
    matches!(any, [a, b] if plain(a, "integer") && plain(b, "string"))
}

fn values(s: &Schema, skip_any: bool, skip_first_all: bool, path: &Path, e: &mut ErrorList) {
    if !skip_any {
        for (i, n) in s.any_of.iter().enumerate() {
            nested(n, false, &path.child("anyOf").index(i), e);
        }
    }
    for (i, n) in s.all_of.iter().enumerate() {
        nested(n, skip_first_all && i == 0, &path.child("allOf").index(i), e);
    }
    for (i, n) in s.one_of.iter().enumerate() {
        nested(n, false, &path.child("oneOf").index(i), e);
    }
    if let Some(n) = &s.not {
        nested(n, false, &path.child("not"), e);
    }
    if let Some(p) = &s.pattern
        && let Err(why) = p.check()
    {
        let why = format!("must be a valid regular expression, but isn't: {why}");
        e.push(Error::invalid(&path.child("pattern"), p.text(), why));
    }
}

/// A schema below `allOf` and the like says what values are valid, never what fields there are.
fn nested(s: &Schema, skip_any: bool, path: &Path, e: &mut ErrorList) {
    values(s, skip_any, false, path, e);
    if let Some(items) = &s.items {
        nested(items, false, &path.child("items"), e);
    }
    for (k, p) in &s.properties {
        nested(p, false, &path.child("properties").key(k), e);
    }
    let forbidden = [
        (!s.ty.is_empty(), "type", "must be empty to be structural"),
        (s.additional.is_some(), "additionalProperties", "must be undefined to be structural"),
        (s.default.is_some(), "default", "must be undefined to be structural"),
        (s.has_title, "title", "must be empty to be structural"),
        (s.has_description, "description", "must be empty to be structural"),
        (s.nullable, "nullable", "must be false to be structural"),
        (s.preserve_unknown, "x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
        (s.embedded, "x-kubernetes-embedded-resource", "must be false to be structural"),
        (s.int_or_string, "x-kubernetes-int-or-string", "must be false to be structural"),
        (!s.list_keys.is_empty(), "x-kubernetes-list-map-keys", "must be empty to be structural"),
        (s.list_type.is_some(), "x-kubernetes-list-type", "must be undefined to be structural"),
        (s.map_type.is_some(), "x-kubernetes-map-type", "must be undefined to be structural"),
        (!s.validations.is_empty(), "x-kubernetes-validations", "must be empty to be structural"),
    ];
    for (there, name, why) in forbidden {
        if there {
            e.push(Error::forbidden(&path.child(name), why));
        }
    }
    if s.properties.contains_key("metadata") {
        e.push(Error::forbidden(&path.child("properties").key("metadata"), "must not be specified in a nested context"));
    }
}

/// Every value that is validated has a schema that says what it is.
fn complete_values(v: &Schema, s: &Schema, s_path: &Path, v_path: &Path, e: &mut ErrorList) {
    if let Some(n) = &v.not {
        complete(n, Some(s), s_path, &v_path.child("not"), e);
    }
    for (name, list) in [("allOf", &v.all_of), ("anyOf", &v.any_of), ("oneOf", &v.one_of)] {
        for (i, n) in list.iter().enumerate() {
            complete(n, Some(s), s_path, &v_path.child(name).index(i), e);
        }
    }
}

fn complete(v: &Schema, s: Option<&Schema>, s_path: &Path, v_path: &Path, e: &mut ErrorList) {
    let Some(s) = s else {
        e.push(Error::required(s_path, format!("because it is defined in {v_path}")));
        return;
    };
    complete_values(v, s, s_path, v_path, e);
    if let Some(items) = &v.items {
        complete(items, s.items.as_deref(), &s_path.child("items"), &v_path.child("items"), e);
    }
    for (k, p) in &v.properties {
        let (s_path, v_path) = (s_path.child("properties").key(k), v_path.child("properties").key(k));
        complete(p, s.properties.get(k), &s_path, &v_path, e);
    }
}
