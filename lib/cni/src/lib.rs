//! The default pod network: a CNI plugin that joins a pod to the node's bridge.
