//! The controllers: one module each, driven by informers and work queues.
//!
//! `build(config, client)` gives a [`Manager`]; [`Manager::run`] runs the controllers that the configuration names until it is told to stop.
//! Controllers know the API and nothing else: what a node or a disk must do is asked for through objects or through a trait.

pub mod config;
pub mod context;
pub mod core;
mod manager;

pub mod bootstrap;
pub mod certificates;
pub mod clusterrole;
pub mod cronjob;
pub mod daemonset;
pub mod deployment;
pub mod disruption;
pub mod endpoints;
pub mod endpointslice;
pub mod garbagecollector;
pub mod job;
pub mod namespace;
pub mod node;
pub mod nodeloadbalancer;
pub mod podautoscaler;
pub mod policystatus;
pub mod replicaset;
pub mod resourcequota;
pub mod rootca;
pub mod serviceaccount;
pub mod servicecidr;
pub mod statefulset;
pub mod volume;

pub use config::Config;
pub use context::Context;
pub use core::error::{Error, Result};
pub use manager::{Manager, build};
