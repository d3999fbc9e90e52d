//! The controllers against the real API server in one process, each under its own service account and upstream's default roles, with a
//! fake scheduler and kubelet. Scenarios are what a user would do and see.

mod batch;
mod certificates;
mod harness;
mod quota;
mod storage;
mod workloads;
