//! The RBAC objects as decisions need them: rules parsed once, bindings found by subject. The API server feeds it from the watch
//! caches of roles, clusterroles, rolebindings and clusterrolebindings.

use super::{GROUP, Rule};
use crate::UserInfo;
use crate::authz::{Attributes, Authorizer, RuleSet, Verdict, aggregate};
use crate::user::service_account_user;
use async_trait::async_trait;
use machinery::meta::{list_at, str_at};
use machinery::{GroupResource, Status, Value};
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;

type Rules = Arc<[Arc<Rule>]>;
/// Namespace (empty for cluster-wide) and name.
type Key = (String, String);

/// Bindings, with the index of a subject in each.
type Places = Vec<(Arc<Binding>, usize)>;
/// Sees a rule and (when called) where it comes from; false ends the visit.
type Visitor<'a> = &'a mut dyn FnMut(&Arc<Rule>, &dyn Fn() -> String) -> bool;

#[derive(Clone, PartialEq, Eq, Hash)]
enum Subject {
    /// Users, and service accounts by their user name.
    User(String),
    Group(String),
}

struct Binding {
    namespace: String,
    name: String,
    ref_kind: String,
    ref_name: String,
    subjects: Vec<Subject>,
    /// Upstream's words for each subject.
    described: Vec<String>,
}

#[derive(Default)]
struct State {
    /// Roles by namespace and name; cluster roles under the empty namespace.
    roles: HashMap<Key, Rules>,
    bindings: HashMap<Key, Arc<Binding>>,
    /// Namespace, then subject, then the bindings with that subject and its place in them.
    by_subject: HashMap<String, HashMap<Subject, Places>>,
}

/// RBAC's view of the cluster; an `Authorizer`.
#[derive(Default)]
pub struct RbacStore {
    state: RwLock<State>,
}

impl RbacStore {
    /// The resources of group `rbac.authorization.k8s.io` that `apply` wants to hear of.
    pub const RESOURCES: [&'static str; 4] = ["roles", "clusterroles", "rolebindings", "clusterrolebindings"];

    /// An object as it is now, or `None` when it was deleted.
    pub fn apply(&self, resource: &str, namespace: &str, name: &str, object: Option<&Value>) {
        let key = (namespace.to_owned(), name.to_owned());
        let mut state = self.state.write();
        match (resource, object) {
            ("roles" | "clusterroles", Some(o)) => {
                let rules = list_at(o, &["rules"]).iter().map(|r| Arc::new(Rule::from_value(r))).collect();
                state.roles.insert(key, rules);
            }
            ("roles" | "clusterroles", None) => {
                state.roles.remove(&key);
            }
            ("rolebindings" | "clusterrolebindings", _) => {
                state.unbind(&key);
                if let Some(o) = object {
                    state.bind(key, Binding::parse(namespace, name, o));
                }
            }
            _ => {}
        }
    }

    /// Calls `visit` with each rule that applies and where it comes from, until it returns false; errors are roles that do not exist.
    fn visit(&self, user: &UserInfo, namespace: &str, visit: Visitor<'_>) -> Vec<String> {
        let state = self.state.read();
        let mut errors = Vec::new();
        let subjects: Vec<Subject> = std::iter::once(Subject::User(user.name.clone()))
            .chain(user.groups.iter().map(|g| Subject::Group(g.clone())))
            .collect();
        let scopes = if namespace.is_empty() { &[""][..] } else { &["", namespace][..] };
        for scope in scopes {
            let Some(index) = state.by_subject.get(*scope) else { continue };
            let mut seen: Vec<*const Binding> = Vec::new();
            for (binding, place) in subjects.iter().filter_map(|s| index.get(s)).flatten() {
                if seen.contains(&Arc::as_ptr(binding)) {
                    continue;
                }
                seen.push(Arc::as_ptr(binding));
                match state.resolve(&binding.ref_kind, &binding.ref_name, &binding.namespace) {
                    Err(e) => errors.push(e.message),
                    Ok(rules) => {
                        let source = || binding.describe(*place);
                        if rules.iter().any(|r| !visit(r, &source)) {
                            return errors;
                        }
                    }
                }
            }
        }
        errors
    }

    /// All rules that apply to the user in the namespace, and the errors met.
    pub fn rules(&self, user: &UserInfo, namespace: &str) -> (Vec<Arc<Rule>>, Vec<String>) {
        let mut rules = Vec::new();
        let errors = self.visit(user, namespace, &mut |r, _| {
            rules.push(r.clone());
            true
        });
        (rules, errors)
    }

    /// The rules of the role that a binding in `namespace` refers to.
    pub fn referenced(&self, kind: &str, name: &str, namespace: &str) -> Result<Vec<Rule>, Status> {
        let rules = self.state.read().resolve(kind, name, namespace)?;
        Ok(rules.iter().map(|r| Rule::clone(r)).collect())
    }
}

impl State {
    fn resolve(&self, kind: &str, name: &str, namespace: &str) -> Result<Rules, Status> {
        let (scope, resource) = match kind {
            "Role" => (namespace, "role"),
            "ClusterRole" => ("", "clusterrole"),
            _ => return Err(Status::internal(format!("unsupported role reference kind: {kind:?}"))),
        };
        let found = self.roles.get(&(scope.to_owned(), name.to_owned())).cloned();
        found.ok_or_else(|| Status::not_found(&GroupResource::new(GROUP, resource), name))
    }

