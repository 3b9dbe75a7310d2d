//! numeric: PostgreSQL's arithmetic over arbitrary precision decimals, with its display scales.
//!
//! Invariant: a finite value has a scale of 0 to `SCALE_MAX` and at most `WHOLE_DIGITS_MAX` digits before the point.

use super::{Numeric, SqlType};
use crate::error::{Error, Result, SqlState};
use bigdecimal::BigDecimal;
use bigdecimal::num_bigint::{BigInt, Sign};
use bigdecimal::num_traits::{Pow, Signed, ToPrimitive, Zero};
use std::cmp::Ordering;

/// Most decimals of a numeric (NUMERIC_DSCALE_MAX).
const SCALE_MAX: i64 = 16_383;
/// Most digits before the decimal point.
const WHOLE_DIGITS_MAX: i64 = 131_072;
/// Significant digits that a quotient has at least (NUMERIC_MIN_SIG_DIGITS).
const QUOTIENT_DIGITS_MIN: i64 = 16;
/// Most decimals of a quotient (NUMERIC_MAX_DISPLAY_SCALE).
const QUOTIENT_SCALE_MAX: i64 = 1_000;
/// Decimal digits of one of PostgreSQL's numeric digits, in which it counts weights (DEC_DIGITS).
const DIGIT_GROUP: i64 = 4;

/// Reads a numeric; 22P02 on a wrong form.
pub fn parse(text: &str) -> Result<Numeric> {
    let trimmed = text.trim_matches(is_space);
    parse_finite(trimmed).or_else(|| parse_special(trimmed).map(Ok)).unwrap_or_else(|| {
        Err(Error::new(
            SqlState::INVALID_TEXT_REPRESENTATION,
            format!("invalid input syntax for type numeric: \"{text}\""),
        ))
    })
}

/// The white space that input functions skip (C's isspace).
fn is_space(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\x0b'
}

fn parse_special(text: &str) -> Option<Numeric> {
    let lower = text.to_ascii_lowercase();
    match lower.as_str() {
        "nan" => Some(Numeric::NaN),
        "infinity" | "+infinity" | "inf" | "+inf" => Some(Numeric::Infinity),
        "-infinity" | "-inf" => Some(Numeric::NegativeInfinity),
        _ => None,
    }
}

/// None when the text has not the form of a number; an error when the number is too big.
fn parse_finite(text: &str) -> Option<Result<Numeric>> {
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let exponent: i64 = match exponent {
        None => 0,
        Some(text) => {
            let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
            if digits.is_empty() || !all_digits(digits) {
                return None;
            }
            match text.parse() {
                Ok(exponent) if i64::abs(exponent) < i64::from(i32::MAX / 2) => exponent,
                _ => return Some(Err(overflow())),
            }
        }
    };
    let scale = fraction.len() as i64 - exponent;
    if whole.len() + fraction.len() <= 18 && (0..=SCALE_MAX).contains(&scale) {
        let digits = whole.bytes().chain(fraction.bytes()).fold(0_i64, |sum, byte| sum * 10 + i64::from(byte - b'0'));
        return Some(Ok(exact(BigInt::from(if negative { -digits } else { digits }), scale)));
    }
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    if digits.len() as i64 - scale > WHOLE_DIGITS_MAX && !digits.is_empty() || scale > SCALE_MAX {
        return Some(Err(overflow()));
    }
    let number = BigInt::parse_bytes(if digits.is_empty() { b"0" } else { digits.as_bytes() }, 10)?;
    let number = if negative { -number } else { number };
    Some(Ok(if scale < 0 && !number.is_zero() {
        exact(number * power_of_ten(-scale), 0)
    } else {
        exact(number, scale.max(0))
    }))
}

fn overflow() -> Error {
    Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value overflows numeric format")
}

fn exact(digits: BigInt, scale: i64) -> Numeric {
    Numeric::Finite(BigDecimal::new(digits, scale))
}

fn power_of_ten(exponent: i64) -> BigInt {
    match u32::try_from(exponent) {
        Ok(exponent) if exponent <= 18 => BigInt::from(10_i64.pow(exponent)),
        _ => BigInt::from(10).pow(exponent.max(0) as u64),
    }
}

