//! A policy with its expressions compiled, and what is wrong with one that is written
//! (apiserver/pkg/admission/plugin/cel/compile.go, pkg/apis/admissionregistration/validation).

use super::Family;
use cel::{DeclType, Env, Field, Program, Type, Types};
use machinery::field::{Error, ErrorList, Path};
use machinery::{Value, meta};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

/// An expression: its text, where it stands, and its program or why it has none.
pub struct Expression {
    pub text: String,
    path: Path,
    pub program: Result<Program, String>,
}

/// A rule of a validating policy.
pub struct Validation {
    pub expression: Expression,
    pub message: String,
    pub message_expression: Option<Expression>,
    pub reason: String,
}

/// What a mutating policy makes: a configuration to apply, or operations of a JSON patch.
pub enum Mutation {
    Apply(Expression),
    Patch(Expression),
}

/// A compiled policy.
pub struct Policy {
    pub object: Arc<Value>,
    pub conditions: Vec<Expression>,
    pub variables: Vec<(String, Expression)>,
    pub validations: Vec<Validation>,
    pub audit_annotations: Vec<(String, Expression)>,
    pub mutations: Vec<Mutation>,
}

impl Policy {
    pub fn name(&self) -> &str {
        meta::name(&self.object)
    }
    /// Whether faults and errors let a request pass.
    pub fn ignores_errors(&self) -> bool {
        meta::str_at(&self.object, &["spec", "failurePolicy"]) == "Ignore"
    }

    pub fn compile(family: Family, object: Arc<Value>) -> Self {
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let root = Path::new("spec");
        let types = if family == Family::Mutating { Types::Mutation } else { Types::None };
        let mut env = BASE.clone();
        if spec.get("paramKind").is_some() {
            env = env.with("params", Type::Dyn);
        }
        let with_authorizer = |env: &Env| {
            env.clone()
                .with("authorizer", Type::Named("kubernetes.authorization.Authorizer"))
                .with("authorizer.requestResource", Type::Named("kubernetes.authorization.ResourceCheck"))
        };
        let one = |env: &Env, item: &Value, path: &Path, field: &str, wanted: &[Wanted]| {
            expression(env, meta::str_at(item, &[field]), path.child(field), wanted)
        };
        let items = |field: &'static str| {
            let path = root.child(field);
            meta::list_at(spec, &[field]).iter().enumerate().map(move |(i, v)| (v, path.index(i)))
        };
        let authorized = with_authorizer(&env);
        let conditions = items("matchConditions").map(|(v, p)| one(&authorized, v, &p, "expression", &[Wanted::Bool])).collect();
        // Each variable sees those before it.
        let mut variables: Vec<(String, Expression)> = Vec::new();
        let mut fields = BTreeMap::new();
        let with_variables = |env: &Env, fields: &BTreeMap<String, Field>| {
            env.clone().with("variables", Type::Object(Arc::new(DeclType::object("kubernetes.variables", fields.clone()))))
        };
        for (v, p) in items("variables") {
            let name = meta::str_at(v, &["name"]).to_owned();
            let compiled = one(&with_variables(&authorized, &fields), v, &p, "expression", &[Wanted::Any]);
            let t = compiled.program.as_ref().map_or(Type::Dyn, |p| p.output().clone());
            fields.insert(name.clone(), Field { json: name.clone(), decl: Arc::new(DeclType::scalar(t)), required: false });
            variables.push((name, compiled));
        }
        let (plain, full) = (with_variables(&env, &fields), with_variables(&authorized, &fields).with_types(types));
        let validations = items("validations")
            .map(|(v, p)| Validation {
                expression: one(&full, v, &p, "expression", &[Wanted::Bool]),
                message: meta::str_at(v, &["message"]).trim().to_owned(),
                message_expression: v
                    .get("messageExpression")
                    .map(|_| one(&plain, v, &p, "messageExpression", &[Wanted::String])),
                reason: meta::str_at(v, &["reason"]).to_owned(),
            })
            .collect();
        let audit_annotations = items("auditAnnotations")
            .map(|(v, p)| {
                (meta::str_at(v, &["key"]).to_owned(), one(&full, v, &p, "valueExpression", &[Wanted::String, Wanted::Null]))
            })
            .collect();
        let mutations = items("mutations")
            .map(|(v, p)| match v.get("jsonPatch") {
                Some(m) => Mutation::Patch(one(&full, m, &p.child("jsonPatch"), "expression", &[Wanted::Patches])),
                None => {
                    let m = v.get("applyConfiguration").unwrap_or(&Value::Null);
                    Mutation::Apply(one(&full, m, &p.child("applyConfiguration"), "expression", &[Wanted::Object]))
                }
            })
            .collect();
        Self { conditions, variables, validations, audit_annotations, mutations, object }
    }

    /// What is wrong with the expressions.
    pub fn errors(&self) -> ErrorList {
        let validations = self.validations.iter().flat_map(|v| std::iter::once(&v.expression).chain(&v.message_expression));
        let mutations = self.mutations.iter().map(|m| match m {
            Mutation::Apply(e) | Mutation::Patch(e) => e,
        });
        let named = self.variables.iter().chain(&self.audit_annotations).map(|(_, e)| e);
        let all = self.conditions.iter().chain(named).chain(validations).chain(mutations);
        all.filter_map(|e| {
            let why = e.program.as_ref().err()?;
            Some(if e.text.trim().is_empty() {
                Error::required(&e.path, "")
            } else {
                Error::invalid(&e.path, e.text.as_str(), why.as_str())
            })
        })
        .collect()
    }
}

