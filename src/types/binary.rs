//! Binary forms of values on the wire: PostgreSQL's receive and send functions.

use super::json::{self, Json};
use super::{Interval, Numeric, SqlType, Str, Value, numeric, text};
use crate::error::{Error, Result, SqlState};
use bytes::Bytes;

/// The version byte that begins jsonb's binary form.
const JSONB_VERSION: u8 = 1;

const NUMERIC_POSITIVE: u16 = 0x0000;
const NUMERIC_NEGATIVE: u16 = 0x4000;
const NUMERIC_NAN: u16 = 0xc000;
const NUMERIC_INFINITY: u16 = 0xd000;
const NUMERIC_NEGATIVE_INFINITY: u16 = 0xf000;

/// Reads a binary parameter; text and bytea share the buffer. 22P03 on a wrong form, 22021 on bad UTF-8.
pub fn decode(bytes: &Bytes, ty: SqlType) -> Result<Value> {
    let value = match ty.base() {
        SqlType::BOOL if bytes.is_empty() => return Err(no_data()),
        SqlType::BOOL => Value::Bool(exactly::<1>(bytes)?[0] != 0),
        SqlType::INT2 => Value::Int(i16::from_be_bytes(exactly(bytes)?).into()),
        SqlType::INT4 => Value::Int(i32::from_be_bytes(exactly(bytes)?).into()),
        SqlType::INT8 => Value::Int(i64::from_be_bytes(exactly(bytes)?)),
        SqlType::OID | SqlType::REGTYPE => Value::Int(u32::from_be_bytes(exactly(bytes)?).into()),
        SqlType::FLOAT8 => Value::Float(f64::from_be_bytes(exactly(bytes)?)),
        SqlType::DATE => Value::Date(in_range("date", i32::from_be_bytes(exactly(bytes)?), DATES)?),
        SqlType::TIMESTAMP | SqlType::TIMESTAMPTZ => {
            Value::Timestamp(in_range("timestamp", i64::from_be_bytes(exactly(bytes)?), TIMESTAMPS)?)
        }
        SqlType::INTERVAL => {
            let field = exactly::<16>(bytes)?;
            let (micros, rest) = field.split_first_chunk().expect("16 bytes begin with 8");
            let (days, months) = rest.split_first_chunk().expect("8 bytes begin with 4");
            Value::Interval(Interval {
                micros: i64::from_be_bytes(*micros),
                days: i32::from_be_bytes(*days),
                months: i32::from_be_bytes(months.try_into().expect("4 bytes are left")),
            })
        }
        SqlType::UUID => Value::Uuid(exactly(bytes)?),
        SqlType::BYTEA => Value::Bytes(bytes.clone()),
        SqlType::NUMERIC => Value::Numeric(decode_numeric(bytes)?),
        SqlType::JSON => {
            let text = utf8(bytes.clone())?;
            json::validate(&text)?;
            Value::Text(text)
        }
        SqlType::JSONB | SqlType::FILE => match bytes.first() {
            Some(&JSONB_VERSION) => Value::text(Json::parse(&utf8(bytes.slice(1..))?)?.to_text()),
            Some(version) => {
                return Err(Error::new(
                    SqlState::INTERNAL_ERROR,
                    format!("unsupported jsonb version number {version}"),
                ));
            }
            None => return Err(insufficient()),
        },
        _ => Value::Text(utf8(bytes.clone())?),
    };
    text::apply_modifier(value, ty, false)
}

/// What is said of a value with bytes after its end; whoever knows the parameter adds its number.
pub const TOO_LONG: &str = "incorrect binary data format";

fn invalid(message: &str) -> Error {
    Error::new(SqlState::INVALID_BINARY_REPRESENTATION, message)
}

/// As PostgreSQL says it where a single byte is missing.
fn no_data() -> Error {
    Error::new(SqlState::PROTOCOL_VIOLATION, "no data left in message")
}

fn insufficient() -> Error {
    Error::new(SqlState::PROTOCOL_VIOLATION, "insufficient data left in message")
}

/// PostgreSQL's dates: 4714-11-24 BC to 5874897-12-31, and the infinities.
const DATES: std::ops::RangeInclusive<i32> = -2_451_545..=2_145_031_948;
/// PostgreSQL's timestamps: 4714-11-24 BC to 294276-12-31, and the infinities.
const TIMESTAMPS: std::ops::RangeInclusive<i64> = -211_813_488_000_000_000..=9_223_371_331_199_999_999;

fn in_range<T: PartialOrd + Copy + Limits>(name: &str, value: T, range: std::ops::RangeInclusive<T>) -> Result<T> {
    if range.contains(&value) || value == T::LEAST || value == T::MOST {
        return Ok(value);
    }
    Err(Error::new(SqlState::DATETIME_VALUE_OUT_OF_RANGE, format!("{name} out of range")))
}

/// The numbers that mean the infinities.
trait Limits {
    const LEAST: Self;
    const MOST: Self;
}

impl Limits for i32 {
    const LEAST: i32 = i32::MIN;
    const MOST: i32 = i32::MAX;
}

impl Limits for i64 {
    const LEAST: i64 = i64::MIN;
    const MOST: i64 = i64::MAX;
}

fn exactly<const N: usize>(bytes: &[u8]) -> Result<[u8; N]> {
    if bytes.len() < N {
        return Err(insufficient());
    }
    bytes.try_into().map_err(|_| invalid(TOO_LONG))
}

