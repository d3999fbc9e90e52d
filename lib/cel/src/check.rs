//! The type checker: which names are declared, which overload a call means, what type everything has.

use std::collections::BTreeMap;

use crate::ast::{Call, Comprehension, Expr, Kind, Literal};
use crate::env::Types;
use crate::error::Issues;
use crate::library::{check_format, compile_regex, function, parse_duration, parse_timestamp, type_named};
use crate::types::{Bindings, FIRST_FRESH, Type, instantiate, more_general};

pub(crate) struct Checker<'e, 'i> {
    vars: &'e BTreeMap<String, Type>,
    objects: Types,
    issues: &'e mut Issues<'i>,
    scopes: Vec<(String, Type)>,
    bindings: Bindings,
    fresh: u32,
    types: Vec<Type>,
    /// Within the arguments of `format`, literals may mix types.
    mixed: usize,
    /// The types in each literal list or map elsewhere, which are to be the same.
    literals: Vec<Vec<(usize, Type)>>,
}

impl<'e, 'i> Checker<'e, 'i> {
    pub fn new(vars: &'e BTreeMap<String, Type>, objects: Types, issues: &'e mut Issues<'i>, nodes: usize) -> Self {
        let types = vec![Type::Dyn; nodes];
        Self {
            vars,
            objects,
            issues,
            scopes: Vec::new(),
            bindings: Bindings::default(),
            fresh: FIRST_FRESH,
            types,
            mixed: 0,
            literals: Vec::new(),
        }
    }

    /// Checks the expression, resolving names in it; gives its type and those of all nodes.
    pub fn run(mut self, e: &mut Expr) -> (Type, Vec<Type>) {
        let t = self.check(e);
        if self.issues.is_empty() {
            for group in std::mem::take(&mut self.literals) {
                let mut types = group.into_iter().map(|(at, t)| (at, self.bindings.resolve(&t, true)));
                let Some((_, first)) = types.next() else { continue };
                if let Some((at, other)) = types.find(|(_, t)| *t != first) {
                    self.mismatch(at, &first, &other);
                }
            }
        }
        let types = self.types.iter().map(|t| self.bindings.resolve(t, true)).collect();
        (self.bindings.resolve(&t, true), types)
    }

    fn fresh(&mut self) -> Type {
        self.fresh += 1;
        Type::Param(self.fresh - 1)
    }

    fn lookup(&self, name: &str) -> Option<Type> {
        let name = name.strip_prefix('.').unwrap_or(name);
        let local = self.scopes.iter().rev().find(|(n, _)| n == name).map(|(_, t)| t);
        local.or_else(|| self.vars.get(name)).cloned().or_else(|| type_named(name).map(|t| Type::Type(t.into())))
    }

    fn undeclared(&mut self, at: usize, name: &str) -> Type {
        self.issues.add(at, format!("undeclared reference to '{name}' (in container '')"));
        Type::Error
    }

    fn mismatch(&mut self, at: usize, expected: &Type, found: &Type) {
        let (expected, found) = (self.bindings.resolve(expected, false), self.bindings.resolve(found, false));
        self.issues.add(at, format!("expected type '{expected}' but found '{found}'"));
    }

