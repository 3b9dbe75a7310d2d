//! Dates, timestamps and intervals: operators' functions, the clock, fields.

use super::{BOOL, DATE, FLOAT8, INT4, INTERVAL, NUMERIC, TEXT, TIMESTAMP, TIMESTAMPTZ, row};
use crate::error::{Error, Result, SqlState};
use crate::expr::EvalContext;
use crate::expr::cast::convert_time;
use crate::expr::function::{
    Args, Body, CompareOp, Function, Volatility::Immutable, Volatility::Stable, Volatility::Volatile,
};
use crate::types::datetime::{
    add_intervals, add_to_timestamp, add_to_timestamptz, age, date_to_timestamp, divide_interval, extract,
    extract_interval, from_unix_micros, justify_days, justify_hours, justify_interval, multiply_interval,
    negate_interval, subtract_timestamps, timestamp_to_date, timestamp_to_timestamptz, timestamptz_to_timestamp,
    truncate,
};
use crate::types::{Interval, Numeric, SqlType, Value, Zone, numeric};

/// Their rows; the operators' functions stand with the operators.
pub(super) static FUNCTIONS: &[Function] = &[
    row(1299, "now", &[], TIMESTAMPTZ, Stable, Body::Plain(now)),
    row(2647, "transaction_timestamp", &[], TIMESTAMPTZ, Stable, Body::Plain(now)),
    row(2648, "statement_timestamp", &[], TIMESTAMPTZ, Stable, Body::Plain(statement_timestamp)),
    row(2649, "clock_timestamp", &[], TIMESTAMPTZ, Volatile, Body::Plain(clock_timestamp)),
    row(9140, "current_timestamp", &[], TIMESTAMPTZ, Stable, Body::Plain(now)),
    row(9141, "localtimestamp", &[], TIMESTAMP, Stable, Body::Plain(local_now)),
    row(9142, "current_date", &[], DATE, Stable, Body::Plain(today)),
    row(2058, "age", &[TIMESTAMP, TIMESTAMP], INTERVAL, Immutable, Body::Plain(age_of_timestamps)),
    row(1199, "age", &[TIMESTAMPTZ, TIMESTAMPTZ], INTERVAL, Stable, Body::Plain(age_of_timestamptzs)),
    row(2059, "age", &[TIMESTAMP], INTERVAL, Stable, Body::Plain(age_today)),
    row(1386, "age", &[TIMESTAMPTZ], INTERVAL, Stable, Body::Plain(age_today)),
    row(6199, "extract", &[TEXT, DATE], NUMERIC, Immutable, Body::Plain(extract_date)),
    row(6202, "extract", &[TEXT, TIMESTAMP], NUMERIC, Immutable, Body::Plain(extract_timestamp)),
    row(6203, "extract", &[TEXT, TIMESTAMPTZ], NUMERIC, Stable, Body::Plain(extract_timestamptz)),
    row(6204, "extract", &[TEXT, INTERVAL], NUMERIC, Immutable, Body::Plain(extract_of_interval)),
    row(1384, "date_part", &[TEXT, DATE], FLOAT8, Immutable, Body::Plain(part_date)),
    row(2021, "date_part", &[TEXT, TIMESTAMP], FLOAT8, Immutable, Body::Plain(part_timestamp)),
    row(1171, "date_part", &[TEXT, TIMESTAMPTZ], FLOAT8, Stable, Body::Plain(part_timestamptz)),
    row(1172, "date_part", &[TEXT, INTERVAL], FLOAT8, Immutable, Body::Plain(part_interval)),
    row(2020, "date_trunc", &[TEXT, TIMESTAMP], TIMESTAMP, Immutable, Body::Plain(trunc_timestamp)),
    row(1217, "date_trunc", &[TEXT, TIMESTAMPTZ], TIMESTAMPTZ, Stable, Body::Plain(trunc_timestamptz)),
    row(1284, "date_trunc", &[TEXT, TIMESTAMPTZ, TEXT], TIMESTAMPTZ, Stable, Body::Plain(trunc_timestamptz)),
    row(1218, "date_trunc", &[TEXT, INTERVAL], INTERVAL, Immutable, Body::Plain(trunc_interval)),
    row(1175, "justify_hours", &[INTERVAL], INTERVAL, Immutable, Body::Plain(hours_justified)),
    row(1295, "justify_days", &[INTERVAL], INTERVAL, Immutable, Body::Plain(days_justified)),
    row(2711, "justify_interval", &[INTERVAL], INTERVAL, Immutable, Body::Plain(interval_justified)),
    row(1373, "isfinite", &[DATE], BOOL, Immutable, Body::Plain(is_finite)),
    row(2048, "isfinite", &[TIMESTAMP], BOOL, Immutable, Body::Plain(is_finite)),
    row(1389, "isfinite", &[TIMESTAMPTZ], BOOL, Immutable, Body::Plain(is_finite)),
    row(1390, "isfinite", &[INTERVAL], BOOL, Immutable, Body::Plain(is_finite)),
    row(2069, "timezone", &[TEXT, TIMESTAMP], TIMESTAMPTZ, Immutable, Body::Plain(zone_of_timestamp)),
    row(1159, "timezone", &[TEXT, TIMESTAMPTZ], TIMESTAMP, Immutable, Body::Plain(zone_of_timestamptz)),
    row(2070, "timezone", &[INTERVAL, TIMESTAMP], TIMESTAMPTZ, Immutable, Body::Plain(offset_of_timestamp)),
    row(1026, "timezone", &[INTERVAL, TIMESTAMPTZ], TIMESTAMP, Immutable, Body::Plain(offset_of_timestamptz)),
    row(2049, "to_char", &[TIMESTAMP, TEXT], TEXT, Stable, Body::Plain(timestamp_to_char)),
    row(1770, "to_char", &[TIMESTAMPTZ, TEXT], TEXT, Stable, Body::Plain(timestamptz_to_char)),
    row(1158, "to_timestamp", &[FLOAT8], TIMESTAMPTZ, Immutable, Body::Plain(to_timestamp)),
    row(3846, "make_date", &[INT4, INT4, INT4], DATE, Immutable, Body::Plain(make_date)),
];

