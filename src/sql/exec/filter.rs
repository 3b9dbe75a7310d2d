//! Filter and Project: rows one at a time, nothing kept.

use super::calls::{Settled, has_calls, settle};
use super::operator::{Operator, Pull, Run, open, pull};
use crate::error::Result;
use crate::expr::{EvalContext, Expr};
use crate::sql::plan::{Filter, Project};
use crate::types::{Row, Value};
use crate::wait::Wait;
use std::sync::Arc;
use std::time::Duration;

/// Passes on the rows for which the condition is true.
pub(super) struct FilterOp {
    node: Arc<Filter>,
    input: Box<dyn Operator>,
    /// Whether the condition has calls that may wait, and the row that waits for one.
    calls: bool,
    waiting: Option<Row>,
}

impl FilterOp {
    pub(super) fn new(node: Arc<Filter>) -> FilterOp {
        FilterOp { input: open(&node.input), calls: has_calls([&node.predicate]), node, waiting: None }
    }

    /// As without calls, but the row is kept while something is waited for.
    fn next_with_calls(&mut self, run: &mut Run, out: &mut Row) -> Result<Pull> {
        loop {
            match self.waiting.take() {
                Some(row) => *out = row,
                None if !pull!(self.input.next(run, out)) => return Ok(Pull::Done),
                None => {}
            }
            match settle(run, |eval| self.node.predicate.eval_bool(out, eval))? {
                Settled::Value(Some(true)) => return Ok(Pull::Row),
                Settled::Value(_) => {}
                Settled::Wait(wait) => {
                    self.waiting = Some(std::mem::take(out));
                    return Ok(Pull::Wait(wait));
                }
            }
        }
    }
}

impl Operator for FilterOp {
    fn next(&mut self, run: &mut Run, out: &mut Row) -> Result<Pull> {
        if self.calls {
            return self.next_with_calls(run, out);
        }
        loop {
            if !pull!(self.input.next(run, out)) {
                return Ok(Pull::Done);
            }
            if self.node.predicate.eval_bool(out, run.eval)? == Some(true) {
                return Ok(Pull::Row);
            }
        }
    }
}

/// Computes columns. An item that is pg_sleep() is waited for before the row is given out.
pub(super) struct ProjectOp {
    node: Arc<Project>,
    input: Box<dyn Operator>,
    row: Row,
    /// Where some item sleeps: until when the row in the buffer sleeps, on the monotonic clock.
    asleep: Option<u64>,
    sleeps: bool,
    /// Whether items have calls that may wait, and whether the row in the buffer waits for one.
    calls: bool,
    waiting: bool,
    /// Every item is a column and none comes twice: values move.
    moves: bool,
}

impl ProjectOp {
    pub(super) fn new(node: Arc<Project>) -> ProjectOp {
        let sleeps = node.exprs.iter().any(|expr| expr.as_sleep().is_some());
        let calls = has_calls(&node.exprs);
        let moves = are_different_columns(&node.exprs);
        ProjectOp {
            input: open(&node.input),
            node,
            row: Row::new(),
            asleep: None,
            sleeps,
            calls,
            waiting: false,
            moves,
        }
    }

    /// When the row in the buffer has slept enough: items sleep one after the other.
    fn wake_time(&self, run: &Run) -> Result<u64> {
        let mut until = run.cx.env.monotonic();
        for seconds in self.node.exprs.iter().filter_map(Expr::as_sleep) {
            if let Value::Float(seconds) = seconds.eval(&self.row, run.eval)? {
                until = until.saturating_add((seconds.max(0.0) * 1e6) as u64);
            }
        }
        Ok(until)
    }

    fn item(&self, expr: &Expr, eval: &EvalContext) -> Result<Value> {
        match expr.as_sleep() {
            None => expr.eval(&self.row, eval),
            Some(seconds) if seconds.eval(&self.row, eval)?.is_null() => Ok(Value::Null),
            // the one value of type void
            Some(_) => Ok(Value::text("")),
        }
    }
}

impl Operator for ProjectOp {
    fn next(&mut self, run: &mut Run, out: &mut Row) -> Result<Pull> {
        if self.asleep.is_none() && !self.waiting {
            if !pull!(self.input.next(run, &mut self.row)) {
                return Ok(Pull::Done);
            }
            if self.sleeps {
                self.asleep = Some(self.wake_time(run)?);
            }
        }
        if let Some(until) = self.asleep {
            let left = until.saturating_sub(run.cx.env.monotonic());
            if left > 0 {
                return Ok(Pull::Wait(Wait::for_time(Duration::from_micros(left))));
            }
            self.asleep = None;
        }
        if self.calls {
            let items = |eval: &EvalContext| self.node.exprs.iter().map(|expr| self.item(expr, eval)).collect();
            return match settle(run, items)? {
                Settled::Value(row) => {
                    *out = row;
                    self.waiting = false;
                    Ok(Pull::Row)
                }
                Settled::Wait(wait) => {
                    self.waiting = true;
                    Ok(Pull::Wait(wait))
                }
            };
        }
        out.clear();
        for expr in &self.node.exprs {
            if let (true, Expr::Column { index, .. }) = (self.moves, expr) {
                out.push(std::mem::replace(&mut self.row[*index], Value::Null));
                continue;
            }
            out.push(if self.sleeps { self.item(expr, run.eval)? } else { expr.eval(&self.row, run.eval)? });
        }
        Ok(Pull::Row)
    }
}

fn are_different_columns(exprs: &[Expr]) -> bool {
    // looked at with every execution: not worth it for very wide rows
    exprs.len() <= 64
        && exprs.iter().enumerate().all(|(at, expr)| match expr {
            Expr::Column { index, .. } => {
                !exprs[..at].iter().any(|other| matches!(other, Expr::Column { index: before, .. } if before == index))
            }
            _ => false,
        })
}
