//! End-to-end tests: real labs, containerd and stock kubectl.