/// A result, refused when it is beyond what PostgreSQL stores.
fn checked(digits: BigInt, scale: i64) -> Result<Numeric> {
    // 3.32 bits a digit: the exact count is only taken near the bound.
    let whole_at_least = digits.bits() as i64 * 3 / 10 - scale;
    if whole_at_least > WHOLE_DIGITS_MAX - 20_000
        && digits.magnitude().to_string().len() as i64 - scale > WHOLE_DIGITS_MAX
    {
        return Err(overflow());
    }
    Ok(if scale > SCALE_MAX { exact(rescale(&digits, scale, SCALE_MAX), SCALE_MAX) } else { exact(digits, scale) })
}

/// The digits at another scale, rounded half away from zero.
fn rescale(digits: &BigInt, from: i64, to: i64) -> BigInt {
    if to >= from {
        return digits * power_of_ten(to - from);
    }
    divide_rounded(digits, &power_of_ten(from - to))
}

fn divide_rounded(a: &BigInt, b: &BigInt) -> BigInt {
    let quotient = a / b;
    let remainder: BigInt = a - &quotient * b;
    if remainder.magnitude() * 2_u32 < *b.magnitude() {
        quotient
    } else if a.is_negative() != b.is_negative() {
        quotient - 1
    } else {
        quotient + 1
    }
}

/// Appends the text form.
pub fn write(value: &Numeric, out: &mut Vec<u8>) {
    let number = match value {
        Numeric::NaN => return out.extend_from_slice(b"NaN"),
        Numeric::Infinity => return out.extend_from_slice(b"Infinity"),
        Numeric::NegativeInfinity => return out.extend_from_slice(b"-Infinity"),
        Numeric::Finite(number) => number,
    };
    let (digits, scale) = number.as_bigint_and_scale();
    let text = digits.magnitude().to_string();
    let scale = scale.max(0) as usize;
    if digits.is_negative() {
        out.push(b'-');
    }
    if scale == 0 {
        return out.extend_from_slice(text.as_bytes());
    }
    if text.len() > scale {
        out.extend_from_slice(&text.as_bytes()[..text.len() - scale]);
        out.push(b'.');
        out.extend_from_slice(&text.as_bytes()[text.len() - scale..]);
    } else {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + scale - text.len(), b'0');
        out.extend_from_slice(text.as_bytes());
    }
}

/// The text form.
pub fn to_text(value: &Numeric) -> String {
    let mut out = Vec::new();
    write(value, &mut out);
    String::from_utf8(out).expect("digits are ASCII")
}

/// -1, 0, 1; NaN has none.
fn signum(value: &Numeric) -> i32 {
    match value {
        Numeric::Finite(number) => match number.sign() {
            Sign::Minus => -1,
            Sign::NoSign => 0,
            Sign::Plus => 1,
        },
        Numeric::Infinity => 1,
        Numeric::NegativeInfinity => -1,
        Numeric::NaN => 0,
    }
}

fn infinity(sign: i32) -> Numeric {
    match sign {
        1.. => Numeric::Infinity,
        0 => Numeric::NaN,
        _ => Numeric::NegativeInfinity,
    }
}

fn align(a: &BigDecimal, b: &BigDecimal) -> (BigInt, BigInt, i64) {
    let ((a, a_scale), (b, b_scale)) = (a.as_bigint_and_scale(), b.as_bigint_and_scale());
    let scale = a_scale.max(b_scale);
    (rescale(&a, a_scale, scale), rescale(&b, b_scale, scale), scale)
}

/// `a + b`.
pub fn add(a: &Numeric, b: &Numeric) -> Result<Numeric> {
    match (a, b) {
        (Numeric::Finite(x), Numeric::Finite(y)) => {
            let (x, y, scale) = align(x, y);
            checked(x + y, scale)
        }
        (Numeric::NaN, _) | (_, Numeric::NaN) => Ok(Numeric::NaN),
        (Numeric::Finite(_), special) | (special, Numeric::Finite(_)) => Ok(special.clone()),
        _ => Ok(infinity((signum(a) + signum(b)) / 2)),
    }
}

/// `a - b`.
pub fn sub(a: &Numeric, b: &Numeric) -> Result<Numeric> {
    add(a, &neg(b))
}

