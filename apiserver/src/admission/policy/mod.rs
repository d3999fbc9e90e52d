//! Admission policies: ValidatingAdmissionPolicy and MutatingAdmissionPolicy, rules in CEL that live in the cluster. A policy says
//! what is checked or changed, a binding where and with which parameters. Policies are compiled once per change ([`definition`]),
//! matched against a request ([`matching`]), given their parameters ([`params`]) and evaluated ([`input`], [`validating`],
//! [`mutating`]). Upstream: apiserver/pkg/admission/plugin/policy.

mod conditions;
mod definition;
mod input;
mod matching;
mod mutating;
mod params;
#[cfg(test)]
mod tests;
mod validating;

pub use conditions::Conditions;

use super::{Attributes, Lister, Operation, Plugin};
use async_trait::async_trait;
use definition::{Cache, Policy};
use machinery::{Status, Value, meta};
use std::sync::Arc;

const GROUP: &str = "admissionregistration.k8s.io";

/// Kinds that no policy is asked about: one that refuses them could not be removed again.
fn exempt(attrs: &Attributes) -> bool {
    attrs.gvk.group == GROUP
}

/// What the two kinds of policies differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Validating,
    Mutating,
}

impl Family {
    fn kind(self) -> &'static str {
        match self {
            Self::Validating => "ValidatingAdmissionPolicy",
            Self::Mutating => "MutatingAdmissionPolicy",
        }
    }
    fn policies(self) -> &'static str {
        match self {
            Self::Validating => "validatingadmissionpolicies",
            Self::Mutating => "mutatingadmissionpolicies",
        }
    }
    fn bindings(self) -> &'static str {
        match self {
            Self::Validating => "validatingadmissionpolicybindings",
            Self::Mutating => "mutatingadmissionpolicybindings",
        }
    }
}

/// A policy that applies to a request, by a binding, with one parameter object (or none).
struct Invocation {
    policy: Arc<Policy>,
    binding: Arc<Value>,
    param: Option<Arc<Value>>,
}

/// A policy that could not be applied.
struct Misconfigured {
    policy: Arc<Policy>,
    binding: Option<Arc<Value>>,
    why: String,
}

/// What applies to a request, in the order of names, and what does not for a fault of its configuration.
async fn select(
    family: Family,
    cache: &Cache,
    attrs: &Attributes,
    obj: &Value,
    cx: &dyn Lister,
) -> (Vec<Invocation>, Vec<Misconfigured>) {
    let (mut found, mut faults) = (Vec::new(), Vec::new());
    let bindings = cx.list(GROUP, family.bindings(), "");
    if bindings.is_empty() {
        return (found, faults);
    }
    for policy in cx.list(GROUP, family.policies(), "") {
        let name = meta::name(&policy);
        let own: Vec<&Arc<Value>> = bindings.iter().filter(|b| meta::str_at(b, &["spec", "policyName"]) == name).collect();
        if own.is_empty() {
            continue;
        }
        let policy = cache.compiled(family, &policy);
        let fault =
            |binding: Option<&Arc<Value>>, why: String| Misconfigured { policy: policy.clone(), binding: binding.cloned(), why };
        match matching::matches(meta::at(&policy.object, &["spec", "matchConstraints"]), true, attrs, obj, cx).await {
            Ok(true) => {}
            Ok(false) => continue,
            Err(why) => {
                faults.push(fault(None, format!("failed to configure policy: {why}")));
                continue;
            }
        }
        for binding in own {
            let bad = |why: String| fault(Some(binding), format!("failed to configure binding: {why}"));
            match matching::matches(meta::at(binding, &["spec", "matchResources"]), false, attrs, obj, cx).await {
                Ok(true) => {}
                Ok(false) => continue,
                Err(why) => {
                    faults.push(bad(why));
                    continue;
                }
            }
            match params::collect(&policy.object, binding, attrs, cx).await {
                Ok(params) => found.extend(params.into_iter().map(|param| Invocation {
                    policy: policy.clone(),
                    binding: binding.clone(),
                    param,
                })),
                Err(why) => faults.push(bad(why)),
            }
        }
    }
    (found, faults)
}

/// The request's namespace as expressions see it; null for what has none.
async fn namespace_object(attrs: &Attributes, cx: &dyn Lister) -> Result<Value, Status> {
    if attrs.namespace.is_empty() || attrs.gvk.kind == "Namespace" && attrs.gvk.group.is_empty() {
        return Ok(Value::Null);
    }
    let name = &attrs.namespace;
    let found = match cx.get("", "namespaces", "", name) {
        Some(found) => found,
        None => cx
            .get_live("", "namespaces", "", name)
            .await?
            .ok_or_else(|| Status::not_found(&machinery::GroupResource::new("", "namespaces"), name))?,
    };
    Ok(input::namespace(&found))
}

/// ValidatingAdmissionPolicy.
#[derive(Default)]
pub struct ValidatingAdmissionPolicy(Cache);
/// MutatingAdmissionPolicy.
#[derive(Default)]
pub struct MutatingAdmissionPolicy(Cache);

#[async_trait]
impl Plugin for ValidatingAdmissionPolicy {
    fn name(&self) -> &'static str {
        Family::Validating.kind()
    }
    fn handles(&self, attrs: &Attributes) -> bool {
        !exempt(attrs) || attrs.is_main(GROUP, Family::Validating.policies())
    }
    async fn validate(&self, attrs: &Attributes, obj: &Value, cx: &dyn Lister) -> Result<(), Status> {
        if exempt(attrs) {
            return check(Family::Validating, attrs, obj);
        }
        validating::dispatch(&self.0, attrs, obj, cx).await
    }
}

#[async_trait]
impl Plugin for MutatingAdmissionPolicy {
    fn name(&self) -> &'static str {
        Family::Mutating.kind()
    }
    fn handles(&self, attrs: &Attributes) -> bool {
        !exempt(attrs) || attrs.is_main(GROUP, Family::Mutating.policies())
    }
    async fn admit(&self, attrs: &Attributes, obj: &mut Value, cx: &dyn Lister) -> Result<(), Status> {
        if exempt(attrs) || obj.is_null() {
            return Ok(());
        }
        mutating::dispatch(&self.0, attrs, obj, cx).await
    }
    async fn validate(&self, attrs: &Attributes, obj: &Value, _: &dyn Lister) -> Result<(), Status> {
        if exempt(attrs) { check(Family::Mutating, attrs, obj) } else { Ok(()) }
    }
}

/// A policy that is written must compile; on updates only if its spec changed.
fn check(family: Family, attrs: &Attributes, obj: &Value) -> Result<(), Status> {
    if !matches!(attrs.operation, Operation::Create | Operation::Update) || obj.get("spec") == attrs.old().get("spec") {
        return Ok(());
    }
    let errors = Policy::compile(family, Arc::new(obj.clone())).errors();
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid(GROUP, family.kind(), meta::name(obj), &errors)) }
}