fn now(_: &Args, cx: &EvalContext) -> Result<Value> {
    Ok(Value::Timestamp(cx.transaction_time))
}

fn local_now(_: &Args, cx: &EvalContext) -> Result<Value> {
    timestamptz_to_timestamp(cx.transaction_time, cx.zone).map(Value::Timestamp)
}

fn today(_: &Args, cx: &EvalContext) -> Result<Value> {
    Ok(Value::Date(timestamp_to_date(timestamptz_to_timestamp(cx.transaction_time, cx.zone)?)))
}

fn statement_timestamp(_: &Args, cx: &EvalContext) -> Result<Value> {
    Ok(Value::Timestamp(cx.statement_time))
}

fn clock_timestamp(_: &Args, cx: &EvalContext) -> Result<Value> {
    Ok(Value::Timestamp(from_unix_micros(cx.env.now())))
}

/// Compares a date, timestamp or timestamptz with one of another of these types.
fn compare_times(op: CompareOp, args: &Args, cx: &EvalContext) -> Result<Value> {
    let zoned = [args.ty(0), args.ty(1)].iter().any(|ty| ty.same(TIMESTAMPTZ));
    let common = if zoned { TIMESTAMPTZ } else { TIMESTAMP };
    let micros = |index: usize| -> Result<i64> {
        // A date beyond the timestamps' range is above or below all of them.
        if let Value::Date(date) = args.value(index)
            && date_to_timestamp(*date).is_err()
        {
            return Ok(if *date > 0 { i64::MAX - 1 } else { i64::MIN + 1 });
        }
        match convert_time(args.value(index), args.ty(index), common, cx)? {
            Value::Timestamp(micros) => Ok(micros),
            other => Err(Error::internal(format!("{other:?} is no timestamp"))),
        }
    };
    Ok(Value::Bool(op.holds(micros(0)?.cmp(&micros(1)?))))
}

pub(super) fn equal(args: &Args, cx: &EvalContext) -> Result<Value> {
    compare_times(CompareOp::Equal, args, cx)
}

