//! The Kubernetes API server: HTTP front, handlers, admission, streaming proxies.

pub mod admission;
