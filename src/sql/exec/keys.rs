//! Key ranges: from the expressions of a plan to stretches of the ordered map, when a scan starts.

use crate::encoding::key::{KeyColumn, PRESENT, encode_column, prefix_successor, prefixed};
use crate::error::Result;
use crate::expr::EvalContext;
use crate::sql::plan::{Bound as KeyBound, KeyPart, KeyRange};
use crate::types::{SqlType, Value, compare};
use bytes::Bytes;
use std::collections::VecDeque;
use std::ops::Bound;

/// A part of a key's order.
pub(super) enum Stretch {
    /// One key.
    Point(Bytes),
    /// All keys between two bounds.
    Range(Bound<Vec<u8>>, Bound<Vec<u8>>),
}

/// A key to be read along.
pub(super) struct Along<'a> {
    /// What its keys begin with.
    pub(super) prefix: Vec<u8>,
    /// Its columns.
    pub(super) columns: &'a [(usize, KeyColumn)],
    /// Whether all of its columns make a whole key.
    pub(super) whole: bool,
}

/// The stretches of a key that a range means, in key order. NULLs compare to nothing, so they leave none.
pub(super) fn stretches(along: Along, range: &KeyRange, cx: &EvalContext) -> Result<VecDeque<Stretch>> {
    let Along { prefix, columns, whole: is_whole } = along;
    let mut prefixes = vec![prefix];
    for (part, (_, column)) in range.equal.iter().zip(columns) {
        let values = part_values(part, column, cx)?;
        let mut longer = Vec::with_capacity(prefixes.len() * values.len());
        for prefix in &prefixes {
            for value in &values {
                let mut key = prefix.clone();
                encode_column(&mut key, value, column)?;
                longer.push(key);
            }
        }
        prefixes = longer;
    }
    if is_whole && range.equal.len() == columns.len() {
        return Ok(prefixes.into_iter().map(|key| Stretch::Point(key.into())).collect());
    }
    let next = columns.get(range.equal.len()).filter(|_| !range.lower.is_empty() || !range.upper.is_empty());
    let Some((_, column)) = next else {
        return Ok(prefixes.into_iter().map(whole).collect());
    };
    let (Some(lower), Some(upper)) =
        (tightest(&range.lower, column, true, cx)?, tightest(&range.upper, column, false, cx)?)
    else {
        return Ok(VecDeque::new());
    };
    // what is least along the key
    let (low, high) = if column.descending { (&upper, &lower) } else { (&lower, &upper) };
    prefixes.iter().map(|prefix| bounded(prefix, column, low, high)).collect()
}

/// The different values of an equal part, in the key's order.
fn part_values(part: &KeyPart, column: &KeyColumn, cx: &EvalContext) -> Result<Vec<Value>> {
    let exprs = match part {
        KeyPart::One(expr) => std::slice::from_ref(expr),
        KeyPart::Any(exprs) => exprs,
    };
    let mut values = exprs.iter().map(|expr| expr.eval(&[], cx)).collect::<Result<Vec<_>>>()?;
    values.retain(|value| !value.is_null() && place(value, column.ty, column.bare) == Place::Within);
    let order = |a: &Value, b: &Value| compare(a, b, column.ty);
    values.sort_by(|a, b| if column.descending { order(b, a) } else { order(a, b) });
    values.dedup_by(|a, b| compare(a, b, column.ty).is_eq());
    Ok(values)
}

/// The end of a stretch that remains when several bounds apply.
enum End {
    /// No bound but that NULLs are out: there is a condition, which the least or the greatest value of the type satisfies.
    Open,
    At(Value, bool),
}

/// The tightest of several bounds; none when nothing can satisfy them.
fn tightest(bounds: &[KeyBound], column: &KeyColumn, lower: bool, cx: &EvalContext) -> Result<Option<End>> {
    let mut end = End::Open;
    for bound in bounds {
        let value = bound.value.eval(&[], cx)?;
        if value.is_null() {
            return Ok(None);
        }
        match (place(&value, column.ty, column.bare), lower) {
            (Place::Below, true) | (Place::Above, false) => continue,
            (Place::Above, true) | (Place::Below, false) => return Ok(None),
            (Place::Within, _) => {}
        }
        let tighter = match &end {
            End::Open => true,
            End::At(other, inclusive) => match compare(&value, other, column.ty) {
                std::cmp::Ordering::Equal => *inclusive && !bound.inclusive,
                order => order.is_gt() == lower,
            },
        };
        if tighter {
            end = End::At(value, bound.inclusive);
        }
    }
    Ok(Some(end))
}

fn bounded(prefix: &[u8], column: &KeyColumn, low: &End, high: &End) -> Result<Stretch> {
    let encoded = |value: &Value| -> Result<Vec<u8>> {
        let mut key = prefix.to_vec();
        encode_column(&mut key, value, column)?;
        Ok(key)
    };
    // an open end stops before the NULLs
    let mut values = prefix.to_vec();
    if !column.bare {
        values.push(PRESENT);
    }
    let from = match low {
        End::Open => Bound::Included(values.clone()),
        End::At(value, true) => Bound::Included(encoded(value)?),
        // All longer keys that begin with the value's come before its successor.
        End::At(value, false) => after(encoded(value)?),
    };
    let to = match high {
        End::Open => before(values),
        End::At(value, false) => Bound::Excluded(encoded(value)?),
        End::At(value, true) => before(encoded(value)?),
    };
    Ok(Stretch::Range(from, to))
}

fn whole(prefix: Vec<u8>) -> Stretch {
    let (from, to) = prefixed(prefix);
    Stretch::Range(from, to)
}

fn after(key: Vec<u8>) -> Bound<Vec<u8>> {
    match prefix_successor(&key) {
        Some(next) => Bound::Included(next),
        None => Bound::Excluded(key),
    }
}

fn before(key: Vec<u8>) -> Bound<Vec<u8>> {
    prefixed(key).1
}

#[derive(PartialEq, Eq)]
enum Place {
    Below,
    Within,
    Above,
}

/// Where an integer lies that may be wider than the column that it is compared with; a bare one is not negative.
fn place(value: &Value, ty: SqlType, bare: bool) -> Place {
    let Value::Int(value) = value else { return Place::Within };
    let (low, high) = match ty.base() {
        SqlType::INT2 => (i64::from(i16::MIN), i64::from(i16::MAX)),
        SqlType::INT4 => (i64::from(i32::MIN), i64::from(i32::MAX)),
        SqlType::OID => (0, i64::from(u32::MAX)),
        _ => (i64::MIN, i64::MAX),
    };
    let low = if bare { 0 } else { low };
    match value {
        value if *value < low => Place::Below,
        value if *value > high => Place::Above,
        _ => Place::Within,
    }
}
