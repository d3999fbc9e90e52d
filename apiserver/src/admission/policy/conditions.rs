//! `matchConditions` of webhooks: the same expressions as a policy's, in a configuration that is none
//! (apiserver/pkg/admission/plugin/webhook/matchconditions).

use super::Family;
use super::definition::Policy;
use super::input::{Asker, Input, Scope, request};
use crate::admission::{Attributes, Lister};
use cel::{Budget, limits};
use machinery::field::{ErrorList, Path};
use machinery::{Value, json};
use std::sync::Arc;

/// Compiled conditions.
pub struct Conditions(Policy);

impl Conditions {
    /// `None` where there are none.
    pub fn compile(list: &[Value]) -> Option<Self> {
        let policy = json!({"spec": {"matchConditions": list}});
        (!list.is_empty()).then(|| Self(Policy::compile(Family::Validating, Arc::new(policy))))
    }

    /// What is wrong with them, where they stand below `path`.
    pub fn errors(&self, path: &Path) -> ErrorList {
        let mut errors = self.0.errors();
        for e in &mut errors {
            e.field = e.field.replacen("spec", path.as_str(), 1);
        }
        errors
    }

    /// Whether all hold; one that is false outweighs errors of others.
    pub fn hold(&self, attrs: &Attributes, object: &Value, cx: &dyn Lister) -> Result<bool, String> {
        let asker = Asker { attrs, authorizer: cx.authorizer() };
        let request = request(attrs);
        let null = &Value::Null;
        let input = Input { attrs, object, params: null, request: &request, namespace: null, asker: &asker };
        let budget = Budget::new(limits::RUNTIME_CEL_COST_BUDGET_MATCH_CONDITIONS);
        Scope::new(&input, &self.0, &budget).conditions()
    }
}