/// What an expression may evaluate to.
#[derive(Clone, Copy, PartialEq)]
enum Wanted {
    Any,
    Bool,
    String,
    Null,
    Object,
    Patches,
}

impl Wanted {
    fn fits(self, t: &Type) -> bool {
        match self {
            Self::Any => true,
            Self::Bool => *t == Type::Bool,
            Self::String => *t == Type::String,
            Self::Null => *t == Type::Null,
            Self::Object => *t == Type::Free("Object".into()),
            Self::Patches => *t == Type::list(Type::Free("JSONPatch".into())),
        }
    }
    fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Bool => "bool",
            Self::String => "string",
            Self::Null => "null_type",
            Self::Object => "Object",
            Self::Patches => "list(JSONPatch)",
        }
    }
}

fn expression(env: &Env, text: &str, path: Path, wanted: &[Wanted]) -> Expression {
    let program = match env.compile(text) {
        Err(e) => Err(format!("compilation failed: {e}")),
        Ok(p) if wanted.iter().any(|w| w.fits(p.output())) => Ok(p),
        Ok(p) => {
            let names: Vec<&str> = wanted.iter().map(|w| w.name()).collect();
            Err(match names[..] {
                [one] => format!("must evaluate to {one} but got {}", p.output().full_name()),
                _ => format!("must evaluate to one of [{}] but got {}", names.join(" "), p.output().full_name()),
            })
        }
    };
    Expression { text: text.to_owned(), path, program }
}

fn object(name: &str, fields: &[(&str, Type)]) -> Type {
    let field = |(n, t): &(&str, Type)| {
        ((*n).to_owned(), Field { json: (*n).to_owned(), decl: Arc::new(DeclType::scalar(t.clone())), required: true })
    };
    Type::Object(Arc::new(DeclType::object(name, fields.iter().map(field).collect())))
}

/// The variables that all expressions have.
static BASE: LazyLock<Env> = LazyLock::new(|| {
    use Type::{Bool, Dyn, Int, String as Str, Timestamp};
    let strings = || Type::list(Str);
    let texts = || Type::map(Str, Str);
    let kind = || object("kubernetes.GroupVersionKind", &[("group", Str), ("version", Str), ("kind", Str)]);
    let resource = || object("kubernetes.GroupVersionResource", &[("group", Str), ("version", Str), ("resource", Str)]);
    let user = object(
        "kubernetes.UserInfo",
        &[("username", Str), ("uid", Str), ("groups", strings()), ("extra", Type::map(Str, strings()))],
    );
    let request = object(
        "kubernetes.AdmissionRequest",
        &[
            ("kind", kind()),
            ("resource", resource()),
            ("subResource", Str),
            ("requestKind", kind()),
            ("requestResource", resource()),
            ("requestSubResource", Str),
            ("name", Str),
            ("namespace", Str),
            ("operation", Str),
            ("userInfo", user),
            ("dryRun", Bool),
            ("options", Dyn),
        ],
    );
    let metadata = object(
        "kubernetes.NamespaceMetadata",
        &[
            ("name", Str),
            ("generateName", Str),
            ("namespace", Str),
            ("labels", texts()),
            ("annotations", texts()),
            ("UID", Str),
            ("creationTimestamp", Timestamp),
            ("deletionGracePeriodSeconds", Int),
            ("deletionTimestamp", Timestamp),
            ("generation", Int),
            ("resourceVersion", Str),
            ("finalizers", strings()),
        ],
    );
    let condition = object(
        "kubernetes.NamespaceCondition",
        &[("status", Str), ("type", Str), ("lastTransitionTime", Timestamp), ("message", Str), ("reason", Str)],
    );
    let namespace = object(
        "kubernetes.Namespace",
        &[
            ("metadata", metadata),
            ("spec", object("kubernetes.NamespaceSpec", &[("finalizers", strings())])),
            ("status", object("kubernetes.NamespaceStatus", &[("conditions", Type::list(condition)), ("phase", Str)])),
        ],
    );
    Env::new([("object", Dyn), ("oldObject", Dyn), ("namespaceObject", namespace), ("request", request)])
});

/// Compiled policies by UID, each at its resourceVersion; compiled again when that changes.
#[derive(Default)]
pub struct Cache(Mutex<HashMap<String, Arc<Policy>>>);

/// More than this, and the cache starts anew: policies that are gone leave no trace for long.
const KEPT: usize = 1024;

impl Cache {
    pub fn compiled(&self, family: Family, object: &Arc<Value>) -> Arc<Policy> {
        let mut kept = self.0.lock();
        if let Some(p) = kept.get(meta::uid(object))
            && meta::resource_version(&p.object) == meta::resource_version(object)
        {
            return p.clone();
        }
        if kept.len() >= KEPT {
            kept.clear();
        }
        let compiled = Arc::new(Policy::compile(family, object.clone()));
        kept.insert(meta::uid(object).to_owned(), compiled.clone());
        compiled
    }
}