    fn check(&mut self, e: &mut Expr) -> Type {
        let qualified = matches!(e.kind, Kind::Select(..)).then(|| qualified_name(e)).flatten();
        if let Some((name, t)) = qualified.and_then(|n| self.lookup(&n).map(|t| (n, t))) {
            e.kind = Kind::Ident(name);
            self.types[e.id] = t.clone();
            return t;
        }
        let at = e.at;
        let t = match &mut e.kind {
            Kind::Literal(l) => literal_type(l),
            Kind::Ident(name) => match self.lookup(name) {
                Some(t) => t,
                None => self.undeclared(at, &name.clone()),
            },
            Kind::Select(operand, field) => self.select(at, operand, &field.clone(), false),
            Kind::OptSelect(operand, field) => self.select(at, operand, &field.clone(), true),
            Kind::Has(operand, field) => {
                self.select(at, operand, &field.clone(), false);
                Type::Bool
            }
            Kind::Call(call) => self.call(at, call),
            Kind::List(elements) => {
                let mut joined: Option<Type> = None;
                let mut group = Vec::new();
                for element in elements {
                    let t = self.check(&mut element.value);
                    let t = self.element(element.value.at, t, element.optional);
                    group.push((element.value.at, t.clone()));
                    joined = Some(self.join(joined, t));
                }
                self.literal(group);
                Type::list(joined.unwrap_or_else(|| self.fresh()))
            }
            Kind::Map(entries) => {
                let (mut keys, mut values): (Option<Type>, Option<Type>) = (None, None);
                let (mut key_group, mut value_group) = (Vec::new(), Vec::new());
                for entry in entries {
                    let k = self.check(&mut entry.key);
                    key_group.push((entry.key.at, k.clone()));
                    keys = Some(self.join(keys, k));
                    let v = self.check(&mut entry.value);
                    let v = self.element(entry.value.at, v, entry.optional);
                    value_group.push((entry.value.at, v.clone()));
                    values = Some(self.join(values, v));
                }
                self.literal(key_group);
                self.literal(value_group);
                Type::map(keys.unwrap_or_else(|| self.fresh()), values.unwrap_or_else(|| self.fresh()))
            }
            Kind::Struct(..) => self.object(e),
            Kind::Comprehension(c) => self.comprehension(c),
            Kind::OptMap { target, var, body, flat } => {
                let (var, flat) = (var.clone(), *flat);
                self.opt_map(at, target, var, body, flat)
            }
        };
        e.constant = constant(e);
        self.types[e.id] = t.clone();
        t
    }

    /// The type of an element: unwrapped if it is optional.
    fn element(&mut self, at: usize, t: Type, optional: bool) -> Type {
        if !optional {
            return t;
        }
        match self.bindings.resolve(&t, false) {
            Type::Optional(inner) => (*inner).clone(),
            t if t.is_dyn() || t.is_error() => t,
            t => {
                self.mismatch(at, &Type::optional(t.clone()), &t);
                t
            }
        }
    }

    fn join(&mut self, previous: Option<Type>, current: Type) -> Type {
        match previous {
            None => current,
            Some(previous) if self.bindings.assignable(&previous, &current) => more_general(&previous, &current).clone(),
            Some(_) => Type::Dyn,
        }
    }

    fn literal(&mut self, group: Vec<(usize, Type)>) {
        if self.mixed == 0 && group.len() > 1 {
            self.literals.push(group);
        }
    }

    fn select(&mut self, at: usize, operand: &mut Expr, field: &str, optional: bool) -> Type {
        let operand = self.check(operand);
        let operand = self.bindings.resolve(&operand, false);
        let (target, wrapped) = match &operand {
            Type::Optional(t) => ((**t).clone(), true),
            t => (t.clone(), false),
        };
        let result = match &target {
            Type::Map(_, v) => (**v).clone(),
            Type::Object(decl) => match decl.field(field) {
                Some(field) => field.decl.as_type(),
                None => self.undefined(at, field),
            },
            Type::Free(name) => match self.objects.field(name, field) {
                Some(t) => t,
                None => self.undefined(at, field),
            },
            Type::Named(_) => self.undefined(at, field),
            Type::Param(_) => {
                self.bindings.assignable(&Type::Dyn, &target);
                Type::Dyn
            }
            Type::Dyn | Type::Error => Type::Dyn,
            t => {
                self.issues.add(at, format!("type '{t}' does not support field selection"));
                Type::Dyn
            }
        };
        if optional || wrapped { Type::optional(result) } else { result }
    }

    fn undefined(&mut self, at: usize, field: &str) -> Type {
        self.issues.add(at, format!("undefined field '{field}'"));
        Type::Error
    }

