//! Delete: removed rows.

use super::operator::{Operator, Pull, Run, open, pull};
use super::write::{Target, identity, lock_target};
use crate::error::{Error, Result};
use crate::sql::plan::Delete;
use crate::types::Row;
use bytes::Bytes;
use std::sync::Arc;

/// Locks and removes one row after the other.
pub(super) struct DeleteOp {
    node: Arc<Delete>,
    input: Box<dyn Operator>,
    seen: Row,
    /// The row whose lock is wanted: key and version seen.
    pending: Option<(Bytes, Bytes)>,
    old: Row,
}

impl DeleteOp {
    pub(super) fn new(node: Arc<Delete>) -> DeleteOp {
        DeleteOp { input: open(&node.input), node, seen: Row::new(), pending: None, old: Row::new() }
    }
}

impl Operator for DeleteOp {
    fn next(&mut self, run: &mut Run, out: &mut Row) -> Result<Pull> {
        loop {
            if self.pending.is_none() {
                if !pull!(self.input.next(run, &mut self.seen)) {
                    return Ok(Pull::Done);
                }
                let found = identity(&mut self.seen).ok_or_else(|| Error::internal("a DELETE's input has no key"))?;
                self.pending = Some(found);
            }
            let model = &self.node.model;
            let Some((key, version)) = &self.pending else { continue };
            let newest = match lock_target(model, self.node.recheck.as_ref(), (key, version), run, &mut self.old)? {
                Target::Wait(wait) => return Ok(Pull::Wait(wait)),
                Target::Skip => {
                    self.pending = None;
                    continue;
                }
                Target::Found(newest) => newest,
            };
            let scope = model.scope(run.cx.scope);
            run.tx.delete_row(run.view, model, scope, key, &newest)?;
            self.pending = None;
            run.affected += 1;
            if let Some(exprs) = &self.node.returning {
                out.clear();
                for expr in exprs {
                    out.push(expr.eval(&self.old, run.eval)?);
                }
                return Ok(Pull::Row);
            }
        }
    }
}
