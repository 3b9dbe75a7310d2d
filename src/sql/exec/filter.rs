//! Filter and Project: rows one at a time, nothing kept.

use super::calls::{Settled, settle, settled};
use super::operator::{Operator, Pull, Run, open, pull};
use crate::error::Result;
use crate::expr::{EvalContext, Expr};
use crate::sql::plan::{Filter, Project};
use crate::types::{Row, Value};
use std::sync::Arc;

/// Passes on the rows for which the condition is true.
pub(super) struct FilterOp {
    node: Arc<Filter>,
    input: Box<dyn Operator>,
    /// The row whose condition waits for a call.
    waiting: Option<Row>,
}

impl FilterOp {
    pub(super) fn new(node: Arc<Filter>) -> FilterOp {
        FilterOp { input: open(&node.input), node, waiting: None }
    }
}

impl Operator for FilterOp {
    fn next(&mut self, run: &mut Run, out: &mut Row) -> Result<Pull> {
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

/// Computes columns.
pub(super) struct ProjectOp {
    node: Arc<Project>,
    input: Box<dyn Operator>,
    row: Row,
    /// Whether an item of the row in the buffer waits for a call.
    waiting: bool,
    /// Every item is a column and none comes twice: values move.
    moves: bool,
}

impl ProjectOp {
    pub(super) fn new(node: Arc<Project>) -> ProjectOp {
        let moves = are_different_columns(&node.exprs);
        ProjectOp { input: open(&node.input), node, row: Row::new(), waiting: false, moves }
    }
}

impl Operator for ProjectOp {
    fn next(&mut self, run: &mut Run, out: &mut Row) -> Result<Pull> {
        if !self.waiting && !pull!(self.input.next(run, &mut self.row)) {
            return Ok(Pull::Done);
        }
        if self.moves {
            out.clear();
            for expr in &self.node.exprs {
                let Expr::Column { index, .. } = expr else { continue };
                out.push(std::mem::replace(&mut self.row[*index], Value::Null));
            }
            return Ok(Pull::Row);
        }
        self.waiting = true;
        settled!(settle(run, |eval| eval_into(&self.node.exprs, &self.row, eval, out)));
        self.waiting = false;
        Ok(Pull::Row)
    }
}

/// Puts the values of expressions over a row into another one.
pub(super) fn eval_into(exprs: &[Expr], row: &[Value], eval: &EvalContext, out: &mut Row) -> Result<()> {
    out.clear();
    for expr in exprs {
        out.push(expr.eval(row, eval)?);
    }
    Ok(())
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
