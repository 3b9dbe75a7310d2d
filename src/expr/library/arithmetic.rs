//! Arithmetic of smallint, integer, bigint, double precision and numeric: the functions behind the operators.

use crate::error::{Error, Result, SqlState};
use crate::expr::EvalContext;
use crate::expr::cast::{in_range, out_of_range};
use crate::expr::function::Args;
use crate::types::{SqlType, Value, numeric};

/// 22012.
pub(super) fn division_by_zero() -> Error {
    Error::new(SqlState::DIVISION_BY_ZERO, "division by zero")
}

/// Integer operations: one function for each width of the result.
macro_rules! integers {
    ($($word:ident($add:ident, $sub:ident, $mul:ident, $div:ident, $rem:ident, $and:ident, $or:ident, $xor:ident,
        $shl:ident, $shr:ident, $plus:ident, $neg:ident, $abs:ident, $not:ident, $rust:ty),)*) => {$(
        pub(super) fn $add(args: &Args, _: &EvalContext) -> Result<Value> {
            checked(args.int(0).checked_add(args.int(1)), SqlType::$word)
        }
        pub(super) fn $sub(args: &Args, _: &EvalContext) -> Result<Value> {
            checked(args.int(0).checked_sub(args.int(1)), SqlType::$word)
        }
        pub(super) fn $mul(args: &Args, _: &EvalContext) -> Result<Value> {
            checked(args.int(0).checked_mul(args.int(1)), SqlType::$word)
        }
        pub(super) fn $div(args: &Args, _: &EvalContext) -> Result<Value> {
            if args.int(1) == 0 {
                return Err(division_by_zero());
            }
            checked(args.int(0).checked_div(args.int(1)), SqlType::$word)
        }
        pub(super) fn $rem(args: &Args, _: &EvalContext) -> Result<Value> {
            if args.int(1) == 0 {
                return Err(division_by_zero());
            }
            // The smallest bigint % -1 has no quotient, but the remainder is 0.
            Ok(Value::Int(args.int(0).wrapping_rem(args.int(1))))
        }
        pub(super) fn $and(args: &Args, _: &EvalContext) -> Result<Value> {
            Ok(Value::Int(args.int(0) & args.int(1)))
        }
        pub(super) fn $or(args: &Args, _: &EvalContext) -> Result<Value> {
            Ok(Value::Int(args.int(0) | args.int(1)))
        }
        pub(super) fn $xor(args: &Args, _: &EvalContext) -> Result<Value> {
            Ok(Value::Int(args.int(0) ^ args.int(1)))
        }
        pub(super) fn $shl(args: &Args, _: &EvalContext) -> Result<Value> {
            // As the processor does it for PostgreSQL: 32-bit shifts count modulo 32, the result is cut to its type.
            let shift = args.int(1) as u32;
            let wide = if size_of::<$rust>() == 8 {
                args.int(0).wrapping_shl(shift)
            } else {
                i64::from((args.int(0) as i32).wrapping_shl(shift))
            };
            Ok(Value::Int(wide as $rust as i64))
        }
        pub(super) fn $shr(args: &Args, _: &EvalContext) -> Result<Value> {
            let shift = args.int(1) as u32;
            let wide = if size_of::<$rust>() == 8 {
                args.int(0).wrapping_shr(shift)
            } else {
                i64::from((args.int(0) as i32).wrapping_shr(shift))
            };
            Ok(Value::Int(wide))
        }
        pub(super) fn $plus(args: &Args, _: &EvalContext) -> Result<Value> {
            Ok(Value::Int(args.int(0)))
        }
        pub(super) fn $neg(args: &Args, _: &EvalContext) -> Result<Value> {
            checked(args.int(0).checked_neg(), SqlType::$word)
        }
        pub(super) fn $abs(args: &Args, _: &EvalContext) -> Result<Value> {
            checked(args.int(0).checked_abs(), SqlType::$word)
        }
        pub(super) fn $not(args: &Args, _: &EvalContext) -> Result<Value> {
            Ok(Value::Int(!args.int(0)))
        }
    )*};
}

