//! Insert: new rows.

use super::calls::{Settled, settle, settled};
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
    stage: Stage,
}

/// How far the present row has come.
#[derive(Clone, Copy)]
enum Stage {
    None,
    Check,
    /// It is checked; its keys' locks are wanted.
    Write,
    /// It is written.
    Return,
}

impl InsertOp {
    pub(super) fn new(node: Arc<Insert>) -> InsertOp {
        InsertOp { input: open(&node.input), node, row: Row::new(), stage: Stage::None }
    }

    /// Writes the row: where it comes to after that, or what must be waited for.
    fn write(&mut self, run: &mut Run) -> Result<Settled<Stage>> {
        let model = &self.node.model;
        let scope = model.scope(run.cx.scope);
        match run.tx.insert_row(run.view, model, scope, &self.row)? {
            Written::Wait(wait) => Ok(Settled::Wait(wait)),
            Written::Conflict(conflict) => {
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
                Ok(Settled::Value(Stage::None))
            }
            Written::Done(_) => {
                run.affected += 1;
                Ok(Settled::Value(if self.node.returning.is_some() { Stage::Return } else { Stage::None }))
            }
        }
    }
}

impl Operator for InsertOp {
    fn next(&mut self, run: &mut Run, out: &mut Row) -> Result<Pull> {
        loop {
            match self.stage {
                Stage::None => {
                    if !pull!(self.input.next(run, &mut self.row)) {
                        return Ok(Pull::Done);
                    }
                    self.stage = Stage::Check;
                }
                Stage::Check => {
                    let Insert { model, schema, checks, .. } = &*self.node;
                    settled!(settle(run, |eval| check(model, schema, checks, &self.row, eval)));
                    self.stage = Stage::Write;
                }
                Stage::Write => self.stage = settled!(self.write(run)),
                Stage::Return => {
                    let exprs = self.node.returning.as_deref().unwrap_or_default();
                    settled!(returning(exprs, &self.node.model, &mut self.row, run, out));
                    self.stage = Stage::None;
                    return Ok(Pull::Row);
                }
            }
        }
    }
}
