//! The order of values: what ORDER BY, keys and the comparison operators agree on.

use super::{Interval, SqlType, Value};
use std::cmp::Ordering;

/// Compares two non-null values of one type as PostgreSQL's btree operator class does. Text is compared by bytes (the
/// collation is C). NULL, which callers treat first, sorts last.
pub fn compare(_a: &Value, _b: &Value, _ty: SqlType) -> Ordering {
    Ordering::Equal
}

/// Compares intervals with 30 days a month and 24 hours a day.
pub fn compare_intervals(_a: Interval, _b: Interval) -> Ordering {
    Ordering::Equal
}