integers! {
    INT2(add_int2, subtract_int2, multiply_int2, divide_int2, modulo_int2, bit_and_int2, bit_or_int2, bit_xor_int2,
        shift_left_int2, shift_right_int2, plus_int2, negate_int2, absolute_int2, bit_not_int2, i16),
    INT4(add_int4, subtract_int4, multiply_int4, divide_int4, modulo_int4, bit_and_int4, bit_or_int4, bit_xor_int4,
        shift_left_int4, shift_right_int4, plus_int4, negate_int4, absolute_int4, bit_not_int4, i32),
    INT8(add_int8, subtract_int8, multiply_int8, divide_int8, modulo_int8, bit_and_int8, bit_or_int8, bit_xor_int8,
        shift_left_int8, shift_right_int8, plus_int8, negate_int8, absolute_int8, bit_not_int8, i64),
}

fn checked(value: Option<i64>, ty: SqlType) -> Result<Value> {
    let value = value.ok_or_else(|| out_of_range(ty))?;
    in_range(value, ty).map(Value::Int)
}

/// 22003 for a double precision beyond its range.
pub(super) fn overflow() -> Error {
    Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: overflow")
}

/// 22003 for one that became zero.
pub(super) fn underflow() -> Error {
    Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: underflow")
}

/// A result that may be infinite only when an operand is.
pub(super) fn float(result: f64, operands: &[f64]) -> Result<Value> {
    if result.is_infinite() && operands.iter().all(|operand| operand.is_finite()) {
        return Err(overflow());
    }
    Ok(Value::Float(result))
}

pub(super) fn add_float(args: &Args, _: &EvalContext) -> Result<Value> {
    let (a, b) = (args.float(0), args.float(1));
    float(a + b, &[a, b])
}

pub(super) fn subtract_float(args: &Args, _: &EvalContext) -> Result<Value> {
    let (a, b) = (args.float(0), args.float(1));
    float(a - b, &[a, b])
}

pub(super) fn multiply_float(args: &Args, _: &EvalContext) -> Result<Value> {
    let (a, b) = (args.float(0), args.float(1));
    let product = a * b;
    if product == 0.0 && a != 0.0 && b != 0.0 {
        return Err(underflow());
    }
    float(product, &[a, b])
}

pub(super) fn divide_float(args: &Args, _: &EvalContext) -> Result<Value> {
    let (a, b) = (args.float(0), args.float(1));
    if b == 0.0 && !a.is_nan() {
        return Err(division_by_zero());
    }
    let quotient = a / b;
    if quotient == 0.0 && a != 0.0 && b.is_finite() {
        return Err(underflow());
    }
    float(quotient, &[a, b])
}

pub(super) fn plus_float(args: &Args, _: &EvalContext) -> Result<Value> {
    Ok(Value::Float(args.float(0)))
}

pub(super) fn negate_float(args: &Args, _: &EvalContext) -> Result<Value> {
    Ok(Value::Float(-args.float(0)))
}

pub(super) fn absolute_float(args: &Args, _: &EvalContext) -> Result<Value> {
    Ok(Value::Float(args.float(0).abs()))
}

pub(super) fn add_numeric(args: &Args, _: &EvalContext) -> Result<Value> {
    numeric::add(args.numeric(0), args.numeric(1)).map(Value::Numeric)
}

pub(super) fn subtract_numeric(args: &Args, _: &EvalContext) -> Result<Value> {
    numeric::sub(args.numeric(0), args.numeric(1)).map(Value::Numeric)
}

pub(super) fn multiply_numeric(args: &Args, _: &EvalContext) -> Result<Value> {
    numeric::mul(args.numeric(0), args.numeric(1)).map(Value::Numeric)
}

pub(super) fn divide_numeric(args: &Args, _: &EvalContext) -> Result<Value> {
    numeric::div(args.numeric(0), args.numeric(1)).map(Value::Numeric)
}

pub(super) fn modulo_numeric(args: &Args, _: &EvalContext) -> Result<Value> {
    numeric::rem(args.numeric(0), args.numeric(1)).map(Value::Numeric)
}

pub(super) fn plus_numeric(args: &Args, _: &EvalContext) -> Result<Value> {
    Ok(Value::Numeric(args.numeric(0).clone()))
}

pub(super) fn negate_numeric(args: &Args, _: &EvalContext) -> Result<Value> {
    Ok(Value::Numeric(numeric::neg(args.numeric(0))))
}

pub(super) fn absolute_numeric(args: &Args, _: &EvalContext) -> Result<Value> {
    Ok(Value::Numeric(numeric::abs(args.numeric(0))))
}
