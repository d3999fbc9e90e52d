//! The controllers: one module each, driven by informers and work queues.
