//! Casts: which conversions exist, in which contexts, and how they are done (pg_cast and the I/O conversions).

use super::EvalContext;
use super::function::Volatility;
use crate::error::{Error, Result, SqlState};
use crate::limits::IDENTIFIER_BYTES_MAX;
use crate::types::json::Json;
use crate::types::{Numeric, SqlType, Str, TypeCategory, Value, datetime, numeric, text};

/// Where a conversion is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CastContext {
    /// Within an expression, unasked.
    Implicit,
    /// Into a column.
    Assignment,
    /// CAST or `::`.
    Explicit,
}

/// A conversion that exists.
#[derive(Clone, Copy, Debug)]
pub struct Cast {
    /// How it is done.
    pub method: CastMethod,
    /// The least context in which it is allowed.
    pub context: CastContext,
}

/// How a value is converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CastMethod {
    /// It is the same value under both types; only the modifier is applied.
    Relabel,
    /// By computation.
    Convert,
    /// By writing it as text and reading that.
    Text,
}

/// The conversion from one type to another in a context; none when there is no such.
pub fn find_cast(from: SqlType, to: SqlType, context: CastContext) -> Option<Cast> {
    let cast = any_cast(from, to)?;
    (cast.context <= context).then_some(cast)
}

fn any_cast(from: SqlType, to: SqlType) -> Option<Cast> {
    use CastContext::{Assignment, Explicit, Implicit};
    use CastMethod::{Convert, Relabel, Text};
    let is = |a: SqlType, b: SqlType| from.same(a) && to.same(b);
    let cast = |method, context| Some(Cast { method, context });
    if from.same(to) {
        return cast(Relabel, Implicit);
    }
    // FILE is a domain over jsonb.
    if is(SqlType::FILE, SqlType::JSONB) {
        return cast(Relabel, Implicit);
    }
    if is(SqlType::JSONB, SqlType::FILE) {
        return cast(Relabel, Assignment);
    }
    if from.same(SqlType::FILE) {
        return any_cast(SqlType::JSONB, to);
    }
    if from.same(SqlType::REGTYPE) || to.same(SqlType::REGTYPE) {
        let other = if from.same(SqlType::REGTYPE) { to } else { from };
        return match other {
            oid if oid.same(SqlType::OID) => cast(Relabel, Implicit),
            int if int.same(SqlType::INT4) || int.same(SqlType::INT8) => {
                cast(Convert, if from.same(SqlType::REGTYPE) { Assignment } else { Implicit })
            }
            string if string.category() == TypeCategory::String => {
                cast(Text, if from.same(SqlType::REGTYPE) { Assignment } else { Explicit })
            }
            _ => None,
        };
    }
    if let Some(found) = number_cast(from, to) {
        return Some(found);
    }
    if is(SqlType::TEXT, SqlType::VARCHAR) || is(SqlType::VARCHAR, SqlType::TEXT) {
        return cast(Relabel, Implicit);
    }
    if is(SqlType::NAME, SqlType::TEXT) || is(SqlType::TEXT, SqlType::NAME) || is(SqlType::VARCHAR, SqlType::NAME) {
        return cast(Convert, Implicit);
    }
    if is(SqlType::BOOL, SqlType::INT4) || is(SqlType::INT4, SqlType::BOOL) {
        return cast(Convert, Explicit);
    }
    if is(SqlType::BOOL, SqlType::TEXT) || is(SqlType::BOOL, SqlType::VARCHAR) || is(SqlType::NAME, SqlType::VARCHAR) {
        return cast(Convert, Assignment);
    }
    if is(SqlType::JSON, SqlType::JSONB) || is(SqlType::JSONB, SqlType::JSON) {
        return cast(Text, Assignment);
    }
    if from.same(SqlType::JSONB) && (to.same(SqlType::BOOL) || is_number(to) && !to.same(SqlType::OID)) {
        return cast(Convert, Explicit);
    }
    if from.category() == TypeCategory::DateTime && to.category() == TypeCategory::DateTime {
        let narrowing = to.same(SqlType::DATE) || is(SqlType::TIMESTAMPTZ, SqlType::TIMESTAMP);
        return cast(Convert, if narrowing { Assignment } else { Implicit });
    }
    let is_value = |ty: SqlType| !matches!(ty.category(), TypeCategory::Pseudo | TypeCategory::Unknown);
    match (from.category(), to.category()) {
        (_, TypeCategory::String) if is_value(from) => cast(Text, Assignment),
        (TypeCategory::String, _) if is_value(to) => cast(Text, Explicit),
        _ => None,
    }
}

