//! The rules of each built-in kind that its schema does not tell: Go-coded defaults, validation, strategies, printer columns.
//! No IO and no async: what needs the store (address allocation, quota) is admission's or the handler's business.

pub mod at;
mod names;
mod registry;
pub mod strategy;
pub mod table;

pub use registry::strategy_for;
pub use strategy::{Column, Context, Deletion, PrinterRow, Strategy};
