//! Mathematical functions.

use super::arithmetic::{
    absolute_float, absolute_int2, absolute_int4, absolute_int8, absolute_numeric, float, modulo_int2, modulo_int4,
    modulo_int8, modulo_numeric, overflow, underflow,
};
use super::{FLOAT8, INT2, INT4, INT8, NUMERIC, row};
use crate::error::{Error, Result, SqlState};
use crate::expr::EvalContext;
use crate::expr::cast::out_of_range;
use crate::expr::function::{Args, Body, Function, Volatility::Immutable, Volatility::Volatile};
use crate::types::{Numeric, SqlType, Value, numeric};
use bigdecimal::BigDecimal;
use std::cmp::Ordering;

/// Their rows.
pub(super) static FUNCTIONS: &[Function] = &[
    row(1398, "abs", &[INT2], INT2, Immutable, Body::Plain(absolute_int2)),
    row(1397, "abs", &[INT4], INT4, Immutable, Body::Plain(absolute_int4)),
    row(1396, "abs", &[INT8], INT8, Immutable, Body::Plain(absolute_int8)),
    row(1395, "abs", &[FLOAT8], FLOAT8, Immutable, Body::Plain(absolute_float)),
    row(1705, "abs", &[NUMERIC], NUMERIC, Immutable, Body::Plain(absolute_numeric)),
    row(940, "mod", &[INT2, INT2], INT2, Immutable, Body::Plain(modulo_int2)),
    row(941, "mod", &[INT4, INT4], INT4, Immutable, Body::Plain(modulo_int4)),
    row(947, "mod", &[INT8, INT8], INT8, Immutable, Body::Plain(modulo_int8)),
    row(1728, "mod", &[NUMERIC, NUMERIC], NUMERIC, Immutable, Body::Plain(modulo_numeric)),
    row(1973, "div", &[NUMERIC, NUMERIC], NUMERIC, Immutable, Body::Plain(div_numeric)),
    row(1342, "round", &[FLOAT8], FLOAT8, Immutable, Body::Plain(round_float)),
    row(1708, "round", &[NUMERIC], NUMERIC, Immutable, Body::Plain(round_numeric)),
    row(1707, "round", &[NUMERIC, INT4], NUMERIC, Immutable, Body::Plain(round_numeric)),
    row(1343, "trunc", &[FLOAT8], FLOAT8, Immutable, Body::Plain(trunc_float)),
    row(1710, "trunc", &[NUMERIC], NUMERIC, Immutable, Body::Plain(trunc_numeric)),
    row(1709, "trunc", &[NUMERIC, INT4], NUMERIC, Immutable, Body::Plain(trunc_numeric)),
    row(2308, "ceil", &[FLOAT8], FLOAT8, Immutable, Body::Plain(ceil_float)),
    row(1711, "ceil", &[NUMERIC], NUMERIC, Immutable, Body::Plain(ceil_numeric)),
    row(2320, "ceiling", &[FLOAT8], FLOAT8, Immutable, Body::Plain(ceil_float)),
    row(2167, "ceiling", &[NUMERIC], NUMERIC, Immutable, Body::Plain(ceil_numeric)),
    row(2309, "floor", &[FLOAT8], FLOAT8, Immutable, Body::Plain(floor_float)),
    row(1712, "floor", &[NUMERIC], NUMERIC, Immutable, Body::Plain(floor_numeric)),
    row(2310, "sign", &[FLOAT8], FLOAT8, Immutable, Body::Plain(sign_float)),
    row(1706, "sign", &[NUMERIC], NUMERIC, Immutable, Body::Plain(sign_numeric)),
    row(1368, "power", &[FLOAT8, FLOAT8], FLOAT8, Immutable, Body::Plain(power_float)),
    row(1346, "pow", &[FLOAT8, FLOAT8], FLOAT8, Immutable, Body::Plain(power_float)),
    row(2169, "power", &[NUMERIC, NUMERIC], NUMERIC, Immutable, Body::Plain(power_numeric)),
    row(1738, "pow", &[NUMERIC, NUMERIC], NUMERIC, Immutable, Body::Plain(power_numeric)),
    row(1344, "sqrt", &[FLOAT8], FLOAT8, Immutable, Body::Plain(sqrt_float)),
    row(1730, "sqrt", &[NUMERIC], NUMERIC, Immutable, Body::Plain(sqrt_numeric)),
    row(1345, "cbrt", &[FLOAT8], FLOAT8, Immutable, Body::Plain(cbrt_float)),
    row(1347, "exp", &[FLOAT8], FLOAT8, Immutable, Body::Plain(exp_float)),
    row(1341, "ln", &[FLOAT8], FLOAT8, Immutable, Body::Plain(ln_float)),
    row(1340, "log", &[FLOAT8], FLOAT8, Immutable, Body::Plain(log_float)),
    row(1194, "log10", &[FLOAT8], FLOAT8, Immutable, Body::Plain(log_float)),
    row(1610, "pi", &[], FLOAT8, Immutable, Body::Plain(pi)),
    row(1598, "random", &[], FLOAT8, Volatile, Body::Plain(random)),
    row(3281, "scale", &[NUMERIC], INT4, Immutable, Body::Plain(scale)),
    row(5044, "gcd", &[INT4, INT4], INT4, Immutable, Body::Plain(gcd_int4)),
    row(5045, "gcd", &[INT8, INT8], INT8, Immutable, Body::Plain(gcd_int8)),
];

