//! The order of values: what ORDER BY, keys and the comparison operators agree on.

use super::datetime::interval_span;
use super::json::Json;
use super::{Interval, SqlType, Value, numeric};
use std::cmp::Ordering;

/// Compares two non-null values of one type as PostgreSQL's btree operator class does. Text is compared by bytes (the
/// collation is C). NULL, which callers treat first, sorts last.
pub fn compare(a: &Value, b: &Value, ty: SqlType) -> Ordering {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Text(a), Value::Text(b)) if ty.wire().same(SqlType::JSONB) => match (Json::parse(a), Json::parse(b)) {
            (Ok(a), Ok(b)) => a.compare(&b),
            _ => a.as_str().cmp(b.as_str()),
        },
        (Value::Text(a), Value::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Float(a), Value::Float(b)) => compare_floats(*a, *b),
        (Value::Numeric(a), Value::Numeric(b)) => numeric::compare(a, b),
        (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
        (Value::Date(a), Value::Date(b)) => a.cmp(b),
        (Value::Timestamp(a), Value::Timestamp(b)) => a.cmp(b),
        (Value::Interval(a), Value::Interval(b)) => compare_intervals(*a, *b),
        (Value::Uuid(a), Value::Uuid(b)) => a.cmp(b),
        (a, b) => a.is_null().cmp(&b.is_null()),
    }
}

/// NaN equals itself and is above everything; zeros are equal.
fn compare_floats(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// Compares intervals with 30 days a month and 24 hours a day.
pub fn compare_intervals(a: Interval, b: Interval) -> Ordering {
    interval_span(a).cmp(&interval_span(b))
}
