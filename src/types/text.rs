//! Text forms of values: PostgreSQL's input and output functions.

use super::json::{self, Json};
use super::{Oid, SqlType, Str, Value, Zone, datetime, numeric};
use crate::error::{Error, Result, SqlState};
use crate::limits::IDENTIFIER_BYTES_MAX;
use bytes::Bytes;
use std::io::Write;

/// Reads a value as the input function of `ty` does, and applies the modifier. Words that need the time (`now`,
/// `today`, `tomorrow`, `yesterday`) are 0A000 here; see [`parse_at`].
pub fn parse(text: &str, ty: SqlType, zone: &Zone) -> Result<Value> {
    parse_at(text, ty, zone, None)
}

/// As [`parse`]; `now` is the transaction's time in microseconds since 2000-01-01 (UTC).
pub fn parse_at(text: &str, ty: SqlType, zone: &Zone, now: Option<i64>) -> Result<Value> {
    let value = match ty.base() {
        SqlType::BOOL => Value::Bool(parse_bool(text)?),
        SqlType::INT2 => Value::Int(parse_integer(text, ty, i16::MIN.into(), i16::MAX.into())?),
        SqlType::INT4 => Value::Int(parse_integer(text, ty, i32::MIN.into(), i32::MAX.into())?),
        SqlType::INT8 => Value::Int(parse_integer(text, ty, i64::MIN, i64::MAX)?),
        SqlType::OID => Value::Int(parse_oid(text)?),
        SqlType::REGTYPE => Value::Int(parse_regtype(text)?),
        SqlType::FLOAT8 => Value::Float(parse_float(text)?),
        SqlType::NUMERIC => Value::Numeric(numeric::parse(text)?),
        SqlType::DATE => Value::Date(datetime::parse_date(text, zone, now)?),
        SqlType::TIMESTAMP => Value::Timestamp(datetime::parse_timestamp(text, zone, now)?),
        SqlType::TIMESTAMPTZ => Value::Timestamp(datetime::parse_timestamptz(text, zone, now)?),
        SqlType::INTERVAL => Value::Interval(datetime::parse_interval(text)?),
        SqlType::UUID => Value::Uuid(parse_uuid(text)?),
        SqlType::BYTEA => Value::Bytes(parse_bytea(text)?),
        SqlType::JSON => {
            json::validate(text)?;
            Value::text(text)
        }
        SqlType::JSONB | SqlType::FILE => Value::text(Json::parse(text)?.to_text()),
        SqlType::NAME => Value::text(&text[..text.floor_char_boundary(IDENTIFIER_BYTES_MAX)]),
        SqlType::TEXT | SqlType::VARCHAR | SqlType::UNKNOWN => Value::text(text),
        SqlType::VOID => Value::text(""),
        _ => return Err(Error::unsupported(format!("input of type with OID {}", ty.oid))),
    };
    apply_modifier(value, ty, false)
}

fn invalid(ty: SqlType, text: &str) -> Error {
    Error::new(
        SqlState::INVALID_TEXT_REPRESENTATION,
        format!("invalid input syntax for type {}: \"{text}\"", ty.base_name()),
    )
}

fn out_of_range(ty: SqlType, text: &str) -> Error {
    Error::new(
        SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
        format!("value \"{text}\" is out of range for type {}", ty.base_name()),
    )
}

/// C's isspace, which input functions skip at both ends.
fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b')
}

fn parse_bool(text: &str) -> Result<bool> {
    let word = trim(text).to_ascii_lowercase();
    let prefix_of = |full: &str, least: usize| word.len() >= least && full.starts_with(word.as_str());
    if prefix_of("true", 1) || prefix_of("yes", 1) || word == "on" || word == "1" {
        Ok(true)
    } else if prefix_of("false", 1) || prefix_of("no", 1) || prefix_of("off", 2) || word == "0" {
        Ok(false)
    } else {
        Err(invalid(SqlType::BOOL, text))
    }
}

