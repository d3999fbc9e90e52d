//! Benchmarks against Skiff and stock alike.
