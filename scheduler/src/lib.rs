//! The scheduler: queue, framework, one module per plugin.
//!
//! `build(config, client)` gives a [`Scheduler`]; [`Scheduler::run`] binds pods until it is told to stop. One loop owns all state:
//! informers and finished bindings send it messages, which it applies between scheduling cycles. Nothing in a cycle waits; what has
//! to (API writes, volumes) runs in tasks of its own that report back.
//!
//! Behaviour is upstream's (`pkg/scheduler` of v1.36): the extension points, the plugins' verdicts and words, scores and weights.

mod cache;
mod change;
mod config;
mod cycle;
mod engine;
mod framework;
mod listers;
mod nominator;
mod plugins;
mod pod;
mod queue;
mod resources;
mod scheduler;
mod selectors;
mod status;
mod writes;

pub use config::Config;
pub use scheduler::{Scheduler, build};