fn div_numeric(args: &Args, _: &EvalContext) -> Result<Value> {
    let (a, b) = (args.numeric(0), args.numeric(1));
    if !matches!((a, b), (Numeric::Finite(_), Numeric::Finite(_))) {
        return numeric::div(a, b).map(|quotient| Value::Numeric(numeric::trunc(&quotient, 0)));
    }
    // The remainder is exact, so what is left divides without rounding.
    let whole = numeric::sub(a, &numeric::rem(a, b)?)?;
    numeric::div(&whole, b).map(|quotient| Value::Numeric(numeric::round(&quotient, 0)))
}

fn round_float(args: &Args, _: &EvalContext) -> Result<Value> {
    Ok(Value::Float(args.float(0).round_ties_even()))
}

/// The second argument of round and trunc.
fn decimals(args: &Args) -> i32 {
    if args.len() > 1 { args.int(1).clamp(-131_072, 16_383) as i32 } else { 0 }
}

fn round_numeric(args: &Args, _: &EvalContext) -> Result<Value> {
    Ok(Value::Numeric(numeric::round(args.numeric(0), decimals(args))))
}

fn trunc_float(args: &Args, _: &EvalContext) -> Result<Value> {
    Ok(Value::Float(args.float(0).trunc()))
}

fn trunc_numeric(args: &Args, _: &EvalContext) -> Result<Value> {
    Ok(Value::Numeric(numeric::trunc(args.numeric(0), decimals(args))))
}

fn ceil_float(args: &Args, _: &EvalContext) -> Result<Value> {
    Ok(Value::Float(args.float(0).ceil()))
}

fn ceil_numeric(args: &Args, _: &EvalContext) -> Result<Value> {
    Ok(Value::Numeric(numeric::ceil(args.numeric(0))))
}

fn floor_float(args: &Args, _: &EvalContext) -> Result<Value> {
    Ok(Value::Float(args.float(0).floor()))
}

fn floor_numeric(args: &Args, _: &EvalContext) -> Result<Value> {
    Ok(Value::Numeric(numeric::floor(args.numeric(0))))
}

fn sign_float(args: &Args, _: &EvalContext) -> Result<Value> {
    let value = args.float(0);
    Ok(Value::Float(if value > 0.0 {
        1.0
    } else if value < 0.0 {
        -1.0
    } else {
        value.abs()
    }))
}

fn sign_numeric(args: &Args, _: &EvalContext) -> Result<Value> {
    let value = args.numeric(0);
    if *value == Numeric::NaN {
        return Ok(Value::Numeric(Numeric::NaN));
    }
    let sign = match numeric::compare(value, &numeric::from_i64(0)) {
        Ordering::Less => -1,
        Ordering::Equal => 0,
        Ordering::Greater => 1,
    };
    Ok(Value::Numeric(numeric::from_i64(sign)))
}

fn power_error(message: &str) -> Error {
    Error::new(SqlState::INVALID_ARGUMENT_FOR_POWER_FUNCTION, message)
}

pub(super) fn power_float(args: &Args, _: &EvalContext) -> Result<Value> {
    let (base, exponent) = (args.float(0), args.float(1));
    if base == 0.0 && exponent < 0.0 {
        return Err(power_error("zero raised to a negative power is undefined"));
    }
    if base < 0.0 && base.is_finite() && exponent.is_finite() && exponent.fract() != 0.0 {
        return Err(power_error("a negative number raised to a non-integer power yields a complex result"));
    }
    let result = base.powf(exponent);
    if result == 0.0 && base != 0.0 && base.is_finite() && exponent.is_finite() {
        return Err(underflow());
    }
    float(result, &[base, exponent])
}

/// Whole exponents only, by repeated squaring: PostgreSQL rounds the same way for results that are exact.
pub(super) fn power_numeric(args: &Args, _: &EvalContext) -> Result<Value> {
    let (base, exponent) = (args.numeric(0), args.numeric(1));
    let zero = numeric::from_i64(0);
    let whole = numeric::to_integer(exponent, INT4);
    let (Numeric::Finite(_), Ok(power)) = (base, whole) else {
        return Err(Error::unsupported("power() of numeric with such arguments").hint("Use double precision."));
    };
    if numeric::compare(&numeric::from_i64(power), exponent).is_ne() {
        return Err(Error::unsupported("power() of numeric with a fractional exponent").hint("Use double precision."));
    }
    if power < 0 && numeric::compare(base, &zero).is_eq() {
        return Err(power_error("zero raised to a negative power is undefined"));
    }
    if power.unsigned_abs() > 100_000 {
        return Err(Error::unsupported("power() of numeric with so large an exponent").hint("Use double precision."));
    }
    let mut result = numeric::from_i64(1);
    let (mut square, mut left) = (base.clone(), power.unsigned_abs());
    while left > 0 {
        if left & 1 == 1 {
            result = numeric::mul(&result, &square)?;
        }
        left >>= 1;
        if left > 0 {
            square = numeric::mul(&square, &square)?;
        }
    }
    if power < 0 {
        result = numeric::div(&numeric::from_i64(1), &result)?;
    }
    Ok(Value::Numeric(numeric::round(&result, power_scale(base))))
}