pub(super) fn notequal(args: &Args, cx: &EvalContext) -> Result<Value> {
    compare_times(CompareOp::NotEqual, args, cx)
}

pub(super) fn less(args: &Args, cx: &EvalContext) -> Result<Value> {
    compare_times(CompareOp::Less, args, cx)
}

pub(super) fn lessequal(args: &Args, cx: &EvalContext) -> Result<Value> {
    compare_times(CompareOp::LessEqual, args, cx)
}

pub(super) fn greater(args: &Args, cx: &EvalContext) -> Result<Value> {
    compare_times(CompareOp::Greater, args, cx)
}

pub(super) fn greaterequal(args: &Args, cx: &EvalContext) -> Result<Value> {
    compare_times(CompareOp::GreaterEqual, args, cx)
}

fn is_infinite(date: i32) -> bool {
    date == i32::MIN || date == i32::MAX
}

/// The day after `days` more, within PostgreSQL's 4713 BC to 5874897 AD.
fn shift_date(date: i32, days: i64) -> Result<Value> {
    if is_infinite(date) {
        return Ok(Value::Date(date));
    }
    match i64::from(date).checked_add(days) {
        Some(day) if (-2_451_545..2_145_031_949).contains(&day) => Ok(Value::Date(day as i32)),
        _ => Err(Error::new(SqlState::DATETIME_VALUE_OUT_OF_RANGE, "date out of range")),
    }
}

pub(super) fn date_plus_integer(args: &Args, _: &EvalContext) -> Result<Value> {
    shift_date(args.date(0), args.int(1))
}

pub(super) fn integer_plus_date(args: &Args, _: &EvalContext) -> Result<Value> {
    shift_date(args.date(1), args.int(0))
}

pub(super) fn date_minus_integer(args: &Args, _: &EvalContext) -> Result<Value> {
    shift_date(args.date(0), -args.int(1))
}

pub(super) fn date_minus_date(args: &Args, _: &EvalContext) -> Result<Value> {
    let (a, b) = (args.date(0), args.date(1));
    if is_infinite(a) || is_infinite(b) {
        let message = "cannot subtract infinite dates";
        return Err(Error::new(SqlState::DATETIME_VALUE_OUT_OF_RANGE, message));
    }
    Ok(Value::Int(i64::from(a) - i64::from(b)))
}

fn shift_timestamp(timestamp: i64, interval: Interval) -> Result<Value> {
    add_to_timestamp(timestamp, interval).map(Value::Timestamp)
}

pub(super) fn date_plus_interval(args: &Args, _: &EvalContext) -> Result<Value> {
    shift_timestamp(date_to_timestamp(args.date(0))?, args.interval(1))
}

pub(super) fn interval_plus_date(args: &Args, _: &EvalContext) -> Result<Value> {
    shift_timestamp(date_to_timestamp(args.date(1))?, args.interval(0))
}

pub(super) fn date_minus_interval(args: &Args, _: &EvalContext) -> Result<Value> {
    shift_timestamp(date_to_timestamp(args.date(0))?, negate_interval(args.interval(1))?)
}

pub(super) fn timestamp_plus_interval(args: &Args, _: &EvalContext) -> Result<Value> {
    shift_timestamp(args.timestamp(0), args.interval(1))
}

pub(super) fn interval_plus_timestamp(args: &Args, _: &EvalContext) -> Result<Value> {
    shift_timestamp(args.timestamp(1), args.interval(0))
}

pub(super) fn timestamp_minus_interval(args: &Args, _: &EvalContext) -> Result<Value> {
    shift_timestamp(args.timestamp(0), negate_interval(args.interval(1))?)
}

pub(super) fn timestamptz_plus_interval(args: &Args, cx: &EvalContext) -> Result<Value> {
    add_to_timestamptz(args.timestamp(0), args.interval(1), cx.zone).map(Value::Timestamp)
}

pub(super) fn interval_plus_timestamptz(args: &Args, cx: &EvalContext) -> Result<Value> {
    add_to_timestamptz(args.timestamp(1), args.interval(0), cx.zone).map(Value::Timestamp)
}

