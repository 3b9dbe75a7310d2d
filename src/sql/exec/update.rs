//! Update: replaced rows.

use super::calls::{Settled, settle, settled};
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
    /// Its new values are wanted.
    Compute(Seen),
    /// Its lock is held; it was changed meanwhile and its new values are wanted again.
    Again(Seen, RowLock),
    /// Its new values are computed, its lock is wanted.
    Lock(Seen, RowLock),
    /// Its lock is held; other keys' locks are wanted.
    Write(Seen),
    /// It is written.
    Return,
}

impl UpdateOp {
    pub(super) fn new(node: Arc<Update>) -> UpdateOp {
        let input = open(&node.input);
        UpdateOp { input, node, seen: Row::new(), pending: Pending::None, old: Row::new(), new: Row::new() }
    }

    /// Computes the new values.
    fn compute(&mut self, run: &mut Run) -> Result<Settled<()>> {
        let UpdateOp { node, old, new, .. } = self;
        settle(run, |eval| {
            new.clear();
            new.extend_from_slice(&old[..node.model.relation().columns.len()]);
            for (column, expr) in &node.set {
                new[*column] = expr.eval(old, eval)?;
            }
            check(&node.model, &node.schema, &node.checks, new, eval)
        })
    }
}

impl UpdateOp {
    /// The lock that the new values ask for: others may go on referring to a row whose keys stay.
    fn strength(&self) -> RowLock {
        if self.node.model.changes_keys(&self.old, &self.new) { RowLock::Update } else { RowLock::NoKeyUpdate }
    }

    /// Locks the present row. As in PostgreSQL its new values are computed before, and again if it was changed.
    fn lock(&mut self, mut seen: Seen, lock: RowLock, run: &mut Run) -> Result<Option<Wait>> {
        let model = self.node.model.clone();
        let recheck = self.node.recheck.as_ref();
        let target = lock_target(&model, Claim::to_write(lock), recheck, &mut seen, run, &mut self.old)?;
        let wait;
        (self.pending, wait) = match target {
            Target::Wait(wait) => (Pending::Lock(seen, lock), Some(wait)),
            Target::Skip | Target::Busy => (Pending::None, None),
            Target::Same => (Pending::Write(seen), None),
            Target::Changed => (Pending::Again(seen, lock), None),
        };
        Ok(wait)
    }

    /// Writes the present row.
    fn write(&mut self, seen: Seen, run: &mut Run) -> Result<Option<Wait>> {
        let model = self.node.model.clone();
        let scope = model.scope(run.cx.scope);
        match run.tx.update_row(run.view, &model, scope, (&seen.key, &seen.version), &self.new)? {
            Written::Wait(wait) => {
                self.pending = Pending::Write(seen);
                return Ok(Some(wait));
            }
            Written::Conflict(conflict) => {
                let error = || conflict.error(&model, &self.node.schema, &self.new, run.cx.zone);
                return Err(run.tx.refuse(&conflict, error));
            }
            Written::Done(_) => {}
        }
        run.affected += 1;
        if self.node.returning.is_some() {
            self.pending = Pending::Return;
        }
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
                    self.pending = Pending::Compute(seen);
                }
                Pending::Compute(seen) => match self.compute(run)? {
                    Settled::Value(()) => self.pending = Pending::Lock(seen, self.strength()),
                    Settled::Wait(wait) => {
                        self.pending = Pending::Compute(seen);
                        return Ok(Pull::Wait(wait));
                    }
                },
                Pending::Again(seen, lock) => match self.compute(run)? {
                    Settled::Value(()) if self.strength() <= lock => self.pending = Pending::Write(seen),
                    Settled::Value(()) => self.pending = Pending::Lock(seen, RowLock::Update),
                    Settled::Wait(wait) => {
                        self.pending = Pending::Again(seen, lock);
                        return Ok(Pull::Wait(wait));
                    }
                },
                Pending::Lock(seen, lock) => {
                    if let Some(wait) = self.lock(seen, lock, run)? {
                        return Ok(Pull::Wait(wait));
                    }
                }
                Pending::Write(seen) => {
                    if let Some(wait) = self.write(seen, run)? {
                        return Ok(Pull::Wait(wait));
                    }
                }
                Pending::Return => {
                    let node = self.node.clone();
                    let exprs = node.returning.as_deref().unwrap_or_default();
                    self.pending = Pending::Return;
                    settled!(returning(exprs, &node.model, &mut self.new, run, out));
                    self.pending = Pending::None;
                    return Ok(Pull::Row);
                }
            }
        }
    }
}
