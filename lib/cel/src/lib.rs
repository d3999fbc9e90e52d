//! The Common Expression Language as Kubernetes uses it: parser, type checker, evaluator with a cost meter, and the libraries.
//!
//! [`Env::compile`] makes a [`Program`] from text and the types of its variables; [`Program::eval`] gives a [`Val`], reading
//! JSON in place. No IO and no async: who needs authorization checks brings an [`Authorizer`]. Texts are anybody's: their length,
//! depth and what they may cost are bounded.

// Values are counted by `Arc` because programs with constants are shared between threads; those of one evaluation stay on it.
#![allow(clippy::arc_with_non_send_sync)]

mod ast;
mod check;
mod cost;
mod decl;
mod env;
mod equality;
mod error;
pub mod escape;
mod estimate;
mod eval;
mod lexer;
mod library;
pub mod limits;
mod macros;
mod parser;
mod types;
mod value;

pub use cost::Budget;
pub use decl::{DeclType, Field, ListKind, Shape};
pub use env::{Activation, Env, Program, Types};
pub use error::{CompileError, EvalError, Issue};
pub use library::{Authorizer, Check, Decision, Extension, ServiceAccount};
pub use types::Type;
pub use value::{Fields, List, MapVal, Struct, Text, Val};
