//! Filter and Project: rows one at a time, nothing kept.

use super::operator::{Operator, Pull, Run, open, pull};
use crate::error::Result;
use crate::expr::Expr;
use crate::sql::plan::{Filter, Project};
use crate::types::{Row, Value};
use crate::wait::Wait;
use std::sync::Arc;
use std::time::Duration;

/// Passes on the rows for which the condition is true.
pub(super) struct FilterOp {
    node: Arc<Filter>,
    input: Box<dyn Operator>,
}

impl FilterOp {
    pub(super) fn new(node: Arc<Filter>) -> FilterOp {
        FilterOp { input: open(&node.input), node }
    }
}

impl Operator for FilterOp {
    fn next(&mut self, run: &mut Run, out: &mut Row) -> Result<Pull> {
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
    /// Every item is a column and none comes twice: values move.
    moves: bool,
}

impl ProjectOp {
    pub(super) fn new(node: Arc<Project>) -> ProjectOp {
        let sleeps = node.exprs.iter().any(|expr| expr.as_sleep().is_some());
        let moves = are_different_columns(&node.exprs);
        ProjectOp { input: open(&node.input), node, row: Row::new(), asleep: None, sleeps, moves }
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

    fn item(&self, expr: &Expr, run: &Run) -> Result<Value> {
        match expr.as_sleep() {
            None => expr.eval(&self.row, run.eval),
            Some(seconds) if seconds.eval(&self.row, run.eval)?.is_null() => Ok(Value::Null),
            // the one value of type void
            Some(_) => Ok(Value::text("")),
        }
    }
}

impl Operator for ProjectOp {
    fn next(&mut self, run: &mut Run, out: &mut Row) -> Result<Pull> {
        if self.asleep.is_none() {
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
        out.clear();
        for expr in &self.node.exprs {
            if let (true, Expr::Column { index, .. }) = (self.moves, expr) {
                out.push(std::mem::replace(&mut self.row[*index], Value::Null));
                continue;
            }
            out.push(if self.sleeps { self.item(expr, run)? } else { expr.eval(&self.row, run.eval)? });
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
