//! What the expressions of a policy see of a request, and their evaluation (apiserver/pkg/admission/plugin/cel).

use super::definition::{Expression, Policy};
use crate::admission::Attributes;
use cel::{Activation, Budget, Check, Decision, EvalError, Extension, Fields, MapVal, ServiceAccount, Val};
use futures::FutureExt;
use machinery::{Map, Value, json, meta};
use std::cell::RefCell;
use std::collections::HashMap;

const OUT_OF_BUDGET: &str = "validation failed due to running out of cost budget, no further validation rules will be run";

/// The values of the variables.
pub struct Input<'a> {
    pub attrs: &'a Attributes,
    pub object: &'a Value,
    pub params: &'a Value,
    pub request: &'a Value,
    pub namespace: &'a Value,
    pub asker: &'a Asker<'a>,
}

/// `request`.
pub fn request(attrs: &Attributes) -> Value {
    crate::admission::request::request(attrs, &attrs.gvk, &attrs.gvr, "")
}

/// `namespaceObject`: a Namespace without what is nobody's business.
pub fn namespace(found: &Value) -> Value {
    let keep = |from: &Map<String, Value>, fields: &[&str]| -> Map<String, Value> {
        from.iter().filter(|(k, _)| fields.contains(&k.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    let metadata = keep(
        meta::map_at(found, &["metadata"]),
        &[
            "name",
            "generateName",
            "namespace",
            "labels",
            "annotations",
            "uid",
            "creationTimestamp",
            "deletionGracePeriodSeconds",
            "deletionTimestamp",
            "generation",
            "resourceVersion",
            "finalizers",
        ],
    );
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata, "spec": found["spec"], "status": found["status"]})
}

/// Answers an expression's checks of authorization.
pub struct Asker<'a> {
    pub attrs: &'a Attributes,
    pub authorizer: &'a dyn auth::Authorizer,
}

impl cel::Authorizer for Asker<'_> {
    fn check(&self, account: Option<&ServiceAccount>, check: &Check, verb: &str) -> Decision {
        let user = match account {
            Some(a) => auth::UserInfo::new(
                format!("system:serviceaccount:{}:{}", a.namespace, a.name),
                &["system:serviceaccounts", &format!("system:serviceaccounts:{}", a.namespace), "system:authenticated"],
            ),
            None => self.attrs.user.clone(),
        };
        let asked = match check {
            Check::Path(path) => auth::Attributes::path(&user, verb, path),
            Check::Resource(r) => {
                let mut asked = auth::Attributes::resource(&user, verb, &r.group, &r.resource, &r.namespace, &r.name)
                    .with_subresource(&r.subresource);
                (asked.field_selector, asked.label_selector) = (r.field_selector.clone(), r.label_selector.clone());
                asked
            }
        };
        // Evaluation can't wait; authorizers that know their rules answer at once.
        match self.authorizer.authorize(&asked).now_or_never() {
            Some(v) => Decision { allowed: v.allowed(), reason: v.reason, error: v.error },
            None => Decision { error: Some("the authorizer did not answer at once".into()), ..Decision::default() },
        }
    }
}

/// A policy's expressions on one input, which share a budget and the values of `variables`.
pub struct Scope<'a> {
    input: &'a Input<'a>,
    policy: &'a Policy,
    budget: &'a Budget,
    values: RefCell<HashMap<String, Result<Val<'a>, EvalError>>>,
}

impl<'a> Scope<'a> {
    pub fn new(input: &'a Input<'a>, policy: &'a Policy, budget: &'a Budget) -> Self {
        Self { input, policy, budget, values: RefCell::default() }
    }

    /// The value of an expression; the outer error ends the policy, the inner is the expression's own.
    pub fn evaluate(&'a self, e: &Expression) -> Result<Result<Val<'a>, String>, String> {
        let program = match &e.program {
            Ok(p) => p,
            Err(why) => return Ok(Err(format!("compilation error: {why}"))),
        };
        let result = program.eval(&Vars(self), self.budget);
        if self.budget.remaining() < 0 {
            return Err(OUT_OF_BUDGET.into());
        }
        Ok(result.map_err(|why| format!("expression '{}' resulted in error: {why}", e.text)))
    }

    /// Whether all match conditions hold. Upstream gives them a budget of their own.
    pub fn conditions(&'a self) -> Result<bool, String> {
        let mut failed = Vec::new();
        for c in &self.policy.conditions {
            match self.evaluate(c)? {
                Ok(Val::Bool(true)) => {}
                Ok(_) => return Ok(false),
                Err(why) => failed.push(why),
            }
        }
        match failed.as_slice() {
            [] => Ok(true),
            [one] => Err(one.clone()),
            many => Err(format!("[{}]", many.join(", "))),
        }
    }
}

impl<'a> Fields<'a> for Scope<'a> {
    fn get(&'a self, name: &str) -> Option<Result<Val<'a>, EvalError>> {
        if let Some(known) = self.values.borrow().get(name) {
            return Some(known.clone());
        }
        let (_, e) = self.policy.variables.iter().find(|(n, _)| n == name)?;
        let value = match &e.program {
            Err(why) => Err(EvalError::Failed(format!("composited variable {name:?} fails to compile: {why}"))),
            Ok(p) => p
                .eval(&Vars(self), self.budget)
                .map_err(|why| EvalError::Failed(format!("composited variable {name:?} fails to evaluate: {why}"))),
        };
        self.values.borrow_mut().insert(name.to_owned(), value.clone());
        Some(value)
    }
}

struct Vars<'a>(&'a Scope<'a>);

impl<'a> Activation<'a> for Vars<'a> {
    fn get(&self, name: &str) -> Option<Result<Val<'a>, EvalError>> {
        let input = self.0.input;
        Some(Ok(match name {
            "object" => Val::dynamic(input.object),
            "oldObject" => Val::dynamic(input.attrs.old()),
            "params" => Val::dynamic(input.params),
            "request" => Val::dynamic(input.request),
            "namespaceObject" => Val::dynamic(input.namespace),
            "variables" => Val::Map(MapVal::Lazy(self.0)),
            "authorizer" => Val::Extension(Extension::authorizer(input.asker)),
            "authorizer.requestResource" => {
                let a = input.attrs;
                Val::Extension(Extension::request_resource(
                    input.asker,
                    &a.gvr.group,
                    &a.gvr.resource,
                    &a.subresource,
                    &a.namespace,
                    &a.name,
                ))
            }
            _ => return None,
        }))
    }
}