pub(super) fn timestamptz_minus_interval(args: &Args, cx: &EvalContext) -> Result<Value> {
    add_to_timestamptz(args.timestamp(0), negate_interval(args.interval(1))?, cx.zone).map(Value::Timestamp)
}

pub(super) fn timestamp_minus_timestamp(args: &Args, _: &EvalContext) -> Result<Value> {
    subtract_timestamps(args.timestamp(0), args.timestamp(1)).map(Value::Interval)
}

pub(super) fn interval_plus_interval(args: &Args, _: &EvalContext) -> Result<Value> {
    add_intervals(args.interval(0), args.interval(1)).map(Value::Interval)
}

pub(super) fn interval_minus_interval(args: &Args, _: &EvalContext) -> Result<Value> {
    add_intervals(args.interval(0), negate_interval(args.interval(1))?).map(Value::Interval)
}

pub(super) fn interval_negate(args: &Args, _: &EvalContext) -> Result<Value> {
    negate_interval(args.interval(0)).map(Value::Interval)
}

pub(super) fn interval_times(args: &Args, _: &EvalContext) -> Result<Value> {
    multiply_interval(args.interval(0), args.float(1)).map(Value::Interval)
}

pub(super) fn times_interval(args: &Args, _: &EvalContext) -> Result<Value> {
    multiply_interval(args.interval(1), args.float(0)).map(Value::Interval)
}

pub(super) fn interval_divide(args: &Args, _: &EvalContext) -> Result<Value> {
    divide_interval(args.interval(0), args.float(1)).map(Value::Interval)
}

fn age_of_timestamps(args: &Args, _: &EvalContext) -> Result<Value> {
    age(args.timestamp(0), args.timestamp(1)).map(Value::Interval)
}

fn age_of_timestamptzs(args: &Args, cx: &EvalContext) -> Result<Value> {
    let local = |index: usize| timestamptz_to_timestamp(args.timestamp(index), cx.zone);
    age(local(0)?, local(1)?).map(Value::Interval)
}

/// From a time to today's midnight, both as clocks in the session's zone show them.
fn age_today(args: &Args, cx: &EvalContext) -> Result<Value> {
    let today = date_to_timestamp(timestamp_to_date(timestamptz_to_timestamp(cx.transaction_time, cx.zone)?))?;
    let of = match args.ty(0) {
        zoned if zoned.same(TIMESTAMPTZ) => timestamptz_to_timestamp(args.timestamp(0), cx.zone)?,
        _ => args.timestamp(0),
    };
    age(today, of).map(Value::Interval)
}

fn number(field: Option<Numeric>) -> Value {
    field.map_or(Value::Null, Value::Numeric)
}

/// date_part: the same field as a double precision.
fn part(field: Option<Numeric>) -> Result<Value> {
    field.map_or(Ok(Value::Null), |field| numeric::to_f64(&field).map(Value::Float))
}

/// A field of a date: those of a day's parts are refused.
fn date_field(args: &Args) -> Result<Option<Numeric>> {
    let field = args.text(0);
    let lower = field.to_ascii_lowercase();
    const TIMES: [&str; 8] =
        ["hour", "minute", "second", "millisecond", "microsecond", "timezone", "timezone_hour", "timezone_minute"];
    if TIMES.contains(&lower.strip_suffix('s').unwrap_or(&lower)) {
        return Err(Error::new(
            SqlState::FEATURE_NOT_SUPPORTED,
            format!("unit \"{lower}\" not supported for type date"),
        ));
    }
    let timestamp = date_to_timestamp(args.date(1))?;
    // A date has no time, so its Julian day and epoch are whole.
    let whole = |field: Numeric| numeric::trunc(&field, 0);
    Ok(extract(field, timestamp, None).map_err(|error| of_type(error, "date"))?.map(whole))
}

fn extract_date(args: &Args, _: &EvalContext) -> Result<Value> {
    date_field(args).map(number)
}

fn extract_timestamp(args: &Args, _: &EvalContext) -> Result<Value> {
    extract(args.text(0), args.timestamp(1), None).map(number)
}

fn extract_timestamptz(args: &Args, cx: &EvalContext) -> Result<Value> {
    extract(args.text(0), args.timestamp(1), Some(cx.zone)).map(number)
}

