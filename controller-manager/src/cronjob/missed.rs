//! Which scheduled time is due, and how many were missed.

use super::schedule::Schedule;
use super::spec;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::CronJob;
use std::time::Duration;

/// Added to timers, so that they do not fire just before the time.
const DELTA: SignedDuration = SignedDuration::from_millis(100);

pub struct Due {
    /// From where schedules were counted.
    pub earliest: Timestamp,
    /// The latest time that has come.
    pub latest: Option<Timestamp>,
    /// Number of times that have come since `earliest`.
    pub missed: i64,
}

pub fn most_recent(c: &CronJob, now: Timestamp, s: &Schedule, with_deadline: bool) -> Result<Due, String> {
    let created = c.metadata.creation_timestamp.as_ref().map_or(now, |t| t.0);
    let last = c.status.as_ref().and_then(|s| s.last_schedule_time.as_ref()).map(|t| t.0);
    let mut earliest = last.unwrap_or(created);
    if let Some(d) = spec(c).starting_deadline_seconds.filter(|_| with_deadline)
        && let Ok(bound) = now.checked_sub(SignedDuration::from_secs(d))
    {
        earliest = earliest.max(bound);
    }
    let none = Due { earliest, latest: None, missed: 0 };
    // Of a date that never comes, upstream says the same as of two that are one: its next time is none, and so is the one after.
    let too_close = || Err("time difference between two schedules is less than 1 second".into());
    let Some(first) = s.next(earliest) else { return too_close() };
    if first > now {
        return Ok(none);
    }
    let Some(second) = s.next(first) else { return too_close() };
    if second > now {
        return Ok(Due { latest: Some(first), ..none });
    }
    let period = second.duration_since(first).as_secs();
    if period < 1 {
        return too_close();
    }
    let missed = now.duration_since(first).as_secs() / period + 1;
    // Skips over most of a long absence: only the latest time matters.
    let near = first.checked_add(SignedDuration::from_secs((missed - 2).max(0) * period)).unwrap_or(first);
    let mut latest = None;
    let mut t = s.next(near);
    while let Some(at) = t.filter(|t| *t <= now) {
        latest = Some(at);
        t = s.next(at);
    }
    Ok(Due { earliest, latest: latest.or(Some(second)), missed })
}

/// How long until the next time.
pub fn until_next(c: &CronJob, now: Timestamp, s: &Schedule) -> Option<Duration> {
    let from = match most_recent(c, now, s, false) {
        Ok(Due { latest: Some(t), .. }) => t,
        Ok(Due { earliest, missed: 0, .. }) => earliest,
        _ => now,
    };
    let wait = s.next(from)?.duration_since(now) + DELTA;
    Some(Duration::try_from(wait).unwrap_or(Duration::from_millis(100)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn due_times() {
        let s = Schedule::parse("0 * * * *", jiff::tz::TimeZone::UTC).expect("schedule");
        let now: Timestamp = "2026-01-01T12:30:00Z".parse().expect("time");
        for (name, created, last, deadline, want, missed) in [
            ("never due", "2026-01-01T12:10:00Z", None, None, None, 0),
            ("once", "2026-01-01T11:10:00Z", None, None, Some("2026-01-01T12:00:00Z"), 0),
            ("already run", "2026-01-01T01:10:00Z", Some("2026-01-01T12:00:00Z"), None, None, 0),
            ("several missed", "2026-01-01T09:10:00Z", None, None, Some("2026-01-01T12:00:00Z"), 3),
            ("many missed", "2025-12-20T00:00:00Z", None, None, Some("2026-01-01T12:00:00Z"), 300),
            ("deadline bounds the past", "2025-12-20T00:00:00Z", None, Some(60), None, 0),
        ] {
            let c: CronJob = serde_json::from_value(json!({
                "metadata": {"name": "c", "creationTimestamp": created},
                "spec": {"schedule": "", "startingDeadlineSeconds": deadline, "jobTemplate": {}},
                "status": {"lastScheduleTime": last}}))
            .expect("cronjob");
            let due = most_recent(&c, now, &s, true).expect("due");
            assert_eq!(due.latest.map(|t| t.to_string()).as_deref(), want, "{name}");
            assert_eq!(due.missed, missed, "{name}");
        }
        let never = Schedule::parse("59 23 31 2 *", jiff::tz::TimeZone::UTC).expect("schedule");
        assert!(most_recent(&CronJob::default(), now, &never, true).is_err(), "a date that never comes");
    }
}