    fn bind(&mut self, key: Key, binding: Binding) {
        let binding = Arc::new(binding);
        let index = self.by_subject.entry(key.0.clone()).or_default();
        for (i, s) in binding.subjects.iter().enumerate() {
            index.entry(s.clone()).or_default().push((binding.clone(), i));
        }
        self.bindings.insert(key, binding);
    }

    fn unbind(&mut self, key: &Key) {
        let Some(old) = self.bindings.remove(key) else { return };
        let Some(index) = self.by_subject.get_mut(&key.0) else { return };
        for s in &old.subjects {
            if let Some(list) = index.get_mut(s) {
                list.retain(|(b, _)| !Arc::ptr_eq(b, &old));
                if list.is_empty() {
                    index.remove(s);
                }
            }
        }
        if index.is_empty() {
            self.by_subject.remove(&key.0);
        }
    }
}

impl Binding {
    fn parse(namespace: &str, name: &str, o: &Value) -> Self {
        let mut b = Self {
            namespace: namespace.into(),
            name: name.into(),
            ref_kind: str_at(o, &["roleRef", "kind"]).into(),
            ref_name: str_at(o, &["roleRef", "name"]).into(),
            subjects: Vec::new(),
            described: Vec::new(),
        };
        for s in list_at(o, &["subjects"]) {
            let (kind, name) = (str_at(s, &["kind"]), str_at(s, &["name"]));
            let (subject, described) = match kind {
                "User" => (Subject::User(name.into()), format!("User {name:?}")),
                "Group" => (Subject::Group(name.into()), format!("Group {name:?}")),
                "ServiceAccount" => {
                    // A subject without a namespace means the binding's own.
                    let ns = Some(str_at(s, &["namespace"])).filter(|n| !n.is_empty()).unwrap_or(namespace);
                    if ns.is_empty() {
                        continue;
                    }
                    let described = format!("ServiceAccount {:?}", format!("{name}/{ns}"));
                    (Subject::User(service_account_user(ns, name)), described)
                }
                _ => continue,
            };
            b.subjects.push(subject);
            b.described.push(described);
        }
        b
    }

    fn describe(&self, subject: usize) -> String {
        let (kind, name) = if self.namespace.is_empty() {
            ("ClusterRoleBinding", self.name.clone())
        } else {
            ("RoleBinding", format!("{}/{}", self.name, self.namespace))
        };
        let to = self.described.get(subject).map_or("", String::as_str);
        format!("{kind} {name:?} of {} {:?} to {to}", self.ref_kind, self.ref_name)
    }
}

#[async_trait]
impl Authorizer for RbacStore {
    async fn authorize(&self, attrs: &Attributes) -> Verdict {
        let mut reason = None;
        let errors = self.visit(&attrs.user, &attrs.namespace, &mut |rule, source| {
            if rule.allows(attrs) {
                reason = Some(format!("RBAC: allowed by {}", source()));
            }
            reason.is_none()
        });
        match reason {
            Some(r) => Verdict::allow(r),
            None => Verdict::no_opinion(aggregate(&errors).map_or(String::new(), |e| format!("RBAC: {e}"))),
        }
    }

    async fn rules_for(&self, user: &UserInfo, namespace: &str) -> RuleSet {
        let (rules, errors) = self.rules(user, namespace);
        RuleSet { rules, incomplete: false, errors: aggregate(&errors).into_iter().collect() }
    }
}
