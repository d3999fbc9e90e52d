//! The most that an expression can cost on values that fit their declared types, as upstream estimates it
//! (cel-go/checker/cost.go, apiserver/pkg/cel/library/cost.go). Rules of CRDs that may cost too much are refused when written.

use std::collections::HashMap;

use crate::ast::{Call, Comprehension, Expr, Kind, Literal};
use crate::cost::{AUTHORIZATION, CREATE_LIST, CREATE_MAP, CREATE_STRUCT, PATTERN, TRAVERSE};
use crate::decl::{DeclType, Shape};
use crate::types::Type;

/// How large a value can be.
#[derive(Clone, Copy)]
struct Size {
    min: u64,
    max: u64,
}

impl Size {
    const UNKNOWN: Self = Self { min: 0, max: u64::MAX };
    fn exact(n: u64) -> Self {
        Self { min: n, max: n }
    }
    fn union(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
    fn add(self, other: Self) -> Self {
        Self { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }
    fn times(self, other: Self) -> Self {
        Self { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }
    /// The cost of the largest at so much a unit.
    fn at(self, factor: f64) -> u64 {
        (self.max as f64 * factor).ceil() as u64
    }
}

/// The sizes of what is in a list or a map.
#[derive(Clone, Copy)]
struct Entries {
    key: Size,
    value: Size,
}

/// What is known of a variable of a fold.
#[derive(Clone, Copy, Default)]
struct Local<'d> {
    decl: Option<&'d DeclType>,
    size: Option<Size>,
    entries: Option<Entries>,
}

pub(crate) struct Estimator<'p, 'd> {
    types: &'p [Type],
    root: &'d DeclType,
    locals: Vec<(&'p str, Local<'d>)>,
    decls: HashMap<usize, &'d DeclType>,
    sizes: HashMap<usize, Size>,
    entries: HashMap<usize, Entries>,
}

impl<'p, 'd> Estimator<'p, 'd> {
    /// All variables that are not of folds are of the root's type.
    pub fn new(types: &'p [Type], root: &'d DeclType) -> Self {
        Self { types, root, locals: Vec::new(), decls: HashMap::new(), sizes: HashMap::new(), entries: HashMap::new() }
    }

    fn local(&self, name: &str) -> Option<&Local<'d>> {
        self.locals.iter().rev().find(|(n, _)| *n == name).map(|(_, l)| l)
    }

    fn decl(&self, e: &Expr) -> Option<&'d DeclType> {
        if let Kind::Ident(name) = &e.kind
            && let Some(local) = self.local(name)
        {
            return local.decl;
        }
        self.decls.get(&e.id).copied()
    }

    fn size(&self, e: &Expr) -> Option<Size> {
        if let Some(size) = self.sizes.get(&e.id) {
            return Some(*size);
        }
        let exact = match &e.kind {
            Kind::Literal(Literal::String(s)) => Some(s.chars().count() as u64),
            Kind::Literal(Literal::Bytes(b)) => Some(b.len() as u64),
            Kind::Literal(_) => Some(1),
            Kind::List(l) => Some(l.len() as u64),
            Kind::Map(m) => Some(m.len() as u64),
            _ => None,
        };
        if let Some(n) = exact {
            return Some(Size::exact(n));
        }
        if let Some(decl) = self.decl(e) {
            return Some(declared(decl));
        }
        if scalar(&self.types[e.id]) {
            return Some(Size::exact(1));
        }
        match &e.kind {
            Kind::Ident(name) => self.local(name).and_then(|l| l.size),
            _ => None,
        }
    }

    fn sized(&self, e: &Expr) -> Size {
        self.size(e).unwrap_or(Size::UNKNOWN)
    }

    fn entry(&self, e: &Expr) -> Option<Entries> {
        self.entries.get(&e.id).copied().or_else(|| match &e.kind {
            Kind::Ident(name) => self.local(name).and_then(|l| l.entries),
            _ => None,
        })
    }

    fn remember(&mut self, e: &Expr, size: Option<Size>, entries: Option<Entries>) {
        if let Some(size) = size {
            self.sizes.insert(e.id, size);
        }
        if let Some(entries) = entries {
            self.entries.insert(e.id, entries);
        }
    }

