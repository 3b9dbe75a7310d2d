//! Limit: a stretch of the rows.

use super::calls::{settle, settled};
use super::operator::{Operator, Pull, Run, open, pull};
use crate::error::{Error, Result, SqlState};
use crate::expr::{EvalContext, Expr};
use crate::sql::plan::Limit;
use crate::types::{Row, Value};
use std::sync::Arc;

/// Leaves out the first rows and ends after the last one wanted.
pub(super) struct LimitOp {
    node: Arc<Limit>,
    input: Box<dyn Operator>,
    /// Rows still to leave out and rows still to give; not known before the first request.
    left: Option<(u64, u64)>,
}

impl LimitOp {
    pub(super) fn new(node: Arc<Limit>) -> LimitOp {
        LimitOp { input: open(&node.input), node, left: None }
    }
}

impl Operator for LimitOp {
    fn next(&mut self, run: &mut Run, out: &mut Row) -> Result<Pull> {
        let (mut skip, give) = match self.left {
            Some(left) => left,
            None => {
                let Limit { limit, offset, .. } = &*self.node;
                // as in PostgreSQL OFFSET comes first
                settled!(settle(run, |eval| {
                    let skip = offset_value(offset.as_ref(), eval)?;
                    Ok((skip, limit_value(limit.as_ref(), eval)?.unwrap_or(u64::MAX)))
                }))
            }
        };
        self.left = Some((skip, give));
        if give == 0 {
            return Ok(Pull::Done);
        }
        loop {
            run.wanted = usize::try_from(skip.saturating_add(give)).unwrap_or(usize::MAX);
            if !pull!(self.input.next(run, out)) {
                return Ok(Pull::Done);
            }
            if skip == 0 {
                self.left = Some((0, give - 1));
                return Ok(Pull::Row);
            }
            skip -= 1;
            self.left = Some((skip, give));
        }
    }
}

/// The value of LIMIT; none is no limit.
pub(super) fn limit_value(expr: Option<&Expr>, cx: &EvalContext) -> Result<Option<u64>> {
    let negative = || Error::new(SqlState::INVALID_ROW_COUNT_IN_LIMIT_CLAUSE, "LIMIT must not be negative");
    count(expr, cx, negative)
}

/// The value of OFFSET; none is 0.
pub(super) fn offset_value(expr: Option<&Expr>, cx: &EvalContext) -> Result<u64> {
    let negative = || Error::new(SqlState::INVALID_ROW_COUNT_IN_RESULT_OFFSET_CLAUSE, "OFFSET must not be negative");
    Ok(count(expr, cx, negative)?.unwrap_or(0))
}

fn count(expr: Option<&Expr>, cx: &EvalContext, negative: impl Fn() -> Error) -> Result<Option<u64>> {
    match expr.map(|expr| expr.eval(&[], cx)).transpose()? {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Int(count)) => u64::try_from(count).map(Some).map_err(|_| negative()),
        Some(other) => Err(Error::internal(format!("a row count is {other:?}"))),
    }
}
