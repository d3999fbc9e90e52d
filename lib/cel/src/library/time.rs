//! Parts of timestamps and durations.

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use super::strings::nth;
use super::{Answer, Row};
use crate::error::EvalError;
use crate::value::Val;

const OF_TIMESTAMP: &[&str] = &["timestamp.() int", "timestamp.(string) int"];
const OF_BOTH: &[&str] = &["timestamp.() int", "timestamp.(string) int", "duration.() int"];

pub(super) const FUNCTIONS: &[Row] = &[
    ("getFullYear", |a| part(a, |z| z.year().into()), OF_TIMESTAMP),
    ("getMonth", |a| part(a, |z| i64::from(z.month()) - 1), OF_TIMESTAMP),
    ("getDayOfYear", |a| part(a, |z| i64::from(z.day_of_year()) - 1), OF_TIMESTAMP),
    ("getDayOfMonth", |a| part(a, |z| i64::from(z.day()) - 1), OF_TIMESTAMP),
    ("getDate", |a| part(a, |z| z.day().into()), OF_TIMESTAMP),
    ("getDayOfWeek", |a| part(a, |z| z.weekday().to_sunday_zero_offset().into()), OF_TIMESTAMP),
    ("getHours", |a| whole(a, 3_600_000_000_000, |z| z.hour().into()), OF_BOTH),
    ("getMinutes", |a| whole(a, 60_000_000_000, |z| z.minute().into()), OF_BOTH),
    ("getSeconds", |a| whole(a, 1_000_000_000, |z| z.second().into()), OF_BOTH),
    ("getMilliseconds", |a| whole(a, 1_000_000, |z| z.millisecond().into()), OF_BOTH),
];

fn part<'a>(args: &[Val<'a>], of: impl Fn(&Zoned) -> i64) -> Answer<'a> {
    let Val::Timestamp(t) = &args[0] else { return Err(EvalError::no_such_overload()) };
    let zone = if args.len() > 1 { zone(nth(args, 1)?)? } else { TimeZone::UTC };
    Ok(Val::Int(of(&t.to_zoned(zone))))
}

fn whole<'a>(args: &[Val<'a>], unit: i64, of: impl Fn(&Zoned) -> i64) -> Answer<'a> {
    match &args[0] {
        Val::Duration(d) => Ok(Val::Int(d / unit)),
        _ => part(args, of),
    }
}

/// A zone by name, or by its offset: `-08:00`.
fn zone(name: &str) -> Result<TimeZone, EvalError> {
    let unknown = || EvalError::new(format!("unknown time zone {name}"));
    let Some((hours, minutes)) = name.split_once(':') else {
        return if matches!(name, "" | "UTC") { Ok(TimeZone::UTC) } else { TimeZone::get(name).map_err(|_| unknown()) };
    };
    let (h, m): (i32, i32) = (hours.parse().map_err(|_| unknown())?, minutes.parse().map_err(|_| unknown())?);
    let minutes = if name.starts_with('-') { h * 60 - m } else { h * 60 + m };
    let seconds = minutes.checked_mul(60).ok_or_else(unknown)?;
    Ok(TimeZone::fixed(jiff::tz::Offset::from_seconds(seconds).map_err(|_| unknown())?))
}

/// A duration as Go reads it.
pub(crate) fn parse_duration(s: &str) -> Option<i64> {
    machinery::duration::parse(s).ok()
}

/// A timestamp in RFC 3339, of the years 1 to 9999.
pub(crate) fn parse_timestamp(s: &str) -> Option<Timestamp> {
    let b = s.as_bytes();
    // The form is checked here, as the reader below takes more of ISO 8601.
    let shaped = b.len() >= 20 && b[4] == b'-' && b[7] == b'-' && b[10] == b'T' && b[13] == b':' && b[16] == b':';
    let zoned = s.ends_with('Z') || matches!(b.get(b.len().wrapping_sub(6)), Some(b'+' | b'-'));
    let t: Timestamp = if shaped && zoned { s.parse().ok()? } else { return None };
    (-62_135_596_800..=253_402_300_799).contains(&t.as_second()).then_some(t)
}