fn extract_of_interval(args: &Args, _: &EvalContext) -> Result<Value> {
    extract_interval(args.text(0), args.interval(1)).map(number)
}

/// Unlike extract, date_part takes a date for the timestamp of its midnight.
fn part_date(args: &Args, _: &EvalContext) -> Result<Value> {
    extract(args.text(0), date_to_timestamp(args.date(1))?, None).and_then(part)
}

fn part_timestamp(args: &Args, _: &EvalContext) -> Result<Value> {
    extract(args.text(0), args.timestamp(1), None).and_then(part)
}

fn part_timestamptz(args: &Args, cx: &EvalContext) -> Result<Value> {
    extract(args.text(0), args.timestamp(1), Some(cx.zone)).and_then(part)
}

fn part_interval(args: &Args, _: &EvalContext) -> Result<Value> {
    extract_interval(args.text(0), args.interval(1)).and_then(part)
}

/// The same error about another type than timestamp.
fn of_type(error: Error, ty: &str) -> Error {
    Error::new(error.code(), error.fields().message.replace("timestamp without time zone", ty))
}

/// A zone by name, for AT TIME ZONE and date_trunc.
fn zone_named(name: &str) -> Result<Zone> {
    Zone::parse(name)
        .map_err(|_| Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("time zone \"{name}\" not recognized")))
}

fn trunc_interval(args: &Args, _: &EvalContext) -> Result<Value> {
    let Interval { months, days, micros } = args.interval(1);
    let cut_months = |size: i32| Interval { months: months / size * size, days: 0, micros: 0 };
    let cut_micros = |size: i64| Interval { months, days, micros: micros / size * size };
    let field = args.text(0).to_ascii_lowercase();
    Ok(Value::Interval(match field.strip_suffix('s').unwrap_or(&field) {
        "microsecond" => args.interval(1),
        "millisecond" => cut_micros(1_000),
        "second" => cut_micros(1_000_000),
        "minute" => cut_micros(60_000_000),
        "hour" => cut_micros(3_600_000_000),
        "day" => Interval { months, days, micros: 0 },
        "month" => cut_months(1),
        "quarter" => cut_months(3),
        "year" => cut_months(12),
        "decade" => cut_months(120),
        "century" => cut_months(1_200),
        "millennium" => cut_months(12_000),
        "week" => {
            let message = format!("unit \"{field}\" not supported for type interval");
            return Err(
                Error::new(SqlState::FEATURE_NOT_SUPPORTED, message).detail("Months usually have fractional weeks.")
            );
        }
        _ => {
            let message = format!("unit \"{field}\" not recognized for type interval");
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
        }
    }))
}

fn trunc_timestamp(args: &Args, _: &EvalContext) -> Result<Value> {
    truncate(args.text(0), args.timestamp(1)).map(Value::Timestamp)
}

fn trunc_timestamptz(args: &Args, cx: &EvalContext) -> Result<Value> {
    let given = if args.len() > 2 { Some(zone_named(args.text(2))?) } else { None };
    let zone = given.as_ref().unwrap_or(cx.zone);
    let timestamp = args.timestamp(1);
    if timestamp == i64::MIN || timestamp == i64::MAX {
        return Ok(Value::Timestamp(timestamp));
    }
    let local = timestamptz_to_timestamp(timestamp, zone)?;
    let local = truncate(args.text(0), local).map_err(|error| of_type(error, "timestamp with time zone"))?;
    timestamp_to_timestamptz(local, zone).map(Value::Timestamp)
}

fn hours_justified(args: &Args, _: &EvalContext) -> Result<Value> {
    justify_hours(args.interval(0)).map(Value::Interval)
}

fn days_justified(args: &Args, _: &EvalContext) -> Result<Value> {
    justify_days(args.interval(0)).map(Value::Interval)
}

fn interval_justified(args: &Args, _: &EvalContext) -> Result<Value> {
    justify_interval(args.interval(0)).map(Value::Interval)
}

