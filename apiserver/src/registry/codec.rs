//! From a request body to an object tree of the served kind: parsed, checked to be of that kind, pruned of fields the kind does not
//! have, normalized and defaulted. Upstream: apimachinery's codec with strict decoding, endpoints/handlers/create.go.

use super::options::FieldValidation;
use crate::context::RequestCx;
use crate::http::body::{self, BodyFormat};
use crate::resources::Entry;
use machinery::{GroupVersion, GroupVersionKind, Status, Value};
use schema::decode::{Mode, Problem};
use schema::types::Typed;

const NO_OBJECT: &str = "json: cannot unmarshal into Go value of type struct";

/// Decodes the body of a create or update of `gvk` (the entry's kind, or a subresource's).
pub fn decode(cx: &RequestCx, bytes: &[u8], gvk: &GroupVersionKind, validation: FieldValidation) -> Result<Value, Status> {
    let format = BodyFormat::from_content_type(cx.header("content-type"))?;
    let no_json = |e: &str| unrecognized(gvk, &format!("couldn't get version/kind; json parse error: {e}"), bytes);
    match format {
        BodyFormat::Json => {
            body::check_depth(bytes).map_err(|e| no_json(&e))?;
            // Serde reads a struct from an array, too.
            let object = bytes.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{');
            if !object {
                return Err(no_json(if bytes.is_empty() { "unexpected end of JSON input" } else { NO_OBJECT }));
            }
            let head = serde_json::from_slice::<Head>(bytes).map_err(|_| match schema::decode::parse(bytes, Mode::Lenient) {
                Err(e) => no_json(&e.to_string()),
                Ok(_) => no_json(NO_OBJECT),
            })?;
            check_kind(&head, gvk)?;
            typed(cx, bytes, gvk, validation)
        }
        BodyFormat::Yaml | BodyFormat::Protobuf => {
            let value = if format == BodyFormat::Yaml { body::parse_yaml(bytes) } else { super::protobuf::decode(bytes) };
            let value = value.map_err(|e| no_json(&e))?;
            from_value(cx, &value, gvk, validation)
        }
    }
}

/// Decodes the body of a create or update of an entry's own kind.
pub fn decode_object(cx: &RequestCx, bytes: &[u8], entry: &Entry, validation: FieldValidation) -> Result<Value, Status> {
    let Some(c) = &entry.custom else { return decode(cx, bytes, &entry.gvk, validation) };
    let no_json = |e: &str| unrecognized(&entry.gvk, &format!("couldn't get version/kind; json parse error: {e}"), bytes);
    let (value, problems) = match BodyFormat::from_content_type(cx.header("content-type"))? {
        BodyFormat::Protobuf => return Err(body::unsupported_media_type(&["application/json", "application/yaml"])),
        BodyFormat::Yaml => (body::parse_yaml(bytes).map_err(|e| no_json(&e))?, Vec::new()),
        BodyFormat::Json => {
            body::check_depth(bytes).map_err(|e| no_json(&e))?;
            let mode = if validation == FieldValidation::Ignore { Mode::Lenient } else { Mode::Strict };
            schema::decode::parse(bytes, mode).map_err(|e| no_json(&e.to_string()))?
        }
    };
    custom(cx, value, problems, entry, &c.version, validation)
}

/// Makes a tree an object of an entry's own kind, as if it had come as a body.
pub fn object_from_value(cx: &RequestCx, value: Value, entry: &Entry, validation: FieldValidation) -> Result<Value, Status> {
    match &entry.custom {
        None => from_value(cx, &value, &entry.gvk, validation),
        Some(c) => custom(cx, value, Vec::new(), entry, &c.version, validation),
    }
}

/// The type of a tree that says it is of a built-in entry's own kind.
pub fn own_type(value: &Value, entry: &Entry) -> Option<Typed<'static>> {
    let gvk = &entry.gvk;
    let text = |k: &str| value.get(k).and_then(Value::as_str);
    let own = entry.custom.is_none()
        && text("kind") == Some(&*gvk.kind)
        && text("apiVersion").and_then(GroupVersion::parse) == Some(gvk.group_version());
    if own { schema::Registry::builtin().typed_kind(&gvk.group, &gvk.version, &gvk.kind) } else { None }
}

