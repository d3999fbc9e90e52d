//! `x-kubernetes-validations`: the rules of a schema compiled once per version, and objects checked by them. Upstream:
//! apiextensions-apiserver/pkg/apiserver/schema/cel.

mod compile;
mod cost;
mod declare;

pub use compile::compile;

use cel::{Budget, DeclType, EvalError, Program, Val, limits};
use machinery::Value;
use machinery::field::{Error, ErrorList, ErrorType, Path};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A node of a schema that has rules, or has them below.
pub struct Rules {
    decl: Option<Arc<DeclType>>,
    rules: Vec<Rule>,
    properties: BTreeMap<String, Rules>,
    additional: Option<Box<Rules>>,
    items: Option<Box<Rules>>,
    /// Keys of a list that is a map: its elements have a past.
    list_keys: Option<Vec<String>>,
    atomic: bool,
    compound: bool,
}

struct Rule {
    text: String,
    message: String,
    program: Program,
    message_expression: Option<Program>,
    reason: String,
    /// Where the error is reported, below the node.
    field: String,
    uses_old: bool,
    optional_old: bool,
}

const LONGEST_MESSAGE: usize = 5 * 1024;
const NO_BUDGET: &str = "validation failed due to running out of cost budget, no further validation rules will be run";

/// The budget is spent: nothing more is checked.
struct Spent;

impl Rules {
    /// Errors of an object; with `old`, of an update.
    pub fn validate(&self, v: &Value, old: Option<&Value>) -> ErrorList {
        let mut e = ErrorList::new();
        let budget = Budget::new(limits::RUNTIME_CEL_COST_BUDGET);
        let _ = self.check(v, old, &Path::default(), &budget, &mut e);
        e
    }

    fn check(&self, v: &Value, old: Option<&Value>, path: &Path, budget: &Budget, e: &mut ErrorList) -> Result<(), Spent> {
        let old = old.filter(|o| !o.is_null());
        if v.is_null() {
            return Ok(());
        }
        for rule in &self.rules {
            if budget.remaining() <= 0 {
                e.push(self.invalid(path, v, NO_BUDGET.into()));
                return Err(Spent);
            }
            self.apply(rule, v, old, path, budget, e)?;
        }
        match v {
            Value::Object(map) => {
                let old = old.filter(|_| !self.atomic);
                for (k, v) in map {
                    let old = old.and_then(|o| o.get(k));
                    if let Some(p) = self.properties.get(k) {
                        p.check(v, old, &path.child(k), budget, e)?;
                    } else if let Some(a) = &self.additional {
                        a.check(v, old, &path.key(k), budget, e)?;
                    }
                }
            }
            Value::Array(list) => {
                let Some(items) = &self.items else { return Ok(()) };
                for (i, v) in list.iter().enumerate() {
                    let old = self
                        .list_keys
                        .as_ref()
                        .and_then(|keys| old?.as_array()?.iter().find(|o| keys.iter().all(|k| o.get(k) == v.get(k))));
                    items.check(v, old, &path.index(i), budget, e)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn apply(
        &self,
        rule: &Rule,
        v: &Value,
        old: Option<&Value>,
        path: &Path,
        budget: &Budget,
        e: &mut ErrorList,
    ) -> Result<(), Spent> {
        if rule.uses_old && old.is_none() && !rule.optional_old {
            return Ok(());
        }
        let outcome = self.evaluate(&rule.program, rule, v, old, budget);
        if budget.remaining() < 0 {
            e.push(self.invalid(path, v, NO_BUDGET.into()));
            return Err(Spent);
        }
        let shown = rule.shown();
        match outcome {
            Ok(Val::Bool(true)) => return Ok(()),
            Ok(_) => {}
            Err(EvalError::CostExceeded) => {
                let why = EvalError::CostExceeded;
                let why =
                    format!("'{why}': no further validation rules will be run due to call cost exceeds limit for rule: {shown}");
                e.push(self.invalid(path, v, why));
                return Err(Spent);
            }
            Err(EvalError::Failed(why)) => {
                let why = if why.starts_with("no such overload") {
                    format!(
                        "'{why}': call arguments did not match a supported operator, function or macro signature for rule: {shown}"
                    )
                } else {
                    format!("{why} evaluating rule: {shown}")
                };
                e.push(self.invalid(path, v, why));
                return Ok(());
            }
        }
        // What an update leaves as it was raises no error.
        if !rule.uses_old && old == Some(v) {
            return Ok(());
        }
        let made = rule.message_expression.as_ref().and_then(|m| {
            let made = self.evaluate(m, rule, v, old, budget).ok()?;
            let text = made.as_str()?.trim().to_owned();
            (!text.is_empty() && !text.contains(['\n', '\r']) && text.len() <= LONGEST_MESSAGE).then_some(text)
        });
        let detail =
            made.unwrap_or_else(|| if rule.message.is_empty() { format!("failed rule: {shown}") } else { rule.message.clone() });
        let at = if rule.field.is_empty() { path.clone() } else { path.child(&rule.field) };
        e.push(match rule.reason.as_str() {
            "FieldValueForbidden" => Error::forbidden(&at, detail),
            "FieldValueRequired" => Error::required(&at, detail),
            "FieldValueDuplicate" => Error::new(ErrorType::Duplicate, &at, v.clone(), detail),
            _ => self.invalid(&at, v, detail),
        });
        Ok(())
    }

    fn evaluate<'a>(
        &'a self,
        program: &Program,
        rule: &Rule,
        v: &'a Value,
        old: Option<&'a Value>,
        budget: &Budget,
    ) -> Result<Val<'a>, EvalError> {
        let decl = self.decl.as_deref();
        let mut vars = vec![("self", Val::declared(v, decl)?)];
        match (old, rule.optional_old) {
            (Some(o), false) => vars.push(("oldSelf", Val::declared(o, decl)?)),
            (Some(o), true) => vars.push(("oldSelf", Val::some(Val::declared(o, decl)?))),
            (None, true) => vars.push(("oldSelf", Val::Optional(None))),
            (None, false) => {}
        }
        program.eval(&vars, budget)
    }

    /// Objects and lists are not shown.
    fn invalid(&self, path: &Path, v: &Value, detail: String) -> Error {
        let kind = if self.compound { ErrorType::InvalidOmitted } else { ErrorType::Invalid };
        Error::new(kind, path, v.clone(), detail)
    }
}

impl Rule {
    fn shown(&self) -> &str {
        if self.message.is_empty() { &self.text } else { &self.message }
    }
}
