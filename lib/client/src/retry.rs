//! Back-off between attempts.

use rand::RngExt;
use std::time::Duration;

/// Exponential back-off with jitter, as the reflectors of client-go use it: 800 ms to 30 s, reset after success.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, next: first }
    }
    pub fn reset(&mut self) {
        self.next = self.first;
    }
    /// How long to wait before the next attempt: the current step and up to as much again.
    pub fn step(&mut self) -> Duration {
        let d = self.next;
        self.next = (d * 2).min(self.max);
        d.mul_f64(1.0 + rand::rng().random_range(0.0..1.0))
    }
}