fn is_oid(ty: SqlType) -> bool {
    ty.same(SqlType::OID) || ty.same(SqlType::REGTYPE)
}

fn is_number(ty: SqlType) -> bool {
    ty.category() == TypeCategory::Numeric
}

/// Casts among smallint, integer, bigint, oid, double precision and numeric.
fn number_cast(from: SqlType, to: SqlType) -> Option<Cast> {
    use CastContext::{Assignment, Implicit};
    if !is_number(from) || !is_number(to) {
        return None;
    }
    let rank = |ty: SqlType| match ty {
        ty if ty.same(SqlType::INT2) => 0,
        ty if ty.same(SqlType::INT4) => 1,
        ty if ty.same(SqlType::INT8) => 2,
        ty if ty.same(SqlType::NUMERIC) => 3,
        _ => 4,
    };
    if to.same(SqlType::OID) {
        return from.is_integer().then_some(Cast { method: CastMethod::Convert, context: Implicit });
    }
    if from.same(SqlType::OID) {
        let wide = to.same(SqlType::INT4) || to.same(SqlType::INT8);
        return wide.then_some(Cast { method: CastMethod::Convert, context: Assignment });
    }
    let context = if rank(from) < rank(to) { Implicit } else { Assignment };
    Some(Cast { method: CastMethod::Convert, context })
}

impl CastMethod {
    /// Whether the conversion depends on the time zone or the transaction's time.
    pub fn volatility(self, from: SqlType, to: SqlType) -> Volatility {
        let has = |ty: SqlType| from.same(ty) || to.same(ty);
        let timed = |ty: SqlType| ty.category() == TypeCategory::DateTime;
        let stable = match self {
            CastMethod::Relabel => false,
            CastMethod::Convert => has(SqlType::TIMESTAMPTZ) && !from.same(to),
            CastMethod::Text => timed(from) || timed(to),
        };
        if stable { Volatility::Stable } else { Volatility::Immutable }
    }

    /// Converts a non-null value.
    pub fn apply(self, value: Value, from: SqlType, to: SqlType, explicit: bool, cx: &EvalContext) -> Result<Value> {
        let converted = match self {
            CastMethod::Relabel => value,
            CastMethod::Convert if from.category() == TypeCategory::DateTime => convert_time(&value, from, to, cx)?,
            CastMethod::Convert => match value {
                // An oid and an integer are the same 32 bits.
                Value::Int(value) if is_oid(to) && !from.same(SqlType::INT8) => Value::Int(i64::from(value as u32)),
                Value::Int(value) if is_oid(to) => Value::Int(in_range(value, SqlType::OID)?),
                Value::Int(value) if is_oid(from) && to.same(SqlType::INT4) => Value::Int(i64::from(value as i32)),
                value => convert(value, to)?,
            },
            CastMethod::Text => {
                let written = text::to_string(&value, from, cx.zone);
                if to.category() == TypeCategory::String && !to.same(SqlType::NAME) {
                    Value::text(written)
                } else {
                    text::parse_at(&written, to.base(), cx.zone, Some(cx.transaction_time))?
                }
            }
        };
        if to.modifier < 0 { Ok(converted) } else { text::apply_modifier(converted, to, explicit) }
    }
}

