//! date_trunc and extract.

use super::calendar::{DAY, from_days, iso_week, to_days, weekday};
use super::{Interval, Zone, timestamptz_to_timestamp, to_unix_micros};
use crate::error::{Error, Result, SqlState};
use crate::types::{Numeric, numeric};
use bigdecimal::BigDecimal;

fn decimal(value: impl Into<bigdecimal::num_bigint::BigInt>, scale: i64) -> Numeric {
    Numeric::Finite(BigDecimal::new(value.into(), scale))
}

fn unrecognized(field: &str, ty: &str) -> Error {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("unit \"{field}\" not recognized for type {ty}"))
}

/// The field's name without plural and abbreviation.
fn canonical(field: &str) -> String {
    let lower = field.to_ascii_lowercase();
    match lower.as_str() {
        "years" | "y" | "yr" | "yrs" => "year",
        "months" | "mon" | "mons" => "month",
        "days" | "d" => "day",
        "hours" | "h" | "hr" | "hrs" => "hour",
        "minutes" | "m" | "min" | "mins" => "minute",
        "seconds" | "s" | "sec" | "secs" => "second",
        "milliseconds" | "ms" | "msec" | "msecs" => "millisecond",
        "microseconds" | "us" | "usec" | "usecs" => "microsecond",
        "weeks" | "w" => "week",
        "quarters" | "qtr" => "quarter",
        "decades" | "dec" | "decs" => "decade",
        "centuries" | "c" | "cent" => "century",
        "millennia" | "mil" | "mils" => "millennium",
        _ => return lower,
    }
    .to_owned()
}

/// date_trunc(field, timestamp); for a timestamptz convert to local time and back.
pub fn truncate(field: &str, timestamp: i64) -> Result<i64> {
    if timestamp == i64::MIN || timestamp == i64::MAX {
        return Ok(timestamp);
    }
    let days = timestamp.div_euclid(DAY);
    let (year, month, _) = from_days(days);
    let down = |size: i64| Ok(timestamp - timestamp.rem_euclid(size));
    let first_year =
        |size: i64| if year > 0 { (year - 1) / size * size + 1 } else { -((size - 1 - (year - 1)) / size) * size + 1 };
    Ok(DAY
        * match canonical(field).as_str() {
            "microsecond" => return Ok(timestamp),
            "millisecond" => return down(1_000),
            "second" => return down(1_000_000),
            "minute" => return down(60_000_000),
            "hour" => return down(3_600_000_000),
            "day" => days,
            "week" => days - (weekday(days) + 6) % 7,
            "month" => to_days(year, month, 1),
            "quarter" => to_days(year, (month - 1) / 3 * 3 + 1, 1),
            "year" => to_days(year, 1, 1),
            "decade" => to_days(year.div_euclid(10) * 10, 1, 1),
            "century" => to_days(first_year(100), 1, 1),
            "millennium" => to_days(first_year(1_000), 1, 1),
            _ => return Err(unrecognized(field, "timestamp without time zone")),
        })
}