    /// The most that the expression costs.
    pub fn cost(&mut self, e: &'p Expr) -> u64 {
        match &e.kind {
            Kind::Literal(_) => 0,
            Kind::Ident(name) => {
                if self.local(name).is_none() {
                    self.decls.insert(e.id, self.root);
                }
                1
            }
            Kind::Select(operand, field) => {
                let cost = self.cost(operand);
                if let Some(decl) = self.decl(operand) {
                    let found = match &decl.shape {
                        Shape::Object(fields) => fields.get(field).map(|f| &*f.decl),
                        _ => None,
                    };
                    self.decls.extend(found.map(|d| (e.id, d)));
                }
                let counts = matches!(self.types[operand.id], Type::Map(..) | Type::Object(_) | Type::Named(_) | Type::Free(_));
                cost.saturating_add(u64::from(counts))
            }
            Kind::Has(operand, _) => self.cost(operand),
            Kind::OptSelect(operand, _) => self.cost(operand).saturating_add(1),
            Kind::Call(call) => self.call(e, call),
            Kind::List(elements) => {
                let mut value = Size { min: if elements.is_empty() { 0 } else { u64::MAX }, max: 0 };
                let mut cost = CREATE_LIST;
                for element in elements {
                    cost = cost.saturating_add(self.cost(&element.value));
                    value = value.union(self.sized(&element.value));
                }
                self.remember(e, None, Some(Entries { key: Size::exact(1), value }));
                cost
            }
            Kind::Map(entries) => {
                let start = Size { min: if entries.is_empty() { 0 } else { u64::MAX }, max: 0 };
                let (mut key, mut value, mut cost) = (start, start, CREATE_MAP);
                for entry in entries {
                    cost = cost.saturating_add(self.cost(&entry.key)).saturating_add(self.cost(&entry.value));
                    key = key.union(self.sized(&entry.key));
                    value = value.union(self.sized(&entry.value));
                }
                self.remember(e, None, Some(Entries { key, value }));
                cost
            }
            Kind::Struct(_, fields) => fields.iter().fold(CREATE_STRUCT, |sum, f| sum.saturating_add(self.cost(&f.value))),
            Kind::Comprehension(c) => self.fold(e, c),
            Kind::OptMap { target, var, body, .. } => {
                let target_cost = self.cost(target).saturating_mul(2);
                self.locals.push((var, Local { decl: self.decl(target), size: self.size(target), entries: self.entry(target) }));
                let body = self.cost(body);
                self.locals.pop();
                target_cost.saturating_add(body).saturating_add(CREATE_LIST + 3)
            }
        }
    }

    fn fold(&mut self, e: &'p Expr, c: &'p Comprehension) -> u64 {
        let mut sum = self.cost(&c.range).saturating_add(self.cost(&c.init));
        let depth = self.locals.len();
        self.locals
            .push((&c.accumulator, Local { decl: self.decl(&c.init), size: self.size(&c.init), entries: self.entry(&c.init) }));
        if c.accumulator != crate::macros::ACCUMULATOR {
            // A name for a value: nothing is repeated.
            sum = sum.saturating_add(self.cost(&c.result));
            self.locals.truncate(depth);
            self.remember(e, self.size(&c.result), self.entry(&c.result));
            return sum;
        }
        let inside = self.entry(&c.range);
        let list = matches!(self.types[c.range.id], Type::List(_));
        // Upstream looks the elements of what has no place in the schema up at the schema's root.
        let (element, key) = match self.decl(&c.range) {
            Some(DeclType { shape: Shape::List(of, _) | Shape::Map(of), .. }) => (Some(&**of), None),
            Some(_) => (None, None),
            None => (Some(self.root), Some(self.root)),
        };
        let value = Local { decl: element, size: inside.map(|i| i.value), entries: None };
        // Keys of a map in the schema count nothing.
        let declared_key = (key.is_none() && !list).then_some(Size::exact(0));
        let key = Local { decl: key, size: declared_key.or(inside.map(|i| i.key)), entries: None };
        match &c.var2 {
            Some(second) => {
                self.locals.push((&c.var, key));
                self.locals.push((second, value));
            }
            None => self.locals.push((&c.var, if list { value } else { key })),
        }
        let round = self.cost(&c.condition).saturating_add(self.cost(&c.step));
        self.locals.truncate(depth + 1);
        sum = sum.saturating_add(self.cost(&c.result));
        self.locals.truncate(depth);
        let count = self.sized(&c.range);
        sum = sum.saturating_add(count.max.saturating_mul(round));
        match &c.init.kind {
            Kind::Literal(_) => self.remember(e, self.size(&c.init), None),
            Kind::List(_) | Kind::Map(_) => self.remember(e, Some(count), self.entry(&c.step)),
            _ => {}
        }
        sum
    }