    fn call(&mut self, at: usize, call: &mut Call) -> Type {
        let free = call.function == "format";
        self.mixed += usize::from(free);
        let mut args: Vec<Type> = call.args.iter_mut().map(|a| self.check(a)).collect();
        self.mixed -= usize::from(free);
        if let Some(target) = &call.target
            && let Some(prefix) = qualified_name(target)
            && let Some(f) = function(&format!("{prefix}.{}", call.function))
        {
            call.function = f.name.to_string();
            call.target = None;
        }
        if let Some(target) = &mut call.target {
            let t = self.check(target);
            args.insert(0, t);
        }
        let name = call.function.strip_prefix('.').unwrap_or(&call.function);
        let Some(f) = function(name) else { return self.undeclared(at, &call.function.clone()) };
        call.resolved = Some(f);
        let (t, matching) = self.resolve(at, f, call.target.is_some(), args);
        call.unique = matching == 1;
        self.check_literals(at, call);
        t
    }

    fn resolve(&mut self, at: usize, f: &crate::library::Function, member: bool, args: Vec<Type>) -> (Type, usize) {
        let mut result: Option<Type> = None;
        let mut matching = 0;
        for overload in f.overloads.iter().filter(|o| o.member == member && o.args.len() == args.len()) {
            let first = self.fresh;
            self.fresh += 2;
            let wanted: Vec<Type> = overload.args.iter().map(|t| instantiate(t, first)).collect();
            if !self.bindings.all_assignable(&args, &wanted) {
                continue;
            }
            matching += 1;
            let t = self.bindings.resolve(&instantiate(&overload.result, first), false);
            result = Some(match result {
                None => t,
                Some(before) if before.is_dyn() || before == t => before,
                Some(_) => Type::Dyn,
            });
        }
        let t = result.unwrap_or_else(|| {
            let shown: Vec<String> = args.iter().map(|t| self.bindings.resolve(t, true).to_string()).collect();
            let (target, shown) = if member { (format!("{}.", shown[0]), &shown[1..]) } else { (String::new(), &shown[..]) };
            self.issues
                .add(at, format!("found no matching overload for '{}' applied to '{target}({})'", f.name, shown.join(", ")));
            Type::Error
        });
        (t, matching)
    }

    /// Literal arguments that can be seen to be wrong.
    fn check_literals(&mut self, at: usize, call: &Call) {
        let literal = |e: Option<&Expr>| match e.map(|e| (&e.kind, e.at)) {
            Some((Kind::Literal(Literal::String(s)), at)) => Some((s.clone(), at)),
            _ => None,
        };
        let last = literal(call.args.last());
        match (call.function.as_str(), last) {
            ("duration", Some((s, at))) if parse_duration(&s).is_none() => self.issues.add(at, "invalid duration argument"),
            ("timestamp", Some((s, at))) if parse_timestamp(&s).is_none() => self.issues.add(at, "invalid timestamp argument"),
            ("matches", Some((s, at))) if compile_regex(&s).is_err() => self.issues.add(at, "invalid matches argument"),
            ("format", _) => {
                let text = literal(call.target.as_deref());
                let (Some((text, _)), Some(Kind::List(args))) = (text, call.args.first().map(|a| &a.kind)) else { return };
                let types: Vec<Type> = args.iter().map(|a| self.bindings.resolve(&self.types[a.value.id], true)).collect();
                if let Err((arg, why)) = check_format(&text, &types) {
                    self.issues.add(arg.map_or(at, |n| args[n].value.at), why);
                }
            }
            _ => {}
        }
    }

    fn object(&mut self, e: &mut Expr) -> Type {
        let at = e.at;
        let Kind::Struct(name, fields) = &mut e.kind else { return Type::Error };
        let name = name.strip_prefix('.').unwrap_or(name).to_string();
        if !self.objects.is_object(&name) {
            if self.vars.contains_key(&name) {
                self.issues.add(at, format!("'{name}' is not a type"));
                return Type::Error;
            }
            return self.undeclared(at, &name);
        }
        for field in fields {
            let t = self.check(&mut field.value);
            let t = self.element(field.value.at, t, field.optional);
            let expected = match self.objects.field(&name, &field.name) {
                Some(t) => t,
                None => self.undefined(field.at, &field.name),
            };
            if !self.bindings.assignable(&expected, &t) {
                let (expected, t) = (self.bindings.resolve(&expected, false), self.bindings.resolve(&t, false));
                self.issues
                    .add(field.at, format!("expected type of field '{}' is '{expected}' but provided type is '{t}'", field.name));
            }
        }
        Type::Free(name.into())
    }

