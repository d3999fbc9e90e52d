//! Exponential back-off per key, as client-go's flowcontrol.Backoff: doubling up to a maximum, forgotten after twice that long.

use jiff::Timestamp;
use std::collections::HashMap;
use std::time::Duration;

#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    entries: HashMap<String, (Duration, Timestamp)>,
}

fn since(from: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(from)).unwrap_or_default()
}

impl Backoff {
    pub fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, entries: HashMap::new() }
    }
    /// How long the key still has to wait, counted from `event`; `None` if it need not.
    pub fn remaining(&self, key: &str, event: Timestamp, now: Timestamp) -> Option<Duration> {
        let (delay, last) = self.entries.get(key)?;
        if since(*last, event) > 2 * self.max {
            return None;
        }
        delay.checked_sub(since(event, now)).filter(|d| !d.is_zero())
    }
    /// The remaining delay since the last failure of the key.
    pub fn remaining_since_update(&self, key: &str, now: Timestamp) -> Option<Duration> {
        let (delay, last) = self.entries.get(key)?;
        delay.checked_sub(since(*last, now)).filter(|d| !d.is_zero())
    }
    /// The delay in force.
    pub fn delay(&self, key: &str) -> Duration {
        self.entries.get(key).map_or(Duration::ZERO, |e| e.0)
    }
    /// Notes one more event at `event`: the next delay is twice as long.
    pub fn next(&mut self, key: &str, event: Timestamp, now: Timestamp) {
        let delay = match self.entries.get(key) {
            Some((d, last)) if since(*last, event) <= 2 * self.max => (*d * 2).min(self.max),
            _ => self.first,
        };
        self.entries.insert(key.to_owned(), (delay, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_and_forgets() {
        let at = |s: i64| Timestamp::from_second(s).expect("time");
        let mut b = Backoff::new(Duration::from_secs(10), Duration::from_secs(300));
        assert_eq!(b.remaining("k", at(0), at(0)), None);
        let mut delays = Vec::new();
        for now in 0..7 {
            b.next("k", at(now), at(now));
            delays.push(b.delay("k").as_secs());
        }
        assert_eq!(delays, [10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(b.remaining("k", at(7), at(8)), Some(Duration::from_secs(299)));
        b.next("k", at(2000), at(2000));
        assert_eq!(b.delay("k").as_secs(), 10);
    }
}
