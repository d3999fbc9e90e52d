//! The functions that expressions can call, by name: their overloads for the checker and what they do.
//!
//! A row names a function, what it does, and its overloads as `receiver.(arguments) result`; capital letters are type parameters.
//! Rows of one name add up: each is asked in turn, and one that takes no such values passes.

mod authz;
mod collections;
mod convert;
mod format;
mod lists;
mod named_format;
mod net;
mod operators;
mod optional;
mod quantity;
mod regex;
mod semver;
mod strings;
mod time;
mod url;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

pub use authz::{Authorizer, Check, Decision, ServiceAccount};
pub(crate) use convert::{format_double, format_duration};
pub(crate) use format::check_arguments as check_format;
pub(crate) use lists::list_cost;
pub(crate) use operators::{add, index};
pub(crate) use regex::compile as compile_regex;
pub(crate) use time::{parse_duration, parse_timestamp};

use crate::error::EvalError;
use crate::types::Type;
use crate::value::Val;

pub(crate) type Answer<'a> = Result<Val<'a>, EvalError>;
/// What a function does; [`EvalError::no_such_overload`] if it takes no such values.
pub(crate) type Implementation = for<'a, 'b> fn(&'b [Val<'a>]) -> Answer<'a>;
pub(crate) type Row = (&'static str, Implementation, &'static [&'static str]);

/// A function with all its overloads.
#[derive(Debug)]
pub(crate) struct Function {
    pub name: &'static str,
    pub overloads: Vec<Overload>,
    pub implementations: Vec<Implementation>,
}

/// One way to call a function.
#[derive(Debug)]
pub(crate) struct Overload {
    pub member: bool,
    /// With the receiver first.
    pub args: Vec<Type>,
    pub result: Type,
}

/// A value that a library defines.
#[derive(Clone)]
pub enum Extension<'a> {
    Quantity(Arc<machinery::quantity::Quantity>),
    Ip(std::net::IpAddr),
    Cidr(std::net::IpAddr, u8),
    Url(Arc<url::Url>),
    Semver(Arc<semver::Semver>),
    Format(&'static named_format::Format),
    Authorizer(authz::Subject<'a>),
    PathCheck(authz::Subject<'a>, Arc<str>),
    GroupCheck(authz::Subject<'a>, Arc<str>),
    ResourceCheck(authz::Subject<'a>, Arc<authz::Resource>),
    Decision(Arc<Decision>),
}

impl<'a> Extension<'a> {
    /// The `authorizer` of an expression.
    pub fn authorizer(authorizer: &'a dyn Authorizer) -> Self {
        Self::Authorizer(authz::Subject { authorizer, service_account: None })
    }

    /// The `authorizer.requestResource` of an expression: checks of what the request is about.
    pub fn request_resource(
        authorizer: &'a dyn Authorizer,
        group: &str,
        resource: &str,
        subresource: &str,
        namespace: &str,
        name: &str,
    ) -> Self {
        let resource = authz::Resource {
            group: group.into(),
            resource: resource.into(),
            subresource: subresource.into(),
            namespace: namespace.into(),
            name: name.into(),
            ..Default::default()
        };
        Self::ResourceCheck(authz::Subject { authorizer, service_account: None }, Arc::new(resource))
    }

    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Ip(_) => "net.IP",
            Self::Cidr(..) => "net.CIDR",
            Self::Url(_) => "kubernetes.URL",
            Self::Semver(_) => "kubernetes.Semver",
            Self::Format(_) => "kubernetes.NamedFormat",
            Self::Authorizer(_) => "kubernetes.authorization.Authorizer",
            Self::PathCheck(..) => "kubernetes.authorization.PathCheck",
            Self::GroupCheck(..) => "kubernetes.authorization.GroupCheck",
            Self::ResourceCheck(..) => "kubernetes.authorization.ResourceCheck",
            Self::Decision(_) => "kubernetes.authorization.Decision",
        }
    }

    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Ip(ip) => {
                if ip.is_ipv4() {
                    4
                } else {
                    16
                }
            }
            Self::Cidr(_, bits) => u64::from(bits.div_ceil(8)),
            _ => 1,
        }
    }

    pub(crate) fn equal(&self, other: &Self) -> Result<bool, EvalError> {
        Ok(match (self, other) {
            (Self::Quantity(a), Self::Quantity(b)) => a == b,
            (Self::Ip(a), Self::Ip(b)) => a == b,
            (Self::Cidr(a, n), Self::Cidr(b, m)) => a == b && n == m,
            (Self::Url(a), Self::Url(b)) => a == b,
            (Self::Semver(a), Self::Semver(b)) => a.cmp(b).is_eq(),
            (Self::Format(a), Self::Format(b)) => a.name == b.name,
            _ => return Err(EvalError::no_such_overload()),
        })
    }
}

/// The names of types that are values in expressions.
pub(crate) fn type_named(name: &str) -> Option<Type> {
    Some(match name {
        "bool" => Type::Bool,
        "bytes" => Type::Bytes,
        "double" => Type::Double,
        "int" => Type::Int,
        "string" => Type::String,
        "uint" => Type::Uint,
        "null_type" => Type::Null,
        "list" => Type::list(Type::Dyn),
        "map" => Type::map(Type::Dyn, Type::Dyn),
        "optional_type" => Type::optional(Type::Dyn),
        "type" => Type::Type(Arc::new(Type::Dyn)),
        "google.protobuf.Timestamp" => Type::Timestamp,
        "google.protobuf.Duration" => Type::Duration,
        "net.IP" => Type::Named("net.IP"),
        "net.CIDR" => Type::Named("net.CIDR"),
        _ => return None,
    })
}

/// The function of that name.
pub(crate) fn function(name: &str) -> Option<&'static Function> {
    static FUNCTIONS: LazyLock<HashMap<&'static str, Function>> = LazyLock::new(|| {
        let tables: &[&[Row]] = &[
            operators::FUNCTIONS,
            convert::FUNCTIONS,
            strings::FUNCTIONS,
            format::FUNCTIONS,
            collections::FUNCTIONS,
            lists::FUNCTIONS,
            optional::FUNCTIONS,
            time::FUNCTIONS,
            regex::FUNCTIONS,
            net::FUNCTIONS,
            url::FUNCTIONS,
            quantity::FUNCTIONS,
            semver::FUNCTIONS,
            named_format::FUNCTIONS,
            authz::FUNCTIONS,
        ];
        let mut out: HashMap<&'static str, Function> = HashMap::new();
        for (name, implementation, overloads) in tables.iter().copied().flatten() {
            let f = out.entry(name).or_insert_with(|| Function { name, overloads: Vec::new(), implementations: Vec::new() });
            f.overloads.extend(overloads.iter().map(|text| overload(text)));
            f.implementations.push(*implementation);
        }
        out
    });
    FUNCTIONS.get(name)
}

