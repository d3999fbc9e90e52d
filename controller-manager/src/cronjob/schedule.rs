//! Cron schedules as robfig/cron v3 reads them: five fields, names, steps, `@` words, and a time zone.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

/// When to run.
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    Fields(Box<Fields>),
    /// `@every 1h30m`: at least one second.
    Every(SignedDuration),
}

/// Bits of allowed values. `*` is remembered: a day matches by day of month or of week if both are restricted.
#[derive(Clone, Debug, PartialEq)]
pub struct Fields {
    minute: u64,
    hour: u64,
    day: u64,
    month: u64,
    weekday: u64,
    any_day: bool,
    any_weekday: bool,
    zone: TimeZone,
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Schedule {
    /// Parses a schedule; `TZ=…` or `CRON_TZ=…` in front overrides `zone`.
    pub fn parse(text: &str, zone: TimeZone) -> Result<Self, String> {
        let (text, zone) = match text.strip_prefix("TZ=").or_else(|| text.strip_prefix("CRON_TZ=")) {
            Some(rest) => {
                let (name, rest) = rest.split_once(' ').ok_or("expected a schedule after the time zone")?;
                (rest.trim(), TimeZone::get(name).map_err(|e| format!("provided bad location {name}: {e}"))?)
            }
            None => (text.trim(), zone),
        };
        let text = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => other,
        };
        if let Some(d) = text.strip_prefix("@every ") {
            return every(d).map(Self::Every);
        }
        if text.starts_with('@') {
            return Err(format!("unrecognized descriptor: {text}"));
        }
        let parts: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = parts.as_slice() else {
            return Err(format!("expected exactly 5 fields, found {}: [{}]", parts.len(), parts.join(" ")));
        };
        let any = |s: &str| s.split(',').any(|p| p.starts_with('*') || p.starts_with('?'));
        Ok(Self::Fields(Box::new(Fields {
            minute: field(minute, 0, 59, &[])?,
            hour: field(hour, 0, 23, &[])?,
            day: field(day, 1, 31, &[])?,
            month: field(month, 1, 12, &MONTHS)?,
            weekday: field(weekday, 0, 6, &DAYS)?,
            any_day: any(day),
            any_weekday: any(weekday),
            zone,
        })))
    }

    /// The first time after `t`; `None` if there is none within five years.
    pub fn next(&self, t: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Every(d) => t.checked_add(*d).ok().and_then(|t| Timestamp::from_second(t.as_second()).ok()),
            Self::Fields(f) => f.next(t),
        }
    }
}

fn every(text: &str) -> Result<SignedDuration, String> {
    let d: SignedDuration = text.trim().parse().map_err(|e| format!("failed to parse duration @every {text}: {e}"))?;
    Ok(SignedDuration::from_secs(d.as_secs().max(1)))
}

/// `*`, `a`, `a-b`, any of them with `/step`, and lists of those.
fn field(text: &str, min: u32, max: u32, names: &[&str]) -> Result<u64, String> {
    let mut bits = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((r, s)) => (r, Some(number(s, 0, &[])?)),
            None => (part, None),
        };
        if step == Some(0) {
            return Err(format!("step of range should be a positive number: {part}"));
        }
        let (from, mut to) = match range.split_once('-') {
            _ if range == "*" || range == "?" => (min, max),
            Some((a, b)) => (number(a, min, names)?, number(b, min, names)?),
            None => {
                let n = number(range, min, names)?;
                (n, n)
            }
        };
        // `5/15`: from five on.
        if step.is_some() && !range.contains('-') && range != "*" && range != "?" {
            to = max;
        }
        if from < min {
            return Err(format!("beginning of range ({from}) below minimum ({min}): {part}"));
        }
        if to > max {
            return Err(format!("end of range ({to}) above maximum ({max}): {part}"));
        }
        if from > to {
            return Err(format!("beginning of range ({from}) beyond end of range ({to}): {part}"));
        }
        bits |= (from..=to).step_by(step.unwrap_or(1) as usize).fold(0, |b, n| b | 1u64 << n);
    }
    Ok(bits)
}

