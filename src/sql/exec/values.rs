//! Values: rows of expressions.

use super::calls::{settle, settled};
use super::filter::eval_into;
use super::operator::{Operator, Pull, Run};
use crate::error::Result;
use crate::sql::plan::Values;
use crate::types::Row;
use std::sync::Arc;

/// Evaluates one row after the other.
pub(super) struct ValuesOp {
    node: Arc<Values>,
    next: usize,
}

impl ValuesOp {
    pub(super) fn new(node: Arc<Values>) -> ValuesOp {
        ValuesOp { node, next: 0 }
    }
}

impl Operator for ValuesOp {
    fn next(&mut self, run: &mut Run, out: &mut Row) -> Result<Pull> {
        let Some(exprs) = self.node.rows.get(self.next) else { return Ok(Pull::Done) };
        if !run.spend() {
            return Ok(Pull::Yield);
        }
        settled!(settle(run, |eval| eval_into(exprs, &[], eval, out)));
        self.next += 1;
        Ok(Pull::Row)
    }
}
