//! May this user do that? Authorizers are asked in turn until one allows or denies. Upstream: apiserver/pkg/authorization.

use crate::UserInfo;
use async_trait::async_trait;
use machinery::{GroupResource, Status};
use std::sync::Arc;

/// What is asked of an authorizer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    pub user: UserInfo,
    /// `get`, `list`, `create`, …; the lower-case HTTP method for a path that is no resource.
    pub verb: String,
    pub namespace: String,
    pub group: String,
    pub version: String,
    pub resource: String,
    pub subresource: String,
    pub name: String,
    /// False: only `verb` and `path` count.
    pub resource_request: bool,
    pub path: String,
    /// Selectors of a list, watch or deletecollection, as given and parsed; the Node authorizer reads `spec.nodeName`.
    pub field_selector: String,
    pub label_selector: String,
}

impl Attributes {
    /// A request on a resource.
    pub fn resource(user: &UserInfo, verb: &str, group: &str, resource: &str, namespace: &str, name: &str) -> Self {
        Self {
            user: user.clone(),
            verb: verb.into(),
            group: group.into(),
            version: "*".into(),
            resource: resource.into(),
            namespace: namespace.into(),
            name: name.into(),
            resource_request: true,
            ..Self::default()
        }
    }

    /// A request on a path outside of the resources, such as `/healthz`.
    pub fn path(user: &UserInfo, verb: &str, path: &str) -> Self {
        Self { user: user.clone(), verb: verb.into(), path: path.into(), ..Self::default() }
    }

    pub fn with_subresource(mut self, subresource: &str) -> Self {
        self.subresource = subresource.into();
        self
    }

    pub fn is_read_only(&self) -> bool {
        matches!(self.verb.as_str(), "get" | "list" | "watch")
    }
}

/// What an authorizer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow,
    /// Refused, whatever the other authorizers would say.
    Deny,
    /// Ask the next one; refused if nobody allows.
    NoOpinion,
}

/// A decision, why, and what went wrong on the way to it (a role that does not exist, …).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub decision: Decision,
    pub reason: String,
    pub error: Option<String>,
}

impl Verdict {
    pub fn allow(reason: impl Into<String>) -> Self {
        Self { decision: Decision::Allow, reason: reason.into(), error: None }
    }
    pub fn no_opinion(reason: impl Into<String>) -> Self {
        Self { decision: Decision::NoOpinion, reason: reason.into(), error: None }
    }
    pub fn deny(reason: impl Into<String>) -> Self {
        Self { decision: Decision::Deny, reason: reason.into(), error: None }
    }
    pub fn allowed(&self) -> bool {
        self.decision == Decision::Allow
    }
}

/// Decides, and lists what a user may do.
#[async_trait]
pub trait Authorizer: Send + Sync {
    async fn authorize(&self, attrs: &Attributes) -> Verdict;

    /// The rules that apply to a user in a namespace, for SelfSubjectRulesReview.
    async fn rules_for(&self, _user: &UserInfo, _namespace: &str) -> RuleSet {
        RuleSet { incomplete: true, ..RuleSet::default() }
    }
}

/// What a user may do, as far as an authorizer can list it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleSet {
    pub rules: Vec<Arc<crate::rbac::Rule>>,
    pub incomplete: bool,
    pub errors: Vec<String>,
}

/// Everything in `system:masters` is allowed (upstream's privileged-group authorizer, always first).
pub struct Privileged;

#[async_trait]
impl Authorizer for Privileged {
    async fn authorize(&self, attrs: &Attributes) -> Verdict {
        if attrs.user.in_group(crate::user::MASTERS) { Verdict::allow("") } else { Verdict::no_opinion("") }
    }
    async fn rules_for(&self, user: &UserInfo, _namespace: &str) -> RuleSet {
        let all = user.in_group(crate::user::MASTERS);
        RuleSet { rules: all.then(|| Arc::new(crate::rbac::Rule::everything())).into_iter().collect(), ..RuleSet::default() }
    }
}

/// Allows everything (`--authorization-mode=AlwaysAllow`).
pub struct AlwaysAllow;

#[async_trait]
impl Authorizer for AlwaysAllow {
    async fn authorize(&self, _: &Attributes) -> Verdict {
        Verdict::allow("")
    }
    async fn rules_for(&self, _user: &UserInfo, _namespace: &str) -> RuleSet {
        RuleSet { rules: vec![Arc::new(crate::rbac::Rule::everything())], ..RuleSet::default() }
    }
}

/// Asks each authorizer in turn.
pub struct Union(pub Vec<Arc<dyn Authorizer>>);

#[async_trait]
impl Authorizer for Union {
    async fn authorize(&self, attrs: &Attributes) -> Verdict {
        let (mut reasons, mut errors) = (Vec::new(), Vec::new());
        for a in &self.0 {
            let v = a.authorize(attrs).await;
            errors.extend(v.error);
            if !v.reason.is_empty() {
                reasons.push(v.reason);
            }
            if v.decision != Decision::NoOpinion {
                let reason = reasons.pop().unwrap_or_default();
                return Verdict { decision: v.decision, reason, error: aggregate(&errors) };
            }
        }
        Verdict { decision: Decision::NoOpinion, reason: reasons.join("\n"), error: aggregate(&errors) }
    }

    async fn rules_for(&self, user: &UserInfo, namespace: &str) -> RuleSet {
        let mut all = RuleSet::default();
        for a in &self.0 {
            let r = a.rules_for(user, namespace).await;
            all.rules.extend(r.rules);
            all.incomplete |= r.incomplete;
            all.errors.extend(r.errors);
        }
        all
    }
}

/// Errors as upstream's utilerrors.Aggregate prints them: one alone, several in brackets, each once.
pub(crate) fn aggregate(errors: &[String]) -> Option<String> {
    let mut seen: Vec<&str> = Vec::new();
    for e in errors {
        if !seen.contains(&e.as_str()) {
            seen.push(e);
        }
    }
    match seen.as_slice() {
        [] => None,
        [one] => Some((*one).to_owned()),
        many => Some(format!("[{}]", many.join(", "))),
    }
}

/// The 403 that a refused request gets (apiserver/pkg/endpoints/handlers/responsewriters/errors.go).
pub fn forbidden(attrs: &Attributes, reason: &str) -> Status {
    let mut why = forbidden_reason(attrs);
    if !reason.is_empty() {
        why = format!("{why}: {reason}");
    }
    Status::forbidden(&GroupResource::new(&*attrs.group, &*attrs.resource), &attrs.name, why)
}

fn forbidden_reason(a: &Attributes) -> String {
    let user = format!("User {:?}", a.user.name);
    if !a.resource_request {
        return format!("{user} cannot {} path {:?}", a.verb, a.path);
    }
    let mut resource = a.resource.clone();
    if !a.subresource.is_empty() {
        resource = format!("{resource}/{}", a.subresource);
    }
    let s = format!("{user} cannot {} resource {resource:?} in API group {:?}", a.verb, a.group);
    if a.namespace.is_empty() { format!("{s} at the cluster scope") } else { format!("{s} in the namespace {:?}", a.namespace) }
}

/// Allows, or says why not as a Status.
pub async fn check(authorizer: &dyn Authorizer, attrs: &Attributes) -> Result<(), Status> {
    let v = authorizer.authorize(attrs).await;
    if v.allowed() { Ok(()) } else { Err(forbidden(attrs, &v.reason)) }
}
