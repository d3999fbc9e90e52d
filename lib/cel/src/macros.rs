//! The macros: calls that the parser replaces by folds over lists and maps.

use crate::ast::{Comprehension, Element, Expr, Kind, Literal};
use crate::parser::Parser;

/// What holds the result of a fold; no identifier of an expression can be this.
pub(crate) const ACCUMULATOR: &str = "@result";
const SORT_INPUT: &str = "@__sortBy_input__";

/// What became of a call that may be a macro.
pub(crate) enum Expanded {
    /// It was one.
    Done(Kind),
    /// It is one, but its arguments are wrong: where, and why.
    Wrong(usize, String),
    /// It is not.
    Call(Option<Box<Expr>>, Vec<Expr>),
}

/// Expands a call with a target, or a global one.
pub(crate) fn expand(p: &mut Parser, at: usize, function: &str, target: Option<Box<Expr>>, args: Vec<Expr>) -> Expanded {
    let Some(target) = target else {
        return match (function, args.len()) {
            ("has", 1) => has(args),
            _ => Expanded::Call(None, args),
        };
    };
    match (function, args.len()) {
        ("all" | "exists" | "exists_one" | "existsOne", 2 | 3) => quantifier(p, at, function, *target, args),
        ("map", 2 | 3) | ("filter", 2) => map(p, at, function, *target, args),
        ("transformList" | "transformMap" | "transformMapEntry", 3 | 4) => transform(p, at, function, *target, args),
        ("sortBy", 2) => sort_by(p, at, *target, args),
        ("optMap" | "optFlatMap", 2) => opt_map(function, target, args),
        _ => Expanded::Call(Some(target), args),
    }
}

fn has(mut args: Vec<Expr>) -> Expanded {
    let arg = args.remove(0);
    match arg.kind {
        Kind::Select(operand, field) => Expanded::Done(Kind::Has(operand, field)),
        _ => Expanded::Wrong(arg.at, "invalid argument to has() macro".into()),
    }
}

/// The first arguments as names of variables.
fn variables(args: &mut Vec<Expr>, n: usize, wrong: &str) -> Result<(String, Option<String>), Expanded> {
    let mut names = Vec::new();
    let mut places = Vec::new();
    for arg in args.drain(..n) {
        match arg.kind {
            Kind::Ident(name) => names.push(name),
            _ => return Err(Expanded::Wrong(arg.at, wrong.into())),
        }
        places.push(arg.at);
    }
    if n == 2 && names[0] == names[1] {
        return Err(Expanded::Wrong(places[1], format!("duplicate variable name: {}", names[0])));
    }
    for (name, at) in names.iter().zip(&places) {
        if name == "__result__" {
            return Err(Expanded::Wrong(*at, "iteration variable overwrites accumulator variable".into()));
        }
    }
    let mut names = names.into_iter();
    Ok((names.next().unwrap_or_default(), names.next()))
}

fn quantifier(p: &mut Parser, at: usize, function: &str, range: Expr, mut args: Vec<Expr>) -> Expanded {
    let n = args.len() - 1;
    let (var, var2) = match variables(&mut args, n, "argument must be a simple name") {
        Ok(v) => v,
        Err(e) => return e,
    };
    let predicate = args.remove(0);
    let accu = |p: &mut Parser| p.expr(at, Kind::Ident(ACCUMULATOR.into()));
    let (init, condition, step, result);
    match function {
        "all" => {
            init = Literal::Bool(true);
            let a = accu(p);
            condition = p.call(at, "@not_strictly_false", vec![a]);
            let a = accu(p);
            step = p.call(at, "_&&_", vec![a, predicate]);
            result = accu(p);
        }
        "exists" => {
            init = Literal::Bool(false);
            let a = accu(p);
            let not = p.call(at, "!_", vec![a]);
            condition = p.call(at, "@not_strictly_false", vec![not]);
            let a = accu(p);
            step = p.call(at, "_||_", vec![a, predicate]);
            result = accu(p);
        }
        _ => {
            init = Literal::Int(0);
            condition = p.literal(at, Literal::Bool(true));
            let (a, one) = (accu(p), p.literal(at, Literal::Int(1)));
            let more = p.call(at, "_+_", vec![a, one]);
            let same = accu(p);
            step = p.call(at, "_?_:_", vec![predicate, more, same]);
            let (a, one) = (accu(p), p.literal(at, Literal::Int(1)));
            result = p.call(at, "_==_", vec![a, one]);
        }
    }
    let init = p.literal(at, init);
    Expanded::Done(fold(range, var, var2, init, condition, step, result))
}

fn fold(range: Expr, var: String, var2: Option<String>, init: Expr, condition: Expr, step: Expr, result: Expr) -> Kind {
    let accumulator = ACCUMULATOR.into();
    Kind::Comprehension(Box::new(Comprehension { range, var, var2, accumulator, init, condition, step, result }))
}

