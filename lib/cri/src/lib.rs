//! gRPC bindings of the container runtime interface (CRI v1).