fn number(s: &str, first: u32, names: &[&str]) -> Result<u32, String> {
    let lower = s.to_ascii_lowercase();
    if let Some(i) = names.iter().position(|n| *n == lower) {
        return Ok(i as u32 + first);
    }
    s.parse().map_err(|_| format!("failed to parse int from {s}"))
}

impl Fields {
    fn day_matches(&self, t: DateTime) -> bool {
        let day = self.day & (1 << t.day()) != 0;
        let weekday = self.weekday & (1 << t.weekday().to_sunday_zero_offset()) != 0;
        if self.any_day || self.any_weekday { day && weekday } else { day || weekday }
    }

    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let start = after.to_zoned(self.zone.clone()).datetime();
        let mut t = start.checked_add(1.minute()).ok()?.with().second(0).subsec_nanosecond(0).build().ok()?;
        let end = start.checked_add(5.years()).ok()?;
        while t < end {
            if self.month & (1 << t.month()) == 0 {
                t = t.date().first_of_month().checked_add(1.month()).ok()?.at(0, 0, 0, 0);
            } else if !self.day_matches(t) {
                t = t.date().checked_add(1.day()).ok()?.at(0, 0, 0, 0);
            } else if self.hour & (1 << t.hour()) == 0 {
                t = t.with().minute(0).build().ok()?.checked_add(1.hour()).ok()?;
            } else if self.minute & (1 << t.minute()) == 0 {
                t = t.checked_add(1.minute()).ok()?;
            } else {
                let zoned = self.zone.to_ambiguous_zoned(t).compatible().ok()?;
                // A time that the clocks skip, or one already passed when they go back, does not count.
                if zoned.datetime() == t && zoned.timestamp() > after {
                    return Some(zoned.timestamp());
                }
                t = t.checked_add(1.minute()).ok()?;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_times() {
        for (schedule, from, want) in [
            ("* * * * *", "2026-01-01T00:00:30Z", Some("2026-01-01T00:01:00Z")),
            ("0 * * * ?", "2026-01-01T09:59:00Z", Some("2026-01-01T10:00:00Z")),
            ("*/15 * * * *", "2026-01-01T00:46:00Z", Some("2026-01-01T01:00:00Z")),
            ("5/20 1 * * *", "2026-01-01T00:00:00Z", Some("2026-01-01T01:05:00Z")),
            ("0 0 31 * *", "2026-02-01T00:00:00Z", Some("2026-03-31T00:00:00Z")),
            ("0 0 29 feb *", "2026-01-01T00:00:00Z", Some("2028-02-29T00:00:00Z")),
            ("0 0 30 2 *", "2026-01-01T00:00:00Z", None),
            ("0 12 * * mon-fri", "2026-01-02T13:00:00Z", Some("2026-01-05T12:00:00Z")),
            ("0 0 1 * mon", "2026-01-02T00:00:00Z", Some("2026-01-05T00:00:00Z")),
            ("@hourly", "2026-01-01T00:00:00Z", Some("2026-01-01T01:00:00Z")),
            ("@every 90s", "2026-01-01T00:00:00Z", Some("2026-01-01T00:01:30Z")),
            ("TZ=Asia/Kolkata 30 6 * * *", "2026-01-01T00:00:00Z", Some("2026-01-01T01:00:00Z")),
        ] {
            let s = Schedule::parse(schedule, TimeZone::UTC).expect(schedule);
            let got = s.next(from.parse().expect("time")).map(|t| t.to_string());
            assert_eq!(got.as_deref(), want, "{schedule}");
        }
        for bad in ["", "* * * *", "60 * * * *", "* * 0 * *", "5-1 * * * *", "*/0 * * * *", "@never", "x * * * *"] {
            assert!(Schedule::parse(bad, TimeZone::UTC).is_err(), "{bad}");
        }
    }
}