/// Checks text from a client: UTF-8 without zero bytes.
pub fn utf8(bytes: Bytes) -> Result<Str> {
    let bad = match std::str::from_utf8(&bytes) {
        Ok(text) => text.bytes().position(|byte| byte == 0).map(|at| &bytes[at..=at]),
        Err(error) => {
            let rest = &bytes[error.valid_up_to()..];
            Some(&rest[..expected_length(rest[0]).min(rest.len())])
        }
    };
    if let Some(bad) = bad {
        let shown: Vec<String> = bad.iter().map(|byte| format!("0x{byte:02x}")).collect();
        let message = format!("invalid byte sequence for encoding \"UTF8\": {}", shown.join(" "));
        return Err(Error::new(SqlState::CHARACTER_NOT_IN_REPERTOIRE, message));
    }
    Ok(Str::from_utf8(bytes).expect("checked above"))
}

/// How long a UTF-8 sequence is by its first byte.
fn expected_length(first: u8) -> usize {
    match first {
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf7 => 4,
        _ => 1,
    }
}

/// u16 count, i16 weight, u16 sign, u16 display scale, then digits in base 10,000.
fn decode_numeric(bytes: &[u8]) -> Result<Numeric> {
    let mut fields = bytes.chunks(2).map(|pair| match pair {
        [high, low] => Ok(u16::from_be_bytes([*high, *low])),
        _ => Err(insufficient()),
    });
    let mut next = || fields.next().unwrap_or_else(|| Err(insufficient()));
    let (count, weight, sign, scale) = (next()?, next()? as i16, next()?, next()?);
    match sign {
        NUMERIC_POSITIVE | NUMERIC_NEGATIVE => {}
        NUMERIC_NAN => return Ok(Numeric::NaN),
        NUMERIC_INFINITY => return Ok(Numeric::Infinity),
        NUMERIC_NEGATIVE_INFINITY => return Ok(Numeric::NegativeInfinity),
        _ => return Err(invalid("invalid sign in external \"numeric\" value")),
    }
    if scale > 0x3fff {
        return Err(invalid("invalid scale in external \"numeric\" value"));
    }
    let mut digits = String::from("0");
    for _ in 0..count {
        match next()? {
            digit @ 0..10_000 => digits.push_str(&format!("{digit:04}")),
            _ => return Err(invalid("invalid digit in external \"numeric\" value")),
        }
    }
    if bytes.len() != 8 + 2 * usize::from(count) {
        return Err(invalid(TOO_LONG));
    }
    // The digits have a leading zero more than the weight counts.
    let exponent = 4 * (i32::from(weight) + 1) + 1;
    let value = numeric::from_significand(sign == NUMERIC_NEGATIVE, &digits, exponent);
    Ok(numeric::trunc(&value.expect("digits were pushed"), i32::from(scale)))
}

/// Appends the binary form of a non-null value.
pub fn encode(value: &Value, ty: SqlType, out: &mut Vec<u8>) {
    match value {
        Value::Text(text) => {
            if ty.wire().same(SqlType::JSONB) {
                out.push(JSONB_VERSION);
            }
            out.extend_from_slice(text.as_bytes());
        }
        Value::Int(value) => match ty.base() {
            SqlType::INT2 => out.extend_from_slice(&(*value as i16).to_be_bytes()),
            SqlType::INT4 | SqlType::OID | SqlType::REGTYPE => out.extend_from_slice(&(*value as u32).to_be_bytes()),
            _ => out.extend_from_slice(&value.to_be_bytes()),
        },
        Value::Bool(value) => out.push(u8::from(*value)),
        Value::Timestamp(value) => out.extend_from_slice(&value.to_be_bytes()),
        Value::Date(value) => out.extend_from_slice(&value.to_be_bytes()),
        Value::Float(value) => out.extend_from_slice(&value.to_be_bytes()),
        Value::Uuid(value) => out.extend_from_slice(value),
        Value::Bytes(bytes) => out.extend_from_slice(bytes),
        Value::Numeric(number) => encode_numeric(number, out),
        Value::Interval(value) => {
            out.extend_from_slice(&value.micros.to_be_bytes());
            out.extend_from_slice(&value.days.to_be_bytes());
            out.extend_from_slice(&value.months.to_be_bytes());
        }
        Value::Null => {}
    }
}

/// What PostgreSQL 15 sends as the display scale of the special values: bits of their header.
fn infinity_scale(value: &Numeric) -> u16 {
    if matches!(value, Numeric::NaN) { 0 } else { 0x20 }
}

fn encode_numeric(value: &Numeric, out: &mut Vec<u8>) {
    let put = |out: &mut Vec<u8>, fields: [u16; 4]| {
        fields.iter().for_each(|field| out.extend_from_slice(&field.to_be_bytes()));
    };
    let scale = numeric::scale(value).unwrap_or_default() as u16;
    let Some((negative, digits, exponent)) = numeric::significand(value) else {
        let sign = match value {
            Numeric::Finite(_) => NUMERIC_POSITIVE,
            Numeric::NaN => NUMERIC_NAN,
            Numeric::Infinity => NUMERIC_INFINITY,
            Numeric::NegativeInfinity => NUMERIC_NEGATIVE_INFINITY,
        };
        return put(out, [0, 0, sign, if matches!(value, Numeric::Finite(_)) { scale } else { infinity_scale(value) }]);
    };
    let weight = (exponent - 1).div_euclid(4);
    let lead = (4 * (weight + 1) - exponent) as usize;
    let padded: Vec<u8> = std::iter::repeat_n(b'0', lead).chain(digits.bytes()).collect();
    let groups = padded.len().div_ceil(4);
    put(out, [groups as u16, weight as i16 as u16, if negative { NUMERIC_NEGATIVE } else { NUMERIC_POSITIVE }, scale]);
    for group in padded.chunks(4) {
        let digit = (0..4).fold(0, |sum, at| sum * 10 + u16::from(group.get(at).map_or(0, |byte| byte - b'0')));
        out.extend_from_slice(&digit.to_be_bytes());
    }
}