/// extract(field from timestamp); with a zone the timestamp is a timestamptz.
pub fn extract(field: &str, timestamp: i64, zone: Option<&Zone>) -> Result<Option<Numeric>> {
    let name = canonical(field);
    let ty = if zone.is_some() { "timestamp with time zone" } else { "timestamp without time zone" };
    if timestamp == i64::MIN || timestamp == i64::MAX {
        return extract_infinite(&name, timestamp > 0).ok_or_else(|| unrecognized(field, ty));
    }
    let local = match zone {
        Some(zone) => timestamptz_to_timestamp(timestamp, zone)?,
        None => timestamp,
    };
    let (days, micros) = (local.div_euclid(DAY), local.rem_euclid(DAY));
    let (year, month, day) = from_days(days);
    // There is no year 0: 1 BC is -1.
    let shown = |year: i64| if year > 0 { year } else { year - 1 };
    let period = |size: i64| if year > 0 { (year + size - 1) / size } else { -((size - 1 - (year - 1)) / size) };
    let offset = (local - timestamp) / 1_000_000;
    let whole = match name.as_str() {
        "microsecond" => micros % 60_000_000,
        "millisecond" => return Ok(Some(decimal(micros % 60_000_000, 3))),
        "second" => return Ok(Some(decimal(micros % 60_000_000, 6))),
        "epoch" => return Ok(Some(decimal(i128::from(to_unix_micros(timestamp)), 6))),
        "julian" => return julian(days, micros),
        "minute" => micros / 60_000_000 % 60,
        "hour" => micros / 3_600_000_000,
        "day" => day,
        "month" => month,
        "quarter" => (month - 1) / 3 + 1,
        "year" => shown(year),
        "decade" => year.div_euclid(10),
        "century" => period(100),
        "millennium" => period(1_000),
        "week" => iso_week(days).1,
        "isoyear" => shown(iso_week(days).0),
        "dow" => weekday(days),
        "isodow" => (weekday(days) + 6) % 7 + 1,
        "doy" => days - to_days(year, 1, 1) + 1,
        "timezone" if zone.is_some() => offset,
        "timezone_hour" if zone.is_some() => offset / 3_600,
        "timezone_minute" if zone.is_some() => offset / 60 % 60,
        _ => return Err(unrecognized(field, ty)),
    };
    Ok(Some(numeric::from_i64(whole)))
}

fn julian(days: i64, micros: i64) -> Result<Option<Numeric>> {
    let day = numeric::from_i64(days + 2_451_545);
    let part = numeric::div(&decimal(micros, 0), &decimal(DAY, 0))?;
    numeric::add(&day, &part).map(Some)
}

/// Fields that only grow are infinite, the others NULL; none for an unknown field.
fn extract_infinite(field: &str, positive: bool) -> Option<Option<Numeric>> {
    match field {
        "year" | "decade" | "century" | "millennium" | "julian" | "isoyear" | "epoch" => {
            Some(Some(if positive { Numeric::Infinity } else { Numeric::NegativeInfinity }))
        }
        "microsecond" | "millisecond" | "second" | "minute" | "hour" | "day" | "month" | "quarter" | "week" | "dow"
        | "isodow" | "doy" | "timezone" | "timezone_hour" | "timezone_minute" => Some(None),
        _ => None,
    }
}

/// extract(field from interval).
pub fn extract_interval(field: &str, interval: Interval) -> Result<Option<Numeric>> {
    let (years, months) = (i64::from(interval.months / 12), i64::from(interval.months % 12));
    let micros = interval.micros;
    let whole = match canonical(field).as_str() {
        "microsecond" => micros % 60_000_000,
        "millisecond" => return Ok(Some(decimal(micros % 60_000_000, 3))),
        "second" => return Ok(Some(decimal(micros % 60_000_000, 6))),
        "minute" => micros / 60_000_000 % 60,
        "hour" => micros / 3_600_000_000,
        "day" => i64::from(interval.days),
        "month" => months,
        "quarter" => months / 3 + 1,
        "year" => years,
        "decade" => years / 10,
        "century" => years / 100,
        "millennium" => years / 1_000,
        "epoch" => {
            // A year has 365.25 days here, a month 30.
            let quarter_days = 1_461 * i128::from(years) + 120 * i128::from(months) + 4 * i128::from(interval.days);
            return Ok(Some(decimal(quarter_days * i128::from(DAY / 4) + i128::from(micros), 6)));
        }
        unit @ ("week" | "dow" | "doy" | "isodow" | "isoyear" | "timezone" | "timezone_hour" | "timezone_minute") => {
            let message = format!("unit \"{unit}\" not supported for type interval");
            return Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message));
        }
        _ => return Err(unrecognized(field, "interval")),
    };
    Ok(Some(numeric::from_i64(whole)))
}
