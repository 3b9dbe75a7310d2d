//! Arithmetic of timestamps and intervals.

use super::calendar::{DAY, from_days, month_length, to_days};
use super::{Interval, Zone, to_unix_micros};
use crate::error::{Error, Result, SqlState};

/// 4714-11-24 BC, PostgreSQL's first moment.
pub(super) const TIMESTAMP_MIN: i64 = -211_813_488_000_000_000;
/// The first moment after PostgreSQL's last, 294277-01-01.
pub(super) const TIMESTAMP_END: i64 = 9_223_371_331_200_000_000;
/// 5874897-12-31, PostgreSQL's last date.
pub(super) const DATE_MAX: i64 = 2_145_031_948;
/// 4714-11-24 BC.
pub(super) const DATE_MIN: i64 = -2_451_545;

fn out_of_range(what: &str) -> Error {
    Error::new(SqlState::DATETIME_VALUE_OUT_OF_RANGE, format!("{what} out of range"))
}

fn is_infinite(timestamp: i64) -> bool {
    timestamp == i64::MIN || timestamp == i64::MAX
}

pub(super) fn checked(timestamp: Option<i64>) -> Result<i64> {
    timestamp.filter(|at| (TIMESTAMP_MIN..TIMESTAMP_END).contains(at)).ok_or_else(|| out_of_range("timestamp"))
}

/// Adds months, then days, to a local time; a day beyond the month's end becomes its last.
fn add_calendar(timestamp: i64, interval: Interval) -> Result<i64> {
    let mut days = timestamp.div_euclid(DAY);
    if interval.months != 0 {
        let (year, month, day) = from_days(days);
        let months = year * 12 + month - 1 + i64::from(interval.months);
        let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
        days = to_days(year, month, day.min(month_length(year, month)));
    }
    days += i64::from(interval.days);
    checked(days.checked_mul(DAY).and_then(|at| at.checked_add(timestamp.rem_euclid(DAY))))
}

/// A timestamp with so many digits after the seconds' point.
pub fn round_timestamp(timestamp: i64, digits: i32) -> i64 {
    if is_infinite(timestamp) || !(0..6).contains(&digits) {
        return timestamp;
    }
    let unit = 10_i64.pow(6 - digits as u32);
    // Half a unit away from the epoch on both sides, as PostgreSQL rounds.
    let magnitude = timestamp.unsigned_abs() + unit as u64 / 2;
    timestamp.signum() * (magnitude - magnitude % unit as u64) as i64
}

/// timestamp + interval.
pub fn add_to_timestamp(timestamp: i64, interval: Interval) -> Result<i64> {
    if is_infinite(timestamp) {
        return Ok(timestamp);
    }
    checked(add_calendar(timestamp, interval)?.checked_add(interval.micros))
}

/// timestamptz + interval: months and days by the calendar of `zone`.
pub fn add_to_timestamptz(timestamp: i64, interval: Interval, zone: &Zone) -> Result<i64> {
    if is_infinite(timestamp) {
        return Ok(timestamp);
    }
    let moved = if interval.months != 0 || interval.days != 0 {
        timestamp_to_timestamptz(add_calendar(timestamptz_to_timestamp(timestamp, zone)?, interval)?, zone)?
    } else {
        timestamp
    };
    checked(moved.checked_add(interval.micros))
}

/// timestamp - timestamp: days and time.
pub fn subtract_timestamps(a: i64, b: i64) -> Result<Interval> {
    if is_infinite(a) || is_infinite(b) {
        return Err(Error::new(SqlState::DATETIME_VALUE_OUT_OF_RANGE, "cannot subtract infinite timestamps"));
    }
    let micros = a.checked_sub(b).ok_or_else(|| out_of_range("interval"))?;
    justify_hours(Interval { months: 0, days: 0, micros })
}

/// age(): years, months, days and time from `b` to `a` as a calendar counts them.
pub fn age(a: i64, b: i64) -> Result<Interval> {
    if is_infinite(a) || is_infinite(b) {
        return Err(out_of_range("timestamp"));
    }
    let (later, earlier) = (a.max(b), a.min(b));
    let (year, month, day) = from_days(later.div_euclid(DAY));
    let (from_year, from_month, from_day) = from_days(earlier.div_euclid(DAY));
    let mut micros = later.rem_euclid(DAY) - earlier.rem_euclid(DAY);
    let mut days = day - from_day;
    let mut months = (year - from_year) * 12 + month - from_month;
    if micros < 0 {
        micros += DAY;
        days -= 1;
    }
    // A month that is not full is counted in the days of the earlier time's month.
    while days < 0 {
        days += month_length(from_year, from_month);
        months -= 1;
    }
    let sign = if a < b { -1 } else { 1 };
    let whole = |value: i64| i32::try_from(sign * value).map_err(|_| out_of_range("interval"));
    Ok(Interval { months: whole(months)?, days: whole(days)?, micros: sign * micros })
}

/// interval + interval.
pub fn add_intervals(a: Interval, b: Interval) -> Result<Interval> {
    let sum = || {
        Some(Interval {
            months: a.months.checked_add(b.months)?,
            days: a.days.checked_add(b.days)?,
            micros: a.micros.checked_add(b.micros)?,
        })
    };
    sum().ok_or_else(|| out_of_range("interval"))
}

/// - interval.
pub fn negate_interval(a: Interval) -> Result<Interval> {
    let negated = || {
        Some(Interval { months: a.months.checked_neg()?, days: a.days.checked_neg()?, micros: a.micros.checked_neg()? })
    };
    negated().ok_or_else(|| out_of_range("interval"))
}