/// Reads `receiver.(arguments) result`.
fn overload(text: &'static str) -> Overload {
    let (receiver, rest) = match text.find(".(") {
        Some(i) => (Some(&text[..i]), &text[i + 1..]),
        None => (None, text),
    };
    let mut args: Vec<Type> = receiver.map(|r| read_type(r).0).into_iter().collect();
    let mut rest = rest.trim_start_matches('(');
    while !rest.starts_with(')') {
        let (t, after) = read_type(rest.trim_start_matches([',', ' ']));
        args.push(t);
        rest = after;
    }
    let result = read_type(rest.trim_start_matches([')', ' '])).0;
    Overload { member: receiver.is_some(), args, result }
}

fn read_type(text: &'static str) -> (Type, &'static str) {
    let end = text.find(['(', ')', ',', ' ']).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let inner = |rest: &'static str| {
        let (t, rest) = read_type(&rest[1..]);
        (t, rest.trim_start_matches([',', ' ']))
    };
    let close = |rest: &'static str| rest.strip_prefix(')').unwrap_or(rest);
    match word {
        "list" if rest.starts_with('(') => {
            let (t, rest) = inner(rest);
            (Type::list(t), close(rest))
        }
        "optional" => {
            let (t, rest) = inner(rest);
            (Type::optional(t), close(rest))
        }
        "type" => {
            let (t, rest) = inner(rest);
            (Type::Type(Arc::new(t)), close(rest))
        }
        "map" => {
            let (k, rest) = inner(rest);
            let (v, rest) = read_type(rest);
            (Type::map(k, v), close(rest))
        }
        "dyn" => (Type::Dyn, rest),
        "timestamp" => (Type::Timestamp, rest),
        "duration" => (Type::Duration, rest),
        "A" | "B" => (Type::Param(u32::from(word == "B")), rest),
        _ => (type_named(word).unwrap_or(Type::Named(word)), rest),
    }
}
