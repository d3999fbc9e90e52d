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

/// Runs `attempt` again while it fails with a conflict, five times at most (client-go's RetryOnConflict).
pub async fn on_conflict<T, F>(mut attempt: impl FnMut() -> F) -> crate::Result<T>
where
    F: Future<Output = crate::Result<T>>,
{
    let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(100));
    for _ in 0..4 {
        match attempt().await {
            Err(e) if e.is_conflict() => tokio::time::sleep(backoff.step()).await,
            done => return done,
        }
    }
    attempt().await
}
