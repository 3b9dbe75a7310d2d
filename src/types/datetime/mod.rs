//! Dates, timestamps and intervals.
//!
//! The calendar is our own, because PostgreSQL's reaches from 4714 BC to 294276 and jiff's does not; jiff knows the
//! zones ([`Zone`]).

mod arithmetic;
mod calendar;
mod field;
mod format;
mod interval;
mod parse;
mod split;
mod template;

use super::{Interval, Zone};

pub use arithmetic::{
    add_intervals, add_to_timestamp, add_to_timestamptz, age, date_to_timestamp, divide_interval, justify_days,
    justify_hours, justify_interval, multiply_interval, negate_interval, round_timestamp, subtract_timestamps,
    timestamp_to_date, timestamp_to_timestamptz, timestamptz_to_timestamp,
};
pub use field::{extract, extract_interval, truncate};
pub use format::{write_date, write_interval, write_timestamp, write_timestamptz};
pub use interval::parse_interval;
pub use parse::{parse_date, parse_timestamp, parse_timestamptz};
pub use template::fill_template;

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

/// An interval's length in microseconds with 30 days a month and 24 hours a day: what its order compares.
pub fn interval_span(interval: Interval) -> i128 {
    (i128::from(interval.months) * 30 + i128::from(interval.days)) * 86_400_000_000 + i128::from(interval.micros)
}