/// `a * b`.
pub fn mul(a: &Numeric, b: &Numeric) -> Result<Numeric> {
    match (a, b) {
        (Numeric::Finite(x), Numeric::Finite(y)) => {
            let ((x, x_scale), (y, y_scale)) = (x.as_bigint_and_scale(), y.as_bigint_and_scale());
            checked(&*x * &*y, x_scale + y_scale)
        }
        _ => Ok(infinity(signum(a) * signum(b))),
    }
}

fn division_by_zero() -> Error {
    Error::new(SqlState::DIVISION_BY_ZERO, "division by zero")
}

/// `a / b` with the scale that PostgreSQL selects; 22012 for zero.
pub fn div(a: &Numeric, b: &Numeric) -> Result<Numeric> {
    let (x, y) = match (a, b) {
        (Numeric::NaN, _) | (_, Numeric::NaN) => return Ok(Numeric::NaN),
        (_, Numeric::Finite(y)) if y.is_zero() => return Err(division_by_zero()),
        (Numeric::Finite(x), Numeric::Finite(y)) => (x, y),
        (Numeric::Finite(_), _) => return Ok(from_i64(0)),
        (_, Numeric::Finite(_)) => return Ok(infinity(signum(a) * signum(b))),
        _ => return Ok(Numeric::NaN),
    };
    let ((x_digits, x_scale), (y_digits, y_scale)) = (x.as_bigint_and_scale(), y.as_bigint_and_scale());
    let scale = quotient_scale(a, b, x_scale, y_scale);
    // x/y = X/Y * 10^(y_scale - x_scale); the numerator is scaled up so that the quotient has `scale` decimals.
    let shift = scale + y_scale - x_scale;
    let quotient = if shift >= 0 {
        divide_rounded(&(&*x_digits * power_of_ten(shift)), &y_digits)
    } else {
        divide_rounded(&x_digits, &(&*y_digits * power_of_ten(-shift)))
    };
    checked(quotient, scale)
}

/// PostgreSQL's select_div_scale: at least 16 significant digits, no fewer decimals than either input.
fn quotient_scale(a: &Numeric, b: &Numeric, a_scale: i64, b_scale: i64) -> i64 {
    let ((a_weight, a_first), (b_weight, b_first)) = (leading_group(a), leading_group(b));
    let weight = a_weight - b_weight - i64::from(a_first <= b_first);
    (QUOTIENT_DIGITS_MIN - weight * DIGIT_GROUP).max(a_scale).max(b_scale).clamp(0, QUOTIENT_SCALE_MAX)
}

/// Weight and value of the first non-zero digit in base 10,000.
fn leading_group(value: &Numeric) -> (i64, i64) {
    let Some((_, digits, exponent)) = significand(value) else { return (0, 0) };
    let weight = i64::from(exponent - 1).div_euclid(DIGIT_GROUP);
    let length = i64::from(exponent - 1).rem_euclid(DIGIT_GROUP) as usize + 1;
    let group: String = digits.chars().chain(std::iter::repeat('0')).take(length).collect();
    (weight, group.parse().expect("up to four digits"))
}

/// `a % b`; 22012 for zero.
pub fn rem(a: &Numeric, b: &Numeric) -> Result<Numeric> {
    match (a, b) {
        (Numeric::NaN, _) | (_, Numeric::NaN) => Ok(Numeric::NaN),
        (_, Numeric::Finite(y)) if y.is_zero() => Err(division_by_zero()),
        (Numeric::Finite(x), Numeric::Finite(y)) => {
            let (x, y, scale) = align(x, y);
            checked(x % y, scale)
        }
        (Numeric::Finite(_), _) => Ok(a.clone()),
        _ => Ok(Numeric::NaN),
    }
}

/// `-a`.
pub fn neg(a: &Numeric) -> Numeric {
    match a {
        Numeric::Finite(number) => Numeric::Finite(-number),
        Numeric::NaN => Numeric::NaN,
        Numeric::Infinity => Numeric::NegativeInfinity,
        Numeric::NegativeInfinity => Numeric::Infinity,
    }
}

/// `abs(a)`.
pub fn abs(a: &Numeric) -> Numeric {
    if signum(a) < 0 { neg(a) } else { a.clone() }
}

/// `round(a, scale)`: half away from zero; the scale may be negative.
pub fn round(a: &Numeric, scale: i32) -> Numeric {
    with_scale(a, scale, rescale)
}