fn convert(value: Value, to: SqlType) -> Result<Value> {
    Ok(match value {
        Value::Int(value) if to.is_integer() || is_oid(to) => Value::Int(in_range(value, to)?),
        Value::Int(value) if to.same(SqlType::FLOAT8) => Value::Float(value as f64),
        Value::Int(value) if to.same(SqlType::NUMERIC) => Value::Numeric(numeric::from_i64(value)),
        Value::Int(value) if to.same(SqlType::BOOL) => Value::Bool(value != 0),
        Value::Float(value) if to.same(SqlType::NUMERIC) => Value::Numeric(numeric::from_f64(value)),
        Value::Float(value) if to.is_integer() => Value::Int(float_to_integer(value, to)?),
        Value::Numeric(value) if to.same(SqlType::FLOAT8) => Value::Float(numeric::to_f64(&value)?),
        Value::Numeric(value) if to.is_integer() => Value::Int(numeric::to_integer(&value, to)?),
        Value::Bool(value) if to.same(SqlType::INT4) => Value::Int(value.into()),
        Value::Bool(value) => Value::Text(Str::from_static(if value { "true" } else { "false" })),
        Value::Text(value) if to.same(SqlType::NAME) => Value::Text(cut_name(value)),
        Value::Text(value) if to.category() == TypeCategory::String => Value::Text(value),
        Value::Text(value) => from_jsonb(&value, to)?,
        other => return Err(Error::internal(format!("no cast of {other:?} to {}", to.base_name()))),
    })
}

/// An integer that must fit a type; 22003 otherwise.
pub(super) fn in_range(value: i64, ty: SqlType) -> Result<i64> {
    let fits = match ty {
        ty if ty.same(SqlType::INT2) => i16::try_from(value).is_ok(),
        ty if ty.same(SqlType::INT4) => i32::try_from(value).is_ok(),
        ty if ty.same(SqlType::OID) => u32::try_from(value).is_ok(),
        _ => true,
    };
    if fits { Ok(value) } else { Err(out_of_range(ty)) }
}

/// `integer out of range` and its kin.
pub(super) fn out_of_range(ty: SqlType) -> Error {
    let name = if ty.same(SqlType::OID) { "OID" } else { ty.base_name() };
    Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("{name} out of range"))
}

fn float_to_integer(value: f64, to: SqlType) -> Result<i64> {
    let rounded = value.round_ties_even();
    // -2^63 is a bigint, 2^63 is none; both are exact as floats.
    if !(-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&rounded) {
        return Err(out_of_range(to));
    }
    in_range(rounded as i64, to)
}

fn cut_name(name: Str) -> Str {
    if name.len() <= IDENTIFIER_BYTES_MAX {
        return name;
    }
    let mut end = IDENTIFIER_BYTES_MAX;
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    Str::from(&name[..end])
}

fn from_jsonb(document: &str, to: SqlType) -> Result<Value> {
    let json = Json::parse(document)?;
    match &json {
        Json::Bool(value) if to.same(SqlType::BOOL) => Ok(Value::Bool(*value)),
        Json::Number(digits) if !to.same(SqlType::BOOL) => {
            let number: Numeric = numeric::parse(digits)?;
            Ok(match to {
                to if to.same(SqlType::NUMERIC) => Value::Numeric(number),
                to if to.same(SqlType::FLOAT8) => Value::Float(numeric::to_f64(&number)?),
                to => Value::Int(numeric::to_integer(&number, to)?),
            })
        }
        _ => {
            let from = if let Json::Number(_) = json { "numeric" } else { json.type_name() };
            let message = format!("cannot cast jsonb {from} to type {}", to.base_name());
            Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message))
        }
    }
}

/// Conversions among date, timestamp and timestamptz, which share their representation.
pub(super) fn convert_time(value: &Value, from: SqlType, to: SqlType, cx: &EvalContext) -> Result<Value> {
    let timestamp = match value {
        Value::Date(date) => datetime::date_to_timestamp(*date)?,
        Value::Timestamp(timestamp) if from.same(SqlType::TIMESTAMPTZ) && !to.same(SqlType::TIMESTAMPTZ) => {
            datetime::timestamptz_to_timestamp(*timestamp, cx.zone)?
        }
        Value::Timestamp(timestamp) => *timestamp,
        other => return Err(Error::internal(format!("{other:?} is no time"))),
    };
    Ok(match to {
        to if to.same(SqlType::DATE) => Value::Date(datetime::timestamp_to_date(timestamp)),
        to if to.same(SqlType::TIMESTAMPTZ) && !from.same(SqlType::TIMESTAMPTZ) => {
            Value::Timestamp(datetime::timestamp_to_timestamptz(timestamp, cx.zone)?)
        }
        _ => Value::Timestamp(timestamp),
    })
}
