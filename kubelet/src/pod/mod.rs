//! Pods: one worker per pod, and the pure functions it is made of.

pub mod actions;
pub mod allocation;
pub mod backoff;
pub mod conditions;
pub mod container;
pub mod dns;
pub mod env;
mod env_file;
pub mod expansion;
pub mod fields;
pub mod hooks;
pub mod hosts;
mod kill;
mod mounts;
pub mod resize;
pub mod resources;
mod restart_all;
pub mod sandbox;
pub mod security;
pub mod spec;
mod start;
pub mod status;
pub mod worker;
mod writer;
