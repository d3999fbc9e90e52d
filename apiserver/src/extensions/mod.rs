//! Custom resources in the server: definitions are watched, their resources served, their objects converted and cleaned up. What
//! needs no IO is in the crate `extensions`.

mod cleanup;
mod controller;
mod conversion;
mod entries;
mod strategy;

pub use controller::start;
pub use conversion::convert;
pub use entries::Custom;
use entries::Family;