/// `trunc(a, scale)`.
pub fn trunc(a: &Numeric, scale: i32) -> Numeric {
    with_scale(
        a,
        scale,
        |digits, from, to| {
            if to >= from { rescale(digits, from, to) } else { digits / power_of_ten(from - to) }
        },
    )
}

fn with_scale(a: &Numeric, scale: i32, change: impl Fn(&BigInt, i64, i64) -> BigInt) -> Numeric {
    let Numeric::Finite(number) = a else { return a.clone() };
    let scale = i64::from(scale).clamp(-WHOLE_DIGITS_MAX, SCALE_MAX);
    let (digits, from) = number.as_bigint_and_scale();
    let changed = change(&digits, from, scale);
    if scale < 0 { exact(changed * power_of_ten(-scale), 0) } else { exact(changed, scale) }
}

/// `ceil(a)`.
pub fn ceil(a: &Numeric) -> Numeric {
    neg(&floor(&neg(a)))
}

/// `floor(a)`.
pub fn floor(a: &Numeric) -> Numeric {
    let whole = trunc(a, 0);
    match (&whole, compare(&whole, a)) {
        (Numeric::Finite(number), Ordering::Greater) => Numeric::Finite(number - 1),
        _ => whole,
    }
}

/// The number of decimals that the text form has; none for NaN and the infinities.
pub fn scale(a: &Numeric) -> Option<i32> {
    match a {
        Numeric::Finite(number) => Some(number.as_bigint_and_scale().1 as i32),
        _ => None,
    }
}

/// The order: -Infinity, finite values, Infinity, NaN.
pub fn compare(a: &Numeric, b: &Numeric) -> Ordering {
    let class = |value: &Numeric| match value {
        Numeric::NegativeInfinity => 0,
        Numeric::Finite(_) => 1,
        Numeric::Infinity => 2,
        Numeric::NaN => 3,
    };
    match (a, b) {
        (Numeric::Finite(x), Numeric::Finite(y)) => {
            let ((x_digits, x_scale), (y_digits, y_scale)) = (x.as_bigint_and_scale(), y.as_bigint_and_scale());
            if x_scale == y_scale {
                return x_digits.cmp(&y_digits);
            }
            let (x, y, _) = align(x, y);
            x.cmp(&y)
        }
        _ => class(a).cmp(&class(b)),
    }
}

/// From an integer.
pub fn from_i64(value: i64) -> Numeric {
    Numeric::Finite(value.into())
}

/// From a double precision with its 15 significant digits, as the cast does.
pub fn from_f64(value: f64) -> Numeric {
    if value.is_nan() {
        Numeric::NaN
    } else if value.is_infinite() {
        infinity(if value > 0.0 { 1 } else { -1 })
    } else {
        // C's %.15g drops trailing zeros, which otherwise would become decimals.
        let text = format!("{value:.14e}");
        let (mantissa, exponent) = text.split_once('e').expect("scientific notation has an exponent");
        let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
        parse(&format!("{mantissa}e{exponent}")).expect("a double precision fits a numeric")
    }
}

/// To smallint, integer, bigint or oid, rounded half away from zero; 22003 out of range, 0A000 for NaN and infinity.
pub fn to_integer(value: &Numeric, ty: SqlType) -> Result<i64> {
    let name = ty.base_name();
    let special = |what| Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, format!("cannot convert {what} to {name}")));
    let rounded = match round(value, 0) {
        Numeric::NaN => return special("NaN"),
        Numeric::Infinity | Numeric::NegativeInfinity => return special("infinity"),
        Numeric::Finite(number) => number.as_bigint_and_scale().0.to_i64(),
    };
    let range = match ty.base() {
        SqlType::INT2 => i64::from(i16::MIN)..=i64::from(i16::MAX),
        SqlType::INT4 => i64::from(i32::MIN)..=i64::from(i32::MAX),
        SqlType::OID => 0..=i64::from(u32::MAX),
        _ => i64::MIN..=i64::MAX,
    };
    rounded
        .filter(|value| range.contains(value))
        .ok_or_else(|| Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("{name} out of range")))
}