/// interval * double precision; fractions of months and days go down to days and time.
pub fn multiply_interval(a: Interval, factor: f64) -> Result<Interval> {
    scale_interval(a, |field| field * factor)
}

/// interval / double precision.
pub fn divide_interval(a: Interval, divisor: f64) -> Result<Interval> {
    if divisor == 0.0 {
        return Err(Error::new(SqlState::DIVISION_BY_ZERO, "division by zero"));
    }
    scale_interval(a, |field| field / divisor)
}

fn scale_interval(a: Interval, scale: impl Fn(f64) -> f64) -> Result<Interval> {
    const SECONDS_PER_DAY: f64 = 86_400.0;
    // To the microsecond, so that binary fractions do not leave a nanosecond of a day behind.
    let tidy = |value: f64| (value * 1e6).round_ties_even() / 1e6;
    let whole = |value: f64| {
        let fits = value >= f64::from(i32::MIN) && value <= f64::from(i32::MAX);
        if fits { Ok(value as i32) } else { Err(out_of_range("interval")) }
    };
    let (exact_months, exact_days) = (scale(f64::from(a.months)), scale(f64::from(a.days)));
    let (months, mut days) = (whole(exact_months)?, whole(exact_days)?);
    let month_days = tidy((exact_months - f64::from(months)) * 30.0);
    let mut seconds = tidy((exact_days - f64::from(days) + month_days - month_days.trunc()) * SECONDS_PER_DAY);
    if seconds.abs() >= SECONDS_PER_DAY {
        let carried = (seconds / SECONDS_PER_DAY).trunc();
        days = days.checked_add(carried as i32).ok_or_else(|| out_of_range("interval"))?;
        seconds -= carried * SECONDS_PER_DAY;
    }
    days = days.checked_add(month_days as i32).ok_or_else(|| out_of_range("interval"))?;
    let micros = (scale(a.micros as f64) + seconds * 1e6).round_ties_even();
    if !(micros >= i64::MIN as f64 && micros < i64::MAX as f64) {
        return Err(out_of_range("interval"));
    }
    Ok(Interval { months, days, micros: micros as i64 })
}

/// justify_hours: 24 hours become a day.
pub fn justify_hours(a: Interval) -> Result<Interval> {
    let days = i64::from(a.days) + a.micros / DAY;
    let days = i32::try_from(days).map_err(|_| out_of_range("interval"))?;
    let micros = a.micros % DAY;
    Ok(match (days.signum(), micros.signum()) {
        (1, -1) => Interval { months: a.months, days: days - 1, micros: micros + DAY },
        (-1, 1) => Interval { months: a.months, days: days + 1, micros: micros - DAY },
        _ => Interval { months: a.months, days, micros },
    })
}

/// justify_days: 30 days become a month.
pub fn justify_days(a: Interval) -> Result<Interval> {
    let months = a.months.checked_add(a.days / 30).ok_or_else(|| out_of_range("interval"))?;
    let days = a.days % 30;
    Ok(match (months.signum(), days.signum()) {
        (1, -1) => Interval { months: months - 1, days: days + 30, micros: a.micros },
        (-1, 1) => Interval { months: months + 1, days: days - 30, micros: a.micros },
        _ => Interval { months, days, micros: a.micros },
    })
}

/// justify_interval: both, with one sign.
pub fn justify_interval(a: Interval) -> Result<Interval> {
    let hours = i64::from(a.days) + a.micros / DAY;
    let days = i32::try_from(hours).map_err(|_| out_of_range("interval"))?;
    let months = a.months.checked_add(days / 30).ok_or_else(|| out_of_range("interval"))?;
    let (mut months, mut days, mut micros) = (months, days % 30, a.micros % DAY);
    if months > 0 && (days < 0 || days == 0 && micros < 0) {
        (months, days) = (months - 1, days + 30);
    } else if months < 0 && (days > 0 || days == 0 && micros > 0) {
        (months, days) = (months + 1, days - 30);
    }
    if days > 0 && micros < 0 {
        (days, micros) = (days - 1, micros + DAY);
    } else if days < 0 && micros > 0 {
        (days, micros) = (days + 1, micros - DAY);
    }
    Ok(Interval { months, days, micros })
}

/// date -> timestamp at midnight.
pub fn date_to_timestamp(date: i32) -> Result<i64> {
    match date {
        i32::MIN => Ok(i64::MIN),
        i32::MAX => Ok(i64::MAX),
        _ => checked(i64::from(date).checked_mul(DAY))
            .map_err(|_| Error::new(SqlState::DATETIME_VALUE_OUT_OF_RANGE, "date out of range for timestamp")),
    }
}

/// timestamp -> date.
pub fn timestamp_to_date(timestamp: i64) -> i32 {
    match timestamp {
        i64::MIN => i32::MIN,
        i64::MAX => i32::MAX,
        _ => timestamp.div_euclid(DAY) as i32,
    }
}

/// timestamp -> timestamptz: the moment when clocks in `zone` show it.
pub fn timestamp_to_timestamptz(timestamp: i64, zone: &Zone) -> Result<i64> {
    if is_infinite(timestamp) {
        return Ok(timestamp);
    }
    let offset = zone.offset_of_local(to_unix_micros(timestamp).div_euclid(1_000_000));
    checked(timestamp.checked_sub(i64::from(offset) * 1_000_000))
}

/// timestamptz -> timestamp: what clocks in `zone` show then.
pub fn timestamptz_to_timestamp(timestamp: i64, zone: &Zone) -> Result<i64> {
    if is_infinite(timestamp) {
        return Ok(timestamp);
    }
    let offset = zone.offset_at(to_unix_micros(timestamp).div_euclid(1_000_000));
    checked(timestamp.checked_add(i64::from(offset) * 1_000_000))
}
