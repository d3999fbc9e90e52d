//! Wall-clock time that simulated tests can drive.

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// The time of day. `System` in production; `Virtual` follows tokio's (pausable) clock from a fixed start, so that a test which
/// advances tokio's time moves timestamps too.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    System,
    Virtual { start: Timestamp, since: Instant },
}

impl Clock {
    /// A virtual clock that shows `start` now.
    pub fn starting_at(start: Timestamp) -> Self {
        Self::Virtual { start, since: Instant::now() }
    }
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => Timestamp::now(),
            Self::Virtual { start, since } => {
                let passed = SignedDuration::try_from(since.elapsed()).unwrap_or(SignedDuration::ZERO);
                start.checked_add(passed).unwrap_or(*start)
            }
        }
    }
    /// `metav1.Time`: whole seconds.
    pub fn time(&self) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::Time {
        let now = self.now();
        k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
    }
    pub fn micro_time(&self) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime {
        k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(self.now())
    }
}
