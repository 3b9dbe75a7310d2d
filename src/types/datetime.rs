//! Dates, timestamps and intervals.

use super::{Interval, Numeric, Zone};
use crate::error::{Error, Result};

/// 2000-01-01 00:00 UTC in microseconds since the Unix epoch.
pub const PG_EPOCH_UNIX_MICROS: i64 = 946_684_800_000_000;

/// Timestamp value of a moment in microseconds since the Unix epoch.
pub fn from_unix_micros(unix: i64) -> i64 {
    unix.saturating_sub(PG_EPOCH_UNIX_MICROS)
}

/// Microseconds since the Unix epoch of a timestamp value.
pub fn to_unix_micros(timestamp: i64) -> i64 {
    timestamp.saturating_add(PG_EPOCH_UNIX_MICROS)
}

/// Reads a date. `now` is the transaction's time, for `today` and the like.
pub fn parse_date(_text: &str, _zone: &Zone, _now: Option<i64>) -> Result<i32> {
    Err(Error::unsupported("date"))
}

/// Reads a timestamp; a zone in it is ignored.
pub fn parse_timestamp(_text: &str, _zone: &Zone, _now: Option<i64>) -> Result<i64> {
    Err(Error::unsupported("timestamp"))
}

/// Reads a timestamptz; without a zone in it, it is in `zone`.
pub fn parse_timestamptz(_text: &str, _zone: &Zone, _now: Option<i64>) -> Result<i64> {
    Err(Error::unsupported("timestamptz"))
}

/// Reads an interval.
pub fn parse_interval(_text: &str) -> Result<Interval> {
    Err(Error::unsupported("interval"))
}

/// Appends a date, `2024-01-31`.
pub fn write_date(_date: i32, _out: &mut Vec<u8>) {}

/// Appends a timestamp, `2024-01-31 12:00:00.5`; with `t` between date and time as JSON has it.
pub fn write_timestamp(_timestamp: i64, _separator: u8, _out: &mut Vec<u8>) {}

/// Appends a timestamptz, `2024-01-31 12:00:00.5+00`; `iso` writes it as JSON has it, `2024-01-31T12:00:00.5+00:00`.
pub fn write_timestamptz(_timestamp: i64, _zone: &Zone, _iso: bool, _out: &mut Vec<u8>) {}

/// Appends an interval in the style `postgres`, `1 day 02:03:04`.
pub fn write_interval(_interval: Interval, _out: &mut Vec<u8>) {}

/// timestamp + interval.
pub fn add_to_timestamp(_timestamp: i64, _interval: Interval) -> Result<i64> {
    Err(Error::unsupported("interval"))
}

/// timestamptz + interval: months and days by the calendar of `zone`.
pub fn add_to_timestamptz(_timestamp: i64, _interval: Interval, _zone: &Zone) -> Result<i64> {
    Err(Error::unsupported("interval"))
}

/// timestamp - timestamp: days and time.
pub fn subtract_timestamps(_a: i64, _b: i64) -> Result<Interval> {
    Err(Error::unsupported("interval"))
}

/// interval + interval.
pub fn add_intervals(_a: Interval, _b: Interval) -> Result<Interval> {
    Err(Error::unsupported("interval"))
}

/// - interval.
pub fn negate_interval(_a: Interval) -> Result<Interval> {
    Err(Error::unsupported("interval"))
}

/// interval * double precision; fractions of months and days go down to days and time.
pub fn multiply_interval(_a: Interval, _factor: f64) -> Result<Interval> {
    Err(Error::unsupported("interval"))
}

/// interval / double precision.
pub fn divide_interval(_a: Interval, _divisor: f64) -> Result<Interval> {
    Err(Error::unsupported("interval"))
}

/// justify_hours: 24 hours become a day.
pub fn justify_hours(a: Interval) -> Result<Interval> {
    Ok(a)
}

/// justify_days: 30 days become a month.
pub fn justify_days(a: Interval) -> Result<Interval> {
    Ok(a)
}

/// justify_interval: both, with one sign.
pub fn justify_interval(a: Interval) -> Result<Interval> {
    Ok(a)
}

/// date -> timestamp at midnight.
pub fn date_to_timestamp(_date: i32) -> Result<i64> {
    Err(Error::unsupported("date"))
}

/// timestamp -> date.
pub fn timestamp_to_date(_timestamp: i64) -> i32 {
    0
}

/// timestamp -> timestamptz: the moment when clocks in `zone` show it.
pub fn timestamp_to_timestamptz(_timestamp: i64, _zone: &Zone) -> Result<i64> {
    Err(Error::unsupported("timestamptz"))
}

/// timestamptz -> timestamp: what clocks in `zone` show then.
pub fn timestamptz_to_timestamp(_timestamp: i64, _zone: &Zone) -> Result<i64> {
    Err(Error::unsupported("timestamptz"))
}

/// date_trunc(field, timestamp); for a timestamptz convert to local time and back.
pub fn truncate(_field: &str, _timestamp: i64) -> Result<i64> {
    Err(Error::unsupported("date_trunc"))
}

/// extract(field from timestamp); with a zone the timestamp is a timestamptz.
pub fn extract(_field: &str, _timestamp: i64, _zone: Option<&Zone>) -> Result<Option<Numeric>> {
    Err(Error::unsupported("extract"))
}

/// extract(field from interval).
pub fn extract_interval(_field: &str, _interval: Interval) -> Result<Option<Numeric>> {
    Err(Error::unsupported("extract"))
}

/// An interval's length in microseconds with 30 days a month and 24 hours a day: what its order compares.
pub fn interval_span(interval: Interval) -> i128 {
    (i128::from(interval.months) * 30 + i128::from(interval.days)) * 86_400_000_000 + i128::from(interval.micros)
}
