//! Paths and operations of resources. kubectl reads from them which query parameters a resource's requests take
//! (`dryRun`, `fieldValidation`), and which group, version and kind a path is about.

use super::schemas::META;
use super::{Format, root};
use crate::resources::{Resource, Scope, Subresource};
use serde_json::{Map, Value, json};

/// Names of the definitions of a resource's objects.
pub(super) struct Names {
    pub object: String,
    pub list: String,
}

const PRODUCES: [&str; 3] = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
const WATCH: [&str; 2] = ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];
const PATCHES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

const CUSTOM_PATCHES: [&str; 3] = [PATCHES[0], PATCHES[1], PATCHES[3]];

/// Query parameters: name, type, description.
type Query = (&'static str, &'static str, &'static str);

const DRY_RUN: Query = ("dryRun", "string", "`All` runs every stage of the request but stores nothing.");
const FIELD_MANAGER: Query = ("fieldManager", "string", "Name of the actor that makes the change.");
const FIELD_VALIDATION: Query =
    ("fieldValidation", "string", "What to do about unknown or duplicate fields: `Ignore`, `Warn` or `Strict`.");
const FORCE: Query = ("force", "boolean", "Take over fields that other managers own. Only for apply patches.");
const PRETTY: Query = ("pretty", "string", "`true` indents the output.");
const DELETE: [Query; 5] = [
    DRY_RUN,
    ("gracePeriodSeconds", "integer", "Seconds before the object is removed; zero removes it at once."),
    ("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean", "Delete an object that cannot be read from storage."),
    ("orphanDependents", "boolean", "Deprecated: use propagationPolicy."),
    ("propagationPolicy", "string", "`Orphan`, `Background` or `Foreground`."),
];
const LIST: [Query; 10] = [
    ("allowWatchBookmarks", "boolean", "Ask for events of type BOOKMARK in a watch."),
    ("continue", "string", "Token of the previous chunk of the list."),
    ("fieldSelector", "string", "Restricts the list by fields."),
    ("labelSelector", "string", "Restricts the list by labels."),
    ("limit", "integer", "The most items to return in one response."),
    ("resourceVersion", "string", "How fresh the data has to be."),
    ("resourceVersionMatch", "string", "How resourceVersion is applied to lists."),
    ("sendInitialEvents", "boolean", "Begin a watch with the objects that exist."),
    ("timeoutSeconds", "integer", "Duration of the call."),
    ("watch", "boolean", "Watch for changes instead of listing."),
];

/// One operation, before it is written in either format.
struct Operation<'a> {
    /// `x-kubernetes-action`.
    action: &'a str,
    id: String,
    description: String,
    query: Vec<Query>,
    /// Definition and media types of the body.
    body: Option<(String, &'a [&'a str], bool)>,
    /// Definition of the answer; `None` is text.
    answer: Option<String>,
    codes: &'a [(&'a str, &'a str)],
    streams: bool,
}

const OK: &[(&str, &str)] = &[("200", "OK")];
const CREATED: &[(&str, &str)] = &[("200", "OK"), ("201", "Created")];
const POSTED: &[(&str, &str)] = &[("200", "OK"), ("201", "Created"), ("202", "Accepted")];
const DELETED: &[(&str, &str)] = &[("200", "OK"), ("202", "Accepted")];

struct Writer<'a> {
    format: Format,
    /// Group, version and kind that operations are about.
    gvk: (&'a str, &'a str, &'a str),
    tag: String,
    /// Custom resources have no protobuf form and take no strategic merge patch: kubectl learns from here which patch to send.
    custom: bool,
}

/// `Apps` of `apps`, `RbacAuthorization` of `rbac.authorization.k8s.io`, `Core` of the core group.
fn camel(group: &str, version: &str) -> String {
    let group = if group.is_empty() { "core" } else { group.strip_suffix(".k8s.io").unwrap_or(group) };
    group.split(['.', '-']).chain([version]).map(capital).collect()
}

