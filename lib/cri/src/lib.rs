//! gRPC bindings of the container runtime interface (CRI v1), and the connection to a runtime's Unix socket.
//!
//! Works with containerd from 1.6 on and CRI-O. What a runtime does not know it answers with `Unimplemented`
//! (`GetContainerEvents` before containerd 1.7): the caller decides what to do without.

/// The messages and clients of package `runtime.v1`.
pub mod v1 {
    #![allow(clippy::all, missing_docs)]
    tonic::include_proto!("runtime.v1");
}

mod connect;
pub use connect::{ConnectError, Runtime};
pub use tonic::{Code, Status, Streaming};
