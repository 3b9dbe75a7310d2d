//! Text forms of values: PostgreSQL's input and output functions.

use super::{SqlType, Value, Zone};
use crate::error::{Error, Result};

/// Reads a value as the input function of `ty` does, and applies the modifier. Words that need the time (`now`,
/// `today`, `tomorrow`, `yesterday`) are 0A000 here; see [`parse_at`].
pub fn parse(text: &str, ty: SqlType, zone: &Zone) -> Result<Value> {
    parse_at(text, ty, zone, None)
}

/// As [`parse`]; `now` is the transaction's time in microseconds since 2000-01-01 (UTC).
pub fn parse_at(_text: &str, _ty: SqlType, _zone: &Zone, _now: Option<i64>) -> Result<Value> {
    Err(Error::unsupported("text input"))
}

/// Appends the text form of a non-null value, as the output function of `ty` writes it.
pub fn write(_value: &Value, _ty: SqlType, _zone: &Zone, _out: &mut Vec<u8>) {}

/// The text form as a string.
pub fn to_string(value: &Value, ty: SqlType, zone: &Zone) -> String {
    let mut out = Vec::new();
    write(value, ty, zone, &mut out);
    String::from_utf8(out).expect("output functions write UTF-8")
}

/// Applies a type's modifier to a value of that type: rounds a numeric (22003), checks a varchar's length (22001).
/// `explicit` is set for a cast, which cuts a varchar instead.
pub fn apply_modifier(value: Value, _ty: SqlType, _explicit: bool) -> Result<Value> {
    Ok(value)
}