fn parse_integer(text: &str, ty: SqlType, min: i64, max: i64) -> Result<i64> {
    let trimmed = trim(text);
    let digits = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(invalid(ty, text));
    }
    match trimmed.parse::<i64>() {
        Ok(value) if (min..=max).contains(&value) => Ok(value),
        _ => Err(out_of_range(ty, text)),
    }
}

/// C's strtoul, whose negative numbers wrap.
fn parse_oid(text: &str) -> Result<i64> {
    let value = parse_integer(text, SqlType::OID, i32::MIN.into(), u32::MAX.into())?;
    Ok(i64::from(value as u32))
}

/// A type by its name or its OID; `-` is none.
fn parse_regtype(text: &str) -> Result<i64> {
    let name = trim(text).to_ascii_lowercase();
    if name == "-" {
        return Ok(0);
    }
    if name.bytes().all(|byte| byte.is_ascii_digit()) {
        return parse_oid(text);
    }
    let plain = name.strip_prefix("pg_catalog.").unwrap_or(&name);
    let plain = match plain {
        "int" => "integer",
        "float" => "double precision",
        "decimal" => "numeric",
        other => other,
    };
    let is_named = |ty: &&SqlType| ty.internal_name() == Some(plain) || ty.base_name() == plain;
    let found = SqlType::ALL.iter().find(is_named);
    found
        .map(|ty| ty.oid.0.into())
        .ok_or_else(|| Error::new(SqlState::UNDEFINED_OBJECT, format!("type \"{}\" does not exist", trim(text))))
}

fn write_regtype(oid: i64, out: &mut Vec<u8>) {
    let ty = SqlType { oid: Oid(oid as u32), modifier: -1 };
    match (oid, ty.internal_name()) {
        (0, _) => out.push(b'-'),
        (_, Some(_)) => out.extend_from_slice(ty.base_name().as_bytes()),
        (_, None) => write_integer(oid, out),
    }
}

fn parse_float(text: &str) -> Result<f64> {
    let trimmed = trim(text);
    let unsigned = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
    let special = unsigned.starts_with(|c: char| c.is_ascii_alphabetic());
    let value: f64 = trimmed.parse().map_err(|_| invalid(SqlType::FLOAT8, text))?;
    let digits = unsigned.split(['e', 'E']).next().unwrap_or_default();
    let lost = value.is_infinite() || value == 0.0 && digits.contains(|c: char| ('1'..='9').contains(&c));
    if lost && !special {
        let message = format!("\"{trimmed}\" is out of range for type double precision");
        return Err(Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message));
    }
    Ok(value)
}

/// 32 hexadecimal digits, with a hyphen allowed after each group of four, and braces around them.
fn parse_uuid(text: &str) -> Result<[u8; 16]> {
    let refuse = || invalid(SqlType::UUID, text);
    let inner = match text.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}').ok_or_else(refuse)?,
        None => text,
    };
    let mut uuid = [0; 16];
    let mut rest = inner.as_bytes();
    for (index, byte) in uuid.iter_mut().enumerate() {
        let (pair, after) = rest.split_first_chunk::<2>().ok_or_else(refuse)?;
        *byte = hex(pair[0]).zip(hex(pair[1])).map(|(high, low)| high << 4 | low).ok_or_else(refuse)?;
        rest = after;
        if index % 2 == 1 && index < 15 {
            rest = rest.strip_prefix(b"-").unwrap_or(rest);
        }
    }
    if rest.is_empty() { Ok(uuid) } else { Err(refuse()) }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|digit| digit as u8)
}