    fn call(&mut self, e: &'p Expr, call: &'p Call) -> u64 {
        let args: Vec<&'p Expr> = call.target.as_deref().into_iter().chain(&call.args).collect();
        let costs: Vec<u64> = args.iter().map(|a| self.cost(a)).collect();
        let sum = costs.iter().fold(0u64, |sum, c| sum.saturating_add(*c));
        let own = match call.function.as_str() {
            "_?_:_" => {
                let size = self.sized(args[1]).union(self.sized(args[2]));
                let entries = self.entry(args[1]).zip(self.entry(args[2]));
                let entries = entries.map(|(a, b)| Entries { key: a.key.union(b.key), value: a.value.union(b.value) });
                self.remember(e, Some(size), entries);
                return costs[0].saturating_add(costs[1].max(costs[2]));
            }
            "_&&_" | "_||_" => 0,
            "dyn" => {
                self.remember(e, self.size(args[0]), self.entry(args[0]));
                1
            }
            "_[_]" => {
                let element = self.decl(args[0]).and_then(|d| match &d.shape {
                    Shape::List(of, _) | Shape::Map(of) => Some(&**of),
                    _ => None,
                });
                self.decls.extend(element.map(|d| (e.id, d)));
                self.remember(e, self.entry(args[0]).map(|i| i.value), None);
                1
            }
            name => self.function(e, name, &args),
        };
        sum.saturating_add(own)
    }

