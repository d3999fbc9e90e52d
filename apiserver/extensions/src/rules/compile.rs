//! Rules from their texts, and what they may cost at most.

use super::cost::{Cardinality, Costs};
use super::declare::declare;
use super::{Rule, Rules};
use crate::structural::{Additional, Schema};
use cel::{DeclType, Env, Program, Type};
use machinery::field::{Error, ErrorList, Path};
use machinery::{Value, meta};
use std::sync::Arc;

/// The rules of a resource's schema; `None` if it has none. Errors are those of its definition, below `path`. With `limit`, rules
/// that may cost too much are refused.
pub fn compile(s: &Schema, path: &Path, limit: bool) -> Result<Option<Rules>, ErrorList> {
    let mut c = Compiler { errors: ErrorList::new(), costs: Costs::default(), limit };
    let rules = c.node(s, true, path, None, Cardinality::ONE);
    if c.limit {
        c.costs.total(path, &mut c.errors);
    }
    if c.errors.is_empty() { Ok(rules) } else { Err(c.errors) }
}

struct Compiler {
    errors: ErrorList,
    costs: Costs,
    limit: bool,
}

impl Compiler {
    /// `no_past`: the place above which old and new values can't be told to belong together.
    fn node(&mut self, s: &Schema, root: bool, path: &Path, no_past: Option<&Path>, count: Cardinality) -> Option<Rules> {
        let mut out = Rules {
            decl: None,
            rules: Vec::new(),
            properties: std::collections::BTreeMap::new(),
            additional: None,
            items: None,
            list_keys: (s.list_type.as_deref() == Some("map")).then(|| s.list_keys.clone()),
            atomic: s.map_type.as_deref() == Some("atomic"),
            compound: root || matches!(s.ty.as_str(), "object" | "array"),
        };
        if !s.validations.is_empty() {
            out.decl = declare(s, root || s.embedded);
            let at = path.child("x-kubernetes-validations");
            for (i, raw) in s.validations.iter().enumerate() {
                if let Some(r) = self.rule(raw, out.decl.as_ref(), &at.index(i), no_past, count) {
                    out.rules.push(r);
                }
            }
        }
        let below = if out.atomic { no_past.or(Some(path)) } else { no_past };
        for (k, p) in &s.properties {
            if let Some(r) = self.node(p, false, &path.child("properties").key(k), below, count) {
                out.properties.insert(k.clone(), r);
            }
        }
        if let Some(Additional::Schema(a)) = &s.additional {
            let count = count.times(s.max_properties);
            out.additional = self.node(a, false, &path.child("additionalProperties"), no_past, count).map(Box::new);
        }
        if let Some(items) = &s.items {
            let below = if out.list_keys.is_some() { no_past } else { no_past.or(Some(path)) };
            out.items = self.node(items, false, &path.child("items"), below, count.times(s.max_items)).map(Box::new);
        }
        let empty = out.rules.is_empty() && out.properties.is_empty() && out.additional.is_none() && out.items.is_none();
        (!empty).then_some(out)
    }
}

/// The form of a rule, whatever it says.
fn form(raw: &Value, path: &Path, e: &mut ErrorList) -> bool {
    let before = e.len();
    let text = |k: &str| meta::str_at(raw, &[k]);
    let lines = |s: &str| s.contains(['\n', '\r']);
    let (rule, message) = (text("rule").trim(), text("message").trim());
    if rule.is_empty() {
        e.push(Error::required(&path.child("rule"), "rule is not specified"));
    } else if !text("message").is_empty() && message.is_empty() {
        e.push(Error::invalid(&path.child("message"), text("message"), "must be non-empty if specified"));
    } else if lines(message) {
        e.push(Error::invalid(&path.child("message"), text("message"), "must not contain line breaks"));
    } else if lines(rule) && message.is_empty() {
        e.push(Error::required(&path.child("message"), "message must be specified if rule contains line breaks"));
    }
    if !text("messageExpression").is_empty() && text("messageExpression").trim().is_empty() {
        e.push(Error::required(&path.child("messageExpression"), "messageExpression must be non-empty if specified"));
    }
    let reasons = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
    if let Some(r) = raw.get("reason").and_then(Value::as_str).filter(|r| !reasons.contains(r)) {
        e.push(Error::not_supported(&path.child("reason"), r, &reasons));
    }
    if !text("fieldPath").is_empty() && text("fieldPath").trim().is_empty() {
        e.push(Error::invalid(&path.child("fieldPath"), text("fieldPath"), "must be non-empty if specified"));
    }
    if lines(text("fieldPath")) {
        e.push(Error::invalid(&path.child("fieldPath"), text("fieldPath"), "must not contain line breaks"));
    }
    e.len() == before
}

impl Compiler {
    fn rule(
        &mut self,
        raw: &Value,
        decl: Option<&Arc<DeclType>>,
        path: &Path,
        no_past: Option<&Path>,
        count: Cardinality,
    ) -> Option<Rule> {
        let e = &mut self.errors;
        if !form(raw, path, e) {
            return None;
        }
        let self_type = decl.map_or(Type::Dyn, |d| d.as_type());
        let text = |k: &str| meta::str_at(raw, &[k]).to_owned();
        let optional_old = meta::bool_at(raw, &["optionalOldSelf"]);
        let old_type = if optional_old { Type::optional(self_type.clone()) } else { self_type.clone() };
        let env = Env::new([("self", self_type), ("oldSelf", old_type)]);
        let compiled = |source: &str, want: &Type, fail: &str, not: &str| -> Result<Program, String> {
            let p = env.compile(source).map_err(|why| format!("{fail}: {why}"))?;
            if p.output() == want { Ok(p) } else { Err(not.to_owned()) }
        };
        let program = match compiled(&text("rule"), &Type::Bool, "compilation failed", "cel expression must evaluate to a bool") {
            Ok(p) => p,
            Err(why) => {
                e.push(Error::invalid(&path.child("rule"), raw.clone(), why));
                return None;
            }
        };
        let source = text("messageExpression");
        let message_expression = if source.is_empty() {
            None
        } else {
            let not = "messageExpression must evaluate to a string";
            match compiled(&source, &Type::String, "messageExpression compilation failed", not) {
                Ok(p) => Some(p),
                Err(why) => {
                    e.push(Error::invalid(&path.child("messageExpression"), raw.clone(), why));
                    return None;
                }
            }
        };
        if self.limit
            && let Some(decl) = decl
        {
            let at = path.child("rule");
            self.costs.add("estimated rule cost", at, count.of(decl, program.max_cost(decl)), e);
            if let Some(m) = &message_expression {
                self.costs.add("estimated messageExpression cost", path.child("messageExpression"), m.max_cost(decl), e);
            }
        }
        let uses_old = program.uses("oldSelf");
        if uses_old && let Some(above) = no_past {
            let why = format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {above}");
            e.push(Error::invalid(&path.child("rule"), text("rule"), why));
        } else if !uses_old && raw.get("optionalOldSelf").is_some_and(|o| !o.is_null()) {
            let why = "may not be set if oldSelf is not used in rule";
            e.push(Error::invalid(&path.child("optionalOldSelf"), optional_old, why));
        }
        Some(Rule {
            text: text("rule").trim().to_owned(),
            message: text("message").trim().to_owned(),
            program,
            message_expression,
            reason: text("reason"),
            field: text("fieldPath").trim().trim_start_matches('.').to_owned(),
            uses_old,
            optional_old,
        })
    }
}
