//! One version of a definition, compiled: everything that requests on its objects need.

use crate::columns::Column;
use crate::jsonpath::JsonPath;
use crate::rules::{self, Rules};
use crate::structural::Schema;
use crate::{defaults, embedded, lists, prune, values};
use machinery::field::{Error, ErrorList, ErrorType, Path};
use machinery::{Value, json, meta};
use schema::{CustomTypes, Typed};

/// Where the `scale` subresource finds its numbers: paths without the leading dot.
#[derive(Clone, Debug)]
pub struct Scale {
    pub spec_replicas: Vec<String>,
    pub status_replicas: Vec<String>,
    pub selector: Option<Vec<String>>,
    paths: [String; 3],
}

impl Scale {
    fn new(v: &Value) -> Option<Self> {
        let text = |k: &str| v.get(k).and_then(Value::as_str).unwrap_or_default().to_owned();
        let split = |p: &str| p.trim_start_matches('.').split('.').map(str::to_owned).collect::<Vec<_>>();
        let paths = ["specReplicasPath", "statusReplicasPath", "labelSelectorPath"].map(text);
        v.is_object().then(|| Self {
            spec_replicas: split(&paths[0]),
            status_replicas: split(&paths[1]),
            selector: (!paths[2].is_empty()).then(|| split(&paths[2])),
            paths,
        })
    }
}

/// What a version says, ready for use.
pub struct Version {
    pub name: String,
    pub served: bool,
    pub storage: bool,
    /// Message of the `Warning` header of every request.
    pub deprecation: Option<String>,
    pub group: String,
    pub kind: String,
    pub columns: Vec<Column>,
    /// What field selectors may name.
    pub selectable: Vec<SelectableField>,
    pub status: bool,
    pub scale: Option<Scale>,
    pub schema: Schema,
    root: Schema,
    types: CustomTypes,
    rules: Option<Rules>,
    /// `spec.preserveUnknownFields` of old.
    preserve_all: bool,
    /// Reading an object from storage may have to change it.
    pub has_defaults: bool,
}

/// A field that selectors may name.
#[derive(Clone, Debug)]
pub struct SelectableField {
    /// Its path without the leading dot.
    pub name: String,
    path: JsonPath,
}

impl SelectableField {
    /// The value as selectors compare it.
    pub fn value(&self, obj: &Value) -> String {
        match self.path.find(obj).first() {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(s)) => s.clone(),
            Some(v) => v.to_string(),
        }
    }
}

/// What decoding found: fields that were pruned.
pub struct Decoded {
    pub unknown: Vec<String>,
}

impl Version {
    /// Compiles a version of a definition; errors say why its schema can't be used.
    pub fn new(crd: &Value, version: &Value) -> Result<Self, String> {
        let free = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let raw = version.pointer("/schema/openAPIV3Schema").filter(|s| s.is_object());
        let preserve_all = meta::bool_at(crd, &["spec", "preserveUnknownFields"]);
        let raw = raw.unwrap_or(&free);
        let schema = Schema::new(raw)?;
        let types = CustomTypes::new(raw).map_err(|e| e.to_string())?;
        let rules = rules::compile(&schema, &Path::new("schema"), false)
            .map_err(|e| e.first().map(ToString::to_string).unwrap_or_default())?;
        let text = |v: &Value, path: &[&str]| meta::str_at(v, path).to_owned();
        let (group, kind) = (text(crd, &["spec", "group"]), text(crd, &["spec", "names", "kind"]));
        let name = text(version, &["name"]);
        let deprecation = meta::bool_at(version, &["deprecated"]).then(|| match meta::str_at(version, &["deprecationWarning"]) {
            "" => format!("{group}/{name} {kind} is deprecated"),
            w => w.to_owned(),
        });
        let selectable = meta::list_at(version, &["selectableFields"])
            .iter()
            .filter_map(|f| {
                let path = f.get("jsonPath")?.as_str()?;
                Some(SelectableField { name: path.trim_start_matches('.').to_owned(), path: JsonPath::parse(path).ok()? })
            })
            .collect();
        Ok(Self {
            name,
            served: meta::bool_at(version, &["served"]),
            storage: meta::bool_at(version, &["storage"]),
            deprecation,
            group,
            kind,
            columns: Column::of_version(version),
            selectable,
            status: version.pointer("/subresources/status").is_some_and(|s| !s.is_null()),
            scale: version.pointer("/subresources/scale").and_then(Scale::new),
            root: schema.as_root(),
            has_defaults: schema.any(&|s| s.default.is_some()),
            schema,
            types,
            rules,
            preserve_all,
        })
    }