fn is_finite(args: &Args, _: &EvalContext) -> Result<Value> {
    Ok(Value::Bool(match args.value(0) {
        Value::Date(date) => !is_infinite(*date),
        Value::Timestamp(timestamp) => *timestamp != i64::MIN && *timestamp != i64::MAX,
        _ => true,
    }))
}

fn zone_of_timestamp(args: &Args, _: &EvalContext) -> Result<Value> {
    timestamp_to_timestamptz(args.timestamp(1), &zone_named(args.text(0))?).map(Value::Timestamp)
}

fn zone_of_timestamptz(args: &Args, _: &EvalContext) -> Result<Value> {
    timestamptz_to_timestamp(args.timestamp(1), &zone_named(args.text(0))?).map(Value::Timestamp)
}

/// An offset from UTC as AT TIME ZONE takes it: a time alone.
fn offset(args: &Args) -> Result<Interval> {
    let offset = args.interval(0);
    if offset.months == 0 && offset.days == 0 {
        return Ok(offset);
    }
    let mut written = Vec::new();
    crate::types::datetime::write_interval(offset, &mut written);
    let message =
        format!("interval time zone \"{}\" must not include months or days", String::from_utf8_lossy(&written));
    Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message))
}

fn offset_of_timestamp(args: &Args, _: &EvalContext) -> Result<Value> {
    shift_timestamp(args.timestamp(1), negate_interval(offset(args)?)?)
}

fn offset_of_timestamptz(args: &Args, _: &EvalContext) -> Result<Value> {
    shift_timestamp(args.timestamp(1), offset(args)?)
}

/// NULL for an empty template and for the infinities, as in PostgreSQL.
fn to_char(template: &str, timestamp: i64, offset: Option<i32>) -> Result<Value> {
    if template.is_empty() || timestamp == i64::MIN || timestamp == i64::MAX {
        return Ok(Value::Null);
    }
    crate::types::datetime::fill_template(template, timestamp, offset).map(Value::text)
}

fn timestamp_to_char(args: &Args, _: &EvalContext) -> Result<Value> {
    to_char(args.text(1), args.timestamp(0), None)
}

fn timestamptz_to_char(args: &Args, cx: &EvalContext) -> Result<Value> {
    let timestamp = args.timestamp(0);
    let local = timestamptz_to_timestamp(timestamp, cx.zone)?;
    let offset = (local.saturating_sub(timestamp) / 1_000_000) as i32;
    to_char(args.text(1), local, Some(offset))
}

fn to_timestamp(args: &Args, _: &EvalContext) -> Result<Value> {
    let seconds = args.float(0);
    if seconds.is_nan() {
        return Err(Error::new(SqlState::DATETIME_VALUE_OUT_OF_RANGE, "timestamp cannot be NaN"));
    }
    if seconds.is_infinite() {
        return Ok(Value::Timestamp(if seconds > 0.0 { i64::MAX } else { i64::MIN }));
    }
    // 4714 BC to 294276 AD, in seconds of the Unix epoch.
    if !(-210_866_803_200.0..9_224_318_016_000.0).contains(&seconds) {
        let seconds = crate::types::text::to_string(&Value::Float(seconds), FLOAT8, &Zone::utc());
        let message = format!("timestamp out of range: \"{seconds}\"");
        return Err(Error::new(SqlState::DATETIME_VALUE_OUT_OF_RANGE, message));
    }
    let epoch_seconds = 946_684_800.0;
    Ok(Value::Timestamp(((seconds - epoch_seconds) * 1_000_000.0).round_ties_even() as i64))
}

fn make_date(args: &Args, _: &EvalContext) -> Result<Value> {
    let (year, month, day) = (args.int(0), args.int(1), args.int(2));
    let refused = || {
        let message = format!("date field value out of range: {year}-{month:02}-{day:02}");
        Error::new(SqlState::DATETIME_FIELD_OVERFLOW, message)
    };
    let era = if year < 0 { " BC" } else { "" };
    let written = format!("{:04}-{month:02}-{day:02}{era}", year.unsigned_abs());
    if year == 0 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return Err(refused());
    }
    crate::types::text::parse(&written, SqlType::DATE, &Zone::utc()).map_err(|_| refused())
}