    /// What the call itself costs; sets the size of its result where that is known.
    fn function(&mut self, e: &Expr, name: &str, args: &[&'p Expr]) -> u64 {
        let size = |n: usize| args.get(n).map_or(Size::UNKNOWN, |a| self.sized(a));
        let of = |n: usize| args.get(n).map(|a| &self.types[a.id]);
        let list = matches!(of(0), Some(Type::List(_)));
        let textual = |n: usize| matches!(of(n), Some(Type::String | Type::Bytes | Type::Dyn));
        let pattern = |text: Size, pattern: Size| text.add(Size::exact(1)).at(TRAVERSE).saturating_mul(pattern.at(PATTERN));
        let made = |factor: f64, n: Size| n.at(factor).saturating_add(1 + CREATE_LIST);
        let (mut result, mut entries) = (None, None);
        let cost = match name {
            "check" => AUTHORIZATION,
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" if list => {
                let mut one = 1u64;
                if matches!(of(0), Some(Type::List(t)) if matches!(**t, Type::String | Type::Bytes)) {
                    let element = self.decl(args[0]).and_then(|d| match &d.shape {
                        Shape::List(of, _) => Some(declared(of)),
                        _ => None,
                    });
                    one = one.saturating_add(element.unwrap_or(Size::UNKNOWN).at(TRAVERSE));
                }
                size(0).max.saturating_mul(one)
            }
            "indexOf" | "lastIndexOf" => size(0).at(TRAVERSE),
            "url" | "jsonpatch.escapeKey" | "lowerAscii" | "upperAscii" | "substring" | "trim" => {
                result = Some(size(0));
                size(0).at(TRAVERSE)
            }
            "replace" => {
                let (text, old, new) = (size(0), size(1), size(2));
                let (count, kept) = if old.min == 0 {
                    (text.max.saturating_add(1), text.max)
                } else if new.max <= old.min {
                    (0, text.max)
                } else {
                    (text.max.div_ceil(old.min), 0)
                };
                result = Some(Size { min: 0, max: count.saturating_mul(new.max).saturating_add(kept) });
                text.at(2.0 * TRAVERSE)
            }
            "split" => {
                let max = match args.get(2).map(|a| &a.kind) {
                    Some(Kind::Literal(Literal::Int(n))) => *n as u64,
                    _ => size(0).max,
                };
                result = Some(Size { min: 0, max });
                size(0).at(2.0 * TRAVERSE)
            }
            "join" => {
                let element = self.decl(args[0]).and_then(|d| match &d.shape {
                    Shape::List(of, _) => Some(declared(of)),
                    _ => None,
                });
                let mut joined = size(0).times(element.unwrap_or(Size::UNKNOWN));
                if args.len() > 1 {
                    let between = Size { min: size(0).min.saturating_sub(1), max: size(0).max.saturating_sub(1) };
                    joined = joined.add(size(1).times(between));
                }
                result = Some(joined);
                joined.at(TRAVERSE)
            }
            "find" | "findAll" => {
                result = Some(Size { min: 0, max: size(0).max });
                pattern(size(0), size(1))
            }
            "matches" => pattern(size(0), size(1)),
            "ip" if !textual(0) => 1,
            "ip" | "cidr" | "isIP" | "isCIDR" | "quantity" | "isQuantity" | "semver" | "isSemver" => size(0).at(TRAVERSE),
            "ip.isCanonical" => size(0).at(2.0 * TRAVERSE),
            "containsIP" | "containsCIDR" => {
                let mut cost = if name == "containsIP" { 4 } else { 7 };
                if textual(1) {
                    cost += size(1).at(TRAVERSE);
                }
                cost
            }
            "validate" => Size::exact(size(1).at(TRAVERSE)).at(128.0 * PATTERN),
            "format" => size(0).at(TRAVERSE),
            "bytes" if textual(0) => {
                result = Some(Size { min: size(0).min, max: size(0).max.saturating_mul(4) });
                size(0).at(TRAVERSE)
            }
            "string" if matches!(of(0), Some(Type::Bytes | Type::Dyn)) => {
                result = Some(Size { min: size(0).min / 4, max: size(0).max });
                size(0).at(TRAVERSE)
            }
            "strings.quote" => {
                result = Some(size(0).add(size(0)).add(Size::exact(2)));
                size(0).at(TRAVERSE)
            }
            "startsWith" | "endsWith" => size(1).at(TRAVERSE),
            "@in" => match of(1) {
                Some(Type::Map(..)) => 1,
                _ => size(1).max,
            },
            "contains" => size(0).at(TRAVERSE).saturating_mul(size(1).at(TRAVERSE)),
            "_+_" if list || textual(0) => {
                result = Some(size(0).add(size(1)));
                let both = self.entry(args[0]).zip(self.entry(args[1]));
                entries = both.map(|(a, b)| Entries { key: a.key.union(b.key), value: a.value.union(b.value) });
                if list { 1 } else { size(0).add(size(1)).at(TRAVERSE).max(1) }
            }
            "_==_" | "_!=_" if matches!(of(0), Some(Type::Named(_))) => 1,
            "_==_" | "_!=_" => Size::exact(size(0).max.min(size(1).max)).at(TRAVERSE),
            "_<_" | "_<=_" | "_>_" | "_>=_" if textual(0) => Size::exact(size(0).max.min(size(1).max)).at(TRAVERSE).max(1),
            "slice" | "reverse" | "flatten" => {
                result = Some(size(0));
                made(1.0, size(0))
            }
            "lists.range" => match args[0].kind {
                Kind::Literal(Literal::Int(n)) => {
                    result = Some(Size::exact(n.max(0) as u64));
                    made(1.0, Size::exact(n.max(0) as u64))
                }
                _ => u64::MAX,
            },
            "distinct" | "sort" | "@sortByAssociatedKeys" => {
                let n = usize::from(name.starts_with('@'));
                let textual = matches!(of(n), Some(Type::List(t)) if matches!(**t, Type::String | Type::Bytes));
                result = Some(size(n).times(size(n)));
                made(if textual && name != "distinct" { 2.0 + TRAVERSE } else { 2.0 }, size(n).times(size(n)))
            }
            "sets.contains" | "sets.intersects" => size(0).times(size(1)).max.saturating_add(1),
            "sets.equivalent" => size(0).times(size(1)).at(2.0).saturating_add(1),
            _ => 1,
        };
        self.remember(e, result, entries);
        cost
    }
}

/// The size of a declared value: of scalars that have none it is zero, as upstream has it.
fn declared(decl: &DeclType) -> Size {
    let unlimited = match &decl.shape {
        Shape::Scalar(Type::String | Type::Bytes | Type::Dyn) | Shape::List(..) | Shape::Map(_) => u64::MAX,
        _ => 0,
    };
    Size { min: 0, max: decl.max_elements.unwrap_or(unlimited) }
}

fn scalar(t: &Type) -> bool {
    match t {
        Type::Bool | Type::Double | Type::Duration | Type::Int | Type::Timestamp | Type::Uint => true,
        Type::Optional(t) => scalar(t),
        _ => false,
    }
}
