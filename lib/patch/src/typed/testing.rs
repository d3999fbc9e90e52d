//! A small pod-like type for the tests of this crate.

use schema::types::{Field, ListType, PatchStrategy, Struct, StructId, TypeRef, Typed, Types};

fn field(json: &str, ty: TypeRef) -> Field {
    Field { json: json.into(), ty, omitempty: true, ..Field::default() }
}

fn map_list(json: &str, item: StructId, keys: &[&str], patch_key: &str) -> Field {
    Field {
        list_type: ListType::Map,
        list_keys: keys.iter().map(|k| (*k).into()).collect(),
        patch: PatchStrategy { merge: true, ..PatchStrategy::default() },
        patch_key: Some(patch_key.into()),
        ..field(json, TypeRef::Array(Box::new(TypeRef::Struct(item))))
    }
}

fn object(types: &mut Types, fields: Vec<Field>) -> StructId {
    types.add(Struct { fields, ..Struct::default() })
}

pub(crate) struct Sample {
    types: Types,
    root: StructId,
}

impl Sample {
    pub fn typed(&self) -> Typed<'_> {
        Typed { types: &self.types, root: self.root }
    }
}

/// Pods, more or less, with one field of each kind that the engines treat differently.
pub(crate) fn sample() -> Sample {
    let mut t = Types::default();
    let string_map = || TypeRef::Map(Box::new(TypeRef::String));
    let set = |json: &str, merge| Field {
        list_type: ListType::Set,
        patch: PatchStrategy { merge, ..PatchStrategy::default() },
        ..field(json, TypeRef::Array(Box::new(TypeRef::String)))
    };
    let port = {
        let protocol = Field { default: Some("TCP".into()), ..field("protocol", TypeRef::String) };
        object(&mut t, vec![field("containerPort", TypeRef::Int32), protocol, field("name", TypeRef::String)])
    };
    let env = object(&mut t, vec![field("name", TypeRef::String), field("value", TypeRef::String)]);
    let resources = object(&mut t, vec![field("limits", TypeRef::Map(Box::new(TypeRef::Quantity)))]);
    let args = field("args", TypeRef::Array(Box::new(TypeRef::String)));
    let container = object(
        &mut t,
        vec![
            field("name", TypeRef::String),
            field("image", TypeRef::String),
            args,
            map_list("ports", port, &["containerPort", "protocol"], "containerPort"),
            map_list("env", env, &["name"], "name"),
            field("resources", TypeRef::Struct(resources)),
        ],
    );
    let rolling = object(&mut t, vec![field("maxSurge", TypeRef::IntOrString)]);
    let strategy = object(&mut t, vec![field("type", TypeRef::String), field("rollingUpdate", TypeRef::Struct(rolling))]);
    let strategy = Field {
        patch: PatchStrategy { retain_keys: true, ..PatchStrategy::default() },
        ..field("strategy", TypeRef::Struct(strategy))
    };
    let selector = object(&mut t, vec![field("matchLabels", string_map())]);
    let selector = Field { atomic: true, ..field("selector", TypeRef::Struct(selector)) };
    let spec = object(
        &mut t,
        vec![
            Field { pointer: true, ..field("replicas", TypeRef::Int32) },
            map_list("containers", container, &["name"], "name"),
            strategy,
            selector,
            field("paused", TypeRef::Bool),
            field("data", TypeRef::RawExtension),
        ],
    );
    let status = object(&mut t, vec![field("phase", TypeRef::String)]);
    let managed = field("managedFields", TypeRef::Array(Box::new(TypeRef::Json)));
    let meta = object(
        &mut t,
        vec![
            field("name", TypeRef::String),
            field("namespace", TypeRef::String),
            field("uid", TypeRef::String),
            field("resourceVersion", TypeRef::String),
            field("labels", string_map()),
            field("annotations", string_map()),
            set("finalizers", true),
            managed,
        ],
    );
    let root = object(
        &mut t,
        vec![
            field("apiVersion", TypeRef::String),
            field("kind", TypeRef::String),
            field("metadata", TypeRef::Struct(meta)),
            field("spec", TypeRef::Struct(spec)),
            field("status", TypeRef::Struct(status)),
        ],
    );
    Sample { types: t, root }
}
