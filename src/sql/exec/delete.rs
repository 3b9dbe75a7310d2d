//! Delete: removed rows.

use super::calls::{settle, settled};
use super::filter::eval_into;
use super::operator::{Operator, Pull, Run, open, pull};
use super::write::{Claim, Seen, Target, decode, identity, lock_target};
use crate::error::Result;
use crate::sql::plan::Delete;
use crate::txn::RowLock;
use crate::types::Row;
use std::sync::Arc;

/// Locks and removes one row after the other.
pub(super) struct DeleteOp {
    node: Arc<Delete>,
    input: Box<dyn Operator>,
    seen: Row,
    /// The row whose lock is wanted.
    pending: Option<Seen>,
    /// Whether it is removed, and its values are to be returned.
    removed: bool,
    old: Row,
}

impl DeleteOp {
    pub(super) fn new(node: Arc<Delete>) -> DeleteOp {
        DeleteOp { input: open(&node.input), node, seen: Row::new(), pending: None, removed: false, old: Row::new() }
    }
}

impl Operator for DeleteOp {
    fn next(&mut self, run: &mut Run, out: &mut Row) -> Result<Pull> {
        loop {
            if let (true, Some(exprs)) = (self.removed, &self.node.returning) {
                settled!(settle(run, |eval| eval_into(exprs, &self.old, eval, out)));
                self.removed = false;
                return Ok(Pull::Row);
            }
            if self.pending.is_none() {
                if !pull!(self.input.next(run, &mut self.seen)) {
                    return Ok(Pull::Done);
                }
                let seen = identity(&mut self.seen)?;
                decode(&self.node.model, &seen.version, &mut self.old)?;
                self.pending = Some(seen);
            }
            let (model, recheck) = (&self.node.model, self.node.recheck.as_ref());
            let Some(seen) = &mut self.pending else { continue };
            match lock_target(model, Claim::to_write(RowLock::Update), recheck, seen, run, &mut self.old)? {
                Target::Wait(wait) => return Ok(Pull::Wait(wait)),
                Target::Same | Target::Changed => {}
                Target::Skip | Target::Busy => {
                    self.pending = None;
                    continue;
                }
            }
            let scope = model.scope(run.cx.scope);
            run.tx.delete_row(run.view, model, scope, &seen.key, &seen.version)?;
            self.pending = None;
            run.affected += 1;
            self.removed = self.node.returning.is_some();
        }
    }
}
