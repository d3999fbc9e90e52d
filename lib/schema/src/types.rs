//! What the engine knows of a type: fields, list keys, patch strategies, protobuf numbers. One arena holds the built-in
//! types; each CRD version has one of its own, so that the same code decodes, defaults, patches, applies and prunes both.

use serde_json::Value;
use std::collections::HashMap;

/// Index of a struct in its arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StructId(pub u32);

/// The type of a value.
#[derive(Clone, Debug, PartialEq)]
pub enum TypeRef {
    String,
    Bool,
    Int32,
    Int64,
    Float64,
    /// base64 in JSON.
    Bytes,
    Time,
    MicroTime,
    Duration,
    Quantity,
    IntOrString,
    /// Any object, kept verbatim (`runtime.RawExtension`, CRD `x-kubernetes-preserve-unknown-fields`).
    RawExtension,
    FieldsV1,
    /// Any JSON value (apiextensions `JSON`).
    Json,
    Struct(StructId),
    Array(Box<TypeRef>),
    /// String keys.
    Map(Box<TypeRef>),
}

/// `x-kubernetes-list-type`; lists without one are atomic for server-side apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    #[default]
    Atomic,
    Set,
    Map,
}

/// `patchStrategy` of strategic merge patch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PatchStrategy {
    pub merge: bool,
    pub replace: bool,
    pub retain_keys: bool,
}

/// Protobuf wire form of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    Varint,
    Fixed32,
    Fixed64,
    Bytes,
}

/// Types that have one shape in JSON and another in protobuf or in Go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    #[default]
    Plain,
    /// A list (or a map's list values) that protobuf wraps in a message with the one field `items = 1`.
    Wrapped,
    /// apiextensions `JSONSchemaPropsOrBool`; the type says `Json`.
    SchemaOrBool,
    SchemaOrArray,
    SchemaOrStringArray,
}

/// One field of a struct. Inlined structs are flattened: their fields appear here.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub json: Box<str>,
    pub ty: TypeRef,
    /// Go pointer: a zero value is kept. Otherwise `omitempty` drops zero scalars, empty strings, lists and maps.
    pub pointer: bool,
    pub omitempty: bool,
    /// Go's `omitzero`: a zero struct or time is dropped, too.
    pub omitzero: bool,
    pub required: bool,
    pub list_type: ListType,
    /// Keys of a `Map` list.
    pub list_keys: Vec<Box<str>>,
    /// The list type is stated, not only implied.
    pub list_type_stated: bool,
    /// `x-kubernetes-map-type: atomic` on a map or struct.
    pub atomic: bool,
    /// `x-kubernetes-map-type: granular`: not atomic, although the struct it holds says so.
    pub granular: bool,
    pub patch: PatchStrategy,
    pub patch_key: Option<Box<str>>,
    /// As OpenAPI states it. The built-in kinds' `""`, `0` and `{}` tell apply the value of absent list keys; objects are
    /// defaulted by code.
    pub default: Option<Value>,
    pub enum_values: Vec<Box<str>>,
    /// Number in the message of the struct it is inlined from, and wire type of one element.
    pub proto: Option<(u32, Wire)>,
    /// Numbers of the messages that inlined structs are in protobuf, outermost first.
    pub proto_path: Box<[u32]>,
    pub form: Form,
    /// Go's name of the type where it does not follow from `ty`: `v1.PullPolicy`.
    pub go_type: Option<Box<str>>,
    /// Names of the Go fields that inline the struct it is from, as Go's error messages have them: `VolumeSource`.
    pub go_path: Option<Box<str>>,
}

impl Default for Field {
    /// A string without any facts.
    fn default() -> Self {
        Self {
            json: Box::default(),
            ty: TypeRef::String,
            pointer: false,
            omitempty: false,
            omitzero: false,
            required: false,
            list_type: ListType::Atomic,
            list_keys: Vec::new(),
            list_type_stated: false,
            atomic: false,
            granular: false,
            patch: PatchStrategy::default(),
            patch_key: None,
            default: None,
            enum_values: Vec::new(),
            proto: None,
            proto_path: Box::default(),
            form: Form::Plain,
            go_type: None,
            go_path: None,
        }
    }
}

/// A struct type.
#[derive(Clone, Debug, Default)]
pub struct Struct {
    /// OpenAPI name, `io.k8s.api.core.v1.PodSpec`; empty for the anonymous structs of a CRD.
    pub name: Box<str>,
    pub fields: Vec<Field>,
    /// The struct as a whole is atomic for server-side apply (`x-kubernetes-map-type: atomic`).
    pub atomic: bool,
    /// Unknown fields are kept (CRDs).
    pub preserve_unknown: bool,
}

impl Struct {
    /// The field called `json`. Structs are small: a scan beats a map.
    pub fn field(&self, json: &str) -> Option<&Field> {
        self.fields.iter().find(|f| &*f.json == json)
    }
}

/// Structs by id, and by name.
#[derive(Clone, Debug, Default)]
pub struct Types {
    structs: Vec<Struct>,
    by_name: HashMap<Box<str>, StructId>,
}

impl Types {
    pub fn add(&mut self, s: Struct) -> StructId {
        let id = StructId(u32::try_from(self.structs.len()).expect("fewer than 2^32 types"));
        if !s.name.is_empty() {
            self.by_name.insert(s.name.clone(), id);
        }
        self.structs.push(s);
        id
    }
    pub fn get(&self, id: StructId) -> &Struct {
        &self.structs[id.0 as usize]
    }
    pub fn get_mut(&mut self, id: StructId) -> &mut Struct {
        &mut self.structs[id.0 as usize]
    }
    pub fn by_name(&self, name: &str) -> Option<StructId> {
        self.by_name.get(name).copied()
    }
    /// All structs with their ids.
    pub fn iter(&self) -> impl Iterator<Item = (StructId, &Struct)> {
        (0u32..).map(StructId).zip(&self.structs)
    }
    pub fn len(&self) -> usize {
        self.structs.len()
    }
    pub fn is_empty(&self) -> bool {
        self.structs.is_empty()
    }
}

/// A type together with the arena that its ids belong to: what the patch engines walk.
#[derive(Clone, Copy)]
pub struct Typed<'a> {
    pub types: &'a Types,
    pub root: StructId,
}
