//! generate_series(): the one function whose result is a set. Its values are made one by one, so a long series takes
//! no memory.

use super::function::Args;
use super::{Body, EvalContext, Expr};
use crate::error::{Error, Result, SqlState};
use crate::types::datetime::{add_to_timestamp, add_to_timestamptz, interval_span};
use crate::types::numeric;
use crate::types::{Interval, Numeric, SqlType, Value};
use std::borrow::Cow;
use std::cmp::Ordering;

/// A series under way.
pub enum Series {
    /// There is nothing more.
    Ended,
    /// Integers.
    Int {
        /// The next value.
        next: i64,
        /// The last value at most.
        stop: i64,
        /// What is added each time, not 0.
        step: i64,
    },
    /// Numerics.
    Numeric {
        /// The next value.
        next: Numeric,
        /// The last value at most.
        stop: Numeric,
        /// What is added each time, not 0.
        step: Numeric,
    },
    /// Times, with or without time zone.
    Timestamp {
        /// The next value.
        next: i64,
        /// The last value at most.
        stop: i64,
        /// What is added each time, not 0.
        step: Interval,
        /// Days and months are those of the session's time zone.
        zoned: bool,
    },
}

impl Series {
    /// The series that a call stands for, with its arguments' values for a row. 22023 for a step of 0.
    pub fn begin(call: &Expr, row: &[Value], cx: &EvalContext) -> Result<Series> {
        let Expr::Call { function, args: exprs, .. } = call else {
            return Err(Error::internal("a set of rows that is no call"));
        };
        if !matches!(function.body, Body::Series) {
            return Err(Error::internal("a function whose result is no set of rows"));
        }
        let values = exprs.iter().map(|arg| arg.eval_ref(row, cx)).collect::<Result<Vec<Cow<Value>>>>()?;
        if values.iter().any(|value| value.is_null()) {
            return Ok(Series::Ended);
        }
        let args = Args { values: &values, exprs };
        match &*values[0] {
            Value::Int(start) => integers(*start, &args),
            Value::Numeric(start) => numerics(start, &args),
            Value::Timestamp(start) => timestamps(*start, &args),
            other => Err(Error::internal(format!("a series of {other:?}"))),
        }
    }

    /// The next value.
    pub fn advance(&mut self, cx: &EvalContext) -> Result<Option<Value>> {
        match self {
            Series::Ended => Ok(None),
            Series::Int { next, stop, step } => {
                let value = *next;
                if is_past(value.cmp(stop), *step < 0) {
                    return Ok(None);
                }
                match value.checked_add(*step) {
                    Some(following) => *next = following,
                    None => *self = Series::Ended,
                }
                Ok(Some(Value::Int(value)))
            }
            Series::Numeric { next, stop, step } => {
                let descends = numeric::compare(step, &numeric::from_i64(0)).is_lt();
                if is_past(numeric::compare(next, stop), descends) {
                    return Ok(None);
                }
                let following = numeric::add(next, step)?;
                Ok(Some(Value::Numeric(std::mem::replace(next, following))))
            }
            Series::Timestamp { next, stop, step, zoned } => {
                if is_past((*next).cmp(stop), interval_span(*step) < 0) {
                    return Ok(None);
                }
                let following = match zoned {
                    true => add_to_timestamptz(*next, *step, cx.zone)?,
                    false => add_to_timestamp(*next, *step)?,
                };
                Ok(Some(Value::Timestamp(std::mem::replace(next, following))))
            }
        }
    }
}

/// Whether a value that compares so with the last one is beyond it.
fn is_past(to_stop: Ordering, descends: bool) -> bool {
    if descends { to_stop.is_lt() } else { to_stop.is_gt() }
}

fn integers(start: i64, args: &Args) -> Result<Series> {
    let step = if args.len() > 2 { args.int(2) } else { 1 };
    if step == 0 {
        return Err(zero_step());
    }
    Ok(Series::Int { next: start, stop: args.int(1), step })
}

fn numerics(start: &Numeric, args: &Args) -> Result<Series> {
    let stop = args.numeric(1);
    let one = numeric::from_i64(1);
    let step = if args.len() > 2 { args.numeric(2) } else { &one };
    for (value, name) in [(start, "start value"), (stop, "stop value"), (step, "step size")] {
        let what = match value {
            Numeric::Finite(_) => continue,
            Numeric::NaN => "NaN",
            Numeric::Infinity | Numeric::NegativeInfinity => "infinity",
        };
        return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("{name} cannot be {what}")));
    }
    if numeric::compare(step, &numeric::from_i64(0)).is_eq() {
        return Err(zero_step());
    }
    Ok(Series::Numeric { next: start.clone(), stop: stop.clone(), step: step.clone() })
}

fn timestamps(start: i64, args: &Args) -> Result<Series> {
    let step = args.interval(2);
    if interval_span(step) == 0 {
        return Err(zero_step());
    }
    let zoned = args.ty(0).same(SqlType::TIMESTAMPTZ);
    Ok(Series::Timestamp { next: start, stop: args.timestamp(1), step, zoned })
}

fn zero_step() -> Error {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, "step size cannot equal zero")
}
