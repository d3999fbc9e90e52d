//! The rules of each built-in kind that its schema does not tell: Go-coded defaults, validation, strategies, printer columns.
//! No IO and no async: what needs the store (address allocation, quota) is admission's or the handler's business.

mod admission_registration;
mod api_extensions;
mod api_registration;
mod apps;
pub mod at;
mod autoscaling;
mod batch;
mod certificates;
mod check;
mod core;
mod devices;
mod diff;
mod flow_control;
mod names;
mod networking;
mod print;
mod rbac;
mod registry;
mod resources;
mod rules;
pub mod scale;
mod scheduling;
mod selectors;
mod storage;
pub mod strategy;
pub mod table;
mod workload;

pub use core::event::{from_events_v1, to_events_v1};
pub use core::pod::qos_class;
pub use core::service::patch_allocated_values;
pub use registry::{kinds_with_rules, strategy_for};
pub use strategy::{Column, Context, Deletion, PrinterRow, Requester, Strategy};
