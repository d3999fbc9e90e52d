//! Cluster DNS for Services and pods, served on the node.