fn capital(s: &str) -> String {
    let mut chars = s.chars();
    chars.next().map(|c| c.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
}

fn tag(group: &str, version: &str) -> String {
    let mut camel = camel(group, "");
    camel.replace_range(..1, &camel[..1].to_ascii_lowercase());
    format!("{camel}_{version}")
}

fn path_parameter(format: Format, name: &str, description: &str) -> Value {
    let base = json!({"in": "path", "name": name, "description": description, "required": true});
    typed(format, base, "string")
}

fn typed(format: Format, mut parameter: Value, ty: &str) -> Value {
    match format {
        Format::V2 => {
            parameter["type"] = ty.into();
            parameter["uniqueItems"] = true.into();
        }
        Format::V3 => parameter["schema"] = json!({"type": ty, "uniqueItems": true}),
    }
    parameter
}

fn query((name, ty, description): Query, format: Format) -> Value {
    typed(format, json!({"in": "query", "name": name, "description": description}), ty)
}

impl Writer<'_> {
    fn operation(&self, op: Operation<'_>) -> Value {
        let format = self.format;
        let mut parameters: Vec<Value> = op.query.into_iter().map(|q| query(q, format)).collect();
        let produces: Vec<&str> = match op.answer {
            None => vec!["*/*"],
            Some(_) => PRODUCES
                .iter()
                .chain(WATCH.iter().filter(|_| op.streams))
                .filter(|m| !(self.custom && m.contains("protobuf")))
                .copied()
                .collect(),
        };
        let schema = op.answer.as_ref().map_or_else(|| json!({"type": "string"}), |name| format.reference(name));
        let mut responses = Map::new();
        for (code, text) in op.codes {
            let mut response = json!({"description": text});
            match format {
                Format::V2 => response["schema"] = schema.clone(),
                Format::V3 => {
                    let content = produces.iter().map(|m| ((*m).to_owned(), json!({"schema": schema})));
                    response["content"] = Value::Object(content.collect());
                }
            }
            responses.insert((*code).into(), response);
        }
        responses.insert("401".into(), json!({"description": "Unauthorized"}));
        let mut out = json!({"description": op.description, "operationId": op.id, "responses": responses, "tags": [self.tag]});
        if !op.action.is_empty() {
            let (group, version, kind) = self.gvk;
            out["x-kubernetes-action"] = op.action.into();
            out["x-kubernetes-group-version-kind"] = json!({"group": group, "version": version, "kind": kind});
        }
        if format == Format::V2 {
            out["consumes"] = json!(op.body.as_ref().map_or(&["*/*"][..], |b| b.1));
            out["produces"] = json!(produces);
            out["schemes"] = json!(["https"]);
        }
        if let Some((name, media, required)) = op.body {
            let schema = format.reference(&name);
            match format {
                Format::V2 => {
                    let mut body = json!({"in": "body", "name": "body", "schema": schema});
                    if required {
                        body["required"] = true.into();
                    }
                    parameters.insert(0, body);
                }
                Format::V3 => {
                    let content = media.iter().map(|m| ((*m).to_owned(), json!({"schema": schema})));
                    out["requestBody"] = json!({"content": Value::Object(content.collect())});
                    if required {
                        out["requestBody"]["required"] = true.into();
                    }
                }
            }
        }
        if !parameters.is_empty() {
            out["parameters"] = Value::Array(parameters);
        }
        out
    }
}

/// The document of resources: `/apis/apps/v1/`.
pub(super) fn group_version(format: Format, group: &str, version: &str, out: &mut Map<String, Value>) {
    let w = Writer { format, gvk: ("", "", ""), tag: tag(group, version), custom: false };
    let get = w.operation(Operation {
        action: "",
        id: format!("get{}APIResources", camel(group, version)),
        description: "get available resources".into(),
        query: Vec::new(),
        body: None,
        answer: Some(format!("{META}APIResourceList")),
        codes: OK,
        streams: false,
    });
    out.insert(format!("/{}/", root(group, version)), json!({"get": get}));
}

