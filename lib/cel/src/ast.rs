//! The tree of a parsed expression.

use crate::library::Function;

/// An expression: what it is, its number (dense, for the tables of the checker) and where its text stands.
#[derive(Clone, Debug)]
pub(crate) struct Expr {
    pub id: usize,
    /// Offset in characters.
    pub at: usize,
    /// How deep the tree is from here; bounded by the parser, as everything that walks a tree recurses.
    pub depth: usize,
    /// Whether the value is known before evaluation; set by the checker.
    pub constant: bool,
    pub kind: Kind,
}

impl Kind {
    /// How deep the deepest child is.
    pub fn depth(&self) -> usize {
        let max = |depths: &mut dyn Iterator<Item = usize>| depths.max().unwrap_or_default();
        match self {
            Self::Literal(_) | Self::Ident(_) => 0,
            Self::Select(e, _) | Self::Has(e, _) | Self::OptSelect(e, _) => e.depth,
            Self::Call(c) => max(&mut c.args.iter().map(|a| a.depth).chain(c.target.iter().map(|t| t.depth))),
            Self::List(l) => max(&mut l.iter().map(|e| e.value.depth)),
            Self::Map(m) => max(&mut m.iter().map(|e| e.key.depth.max(e.value.depth))),
            Self::Struct(_, fields) => max(&mut fields.iter().map(|f| f.value.depth)),
            Self::Comprehension(c) => {
                max(&mut [&c.range, &c.init, &c.condition, &c.step, &c.result].into_iter().map(|e| e.depth))
            }
            Self::OptMap { target, body, .. } => target.depth.max(body.depth),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Literal(Literal),
    Ident(String),
    Select(Box<Expr>, String),
    /// `has(operand.field)`.
    Has(Box<Expr>, String),
    /// `operand.?field`.
    OptSelect(Box<Expr>, String),
    Call(Call),
    List(Vec<Element>),
    Map(Vec<Entry>),
    Struct(String, Vec<StructField>),
    Comprehension(Box<Comprehension>),
    /// `target.optMap(var, body)` and `optFlatMap` (`flat`).
    OptMap {
        target: Box<Expr>,
        var: String,
        body: Box<Expr>,
        flat: bool,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(String),
    Bytes(Vec<u8>),
}

#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub function: String,
    pub target: Option<Box<Expr>>,
    pub args: Vec<Expr>,
    /// Set by the checker.
    pub resolved: Option<&'static Function>,
    /// Whether the types of the arguments leave one overload; some costs are counted only then.
    pub unique: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Element {
    pub optional: bool,
    pub value: Expr,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub optional: bool,
    pub key: Expr,
    pub value: Expr,
}

#[derive(Clone, Debug)]
pub(crate) struct StructField {
    pub at: usize,
    pub optional: bool,
    pub name: String,
    pub value: Expr,
}

/// What the macros over lists and maps become: a fold.
#[derive(Clone, Debug)]
pub(crate) struct Comprehension {
    pub range: Expr,
    pub var: String,
    pub var2: Option<String>,
    pub accumulator: String,
    pub init: Expr,
    pub condition: Expr,
    pub step: Expr,
    pub result: Expr,
}