    fn comprehension(&mut self, c: &mut Comprehension) -> Type {
        let range = self.check(&mut c.range);
        let init = self.check(&mut c.init);
        let range = self.bindings.resolve(&range, false);
        let depth = self.scopes.len();
        self.scopes.push((c.accumulator.clone(), init.clone()));
        let two = c.var2.is_some();
        let (first, second) = match &range {
            Type::List(t) if two => (Type::Int, (**t).clone()),
            Type::List(t) => ((**t).clone(), Type::Dyn),
            Type::Map(k, v) => ((**k).clone(), (**v).clone()),
            Type::Dyn | Type::Error | Type::Param(_) => {
                self.bindings.assignable(&Type::Dyn, &range);
                (Type::Dyn, Type::Dyn)
            }
            t => {
                let why = format!("expression of type '{t}' cannot be range of a comprehension (must be list, map, or dynamic)");
                self.issues.add(c.range.at, why);
                (Type::Error, Type::Error)
            }
        };
        let outer = self.scopes.len();
        self.scopes.push((c.var.clone(), first));
        if let Some(var2) = &c.var2 {
            self.scopes.push((var2.clone(), second));
        }
        for (e, wanted) in [(&mut c.condition, Type::Bool), (&mut c.step, init)] {
            let t = self.check(e);
            if !self.bindings.assignable(&wanted, &t) {
                self.mismatch(e.at, &wanted, &t);
            }
        }
        self.scopes.truncate(outer);
        let result = self.check(&mut c.result);
        self.scopes.truncate(depth);
        self.bindings.resolve(&result, false)
    }

    fn opt_map(&mut self, at: usize, target: &mut Expr, var: String, body: &mut Expr, flat: bool) -> Type {
        let t = self.check(target);
        let inner = self.fresh();
        if !self.bindings.assignable(&t, &Type::optional(inner.clone())) {
            let shown = self.bindings.resolve(&t, true);
            self.issues.add(at, format!("found no matching overload for 'hasValue' applied to '{shown}.()'"));
        }
        let inner = self.bindings.resolve(&inner, false);
        self.scopes.push((var, inner));
        let result = self.check(body);
        self.scopes.pop();
        if !flat {
            return Type::optional(result);
        }
        let none = Type::optional(self.fresh());
        if !self.bindings.assignable(&result, &none) {
            let shown = self.bindings.resolve(&result, true);
            self.issues
                .add(at, format!("found no matching overload for '_?_:_' applied to '(bool, {shown}, optional_type(dyn))'"));
        }
        result
    }
}

fn literal_type(l: &Literal) -> Type {
    match l {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::String(_) => Type::String,
        Literal::Bytes(_) => Type::Bytes,
    }
}

/// `a.b.c` as a name, if it is nothing but names.
fn qualified_name(e: &Expr) -> Option<String> {
    match &e.kind {
        Kind::Ident(name) => Some(name.clone()),
        Kind::Select(operand, field) => Some(format!("{}.{field}", qualified_name(operand)?)),
        _ => None,
    }
}

/// Whether the value is known beforehand: upstream computes these once, so that they cost nothing.
fn constant(e: &Expr) -> bool {
    match &e.kind {
        Kind::Literal(_) => true,
        Kind::List(elements) => elements.iter().all(|e| e.value.constant && !e.optional),
        Kind::Map(entries) => entries.iter().all(|e| e.key.constant && e.value.constant && !e.optional),
        Kind::Call(c) if c.target.is_none() && c.args.len() == 1 && c.args[0].constant => {
            matches!(
                c.function.as_str(),
                "bool" | "bytes" | "double" | "dyn" | "duration" | "int" | "string" | "timestamp" | "type" | "uint"
            )
        }
        _ => false,
    }
}