/// All paths of a resource, `custom` or built in. `definition` names the definition of a subresource's kind.
pub(super) fn resource(
    format: Format,
    r: &Resource,
    custom: bool,
    names: &Names,
    definition: &mut dyn FnMut(&Subresource) -> Option<String>,
    out: &mut Map<String, Value>,
) {
    let w = Writer { format, gvk: (&r.group, &r.version, &r.kind), tag: tag(&r.group, &r.version), custom };
    let base = root(&r.group, &r.version);
    let namespaced = r.scope == Scope::Namespaced;
    let scope = if namespaced { "Namespaced" } else { "" };
    let collection = format!("/{base}/{}{}", if namespaced { "namespaces/{namespace}/" } else { "" }, r.resource);
    let item = format!("{collection}/{{name}}");
    let prefix = camel(&r.group, &r.version);
    let kind = &*r.kind;
    let has = |verb: &str| r.verbs.iter().any(|v| &**v == verb);

    let common = |named: bool| {
        let mut p = Vec::new();
        if named {
            p.push(path_parameter(format, "name", &format!("name of the {kind}")));
        }
        if namespaced {
            p.push(path_parameter(format, "namespace", "the namespace of the object"));
        }
        p.push(query(PRETTY, format));
        p
    };
    let list = |id: String| {
        w.operation(Operation {
            action: "list",
            id,
            description: format!("list or watch objects of kind {kind}"),
            query: LIST.to_vec(),
            body: None,
            answer: Some(names.list.clone()),
            codes: OK,
            streams: true,
        })
    };

    let mut methods = Map::new();
    if has("list") {
        methods.insert("get".into(), list(format!("list{prefix}{scope}{kind}")));
        if namespaced {
            let all = list(format!("list{prefix}{kind}ForAllNamespaces"));
            out.insert(format!("/{base}/{}", r.resource), json!({"get": all, "parameters": [query(PRETTY, format)]}));
        }
    }
    if has("create") {
        let post = Operation {
            action: "post",
            id: format!("create{prefix}{scope}{kind}"),
            description: format!("create a {kind}"),
            query: vec![DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION],
            body: Some((names.object.clone(), &["*/*"], true)),
            answer: Some(names.object.clone()),
            codes: POSTED,
            streams: false,
        };
        methods.insert("post".into(), w.operation(post));
    }
    if has("deletecollection") {
        let delete = Operation {
            action: "deletecollection",
            id: format!("delete{prefix}Collection{scope}{kind}"),
            description: format!("delete collection of {kind}"),
            query: LIST.iter().chain(&DELETE).filter(|q| !matches!(q.0, "allowWatchBookmarks" | "watch")).copied().collect(),
            body: Some((format!("{META}DeleteOptions"), &["*/*"], false)),
            answer: Some(format!("{META}Status")),
            codes: OK,
            streams: false,
        };
        methods.insert("delete".into(), w.operation(delete));
    }
    if !methods.is_empty() {
        methods.insert("parameters".into(), Value::Array(common(false)));
        out.insert(collection, Value::Object(methods));
    }

    let mut methods = objects(&w, r, &|verb| has(verb), &names.object, &format!("{prefix}{scope}{kind}"), "");
    if has("delete") {
        // Some kinds answer with the object, most with a Status.
        let delete = Operation {
            action: "delete",
            id: format!("delete{prefix}{scope}{kind}"),
            description: format!("delete a {kind}"),
            query: DELETE.to_vec(),
            body: Some((format!("{META}DeleteOptions"), &["*/*"], false)),
            answer: Some(format!("{META}Status")),
            codes: DELETED,
            streams: false,
        };
        methods.insert("delete".into(), w.operation(delete));
    }
    if !methods.is_empty() {
        methods.insert("parameters".into(), Value::Array(common(true)));
        out.insert(item.clone(), Value::Object(methods));
    }

    for s in &r.subresources {
        let w = Writer { format, gvk: (&s.group, &s.version, &s.kind), tag: w.tag.clone(), custom };
        let connects = s.kind.ends_with("Options");
        let object = (!connects).then(|| definition(s)).flatten().unwrap_or_else(|| names.object.clone());
        let id = format!("{prefix}{scope}{kind}{}", capital(&s.name));
        let has = |verb: &str| s.verbs.iter().any(|v| &**v == verb);
        let mut methods = Map::new();
        if connects {
            for (verb, method) in
                [("get", "get"), ("create", "post"), ("update", "put"), ("patch", "patch"), ("delete", "delete")]
            {
                if has(verb) {
                    let connect = Operation {
                        action: "connect",
                        id: format!("connect{prefix}{}{scope}{kind}{}", capital(method), capital(&s.name)),
                        description: format!("connect {} requests to {} of {kind}", method.to_ascii_uppercase(), s.name),
                        query: Vec::new(),
                        body: None,
                        answer: None,
                        codes: OK,
                        streams: false,
                    };
                    methods.insert(method.into(), w.operation(connect));
                }
            }
        } else {
            methods = objects(&w, r, &has, &object, &id, &s.name);
            if has("create") {
                let post = Operation {
                    action: "post",
                    id: format!("create{id}"),
                    description: format!("create {} of a {kind}", s.name),
                    query: vec![DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION],
                    body: Some((object.clone(), &["*/*"], true)),
                    answer: Some(object.clone()),
                    codes: POSTED,
                    streams: false,
                };
                methods.insert("post".into(), w.operation(post));
            }
        }
        methods.insert("parameters".into(), Value::Array(common(true)));
        out.insert(format!("{item}/{}", s.name), Value::Object(methods));
    }
}

/// get, put and patch of an object or of a subresource of it.
fn objects(
    w: &Writer<'_>,
    r: &Resource,
    has: &dyn Fn(&str) -> bool,
    object: &str,
    id: &str,
    subresource: &str,
) -> Map<String, Value> {
    let what = if subresource.is_empty() { r.kind.to_string() } else { format!("{subresource} of the specified {}", r.kind) };
    let mut methods = Map::new();
    if has("get") {
        let get = Operation {
            action: "get",
            id: format!("read{id}"),
            description: format!("read {what}"),
            query: Vec::new(),
            body: None,
            answer: (subresource != "log").then(|| object.to_owned()),
            codes: OK,
            streams: false,
        };
        methods.insert("get".into(), w.operation(get));
    }
    if has("update") {
        let put = Operation {
            action: "put",
            id: format!("replace{id}"),
            description: format!("replace {what}"),
            query: vec![DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION],
            body: Some((object.to_owned(), &["*/*"], true)),
            answer: Some(object.to_owned()),
            codes: CREATED,
            streams: false,
        };
        methods.insert("put".into(), w.operation(put));
    }
    if has("patch") {
        let patch = Operation {
            action: "patch",
            id: format!("patch{id}"),
            description: format!("partially update {what}"),
            query: vec![DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION, FORCE],
            body: Some((format!("{META}Patch"), if w.custom { &CUSTOM_PATCHES } else { &PATCHES }, true)),
            answer: Some(object.to_owned()),
            codes: CREATED,
            streams: false,
        };
        methods.insert("patch".into(), w.operation(patch));
    }
    methods
}
