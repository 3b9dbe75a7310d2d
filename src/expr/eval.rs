//! Evaluation. Columns, constants and parameters are borrowed, so a comparison of a column allocates nothing.

use super::effect::Journal;
use super::function::{Args, Body, CompareOp, Function, Volatility};
use super::{EvalContext, Expr};
use crate::error::{Error, Result, SqlState};
use crate::types::{SqlType, Value, compare};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::cmp::Ordering;

impl Expr {
    /// The value for a row.
    pub fn eval(&self, row: &[Value], cx: &EvalContext) -> Result<Value> {
        self.eval_ref(row, cx).map(Cow::into_owned)
    }

    /// The value of a boolean expression; none is NULL.
    pub fn eval_bool(&self, row: &[Value], cx: &EvalContext) -> Result<Option<bool>> {
        match self {
            Expr::And(parts) => junction(parts, false, row, cx),
            Expr::Or(parts) => junction(parts, true, row, cx),
            Expr::Not(input) => Ok(input.eval_bool(row, cx)?.map(|value| !value)),
            Expr::IsNull { input, negated } => Ok(Some(input.eval_ref(row, cx)?.is_null() != *negated)),
            Expr::Distinct { left, right, negated } => {
                let (a, b) = (left.eval_ref(row, cx)?, right.eval_ref(row, cx)?);
                Ok(Some(is_distinct(&a, &b, left.ty()) != *negated))
            }
            Expr::InList { input, list, negated } => {
                let value = input.eval_ref(row, cx)?;
                let found = is_in_list(&value, list, row, cx)?;
                Ok(found.map(|found| found != *negated))
            }
            Expr::Call { function, args, .. } => match function.body {
                Body::Compare(op) => compare_call(op, args, row, cx),
                _ => self.eval_ref(row, cx).map(|value| as_bool(&value)),
            },
            _ => self.eval_ref(row, cx).map(|value| as_bool(&value)),
        }
    }

    /// The value for a row, borrowed where it exists already.
    pub fn eval_ref<'a>(&'a self, row: &'a [Value], cx: &EvalContext<'a>) -> Result<Cow<'a, Value>> {
        Ok(match self {
            Expr::Literal { value, .. } => Cow::Borrowed(value),
            Expr::Column { index, .. } => Cow::Borrowed(&row[*index]),
            Expr::Param { index, .. } => match cx.params.get(*index) {
                Some(value) => Cow::Borrowed(value),
                None => return Err(Error::internal(format!("no value for parameter {}", index + 1))),
            },
            Expr::CaseOperand { .. } => match cx.operand {
                Some(value) => Cow::Borrowed(value),
                None => return Err(Error::internal("an operand outside of CASE")),
            },
            Expr::Call { function, args, .. } => match function.body {
                Body::Compare(op) => Cow::Owned(from_bool(compare_call(op, args, row, cx)?)),
                Body::Plain(call) | Body::Effect(call) => match cx.journal {
                    Some(journal) if function.volatility == Volatility::Volatile => {
                        Cow::Owned(noted_call(call, function, journal, args, row, cx)?)
                    }
                    _ => Cow::Owned(plain_call(call, function.strict, args, row, cx)?),
                },
                Body::Series => {
                    let message = "set-valued function called in context that cannot accept a set";
                    return Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message));
                }
            },
            Expr::Cast { input, method, ty, explicit } => {
                let value = input.eval_ref(row, cx)?;
                if value.is_null() {
                    return Ok(value);
                }
                Cow::Owned(method.apply(value.into_owned(), input.ty(), *ty, *explicit, cx)?)
            }
            Expr::Case { operand, whens, otherwise, .. } => {
                let operand = operand.as_ref().map(|operand| operand.eval(row, cx)).transpose()?;
                return case(operand.as_ref(), whens, otherwise.as_deref(), row, cx);
            }
            Expr::Coalesce { args, .. } => {
                for arg in args {
                    let value = arg.eval_ref(row, cx)?;
                    if !value.is_null() {
                        return Ok(value);
                    }
                }
                Cow::Owned(Value::Null)
            }
            Expr::NullIf { equal, .. } => return null_if(equal, row, cx),
            Expr::Extreme { greatest, args, ty } => extreme(*greatest, args, *ty, row, cx)?,
            _ => Cow::Owned(from_bool(self.eval_bool(row, cx)?)),
        })
    }
}

fn as_bool(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        _ => None,
    }
}

fn from_bool(value: Option<bool>) -> Value {
    value.map_or(Value::Null, Value::Bool)
}

/// AND (`decisive` false) and OR (`decisive` true) with three values.
fn junction(parts: &[Expr], decisive: bool, row: &[Value], cx: &EvalContext) -> Result<Option<bool>> {
    let mut result = Some(!decisive);
    for part in parts {
        match part.eval_bool(row, cx)? {
            Some(value) if value == decisive => return Ok(Some(decisive)),
            Some(_) => {}
            None => result = None,
        }
    }
    Ok(result)
}

