//! What a row of samples says: median, 99th percentile, spread.

use serde_json::{Value, json};
use std::time::Duration;

/// Samples of one thing, in milliseconds.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    pub fn add(&mut self, took: Duration) {
        self.0.push(took.as_secs_f64() * 1000.0);
    }

    pub fn extend(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    /// The sample that `percent` of all samples do not exceed (nearest rank); 0 without samples.
    pub fn percentile(&self, percent: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.max(1) - 1).copied().unwrap_or(0.0)
    }

    pub fn median(&self) -> f64 {
        self.percentile(50.0)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn to_json(&self) -> Value {
        json!({
            "unit": "ms",
            "n": self.len(),
            "min": self.percentile(0.0),
            "median": self.median(),
            "p99": self.percentile(99.0),
            "max": self.percentile(100.0),
            "samples": self.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let mut s = Samples::default();
        for ms in [5, 1, 4, 2, 3] {
            s.add(Duration::from_millis(ms));
        }
        for (name, percent, want) in [("least", 0.0, 1.0), ("median", 50.0, 3.0), ("p99", 99.0, 5.0), ("greatest", 100.0, 5.0)] {
            assert_eq!(s.percentile(percent), want, "{name}");
        }
        assert_eq!(Samples::default().median(), 0.0, "no samples");
    }
}