/// Brings a tree in the form of its type. False if there is something to say about it: [`object_from_value`] finds the words, of a
/// tree as it was before.
pub fn tidy(value: &mut Value, ty: Typed<'_>) -> bool {
    schema::decode::normalize(value, ty).is_ok_and(|problems| problems.is_empty())
}

/// A custom resource: of the right version, defaulted, pruned, its metadata in form.
fn custom(
    cx: &RequestCx,
    mut value: Value,
    mut problems: Vec<Problem>,
    entry: &Entry,
    version: &extensions::Version,
    validation: FieldValidation,
) -> Result<Value, Status> {
    let gvk = &entry.gvk;
    if !value.is_object() {
        return Err(unrecognized(gvk, NO_OBJECT, value.to_string().as_bytes()));
    }
    for (field, name) in [("kind", "Kind"), ("apiVersion", "apiVersion")] {
        if value.get(field).and_then(Value::as_str).unwrap_or_default().is_empty() {
            let text = value.to_string();
            return Err(unrecognized(gvk, &format!("Object '{name}' is missing in '{text}'"), text.as_bytes()));
        }
    }
    let found = value["apiVersion"].as_str().unwrap_or_default();
    let expected = gvk.group_version().to_string();
    if found != expected {
        return Err(Status::bad_request(format!(
            "the API version in the data ({found}) does not match the expected API version ({expected})"
        )));
    }
    let decoded =
        version.coerce(&mut value, false).map_err(|e| cannot_be_handled(&gvk.kind, &gvk.version, gvk, &e.to_string()))?;
    problems.extend(decoded.unknown.into_iter().map(Problem::Unknown));
    report(cx, &problems, gvk, validation)?;
    Ok(value)
}

/// Makes a tree an object of `gvk`, as if it had come as a body.
pub fn from_value(cx: &RequestCx, value: &Value, gvk: &GroupVersionKind, validation: FieldValidation) -> Result<Value, Status> {
    if !value.is_object() {
        return Err(unrecognized(gvk, NO_OBJECT, value.to_string().as_bytes()));
    }
    let text = |k: &str| value.get(k).and_then(Value::as_str).map(str::to_owned);
    let head = Head { api_version: text("apiVersion"), kind: text("kind") };
    check_kind(&head, gvk)?;
    let bytes = serde_json::to_vec(value).map_err(Status::internal)?;
    typed(cx, &bytes, gvk, validation)
}

/// What says of which kind a body is.
#[derive(serde::Deserialize)]
struct Head {
    #[serde(default, rename = "apiVersion")]
    api_version: Option<String>,
    #[serde(default)]
    kind: Option<String>,
}

/// The body is of the kind that the path takes, or does not say.
fn check_kind(head: &Head, gvk: &GroupVersionKind) -> Result<(), Status> {
    let expected = gvk.group_version();
    let found_version = head.api_version.as_deref().unwrap_or("");
    let found_kind = head.kind.as_deref().unwrap_or("");
    let found = if found_version.is_empty() { Some(expected.clone()) } else { GroupVersion::parse(found_version) };
    let found = found.ok_or_else(|| Status::bad_request(format!("unexpected GroupVersion string: {found_version}")))?;
    let known = |kind: &str| schema::Registry::builtin().kind(&found.group, &found.version, kind).is_some();
    if !found_kind.is_empty() && found_kind != gvk.kind {
        let why = if known(found_kind) {
            format!("converting ({}.{found_kind}) to ({}.{}): unknown conversion", found.version, package(&gvk.group), gvk.kind)
        } else {
            no_kind(found_kind, &found)
        };
        return Err(cannot_be_handled(found_kind, &found.version, gvk, &why));
    }
    if found == expected {
        return Ok(());
    }
    Err(if known(&gvk.kind) {
        Status::bad_request(format!("the API version in the data ({found}) does not match the expected API version ({expected})"))
    } else {
        cannot_be_handled(&gvk.kind, &found.version, gvk, &no_kind(&gvk.kind, &found))
    })
}

