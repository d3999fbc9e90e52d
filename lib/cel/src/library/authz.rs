//! Checks of authorization: `authorizer.group('apps').resource('deployments').check('create').allowed()`.

use std::sync::Arc;

use machinery::validation::{name_is_dns_label, name_is_dns_subdomain};

use super::strings::nth as text;
use super::{Answer, Extension, Row};
use crate::error::EvalError;
use crate::value::Val;

pub(super) const FUNCTIONS: &[Row] = &[
    ("path", path, &["kubernetes.authorization.Authorizer.(string) kubernetes.authorization.PathCheck"]),
    ("group", group, &["kubernetes.authorization.Authorizer.(string) kubernetes.authorization.GroupCheck"]),
    (
        "serviceAccount",
        service_account,
        &["kubernetes.authorization.Authorizer.(string, string) kubernetes.authorization.Authorizer"],
    ),
    ("resource", resource, &["kubernetes.authorization.GroupCheck.(string) kubernetes.authorization.ResourceCheck"]),
    ("subresource", |a| with(a, |r, s| r.subresource = s), NARROWER),
    ("namespace", |a| with(a, |r, s| r.namespace = s), NARROWER),
    ("name", |a| with(a, |r, s| r.name = s), NARROWER),
    ("fieldSelector", |a| with(a, |r, s| r.field_selector = s), NARROWER),
    ("labelSelector", |a| with(a, |r, s| r.label_selector = s), NARROWER),
    (
        "check",
        check,
        &[
            "kubernetes.authorization.PathCheck.(string) kubernetes.authorization.Decision",
            "kubernetes.authorization.ResourceCheck.(string) kubernetes.authorization.Decision",
        ],
    ),
    ("errored", |a| Ok(Val::Bool(decision(a)?.error.is_some())), &["kubernetes.authorization.Decision.() bool"]),
    (
        "error",
        |a| Ok(Val::string(decision(a)?.error.as_deref().unwrap_or_default())),
        &["kubernetes.authorization.Decision.() string"],
    ),
    ("allowed", |a| Ok(Val::Bool(decision(a)?.allowed)), &["kubernetes.authorization.Decision.() bool"]),
    ("reason", |a| Ok(Val::string(decision(a)?.reason.as_str())), &["kubernetes.authorization.Decision.() string"]),
];
const NARROWER: &[&str] = &["kubernetes.authorization.ResourceCheck.(string) kubernetes.authorization.ResourceCheck"];

/// Who answers checks; it knows the user of the request.
pub trait Authorizer {
    /// Whether the user of the request, or the service account if one is named, may do what is asked.
    fn check(&self, service_account: Option<&ServiceAccount>, check: &Check, verb: &str) -> Decision;
}

/// A service account that a check is made for.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceAccount {
    pub namespace: String,
    pub name: String,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Check {
    Path(String),
    Resource(Resource),
}

/// A resource; empty parts are any.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resource {
    pub group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub field_selector: String,
    pub label_selector: String,
}

/// The answer to a check.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    pub allowed: bool,
    pub reason: String,
    pub error: Option<String>,
}

/// Whom checks are made for.
#[derive(Clone)]
pub struct Subject<'a> {
    pub(super) authorizer: &'a dyn Authorizer,
    pub(super) service_account: Option<Arc<ServiceAccount>>,
}

fn subject<'v, 'a>(args: &'v [Val<'a>]) -> Result<&'v Subject<'a>, EvalError> {
    match &args[0] {
        Val::Extension(Extension::Authorizer(s)) => Ok(s),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn path<'a>(args: &[Val<'a>]) -> Answer<'a> {
    let (subject, path) = (subject(args)?, text(args, 1)?);
    if path.trim().is_empty() {
        return Err(EvalError::new("path must not be empty"));
    }
    Ok(Val::Extension(Extension::PathCheck(subject.clone(), path.into())))
}

fn group<'a>(args: &[Val<'a>]) -> Answer<'a> {
    Ok(Val::Extension(Extension::GroupCheck(subject(args)?.clone(), text(args, 1)?.into())))
}

fn service_account<'a>(args: &[Val<'a>]) -> Answer<'a> {
    let (subject, namespace, name) = (subject(args)?, text(args, 1)?, text(args, 2)?);
    if !name_is_dns_subdomain(name, false).is_empty() {
        return Err(EvalError::new("Invalid service account name"));
    }
    if !name_is_dns_label(namespace, false).is_empty() {
        return Err(EvalError::new("Invalid service account namespace"));
    }
    let account = ServiceAccount { namespace: namespace.into(), name: name.into() };
    Ok(Val::Extension(Extension::Authorizer(Subject {
        authorizer: subject.authorizer,
        service_account: Some(Arc::new(account)),
    })))
}

fn resource<'a>(args: &[Val<'a>]) -> Answer<'a> {
    let Val::Extension(Extension::GroupCheck(subject, group)) = &args[0] else { return Err(EvalError::no_such_overload()) };
    let resource = text(args, 1)?;
    if resource.trim().is_empty() {
        return Err(EvalError::new("resource must not be empty"));
    }
    let resource = Resource { group: group.to_string(), resource: resource.into(), ..Default::default() };
    Ok(Val::Extension(Extension::ResourceCheck(subject.clone(), Arc::new(resource))))
}

fn with<'a>(args: &[Val<'a>], set: impl Fn(&mut Resource, String)) -> Answer<'a> {
    let Val::Extension(Extension::ResourceCheck(subject, resource)) = &args[0] else { return Err(EvalError::no_such_overload()) };
    let mut resource = (**resource).clone();
    set(&mut resource, text(args, 1)?.to_string());
    Ok(Val::Extension(Extension::ResourceCheck(subject.clone(), Arc::new(resource))))
}

fn check<'a>(args: &[Val<'a>]) -> Answer<'a> {
    let verb = text(args, 1)?;
    let (subject, check) = match &args[0] {
        Val::Extension(Extension::PathCheck(s, path)) => (s, Check::Path(path.to_string())),
        Val::Extension(Extension::ResourceCheck(s, resource)) => (s, Check::Resource((**resource).clone())),
        _ => return Err(EvalError::no_such_overload()),
    };
    let decision = subject.authorizer.check(subject.service_account.as_deref(), &check, verb);
    Ok(Val::Extension(Extension::Decision(Arc::new(decision))))
}

fn decision(args: &[Val]) -> Result<Arc<Decision>, EvalError> {
    match &args[0] {
        Val::Extension(Extension::Decision(d)) => Ok(d.clone()),
        _ => Err(EvalError::no_such_overload()),
    }
}
