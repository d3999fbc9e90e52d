//! The node agent: pod workers over CRI, volumes, probes, the node's HTTPS server.
