//! Update: replaced rows.

use super::operator::{Operator, Pull, Run, open, pull};
use super::write::{Claim, Seen, Target, check, decode, identity, lock_target, returning};
use crate::error::Result;
use crate::sql::plan::Update;
use crate::txn::{RowLock, Written};
use crate::types::Row;
use crate::wait::Wait;
use std::sync::Arc;

/// Locks, computes, checks and writes one row after the other.
pub(super) struct UpdateOp {
    node: Arc<Update>,
    input: Box<dyn Operator>,
    seen: Row,
    pending: Pending,
    old: Row,
    new: Row,
}

/// How far the present row has come.
enum Pending {
    None,
    /// Its new values are computed, its lock is wanted.
    Lock(Seen, RowLock),
    /// Its lock is held; other keys' locks are wanted.
    Write(Seen),
}

impl UpdateOp {
    pub(super) fn new(node: Arc<Update>) -> UpdateOp {
        let input = open(&node.input);
        UpdateOp { input, node, seen: Row::new(), pending: Pending::None, old: Row::new(), new: Row::new() }
    }

    fn compute(&mut self, run: &Run) -> Result<()> {
        self.new.clear();
        self.new.extend_from_slice(&self.old[..self.node.model.relation().columns.len()]);
        for (column, expr) in &self.node.set {
            self.new[*column] = expr.eval(&self.old, run.eval)?;
        }
        check(&self.node.model, &self.node.schema, &self.node.checks, &self.new, run)
    }
}

impl UpdateOp {
    /// The lock that the new values ask for: others may go on referring to a row whose keys stay.
    fn strength(&self) -> RowLock {
        if self.node.model.changes_keys(&self.old, &self.new) { RowLock::Update } else { RowLock::NoKeyUpdate }
    }

    /// Locks the present row. As in PostgreSQL its new values are computed before, and again if it was changed.
    fn lock(&mut self, mut seen: Seen, mut lock: RowLock, run: &mut Run) -> Result<Option<Wait>> {
        let model = self.node.model.clone();
        loop {
            let recheck = self.node.recheck.as_ref();
            match lock_target(&model, Claim::to_write(lock), recheck, &mut seen, run, &mut self.old)? {
                Target::Wait(wait) => {
                    self.pending = Pending::Lock(seen, lock);
                    return Ok(Some(wait));
                }
                Target::Skip | Target::Busy => {
                    self.pending = Pending::None;
                    return Ok(None);
                }
                Target::Same => break,
                Target::Changed => {
                    self.compute(run)?;
                    if self.strength() <= lock {
                        break;
                    }
                    lock = RowLock::Update;
                }
            }
        }
        self.pending = Pending::Write(seen);
        Ok(None)
    }
}

impl Operator for UpdateOp {
    fn next(&mut self, run: &mut Run, out: &mut Row) -> Result<Pull> {
        loop {
            match std::mem::replace(&mut self.pending, Pending::None) {
                Pending::None => {
                    if !pull!(self.input.next(run, &mut self.seen)) {
                        return Ok(Pull::Done);
                    }
                    let seen = identity(&mut self.seen)?;
                    decode(&self.node.model, &seen.version, &mut self.old)?;
                    self.compute(run)?;
                    self.pending = Pending::Lock(seen, self.strength());
                }
                Pending::Lock(seen, lock) => {
                    if let Some(wait) = self.lock(seen, lock, run)? {
                        return Ok(Pull::Wait(wait));
                    }
                }
                Pending::Write(seen) => {
                    let model = self.node.model.clone();
                    let scope = model.scope(run.cx.scope);
                    match run.tx.update_row(run.view, &model, scope, (&seen.key, &seen.version), &self.new)? {
                        Written::Wait(wait) => {
                            self.pending = Pending::Write(seen);
                            return Ok(Pull::Wait(wait));
                        }
                        Written::Conflict(conflict) => {
                            let error = || conflict.error(&model, &self.node.schema, &self.new, run.cx.zone);
                            return Err(run.tx.refuse(&conflict, error));
                        }
                        Written::Done(_) => {}
                    }
                    run.affected += 1;
                    if let Some(exprs) = &self.node.returning {
                        returning(exprs, &model, &mut self.new, run, out)?;
                        return Ok(Pull::Row);
                    }
                }
            }
        }
    }
}