    /// The type that patches and apply work with.
    pub fn typed(&self) -> Typed<'_> {
        self.types.typed()
    }

    /// `group/version`.
    pub fn api_version(&self) -> String {
        format!("{}/{}", self.group, self.name)
    }

    /// Brings an object of this version in form: defaults, pruning, metadata. With `lenient` (objects from storage), malformed
    /// metadata is dropped instead of refused.
    pub fn coerce(&self, v: &mut Value, lenient: bool) -> Result<Decoded, Error> {
        defaults::default(v, &self.schema);
        let pruned = if self.preserve_all { Vec::new() } else { prune::prune(v, &self.schema, true) };
        // Those of the object's own metadata come first.
        let coerced = embedded::coerce(v, &self.schema, true, lenient)?;
        let (mut unknown, inner): (Vec<_>, Vec<_>) = coerced.into_iter().partition(|p| p.starts_with("metadata."));
        unknown.extend(pruned);
        unknown.extend(inner);
        Ok(Decoded { unknown })
    }

    /// An object in storage, in the form that this version has now. It had no generation before that was kept.
    pub fn refresh(&self, v: &mut Value) {
        // Lenient coercion has nothing to refuse.
        let _ = self.coerce(v, true);
        if meta::i64_at(v, &["metadata", "generation"]).unwrap_or(0) == 0 {
            meta::set(v, &["metadata", "generation"], 1.into());
        }
    }

    /// Values of the selectable fields, as selectors compare them.
    pub fn selectable_fields(&self, obj: &Value) -> Vec<(&str, String)> {
        self.selectable.iter().map(|f| (f.name.as_str(), f.value(obj))).collect()
    }

    /// Errors of a new object, metadata aside.
    pub fn validate(&self, v: &Value) -> ErrorList {
        let root = Path::default();
        let mut e = self.type_meta(v);
        if !e.is_empty() {
            return e;
        }
        e.extend(values::validate(v, &self.schema, None, &root));
        self.check_scale(v, true, &mut e);
        embedded::validate(v, &self.schema, false, &root, &mut e);
        lists::validate(v, &self.schema, &root, &mut e);
        self.check_rules(v, None, &mut e);
        e
    }

    /// Errors of a changed object.
    pub fn validate_update(&self, v: &Value, old: &Value) -> ErrorList {
        let root = Path::default();
        let mut e = self.type_meta(v);
        if !e.is_empty() {
            return e;
        }
        e.extend(values::validate(v, &self.schema, Some(old), &root));
        self.check_scale(v, true, &mut e);
        embedded::validate(v, &self.schema, false, &root, &mut e);
        self.check_lists(v, old, &mut e);
        self.check_rules(v, Some(old), &mut e);
        e
    }

    /// Errors of a changed status.
    pub fn validate_status(&self, v: &Value, old: &Value) -> ErrorList {
        let mut e = self.type_meta(v);
        if !e.is_empty() {
            return e;
        }
        if let (Some(status), Some(s)) = (v.get("status"), self.schema.properties.get("status")) {
            e.extend(values::validate(status, s, old.get("status"), &Path::new("status")));
        }
        self.check_scale(v, false, &mut e);
        self.check_lists(v, old, &mut e);
        self.check_rules(v, Some(old), &mut e);
        e
    }

    fn type_meta(&self, v: &Value) -> ErrorList {
        let mut e = ErrorList::new();
        for (field, want) in [("kind", self.kind.clone()), ("apiVersion", self.api_version())] {
            let found = meta::str_at(v, &[field]);
            if found != want {
                e.push(Error::invalid(&Path::new(field), found, format!("must be {want}")));
            }
        }
        e
    }

    /// Lists that were wrong before may stay so.
    fn check_lists(&self, v: &Value, old: &Value, e: &mut ErrorList) {
        let (mut now, mut before) = (ErrorList::new(), ErrorList::new());
        lists::validate(v, &self.schema, &Path::default(), &mut now);
        if !now.is_empty() {
            lists::validate(old, &self.schema, &Path::default(), &mut before);
            if before.is_empty() {
                e.extend(now);
            }
        }
    }

    fn check_rules(&self, v: &Value, old: Option<&Value>, e: &mut ErrorList) {
        let Some(rules) = &self.rules else { return };
        let blocks = |e: &Error| {
            use ErrorType::{NotSupported, Required, TooLong, TooMany, TypeInvalid};
            matches!(e.kind, NotSupported | Required | TooLong | TooMany | TypeInvalid)
        };
        if e.iter().any(blocks) {
            let why = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
            e.push(Error::invalid(&Path::default(), Value::Null, why));
        } else {
            e.extend(rules.validate(v, old));
        }
    }

    fn check_scale(&self, v: &Value, spec: bool, e: &mut ErrorList) {
        let Some(scale) = &self.scale else { return };
        let at = |path: &[String]| path.iter().try_fold(v, |v, p| v.get(p));
        let type_error = |path: &str, v: &Value, want: &str| {
            let go = match v {
                Value::Bool(_) => "bool",
                Value::String(_) => "string",
                Value::Number(n) if n.is_i64() => "int64",
                Value::Number(_) => "float64",
                Value::Array(_) => "[]interface {}",
                Value::Object(_) => "map[string]interface {}",
                Value::Null => "<nil>",
            };
            let text = v.as_str().map_or_else(|| v.to_string(), str::to_owned);
            format!(".{} accessor error: {text} is of the type {go}, expected {want}", path.trim_start_matches('.'))
        };
        let counts = [(spec, &scale.spec_replicas, &scale.paths[0]), (true, &scale.status_replicas, &scale.paths[1])];
        for (_, path, name) in counts.into_iter().filter(|(on, ..)| *on) {
            let field = Path::new(name);
            match at(path) {
                None => {}
                Some(v) => match v.as_i64() {
                    None => e.push(Error::invalid(&field, 0, type_error(name, v, "int64"))),
                    Some(n) if n < 0 => e.push(Error::invalid(&field, n, "should be a non-negative integer")),
                    Some(n) if i32::try_from(n).is_err() => {
                        e.push(Error::invalid(&field, n, format!("should be less than or equal to {}", i32::MAX)));
                    }
                    Some(_) => {}
                },
            }
        }
        if let Some(path) = &scale.selector
            && let Some(v) = at(path).filter(|v| !v.is_string())
        {
            e.push(Error::invalid(&Path::new(&scale.paths[2]), "", type_error(&scale.paths[2], v, "string")));
        }
    }

    /// Warnings about finalizers that an update adds.
    pub fn warnings(&self, v: &Value, old: Option<&Value>) -> Vec<String> {
        let had = |f: &Value| old.is_some_and(|o| meta::finalizers(o).contains(f));
        let mut added: Vec<&str> = meta::finalizers(v).iter().filter(|f| !had(f)).filter_map(Value::as_str).collect();
        added.sort_unstable();
        let mut out = Vec::new();
        for f in added {
            let quoted = machinery::quote::quote(f);
            for m in machinery::validation::qualified_name(f) {
                out.push(format!("metadata.finalizers: {quoted}: {m}"));
            }
            if !f.contains('/') && !matches!(f, "orphan" | "foregroundDeletion" | "kubernetes") {
                let how = if f.contains('.') { " including a path (/)" } else { "" };
                out.push(format!(
                    "metadata.finalizers: {quoted}: prefer a domain-qualified finalizer name{how} to avoid accidental conflicts with other finalizer writers"
                ));
            }
        }
        out
    }

    /// Checks a default against a schema node: pruned, with valid metadata, and valid.
    pub(crate) fn check_default(s: &Schema, default: &Value, path: &Path, e: &mut ErrorList) {
        let mut pruned = default.clone();
        if !prune::prune(&mut pruned, s, s.embedded).is_empty() {
            e.push(Error::invalid(path, default.clone(), "must not have unknown fields"));
        }
        let mut coerced = default.clone();
        if let Err(mut why) = embedded::coerce(&mut coerced, s, s.embedded, false) {
            why.field = path.child(&why.field).to_string();
            e.push(why);
            return;
        }
        let before = e.len();
        embedded::validate(default, s, s.embedded, path, e);
        if e.len() == before {
            e.extend(values::validate(default, s, None, path));
        }
    }

    /// The schema as the root of a resource.
    pub fn root(&self) -> &Schema {
        &self.root
    }
}
