//! Options of requests, from query parameters and bodies, validated in upstream's words
//! (apimachinery/pkg/apis/meta/v1/validation, apis/meta/internalversion/validation).

use crate::context::RequestCx;
use crate::http::Query;
use machinery::field::{Error, ErrorList, ErrorType, Path};
use machinery::{Map, Status, Value, json, meta};

/// `fieldValidation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

/// Options of a create, update or patch.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    pub dry_run: bool,
    pub manager: String,
    pub validation: FieldValidation,
    pub force: bool,
    /// CreateOptions and so on, as admission sees them.
    pub object: Value,
}

/// Which options object a request has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Create,
    Update,
    Patch,
    /// A server-side apply.
    Apply,
}

impl WriteOptions {
    pub fn parse(cx: &RequestCx, kind: Kind) -> Result<Self, Status> {
        let name = match kind {
            Kind::Create => "CreateOptions",
            Kind::Update => "UpdateOptions",
            Kind::Patch | Kind::Apply => "PatchOptions",
        };
        let q = &cx.query;
        let mut errs = ErrorList::new();
        let path = Path::new("fieldManager");
        let given = q.str("fieldManager");
        if kind == Kind::Apply && given.is_empty() {
            errs.push(Error::required(&path, "is required for apply patch"));
        }
        if kind == Kind::Patch && q.get("force").is_some() {
            errs.push(Error::forbidden(&Path::new("force"), "may not be specified for non-apply patch"));
        }
        errs.extend(machinery::objectmeta::validate_field_manager(given, &path));
        let dry_run = dry_run(q.all("dryRun").filter(|v| !v.is_empty()).map(str::to_owned).collect(), &mut errs);
        let validation = match q.str("fieldValidation") {
            "Ignore" => FieldValidation::Ignore,
            "" | "Warn" => FieldValidation::Warn,
            "Strict" => FieldValidation::Strict,
            other => {
                errs.push(Error::not_supported(&Path::new("fieldValidation"), other, &["", "Ignore", "Strict", "Warn"]));
                FieldValidation::Strict
            }
        };
        if !errs.is_empty() {
            return Err(Status::invalid("meta.k8s.io", name, "", &errs));
        }
        let mut object = Map::new();
        object.insert("kind".into(), name.into());
        object.insert("apiVersion".into(), "meta.k8s.io/v1".into());
        if dry_run {
            object.insert("dryRun".into(), json!(["All"]));
        }
        for k in ["fieldManager", "fieldValidation"] {
            if !q.str(k).is_empty() {
                object.insert(k.into(), q.str(k).into());
            }
        }
        Ok(Self { dry_run, manager: cx.field_manager(), validation, force: q.bool("force"), object: object.into() })
    }
}

fn dry_run(values: Vec<String>, errs: &mut ErrorList) -> bool {
    for v in values.iter().filter(|v| *v != "All") {
        errs.push(Error::not_supported(&Path::new("dryRun"), format!("[{v}]"), &["All"]));
    }
    !values.is_empty()
}

/// `propagationPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Orphan,
    Background,
    Foreground,
}

#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    pub grace_seconds: Option<i64>,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    pub orphan_dependents: Option<bool>,
    pub propagation: Option<Propagation>,
    pub dry_run: bool,
    pub object: Value,
}

impl DeleteOptions {
    /// From a body (`DeleteOptions`), or from the query where the body is empty.
    pub fn parse(query: &Query, body: &Value) -> Result<Self, Status> {
        let kind = meta::str_at(body, &["kind"]);
        if !matches!(kind, "" | "DeleteOptions") {
            return Err(Status::bad_request("decoded object cannot be converted to DeleteOptions"));
        }
        let mut object = body.as_object().cloned().unwrap_or_default();
        if body.is_null() {
            if let Some(g) = query.int("gracePeriodSeconds")? {
                object.insert("gracePeriodSeconds".into(), g.into());
            }
            if let Some(o) = query.opt_bool("orphanDependents") {
                object.insert("orphanDependents".into(), o.into());
            }
            if !query.str("propagationPolicy").is_empty() {
                object.insert("propagationPolicy".into(), query.str("propagationPolicy").into());
            }
            if query.get("dryRun").is_some_and(|d| !d.is_empty()) {
                object.insert("dryRun".into(), query.all("dryRun").collect());
            }
        }
        object.insert("kind".into(), "DeleteOptions".into());
        object.insert("apiVersion".into(), "meta.k8s.io/v1".into());
        let object = Value::from(object);

        let mut errs = ErrorList::new();
        let orphan_dependents = meta::at(&object, &["orphanDependents"]).and_then(Value::as_bool);
        let policy = meta::str_at(&object, &["propagationPolicy"]);
        let path = Path::new("propagationPolicy");
        if orphan_dependents.is_some() && !policy.is_empty() {
            errs.push(Error::invalid(&path, policy, "orphanDependents and deletionPropagation cannot be both set"));
        }
        let propagation = match policy {
            "" => None,
            "Orphan" => Some(Propagation::Orphan),
            "Background" => Some(Propagation::Background),
            "Foreground" => Some(Propagation::Foreground),
            other => {
                let known = "supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"";
                errs.push(Error::new(ErrorType::NotSupported, &path, other, known));
                None
            }
        };
        let values = meta::list_at(&object, &["dryRun"]).iter().filter_map(Value::as_str).map(str::to_owned).collect();
        let dry_run = dry_run(values, &mut errs);
        if !errs.is_empty() {
            return Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", &errs));
        }
        let text = |p: &[&str]| meta::at(&object, p).and_then(Value::as_str).map(str::to_owned);
        Ok(Self {
            grace_seconds: meta::i64_at(&object, &["gracePeriodSeconds"]),
            uid: text(&["preconditions", "uid"]),
            resource_version: text(&["preconditions", "resourceVersion"]),
            orphan_dependents,
            propagation,
            dry_run,
            object,
        })
    }
}

/// Checks the combination of list parameters.
pub fn validate_list(q: &Query, watch: bool) -> Result<(), Status> {
    let mut errs = ErrorList::new();
    let path = Path::new("resourceVersionMatch");
    let (matching, rv) = (q.str("resourceVersionMatch"), q.str("resourceVersion"));
    let send_initial = q.get("sendInitialEvents").is_some();
    if !matching.is_empty() {
        if watch && !send_initial {
            errs.push(Error::forbidden(
                &path,
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ));
        }
        if rv.is_empty() && !watch {
            errs.push(Error::forbidden(&path, "resourceVersionMatch is forbidden unless resourceVersion is provided"));
        }
        if !q.str("continue").is_empty() {
            errs.push(Error::forbidden(&path, "resourceVersionMatch is forbidden when continue is provided"));
        }
        if !matches!(matching, "Exact" | "NotOlderThan") {
            errs.push(Error::not_supported(&path, matching, &["Exact", "NotOlderThan", ""]));
        }
        if matching == "Exact" && rv == "0" {
            errs.push(Error::forbidden(&path, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""));
        }
    }
    if send_initial {
        if watch && matching != "NotOlderThan" {
            errs.push(Error::forbidden(&path, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"));
        }
        if !watch {
            errs.push(Error::forbidden(&Path::new("sendInitialEvents"), "sendInitialEvents is forbidden for list"));
        }
    }
    if errs.is_empty() { Ok(()) } else { Err(Status::invalid("meta.k8s.io", "ListOptions", "", &errs)) }
}