/// Compares two non-null values of one type.
fn order(a: &Value, b: &Value, ty: SqlType) -> Ordering {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        _ => compare(a, b, ty),
    }
}

fn compare_call(op: CompareOp, args: &[Expr], row: &[Value], cx: &EvalContext) -> Result<Option<bool>> {
    let a = args[0].eval_ref(row, cx)?;
    if a.is_null() {
        return Ok(None);
    }
    let b = args[1].eval_ref(row, cx)?;
    if b.is_null() {
        return Ok(None);
    }
    Ok(Some(op.holds(order(&a, &b, args[0].ty()))))
}

fn is_distinct(a: &Value, b: &Value, ty: SqlType) -> bool {
    match (a.is_null(), b.is_null()) {
        (false, false) => order(a, b, ty).is_ne(),
        (a, b) => a != b,
    }
}

fn is_in_list(value: &Value, list: &[Expr], row: &[Value], cx: &EvalContext) -> Result<Option<bool>> {
    if value.is_null() {
        return Ok(None);
    }
    let mut unknown = false;
    for item in list {
        let candidate = item.eval_ref(row, cx)?;
        if candidate.is_null() {
            unknown = true;
        } else if order(value, &candidate, item.ty()).is_eq() {
            return Ok(Some(true));
        }
    }
    Ok(if unknown { None } else { Some(false) })
}

type PlainFn = fn(&Args<'_>, &EvalContext<'_>) -> Result<Value>;

fn plain_call(call: PlainFn, strict: bool, args: &[Expr], row: &[Value], cx: &EvalContext) -> Result<Value> {
    let mut values: SmallVec<[Cow<Value>; 3]> = SmallVec::new();
    for arg in args {
        let value = arg.eval_ref(row, cx)?;
        if strict && value.is_null() {
            return Ok(Value::Null);
        }
        values.push(value);
    }
    call(&Args { values: &values, exprs: args }, cx)
}

/// A call that is made once, however often its row's expressions are evaluated. Its arguments come before it in the order
/// of calls.
fn noted_call(
    call: PlainFn,
    function: &Function,
    journal: &dyn Journal,
    args: &[Expr],
    row: &[Value],
    cx: &EvalContext,
) -> Result<Value> {
    let mut values: SmallVec<[Cow<Value>; 3]> = SmallVec::new();
    for arg in args {
        let value = arg.eval_ref(row, cx)?;
        if function.strict && value.is_null() {
            return Ok(Value::Null);
        }
        values.push(value);
    }
    if let Some(given) = journal.given(function.oid) {
        return Ok(given);
    }
    let value = call(&Args { values: &values, exprs: args }, cx)?;
    journal.note(function.oid, &value);
    Ok(value)
}

fn case<'a>(
    operand: Option<&Value>,
    whens: &'a [(Expr, Expr)],
    otherwise: Option<&'a Expr>,
    row: &'a [Value],
    cx: &EvalContext<'a>,
) -> Result<Cow<'a, Value>> {
    for (condition, result) in whens {
        // The conditions see this CASE's operand, the results that of the one around it.
        let holds = condition.eval_bool(row, &EvalContext { operand: operand.or(cx.operand), ..*cx })?;
        if holds == Some(true) {
            return result.eval_ref(row, cx);
        }
    }
    match otherwise {
        Some(otherwise) => otherwise.eval_ref(row, cx),
        None => Ok(Cow::Owned(Value::Null)),
    }
}

/// `equal` is the call `left = right`. The left side is evaluated once.
fn null_if<'a>(equal: &'a Expr, row: &'a [Value], cx: &EvalContext<'a>) -> Result<Cow<'a, Value>> {
    let Expr::Call { function, args, .. } = equal else {
        return Err(Error::internal("NULLIF without an equality"));
    };
    let left = args[0].eval_ref(row, cx)?;
    if left.is_null() {
        return Ok(left);
    }
    let right = args[1].eval_ref(row, cx)?;
    if right.is_null() {
        return Ok(left);
    }
    let equal = match function.body {
        Body::Plain(call) => {
            let values = [Cow::Borrowed(&*left), right];
            call(&Args { values: &values, exprs: args }, cx)? == Value::Bool(true)
        }
        _ => order(&left, &right, args[0].ty()).is_eq(),
    };
    Ok(if equal { Cow::Owned(Value::Null) } else { left })
}

fn extreme<'a>(
    greatest: bool,
    args: &'a [Expr],
    ty: SqlType,
    row: &'a [Value],
    cx: &EvalContext<'a>,
) -> Result<Cow<'a, Value>> {
    let wanted = if greatest { Ordering::Greater } else { Ordering::Less };
    let mut best: Cow<'a, Value> = Cow::Owned(Value::Null);
    for arg in args {
        let value = arg.eval_ref(row, cx)?;
        if !value.is_null() && (best.is_null() || order(&value, &best, ty) == wanted) {
            best = value;
        }
    }
    Ok(best)
}