/// Hex form `\x…` or escape form.
fn parse_bytea(text: &str) -> Result<Bytes> {
    if let Some(digits) = text.strip_prefix("\\x") {
        return parse_bytea_hex(digits);
    }
    let refuse = || Error::new(SqlState::INVALID_TEXT_REPRESENTATION, "invalid input syntax for type bytea");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        match (first, after) {
            (b'\\', [b'\\', after @ ..]) => {
                bytes.push(b'\\');
                rest = after;
            }
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            (b'\\', _) => return Err(refuse()),
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    Ok(bytes.into())
}

fn parse_bytea_hex(digits: &str) -> Result<Bytes> {
    let refuse = |message: String| Error::new(SqlState::INVALID_PARAMETER_VALUE, message);
    let mut bytes = Vec::with_capacity(digits.len() / 2);
    let mut high = None;
    for c in digits.chars() {
        match (c.to_digit(16), high) {
            (None, None) if matches!(c, ' ' | '\n' | '\t' | '\r') => {}
            (None, _) => return Err(refuse(format!("invalid hexadecimal digit: \"{c}\""))),
            (Some(digit), None) => high = Some(digit),
            (Some(digit), Some(first)) => {
                bytes.push((first << 4 | digit) as u8);
                high = None;
            }
        }
    }
    match high {
        None => Ok(bytes.into()),
        Some(_) => Err(refuse("invalid hexadecimal data: odd number of digits".to_owned())),
    }
}

/// Appends the text form of a non-null value, as the output function of `ty` writes it.
pub fn write(value: &Value, ty: SqlType, zone: &Zone, out: &mut Vec<u8>) {
    match value {
        Value::Text(text) => out.extend_from_slice(text.as_bytes()),
        Value::Int(value) if ty.same(SqlType::REGTYPE) => write_regtype(*value, out),
        Value::Int(value) => write_integer(*value, out),
        Value::Bool(value) => out.push(if *value { b't' } else { b'f' }),
        Value::Timestamp(value) if ty.same(SqlType::TIMESTAMPTZ) => {
            datetime::write_timestamptz(*value, zone, false, out);
        }
        Value::Timestamp(value) => datetime::write_timestamp(*value, b' ', out),
        Value::Uuid(value) => write_uuid(value, out),
        Value::Float(value) => write_float(*value, out),
        Value::Numeric(value) => numeric::write(value, out),
        Value::Date(value) => datetime::write_date(*value, out),
        Value::Interval(value) => datetime::write_interval(*value, out),
        Value::Bytes(bytes) => {
            out.reserve(2 + 2 * bytes.len());
            out.extend_from_slice(b"\\x");
            bytes.iter().for_each(|&byte| write_hex(byte, out));
        }
        Value::Null => {}
    }
}

fn write_integer(value: i64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

fn write_hex(byte: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
}

fn write_uuid(uuid: &[u8; 16], out: &mut Vec<u8>) {
    for (index, &byte) in uuid.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        write_hex(byte, out);
    }
}

/// Appends a double precision: the shortest digits that read back as the same number, with an exponent below 1e-4 and
/// from 1e15 on.
pub fn write_float(value: f64, out: &mut Vec<u8>) {
    if !value.is_finite() {
        let name: &[u8] = match value {
            f64::INFINITY => b"Infinity",
            f64::NEG_INFINITY => b"-Infinity",
            _ => b"NaN",
        };
        return out.extend_from_slice(name);
    }
    let magnitude = value.abs();
    if magnitude == 0.0 || (1e-4..1e15).contains(&magnitude) {
        return write!(out, "{value}").expect("writing to memory");
    }
    let start = out.len();
    write!(out, "{value:e}").expect("writing to memory");
    let e = start + out[start..].iter().position(|&byte| byte == b'e').expect("scientific notation has an exponent");
    let exponent = out.split_off(e + 1);
    let (sign, digits) = match exponent.split_first() {
        Some((b'-', digits)) => (b'-', digits),
        _ => (b'+', exponent.as_slice()),
    };
    out.push(sign);
    if digits.len() < 2 {
        out.push(b'0');
    }
    out.extend_from_slice(digits);
}

/// The text form as a string.
pub fn to_string(value: &Value, ty: SqlType, zone: &Zone) -> String {
    let mut out = Vec::new();
    write(value, ty, zone, &mut out);
    String::from_utf8(out).expect("output functions write UTF-8")
}

/// Applies a type's modifier to a value of that type: rounds a numeric (22003), checks a varchar's length (22001).
/// `explicit` is set for a cast, which cuts a varchar instead.
pub fn apply_modifier(value: Value, ty: SqlType, explicit: bool) -> Result<Value> {
    if ty.modifier < 0 {
        return Ok(value);
    }
    match value {
        Value::Text(text) if ty.same(SqlType::VARCHAR) => limit_length(text, ty, explicit).map(Value::Text),
        Value::Numeric(number) => numeric::apply_modifier(number, ty.modifier).map(Value::Numeric),
        Value::Timestamp(at) => Ok(Value::Timestamp(datetime::round_timestamp(at, ty.modifier))),
        value => Ok(value),
    }
}

/// Characters beyond the length are cut when they are spaces, or when the cast is explicit.
fn limit_length(text: Str, ty: SqlType, explicit: bool) -> Result<Str> {
    let length = (ty.modifier - 4).max(0) as usize;
    let Some((cut, _)) = (text.len() > length).then(|| text.char_indices().nth(length)).flatten() else {
        return Ok(text);
    };
    if !explicit && text[cut..].bytes().any(|byte| byte != b' ') {
        return Err(Error::new(
            SqlState::STRING_DATA_RIGHT_TRUNCATION,
            format!("value too long for type {}", ty.display_name()),
        ));
    }
    let kept = text.into_bytes().slice(..cut);
    Ok(Str::from_utf8(kept).expect("cut between characters"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3_000))]

        #[test]
        fn no_text_panics(text in "([-+ :./0-9eTZzP@\"{}\\\\\\[\\],xuntj]|[0-9]{1,19}|jan|day|mon|year|week|ago|bc|pm|é){0,12}") {
            let zone = Zone::parse("Europe/Berlin").expect("a zone");
            for &ty in SqlType::ALL {
                if let Ok(value) = parse(&text, ty, &zone) {
                    let mut json = Vec::new();
                    json::write_json_value(&value, ty, &zone, true, &mut json);
                    // What is written reads back as the same.
                    let again = to_string(&value, ty, &zone);
                    prop_assert_eq!(to_string(&parse(&again, ty, &zone).expect("reads back"), ty, &zone), again);
                }
            }
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            for &ty in SqlType::ALL {
                if let Ok(value) = crate::types::binary::decode(&bytes.clone().into(), ty) {
                    to_string(&value, ty, &Zone::utc());
                }
            }
        }

        #[test]
        fn timestamps_round_trip(at in -211_813_488_000_000_000_i64..9_223_371_331_200_000_000) {
            let value = Value::Timestamp(at);
            let text = to_string(&value, SqlType::TIMESTAMP, &Zone::utc());
            prop_assert_eq!(parse(&text, SqlType::TIMESTAMP, &Zone::utc()).expect("reads back"), value);
        }

        #[test]
        fn floats_round_trip(value: f64) {
            let text = to_string(&Value::Float(value), SqlType::FLOAT8, &Zone::utc());
            prop_assert_eq!(parse(&text, SqlType::FLOAT8, &Zone::utc()).expect("reads back"), Value::Float(value));
        }
    }

    #[test]
    fn varchar_cuts_spaces_and_refuses_more() {
        let ty = SqlType::VARCHAR.with_modifier(7);
        assert_eq!(parse("abc  ", ty, &Zone::utc()).expect("fits"), Value::text("abc"));
        let error = parse("abcd", ty, &Zone::utc()).expect_err("too long");
        assert_eq!(error.fields().message, "value too long for type character varying(3)");
        assert_eq!(apply_modifier(Value::text("abcd"), ty, true).expect("cut"), Value::text("abc"));
    }
}