/// To double precision; 22003 out of range.
pub fn to_f64(value: &Numeric) -> Result<f64> {
    match value {
        Numeric::NaN => Ok(f64::NAN),
        Numeric::Infinity => Ok(f64::INFINITY),
        Numeric::NegativeInfinity => Ok(f64::NEG_INFINITY),
        Numeric::Finite(_) => {
            let text = to_text(value);
            match text.parse::<f64>() {
                Ok(float) if float.is_finite() && (float != 0.0 || signum(value) == 0) => Ok(float),
                _ => Err(Error::new(
                    SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
                    format!("\"{text}\" is out of range for type double precision"),
                )),
            }
        }
    }
}

/// Rounds to the scale of a `numeric(p,s)` modifier; 22003 `numeric field overflow` above its precision.
pub fn apply_modifier(value: Numeric, modifier: i32) -> Result<Numeric> {
    if modifier < 4 || matches!(value, Numeric::NaN) {
        return Ok(value);
    }
    let precision = (modifier - 4) >> 16 & 0xffff;
    // The scale is a signed number of 11 bits.
    let scale = (((modifier - 4) & 0x7ff) ^ 1024) - 1024;
    let refuse = |rule: String| {
        Err(Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "numeric field overflow")
            .detail(format!("A field with precision {precision}, scale {scale} {rule}.")))
    };
    if !matches!(value, Numeric::Finite(_)) {
        return refuse("cannot hold an infinite value".to_owned());
    }
    let rounded = round(&value, scale);
    let whole_max = precision - scale;
    match significand(&rounded) {
        Some((_, _, exponent)) if exponent > whole_max => refuse(match whole_max {
            0 => "must round to an absolute value less than 1".to_owned(),
            _ => format!("must round to an absolute value less than 10^{whole_max}"),
        }),
        _ => Ok(rounded),
    }
}

/// Sign, digits without zeros at either end and exponent of a finite number other than zero: `0.DIGITS * 10^exponent`.
pub fn significand(value: &Numeric) -> Option<(bool, String, i32)> {
    let Numeric::Finite(number) = value else { return None };
    let (digits, scale) = number.as_bigint_and_scale();
    if digits.is_zero() {
        return None;
    }
    let mut text = digits.magnitude().to_string();
    let exponent = (text.len() as i64 - scale) as i32;
    text.truncate(text.trim_end_matches('0').len());
    Some((digits.is_negative(), text, exponent))
}

/// The number that [`significand`] took apart, with the smallest scale.
pub fn from_significand(negative: bool, digits: &str, exponent: i32) -> Option<Numeric> {
    let number = BigInt::parse_bytes(digits.as_bytes(), 10)?;
    let number = if negative { -number } else { number };
    let scale = digits.len() as i64 - i64::from(exponent);
    Some(if scale < 0 { exact(number * power_of_ten(-scale), 0) } else { exact(number, scale) })
}

const STORED_FINITE: u8 = 0;
const STORED_NAN: u8 = 1;
const STORED_INFINITY: u8 = 2;
const STORED_NEGATIVE_INFINITY: u8 = 3;

/// Bytes that [`store`] appends at most.
pub fn stored_bytes(value: &Numeric) -> usize {
    match value {
        Numeric::Finite(number) => number.as_bigint_and_scale().0.bits() as usize / 8 + 4,
        _ => 1,
    }
}

/// Appends the stored form: kind, scale as u16 and the digits as a signed number, little-endian.
pub fn store(value: &Numeric, out: &mut Vec<u8>) {
    match value {
        Numeric::NaN => out.push(STORED_NAN),
        Numeric::Infinity => out.push(STORED_INFINITY),
        Numeric::NegativeInfinity => out.push(STORED_NEGATIVE_INFINITY),
        Numeric::Finite(number) => {
            let (digits, scale) = number.as_bigint_and_scale();
            out.push(STORED_FINITE);
            out.extend_from_slice(&(scale as u16).to_le_bytes());
            out.extend_from_slice(&digits.to_signed_bytes_le());
        }
    }
}

/// Reads the stored form; none when it is malformed.
pub fn load(bytes: &[u8]) -> Option<Numeric> {
    match bytes {
        [STORED_NAN] => Some(Numeric::NaN),
        [STORED_INFINITY] => Some(Numeric::Infinity),
        [STORED_NEGATIVE_INFINITY] => Some(Numeric::NegativeInfinity),
        [STORED_FINITE, low, high, digits @ ..] => {
            Some(exact(BigInt::from_signed_bytes_le(digits), u16::from_le_bytes([*low, *high]).into()))
        }
        _ => None,
    }
}