/// Pruned, type-checked and normalized by the schema of the kind.
fn typed(cx: &RequestCx, bytes: &[u8], gvk: &GroupVersionKind, validation: FieldValidation) -> Result<Value, Status> {
    let mode = if validation == FieldValidation::Ignore { Mode::Lenient } else { Mode::Strict };
    let decoded = match schema::Registry::builtin().typed_kind(&gvk.group, &gvk.version, &gvk.kind) {
        Some(ty) => schema::decode::decode(bytes, ty, mode),
        None => schema::decode::parse(bytes, mode),
    };
    let (mut value, problems) = decoded.map_err(|e| cannot_be_handled(&gvk.kind, &gvk.version, gvk, &e.to_string()))?;
    value["apiVersion"] = gvk.group_version().to_string().into();
    value["kind"] = gvk.kind.clone().into();
    report(cx, &problems, gvk, validation)?;
    Ok(value)
}

/// Fields that are unknown or there twice: an error, warnings, or nothing.
fn report(cx: &RequestCx, problems: &[Problem], gvk: &GroupVersionKind, validation: FieldValidation) -> Result<(), Status> {
    if !problems.is_empty() {
        match validation {
            FieldValidation::Ignore => {}
            FieldValidation::Warn => problems.iter().for_each(|p| cx.warn(p.to_string())),
            FieldValidation::Strict => {
                return Err(cannot_be_handled(&gvk.kind, &gvk.version, gvk, &schema::decode::strict_error(problems)));
            }
        }
    }
    Ok(())
}

/// What a mutating webhook made of an object of `gvk`: unknown fields are dropped, the rest is as if decoded from a body.
pub fn reread(value: Value, gvk: &GroupVersionKind) -> Result<Value, Status> {
    let Some(ty) = schema::Registry::builtin().typed_kind(&gvk.group, &gvk.version, &gvk.kind) else { return Ok(value) };
    let bytes = serde_json::to_vec(&value).map_err(Status::internal)?;
    let (mut value, _) = schema::decode::decode(&bytes, ty, Mode::Lenient).map_err(Status::internal)?;
    value["apiVersion"] = gvk.group_version().to_string().into();
    value["kind"] = gvk.kind.clone().into();
    Ok(value)
}

/// Go-coded defaults of a kind, on the tree of a version that is stored or alike.
pub fn default(entry: &Entry, value: &mut Value) {
    entry.strategy.default(value);
}

fn cannot_be_handled(kind: &str, version: &str, gvk: &GroupVersionKind, why: &str) -> Status {
    Status::bad_request(format!("{kind} in version {version:?} cannot be handled as a {}: {why}", gvk.kind))
}

fn unrecognized(gvk: &GroupVersionKind, why: &str, bytes: &[u8]) -> Status {
    Status::bad_request(format!("the object provided is unrecognized (must be of type {}): {why} ({})", gvk.kind, summary(bytes)))
}

fn no_kind(kind: &str, gv: &GroupVersion) -> String {
    format!(
        "no kind {kind:?} is registered for version {:?} in scheme \"k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30\"",
        gv.to_string()
    )
}

fn package(group: &str) -> &str {
    if group.is_empty() { "core" } else { group.split('.').next().unwrap_or(group) }
}

/// The beginning of a body, for an error text.
fn summary(bytes: &[u8]) -> String {
    const MAX: usize = 30;
    let cut = &bytes[..bytes.len().min(MAX)];
    let text = match cut.first() {
        None => return "<empty>".into(),
        Some(b'{') => String::from_utf8_lossy(cut).into_owned(),
        Some(_) => cut.iter().map(|b| format!("{b:02x}")).collect(),
    };
    if bytes.len() > MAX { format!("{text} ...") } else { text }
}
