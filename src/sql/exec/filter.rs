//! Filter and Project: rows one at a time, nothing kept.

use super::operator::{Operator, Pull, Run, open, pull};
use crate::error::Result;
use crate::sql::plan::{Filter, Project};
use crate::types::Row;
use std::sync::Arc;

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

/// Computes columns.
pub(super) struct ProjectOp {
    node: Arc<Project>,
    input: Box<dyn Operator>,
    row: Row,
}

impl ProjectOp {
    pub(super) fn new(node: Arc<Project>) -> ProjectOp {
        ProjectOp { input: open(&node.input), node, row: Row::new() }
    }
}

impl Operator for ProjectOp {
    fn next(&mut self, run: &mut Run, out: &mut Row) -> Result<Pull> {
        if !pull!(self.input.next(run, &mut self.row)) {
            return Ok(Pull::Done);
        }
        out.clear();
        for expr in &self.node.exprs {
            out.push(expr.eval(&self.row, run.eval)?);
        }
        Ok(Pull::Row)
    }
}
