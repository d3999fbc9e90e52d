//! What an expression may name, and compiled expressions.

use std::collections::BTreeMap;

use crate::ast::Expr;
use crate::check::Checker;
use crate::cost::Budget;
use crate::error::{CompileError, EvalError, Issues};
use crate::eval::Evaluation;
use crate::limits::PER_CALL_LIMIT;
use crate::parser::parse;
use crate::types::Type;
use crate::value::Val;

/// The object types that expressions may make.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Types {
    /// None.
    #[default]
    None,
    /// `Object`, `Object.spec`, ... and `JSONPatch`, of mutating policies.
    Mutation,
}

impl Types {
    pub(crate) fn is_object(self, name: &str) -> bool {
        self == Self::Mutation && (name == "JSONPatch" || name == "Object" || name.starts_with("Object."))
    }

    pub(crate) fn field(self, object: &str, field: &str) -> Option<Type> {
        match (object, field) {
            _ if !self.is_object(object) => None,
            ("JSONPatch", "op" | "from" | "path") => Some(Type::String),
            ("JSONPatch", "value") => Some(Type::Dyn),
            ("JSONPatch", _) => None,
            _ => Some(Type::Dyn),
        }
    }
}

/// The variables that expressions may use, with their types.
#[derive(Clone, Debug, Default)]
pub struct Env {
    vars: BTreeMap<String, Type>,
    types: Types,
}

impl Env {
    /// An environment with these variables; names may have dots.
    pub fn new<'n>(vars: impl IntoIterator<Item = (&'n str, Type)>) -> Self {
        Self { vars: vars.into_iter().map(|(n, t)| (n.to_string(), t)).collect(), types: Types::None }
    }

    /// With one more variable.
    pub fn with(mut self, name: &str, t: Type) -> Self {
        self.vars.insert(name.to_string(), t);
        self
    }

    /// With object types that expressions may make.
    pub fn with_types(mut self, types: Types) -> Self {
        self.types = types;
        self
    }

    /// Parses and checks an expression.
    pub fn compile(&self, text: &str) -> Result<Program, CompileError> {
        let (mut expr, nodes) = parse(text)?;
        let mut issues = Issues::new(text);
        let (output, types) = Checker::new(&self.vars, self.types, &mut issues, nodes).run(&mut expr);
        if !issues.is_empty() {
            return Err(issues.into_error());
        }
        Ok(Program { expr, output, types })
    }
}

/// Where an expression's variables come from.
pub trait Activation<'a> {
    /// The variable's value; nothing if there is no such variable.
    fn get(&self, name: &str) -> Option<Result<Val<'a>, EvalError>>;
}

impl<'a> Activation<'a> for [(&str, Val<'a>)] {
    fn get(&self, name: &str) -> Option<Result<Val<'a>, EvalError>> {
        self.iter().find(|(n, _)| *n == name).map(|(_, v)| Ok(v.clone()))
    }
}
impl<'a, const N: usize> Activation<'a> for [(&str, Val<'a>); N] {
    fn get(&self, name: &str) -> Option<Result<Val<'a>, EvalError>> {
        Activation::get(self.as_slice(), name)
    }
}
impl<'a> Activation<'a> for Vec<(&str, Val<'a>)> {
    fn get(&self, name: &str) -> Option<Result<Val<'a>, EvalError>> {
        Activation::get(self.as_slice(), name)
    }
}

/// A compiled expression.
#[derive(Clone, Debug)]
pub struct Program {
    expr: Expr,
    output: Type,
    /// Of all nodes, by their numbers.
    types: Vec<Type>,
}

impl Program {
    /// The type of the result.
    pub fn output(&self) -> &Type {
        &self.output
    }

    /// Whether the expression uses the variable anywhere.
    pub fn uses(&self, variable: &str) -> bool {
        crate::eval::uses(&self.expr, variable)
    }

    /// The most that an evaluation can cost where every variable is of the declared type (`self` and `oldSelf` of a CRD's rule).
    pub fn max_cost(&self, root: &crate::decl::DeclType) -> u64 {
        crate::estimate::Estimator::new(&self.types, root).cost(&self.expr)
    }

    /// Evaluates, spending from the budget at most [`PER_CALL_LIMIT`]. What is overspent fails the next evaluation, not this one.
    pub fn eval<'a>(&self, vars: &dyn Activation<'a>, budget: &Budget) -> Result<Val<'a>, EvalError> {
        self.eval_cost(vars, budget).0
    }

    /// [`Program::eval`], and what it cost.
    pub fn eval_cost<'a>(&self, vars: &dyn Activation<'a>, budget: &Budget) -> (Result<Val<'a>, EvalError>, u64) {
        let mut evaluation = Evaluation::new(vars, PER_CALL_LIMIT);
        let result = evaluation.run(&self.expr);
        budget.spend(evaluation.cost);
        (result, evaluation.cost)
    }
}
