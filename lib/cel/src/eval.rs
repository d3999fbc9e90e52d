//! The evaluator: walks the tree, meters the cost as upstream does.

use std::sync::Arc;

use crate::ast::{Call, Comprehension, Expr, Kind, Literal};
use crate::cost;
use crate::env::Activation;
use crate::error::EvalError;
use crate::library::{Function, index, type_named};
use crate::value::{Struct, Val};

type Result<T> = std::result::Result<T, EvalError>;

pub(crate) struct Evaluation<'p, 'a> {
    vars: &'p dyn Activation<'a>,
    scopes: Vec<(&'p str, Val<'a>)>,
    pub cost: u64,
    limit: u64,
}

impl<'p, 'a> Evaluation<'p, 'a> {
    pub fn new(vars: &'p dyn Activation<'a>, limit: u64) -> Self {
        Self { vars, scopes: Vec::new(), cost: 0, limit }
    }

    /// The value of the expression.
    pub fn run(&mut self, e: &'p Expr) -> Result<Val<'a>> {
        if e.constant {
            let before = self.cost;
            let value = self.node(e);
            self.cost = before;
            return value;
        }
        self.node(e)
    }

    fn spend(&mut self, units: u64) -> Result<()> {
        self.cost = self.cost.saturating_add(units);
        if self.cost > self.limit { Err(EvalError::CostExceeded) } else { Ok(()) }
    }

    fn node(&mut self, e: &'p Expr) -> Result<Val<'a>> {
        match &e.kind {
            Kind::Literal(l) => Ok(literal(l)),
            Kind::Ident(_) | Kind::Select(..) | Kind::OptSelect(..) => self.attribute(e, true),
            Kind::Has(operand, field) => {
                let operand = self.operand(operand, false)?;
                self.spend(cost::SELECT)?;
                Ok(Val::Bool(present(&operand, field)?))
            }
            Kind::Call(call) => self.call(e, call),
            Kind::List(elements) => {
                let mut out = Vec::with_capacity(elements.len());
                for element in elements {
                    let v = self.run(&element.value)?;
                    match v {
                        Val::Optional(o) if element.optional => out.extend(o.map(|v| (*v).clone())),
                        v => out.push(v),
                    }
                }
                self.spend(cost::CREATE_LIST)?;
                Ok(Val::list(out))
            }
            Kind::Map(entries) => self.map(entries),
            Kind::Struct(name, fields) => {
                let mut out = Vec::with_capacity(fields.len());
                for field in fields {
                    match self.run(&field.value)? {
                        Val::Optional(o) if field.optional => out.extend(o.map(|v| (field.name.clone(), (*v).clone()))),
                        v => out.push((field.name.clone(), v)),
                    }
                }
                self.spend(cost::CREATE_STRUCT)?;
                Ok(Val::Struct(Arc::new(Struct { name: name.as_str().into(), fields: out })))
            }
            Kind::Comprehension(c) => self.fold(c),
            Kind::OptMap { target, var, body, flat } => self.opt_map(target, var, body, *flat),
        }
    }

    fn variable(&mut self, name: &str) -> Result<Val<'a>> {
        let name = name.strip_prefix('.').unwrap_or(name);
        if let Some((_, v)) = self.scopes.iter().rev().find(|(n, _)| *n == name) {
            return Ok(v.clone());
        }
        match self.vars.get(name) {
            Some(v) => v,
            None => match type_named(name) {
                Some(t) => {
                    // A type is a constant, which costs nothing.
                    self.cost = self.cost.saturating_sub(cost::SELECT);
                    Ok(Val::Type(Arc::new(t)))
                }
                None => Err(EvalError::new(format!("no such attribute(s): {name}"))),
            },
        }
    }

    /// A variable with the fields and indexes after it; `whole` if the variable is counted, which it is not in a branch of `?:`.
    fn attribute(&mut self, e: &'p Expr, whole: bool) -> Result<Val<'a>> {
        match &e.kind {
            Kind::Ident(name) => {
                if whole {
                    self.spend(cost::SELECT)?;
                }
                self.variable(name)
            }
            Kind::Select(operand, field) => {
                let v = self.operand(operand, whole)?;
                if !matches!(v, Val::Optional(None)) {
                    self.spend(cost::SELECT)?;
                }
                select(&v, field)
            }
            Kind::OptSelect(operand, field) => {
                let v = self.operand(operand, whole)?;
                let found = self.optional(&v, field)?;
                if matches!(found, Val::Optional(Some(_))) {
                    self.spend(cost::SELECT)?;
                }
                Ok(found)
            }
            Kind::Call(c) if matches!(c.function.as_str(), "_[_]" | "_[?_]") => {
                let v = self.operand(&c.args[0], whole)?;
                // A variable as an index counts as one step of this attribute.
                let key = if c.args[1].constant { self.run(&c.args[1])? } else { self.attribute(&c.args[1], false)? };
                if c.function == "_[_]" {
                    self.spend(cost::SELECT)?;
                    return index(&v, &key);
                }
                let inner = match &v {
                    Val::Optional(None) => return Ok(v),
                    Val::Optional(Some(v)) => (**v).clone(),
                    _ => v,
                };
                match index(&inner, &key) {
                    Ok(v) => {
                        self.spend(cost::SELECT)?;
                        Ok(Val::some(v))
                    }
                    Err(e) if e == EvalError::no_such_overload() => Err(e),
                    Err(_) => Ok(Val::Optional(None)),
                }
            }
            _ => self.run(e),
        }
    }

    /// What fields are selected from: more of the same attribute, or another expression, which counts as an attribute of its own.
    fn operand(&mut self, e: &'p Expr, whole: bool) -> Result<Val<'a>> {
        let chained = match &e.kind {
            Kind::Ident(_) | Kind::Select(..) | Kind::OptSelect(..) => true,
            Kind::Call(c) => matches!(c.function.as_str(), "_[_]" | "_[?_]" | "_?_:_"),
            _ => false,
        };
        if chained {
            return self.attribute(e, whole);
        }
        let v = self.run(e)?;
        if whole {
            self.spend(cost::SELECT)?;
        }
        Ok(v)
    }

    fn optional(&mut self, v: &Val<'a>, field: &str) -> Result<Val<'a>> {
        Ok(match v {
            Val::Optional(None) => Val::Optional(None),
            Val::Optional(Some(inner)) => self.optional(&inner.as_ref().clone(), field)?,
            v => match v.get(field)? {
                Some(v) => Val::some(v),
                None => Val::Optional(None),
            },
        })
    }

    fn map(&mut self, entries: &'p [crate::ast::Entry]) -> Result<Val<'a>> {
        let mut out: Vec<(Val<'a>, Val<'a>)> = Vec::with_capacity(entries.len());
        for entry in entries {
            let key = self.run(&entry.key)?;
            let value = match self.run(&entry.value)? {
                Val::Optional(None) if entry.optional => continue,
                Val::Optional(Some(v)) if entry.optional => (*v).clone(),
                v => v,
            };
            if !matches!(key, Val::String(_) | Val::Int(_) | Val::Uint(_) | Val::Bool(_) | Val::Double(_)) {
                return Err(EvalError::new(format!("unsupported key type: {}", key.type_of().name())));
            }
            for (k, _) in &out {
                if crate::equality::equal(k, &key)? {
                    return Err(EvalError::new(format!("Failed with repeated key: {key:?}")));
                }
            }
            out.push((key, value));
        }
        self.spend(cost::CREATE_MAP)?;
        Ok(Val::map(out))
    }

    fn call(&mut self, e: &'p Expr, call: &'p Call) -> Result<Val<'a>> {
        match call.function.as_str() {
            "_&&_" => return self.logical(&call.args, false),
            "_||_" => return self.logical(&call.args, true),
            "_?_:_" => {
                return match self.run(&call.args[0])? {
                    Val::Bool(yes) => self.attribute(&call.args[if yes { 1 } else { 2 }], false),
                    _ => Err(EvalError::no_such_overload()),
                };
            }
            "@not_strictly_false" => {
                let v = match self.run(&call.args[0]) {
                    Ok(Val::Bool(b)) => b,
                    Err(EvalError::CostExceeded) => return Err(EvalError::CostExceeded),
                    _ => true,
                };
                self.spend(1)?;
                return Ok(Val::Bool(v));
            }
            "_[_]" | "_[?_]" => return self.attribute(e, true),
            "or" | "orValue" => return self.or(call),
            // A constant list is made into a set beforehand.
            "@in" if call.args[1].constant => {
                let before = self.cost;
                let key = self.run(&call.args[0])?;
                let spent = self.cost - before;
                let list = self.run(&call.args[1])?;
                self.cost = before + spent;
                if matches!(list, Val::List(_)) {
                    return call.resolved.map_or(Err(EvalError::no_such_overload()), |f| invoke(f, &[key, list]));
                }
                self.spend(1)?;
                return call.resolved.map_or(Err(EvalError::no_such_overload()), |f| invoke(f, &[key, list]));
            }
            _ => {}
        }
        let Some(function) = call.resolved else { return Err(EvalError::no_such_overload()) };
        let mut args = Vec::with_capacity(call.args.len() + 1);
        let mut failed = None;
        for arg in call.target.as_deref().into_iter().chain(&call.args) {
            match self.run(arg) {
                Ok(v) => args.push(v),
                Err(EvalError::CostExceeded) => return Err(EvalError::CostExceeded),
                Err(e) => failed = failed.or(Some(e)),
            }
        }
        if let Some(e) = failed {
            self.spend(1)?;
            return Err(e);
        }
        // What a pattern costs is known before it is tried; the rest is counted after the fact, as upstream does.
        if matches!(function.name, "matches" | "find" | "findAll" | "check") {
            self.spend(cost::call(function.name, call.unique, &args, None))?;
            return invoke(function, &args);
        }
        let result = invoke(function, &args);
        self.spend(cost::call(function.name, call.unique, &args, result.as_ref().ok()))?;
        result
    }

    /// `&&` and `||`: an operand that decides is the result, also if the other one fails.
    fn logical(&mut self, args: &'p [Expr], decides: bool) -> Result<Val<'a>> {
        let mut failed = None;
        for arg in args {
            match self.run(arg) {
                Ok(Val::Bool(b)) if b == decides => return Ok(Val::Bool(decides)),
                Ok(Val::Bool(_)) => {}
                Ok(_) => failed = failed.or(Some(EvalError::no_such_overload())),
                Err(EvalError::CostExceeded) => return Err(EvalError::CostExceeded),
                Err(e) => failed = failed.or(Some(e)),
            }
        }
        failed.map_or(Ok(Val::Bool(!decides)), Err)
    }

    fn or(&mut self, call: &'p Call) -> Result<Val<'a>> {
        let Some(target) = call.target.as_deref() else { return Err(EvalError::no_such_overload()) };
        match self.run(target)? {
            Val::Optional(Some(v)) if call.function == "orValue" => Ok((*v).clone()),
            v @ Val::Optional(Some(_)) => Ok(v),
            Val::Optional(None) => self.run(&call.args[0]),
            _ => Err(EvalError::no_such_overload()),
        }
    }

    fn fold(&mut self, c: &'p Comprehension) -> Result<Val<'a>> {
        let range = self.run(&c.range)?;
        let depth = self.scopes.len();
        let init = self.run(&c.init)?;
        self.scopes.push((&c.accumulator, init));
        let result = self.iterate(c, range, depth).and_then(|()| self.run(&c.result));
        self.scopes.truncate(depth);
        result
    }

    fn iterate(&mut self, c: &'p Comprehension, range: Val<'a>, accumulator: usize) -> Result<()> {
        // An accumulator that holds an error: `all` and `exists` go on, as another element may decide.
        let mut failed: Option<EvalError> = None;
        let tolerant = matches!(&c.step.kind, Kind::Call(s) if matches!(s.function.as_str(), "_&&_" | "_||_"));
        let pairs: Vec<(Val<'a>, Option<Val<'a>>)> = match &range {
            Val::List(l) if c.var2.is_some() => {
                l.iter().enumerate().map(|(i, v)| Ok((Val::Int(i as i64), Some(v?)))).collect::<Result<_>>()?
            }
            Val::List(l) => l.iter().map(|v| Ok((v?, None))).collect::<Result<_>>()?,
            Val::Map(m) if c.var2.is_some() => m.entries()?.into_iter().map(|(k, v)| (k, Some(v))).collect(),
            Val::Map(m) => m.keys().into_iter().map(|k| (k, None)).collect(),
            _ => return Err(EvalError::new(format!("got '{}', expected iterable type", range.type_of().name()))),
        };
        for (first, second) in pairs {
            let depth = self.scopes.len();
            self.scopes.push((&c.var, first));
            if let (Some(name), Some(v)) = (&c.var2, second) {
                self.scopes.push((name, v));
            }
            let go_on = match (&failed, self.run(&c.condition)) {
                (_, Err(e)) => Err(e),
                (Some(_), Ok(_)) => Ok(true),
                (None, Ok(v)) => Ok(matches!(v, Val::Bool(true))),
            };
            let step = match go_on {
                Ok(true) => Some(self.run(&c.step)),
                Ok(false) => None,
                Err(e) => Some(Err(e)),
            };
            self.scopes.truncate(depth);
            match step {
                None => break,
                Some(Ok(v)) => {
                    // With an error so far, only a deciding value replaces it.
                    let decides = matches!((&c.step.kind, &v), (Kind::Call(s), Val::Bool(b)) if *b == (s.function == "_||_"));
                    if failed.is_none() || decides {
                        failed = None;
                        self.scopes[accumulator].1 = v;
                    }
                }
                Some(Err(EvalError::CostExceeded)) => return Err(EvalError::CostExceeded),
                Some(Err(e)) if tolerant => failed = failed.or(Some(e)),
                Some(Err(e)) => return Err(e),
            }
        }
        if failed.is_some() {
            // The result reads the accumulator.
            self.spend(cost::SELECT)?;
        }
        failed.map_or(Ok(()), Err)
    }

    /// Upstream evaluates the target twice: for whether it has a value, and for the value. Here once, at the cost of twice.
    fn opt_map(&mut self, target: &'p Expr, var: &'p str, body: &'p Expr, flat: bool) -> Result<Val<'a>> {
        let before = self.cost;
        let v = self.run(target)?;
        let spent = self.cost - before;
        self.spend(1)?;
        let v = match v {
            Val::Optional(Some(v)) => v,
            Val::Optional(None) => {
                self.spend(1)?;
                return Ok(Val::Optional(None));
            }
            _ => return Err(EvalError::no_such_overload()),
        };
        self.spend(spent + 1)?;
        self.scopes.push((var, (*v).clone()));
        let result = self.run(body);
        self.scopes.pop();
        if flat {
            return result;
        }
        let result = result?;
        self.spend(1)?;
        Ok(Val::some(result))
    }
}

/// Asks each implementation until one takes the arguments.
fn invoke<'a>(function: &Function, args: &[Val<'a>]) -> Result<Val<'a>> {
    let none = EvalError::no_such_overload();
    for implementation in &function.implementations {
        match implementation(args) {
            Err(e) if e == none => {}
            answer => return answer,
        }
    }
    let plain = ["contains", "startsWith", "endsWith"].contains(&function.name);
    if plain || function.name.starts_with(['_', '@', '!', '-']) {
        return Err(none);
    }
    let types: Vec<String> = args.iter().map(|a| a.type_of().name()).collect();
    Err(EvalError::new(match function.name {
        "size" => "no such overload: size".to_string(),
        name => format!("no such overload: {name}({})", types.join(", ")),
    }))
}

fn literal<'a>(l: &Literal) -> Val<'a> {
    match l {
        Literal::Null => Val::Null,
        Literal::Bool(b) => Val::Bool(*b),
        Literal::Int(i) => Val::Int(*i),
        Literal::Uint(u) => Val::Uint(*u),
        Literal::Double(d) => Val::Double(*d),
        Literal::String(s) => Val::string(s.as_str()),
        Literal::Bytes(b) => Val::Bytes(b.as_slice().into()),
    }
}

fn select<'a>(v: &Val<'a>, field: &str) -> Result<Val<'a>> {
    match v {
        Val::Optional(None) => Ok(Val::Optional(None)),
        Val::Optional(Some(inner)) => Ok(inner.get(field)?.map_or(Val::Optional(None), Val::some)),
        v => v.get(field)?.ok_or_else(|| EvalError::new(format!("no such key: {field}"))),
    }
}

fn present(v: &Val, field: &str) -> Result<bool> {
    Ok(v.get(field)?.is_some())
}

/// Whether the expression names the variable.
pub(crate) fn uses(e: &Expr, name: &str) -> bool {
    match &e.kind {
        Kind::Literal(_) => false,
        Kind::Ident(n) => n == name,
        Kind::Select(o, _) | Kind::Has(o, _) | Kind::OptSelect(o, _) => uses(o, name),
        Kind::Call(c) => c.target.as_deref().into_iter().chain(&c.args).any(|e| uses(e, name)),
        Kind::List(l) => l.iter().any(|e| uses(&e.value, name)),
        Kind::Map(m) => m.iter().any(|e| uses(&e.key, name) || uses(&e.value, name)),
        Kind::Struct(_, f) => f.iter().any(|f| uses(&f.value, name)),
        Kind::Comprehension(c) => [&c.range, &c.init, &c.condition, &c.step, &c.result].into_iter().any(|e| uses(e, name)),
        Kind::OptMap { target, body, .. } => uses(target, name) || uses(body, name),
    }
}
