//! Insert: new rows.

use super::operator::{Operator, Pull, Run, open, pull};
use super::write::{check, returning};
use crate::error::Result;
use crate::sql::plan::{Conflict, Insert};
use crate::txn::Written;
use crate::types::Row;
use std::sync::Arc;

/// Checks and writes its input's rows.
pub(super) struct InsertOp {
    node: Arc<Insert>,
    input: Box<dyn Operator>,
    /// The row that is being written, all columns of the relation.
    row: Row,
    /// Whether it waits for a lock and is checked already.
    pending: bool,
}

impl InsertOp {
    pub(super) fn new(node: Arc<Insert>) -> InsertOp {
        InsertOp { input: open(&node.input), node, row: Row::new(), pending: false }
    }
}

impl Operator for InsertOp {
    fn next(&mut self, run: &mut Run, out: &mut Row) -> Result<Pull> {
        loop {
            if !self.pending {
                if !pull!(self.input.next(run, &mut self.row)) {
                    return Ok(Pull::Done);
                }
                check(&self.node.model, &self.node.schema, &self.node.checks, &self.row, run)?;
                self.pending = true;
            }
            let model = &self.node.model;
            let scope = model.scope(run.cx.scope);
            match run.tx.insert_row(run.view, model, scope, &self.row)? {
                Written::Wait(wait) => return Ok(Pull::Wait(wait)),
                Written::Conflict(conflict) => {
                    self.pending = false;
                    let skip = match self.node.conflict {
                        Conflict::Fail => false,
                        Conflict::SkipAny => true,
                        Conflict::SkipPrimary => conflict.unique.is_none(),
                        Conflict::SkipUnique(at) => conflict.unique == Some(at),
                    };
                    if !skip {
                        let error = || conflict.error(model, &self.node.schema, &self.row, run.cx.zone);
                        return Err(run.tx.refuse(&conflict, error));
                    }
                    run.tx.pass_over(run.view, &conflict)?;
                }
                Written::Done(_) => {
                    self.pending = false;
                    run.affected += 1;
                    if let Some(exprs) = &self.node.returning {
                        returning(exprs, model, &mut self.row, run, out)?;
                        return Ok(Pull::Row);
                    }
                }
            }
        }
    }
}
