//! LockRows: rows that are locked before they are given out.

use super::operator::{Operator, Pull, Run, open, pull};
use super::write::{Claim, Seen, Target, identity, lock_target};
use crate::error::{Error, Result, SqlState};
use crate::sql::plan::{LockRows, LockWait};
use crate::txn::LockPolicy;
use crate::types::Row;
use std::sync::Arc;

/// Locks its input's rows one after the other. One that was changed meanwhile is read again and judged again, but keeps
/// its place in the order, as in PostgreSQL.
pub(super) struct LockRowsOp {
    node: Arc<LockRows>,
    input: Box<dyn Operator>,
    row: Row,
    /// The row whose lock is wanted.
    pending: Option<Seen>,
}

impl LockRowsOp {
    pub(super) fn new(node: Arc<LockRows>) -> LockRowsOp {
        LockRowsOp { input: open(&node.input), node, row: Row::new(), pending: None }
    }
}

impl Operator for LockRowsOp {
    fn next(&mut self, run: &mut Run, out: &mut Row) -> Result<Pull> {
        let LockRows { model, lock, wait, recheck, .. } = &*self.node;
        let policy = if *wait == LockWait::Wait { LockPolicy::Wait } else { LockPolicy::NoWait };
        let claim = Claim { lock: *lock, writes: false, policy };
        loop {
            if self.pending.is_none() {
                if !pull!(self.input.next(run, &mut self.row)) {
                    return Ok(Pull::Done);
                }
                self.pending = Some(identity(&mut self.row)?);
            }
            let Some(seen) = &mut self.pending else { continue };
            match lock_target(model, claim, recheck.as_ref(), seen, run, &mut self.row)? {
                Target::Wait(wait) => return Ok(Pull::Wait(wait)),
                Target::Same | Target::Changed => {
                    self.pending = None;
                    std::mem::swap(out, &mut self.row);
                    return Ok(Pull::Row);
                }
                Target::Busy if *wait == LockWait::Fail => {
                    let message = format!("could not obtain lock on row in relation \"{}\"", model.relation().name);
                    return Err(Error::new(SqlState::LOCK_NOT_AVAILABLE, message));
                }
                Target::Busy | Target::Skip => self.pending = None,
            }
        }
    }
}
