//! The scheduler: queue, framework, one module per plugin.
