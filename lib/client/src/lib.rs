//! How every component talks to the API server: typed and dynamic requests, shared informers, work queues, events, leader election.
//!
//! There are two transports behind one trait: HTTPS, and in-process (made by the API server for components in its own process).
//! Requests pass authentication, authorization and admission in both.

pub mod api;
pub mod clock;
pub mod connection;
pub mod error;
pub mod events;
pub mod https;
pub mod informer;
pub mod json;
pub mod kubeconfig;
pub mod leader;
pub mod metadata;
pub mod object;
mod reflector;
pub mod replaceable;
pub mod retry;
pub mod transport;
pub mod watch;
pub mod workqueue;

pub use api::{Client, DeleteOptions, ListOptions, Patch};
pub use clock::Clock;
pub use error::{Error, Result};
pub use events::{EventType, Recorder};
pub use https::{HttpsConfig, HttpsTransport};
pub use informer::{Informer, InformerEvent, Informers};
pub use json::{Json, List};
pub use object::{Object, key_of, reference_to};
pub use replaceable::Replaceable;
pub use transport::{Body, BoxError, Transport};
pub use workqueue::WorkQueue;

pub use k8s_openapi;