/// 16 decimals, or as many as the base has (numeric.c, power_var).
fn power_scale(base: &Numeric) -> i32 {
    numeric::scale(base).unwrap_or(0).clamp(16, 1_000)
}

/// At least 16 significant digits and no fewer decimals than the argument (numeric.c, numeric_sqrt).
fn sqrt_numeric(args: &Args, _: &EvalContext) -> Result<Value> {
    let value = args.numeric(0);
    let number = match value {
        Numeric::Finite(number) => number,
        Numeric::NegativeInfinity => return Err(power_error("cannot take square root of a negative number")),
        other => return Ok(Value::Numeric(other.clone())),
    };
    if numeric::compare(value, &numeric::from_i64(0)).is_lt() {
        return Err(power_error("cannot take square root of a negative number"));
    }
    // The weight that PostgreSQL counts, in its digits of base 10,000.
    let exponent = numeric::significand(value).map_or(1, |(_, _, exponent)| exponent);
    let weight = (exponent + 3).div_euclid(4);
    let scale = (16 - (weight * 4 / 2 - 1)).max(numeric::scale(value).unwrap_or(0)).clamp(0, 1_000);
    // The whole square root of the number with one more decimal than wanted, twice.
    let scaled = number.with_scale(i64::from(scale + 1) * 2);
    let (digits, _) = scaled.into_bigint_and_exponent();
    let root = Numeric::Finite(BigDecimal::new(digits.sqrt(), i64::from(scale + 1)));
    Ok(Value::Numeric(numeric::round(&root, scale)))
}

pub(super) fn sqrt_float(args: &Args, _: &EvalContext) -> Result<Value> {
    let value = args.float(0);
    if value < 0.0 {
        return Err(power_error("cannot take square root of a negative number"));
    }
    Ok(Value::Float(value.sqrt()))
}

pub(super) fn cbrt_float(args: &Args, _: &EvalContext) -> Result<Value> {
    Ok(Value::Float(args.float(0).cbrt()))
}

fn exp_float(args: &Args, _: &EvalContext) -> Result<Value> {
    let value = args.float(0);
    let result = value.exp();
    if result.is_infinite() && value.is_finite() {
        return Err(overflow());
    }
    if result == 0.0 && value.is_finite() {
        return Err(underflow());
    }
    Ok(Value::Float(result))
}

/// 2201E unless there is a logarithm.
fn logarithm_of(value: f64) -> Result<f64> {
    let message = match value {
        0.0 => "cannot take logarithm of zero",
        value if value < 0.0 => "cannot take logarithm of a negative number",
        value => return Ok(value),
    };
    Err(Error::new(SqlState::INVALID_ARGUMENT_FOR_LOG, message))
}

fn ln_float(args: &Args, _: &EvalContext) -> Result<Value> {
    logarithm_of(args.float(0)).map(|value| Value::Float(value.ln()))
}

fn log_float(args: &Args, _: &EvalContext) -> Result<Value> {
    logarithm_of(args.float(0)).map(|value| Value::Float(value.log10()))
}

fn pi(_: &Args, _: &EvalContext) -> Result<Value> {
    Ok(Value::Float(std::f64::consts::PI))
}

fn random(_: &Args, cx: &EvalContext) -> Result<Value> {
    // 53 random bits over 2^53: every result is exact and below 1.
    Ok(Value::Float((cx.env.random_u64() >> 11) as f64 / (1_u64 << 53) as f64))
}

fn scale(args: &Args, _: &EvalContext) -> Result<Value> {
    Ok(numeric::scale(args.numeric(0)).map_or(Value::Null, |scale| Value::Int(scale.into())))
}

fn gcd(a: i64, b: i64, ty: SqlType) -> Result<Value> {
    let (mut a, mut b) = (a.unsigned_abs(), b.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    let max = if ty.same(INT4) { i32::MAX as u64 } else { i64::MAX as u64 };
    if a > max { Err(out_of_range(ty)) } else { Ok(Value::Int(a as i64)) }
}

fn gcd_int4(args: &Args, _: &EvalContext) -> Result<Value> {
    gcd(args.int(0), args.int(1), INT4)
}

fn gcd_int8(args: &Args, _: &EvalContext) -> Result<Value> {
    gcd(args.int(0), args.int(1), INT8)
}