/// A fold that adds to a list or a map; `step` adds, where there is a filter under it.
fn collect(
    p: &mut Parser,
    at: usize,
    range: Expr,
    vars: (String, Option<String>),
    init: Kind,
    filter: Option<Expr>,
    step: Expr,
) -> Kind {
    let step = match filter {
        Some(filter) => {
            let same = p.expr(at, Kind::Ident(ACCUMULATOR.into()));
            p.call(at, "_?_:_", vec![filter, step, same])
        }
        None => step,
    };
    let init = p.expr(at, init);
    let condition = p.literal(at, Literal::Bool(true));
    let result = p.expr(at, Kind::Ident(ACCUMULATOR.into()));
    fold(range, vars.0, vars.1, init, condition, step, result)
}

fn appended(p: &mut Parser, at: usize, value: Expr) -> Expr {
    let accu = p.expr(at, Kind::Ident(ACCUMULATOR.into()));
    let list = p.expr(at, Kind::List(vec![Element { optional: false, value }]));
    p.call(at, "_+_", vec![accu, list])
}

fn map(p: &mut Parser, at: usize, function: &str, range: Expr, mut args: Vec<Expr>) -> Expanded {
    let place = args[0].at;
    let vars = match variables(&mut args, 1, "argument is not an identifier") {
        Ok(v) => v,
        Err(e) => return e,
    };
    let (filter, value) = if function == "filter" {
        (Some(args.remove(0)), p.expr(place, Kind::Ident(vars.0.clone())))
    } else if args.len() == 2 {
        (Some(args.remove(0)), args.remove(0))
    } else {
        (None, args.remove(0))
    };
    let step = appended(p, at, value);
    Expanded::Done(collect(p, at, range, vars, Kind::List(Vec::new()), filter, step))
}

fn transform(p: &mut Parser, at: usize, function: &str, range: Expr, mut args: Vec<Expr>) -> Expanded {
    let vars = match variables(&mut args, 2, "argument must be a simple name") {
        Ok(v) => v,
        Err(e) => return e,
    };
    let filter = (args.len() == 2).then(|| args.remove(0));
    let value = args.remove(0);
    let accu = p.expr(at, Kind::Ident(ACCUMULATOR.into()));
    let (init, step) = match function {
        "transformList" => (Kind::List(Vec::new()), appended(p, at, value)),
        "transformMap" => {
            let key = p.expr(at, Kind::Ident(vars.0.clone()));
            (Kind::Map(Vec::new()), p.call(at, "cel.@mapInsert", vec![accu, key, value]))
        }
        _ => (Kind::Map(Vec::new()), p.call(at, "cel.@mapInsert", vec![accu, value])),
    };
    Expanded::Done(collect(p, at, range, vars, init, filter, step))
}

/// `list.sortBy(x, key)`: the list is bound to a name, and sorted by the list of its keys.
fn sort_by(p: &mut Parser, at: usize, target: Expr, args: Vec<Expr>) -> Expanded {
    let listlike = matches!(
        target.kind,
        Kind::List(_)
            | Kind::Select(..)
            | Kind::OptSelect(..)
            | Kind::Ident(_)
            | Kind::Comprehension(_)
            | Kind::Call(_)
            | Kind::OptMap { .. }
    );
    if !listlike {
        let why = "sortBy can only be applied to a list, identifier, comprehension, call or select expression";
        return Expanded::Wrong(target.at, why.into());
    }
    let input = p.expr(at, Kind::Ident(SORT_INPUT.into()));
    let keys = match map(p, at, "map", input, args) {
        Expanded::Done(keys) => p.expr(at, keys),
        other => return other,
    };
    let input = p.expr(at, Kind::Ident(SORT_INPUT.into()));
    let sorted = p.member_call(at, "@sortByAssociatedKeys", input, vec![keys]);
    let range = p.expr(at, Kind::List(Vec::new()));
    let condition = p.literal(at, Literal::Bool(false));
    let step = p.expr(at, Kind::Ident(SORT_INPUT.into()));
    Expanded::Done(Kind::Comprehension(Box::new(Comprehension {
        range,
        var: "#unused".into(),
        var2: None,
        accumulator: SORT_INPUT.into(),
        init: target,
        condition,
        step,
        result: sorted,
    })))
}

fn opt_map(function: &str, target: Box<Expr>, mut args: Vec<Expr>) -> Expanded {
    let body = args.remove(1);
    let arg = args.remove(0);
    match arg.kind {
        Kind::Ident(var) => Expanded::Done(Kind::OptMap { target, var, body: Box::new(body), flat: function == "optFlatMap" }),
        _ => Expanded::Wrong(arg.at, format!("{function}() variable name must be a simple identifier")),
    }
}
