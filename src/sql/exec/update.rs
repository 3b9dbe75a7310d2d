//! Update: replaced rows.

use super::operator::{Operator, Pull, Run, open, pull};
use super::write::{Target, check, identity, lock_target, returning};
use crate::error::{Error, Result};
use crate::sql::plan::Update;
use crate::txn::Written;
use crate::types::Row;
use bytes::Bytes;
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
    /// Its lock is wanted: key and version seen.
    Lock(Bytes, Bytes),
    /// Its new values are computed; other keys' locks are wanted: key and newest version.
    Write(Bytes, Bytes),
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

impl Operator for UpdateOp {
    fn next(&mut self, run: &mut Run, out: &mut Row) -> Result<Pull> {
        loop {
            if let Pending::None = self.pending {
                if !pull!(self.input.next(run, &mut self.seen)) {
                    return Ok(Pull::Done);
                }
                let (key, version) =
                    identity(&mut self.seen).ok_or_else(|| Error::internal("an UPDATE's input has no key"))?;
                self.pending = Pending::Lock(key, version);
            }
            let model = self.node.model.clone();
            if let Pending::Lock(key, version) = &self.pending {
                let recheck = self.node.recheck.as_ref();
                match lock_target(&model, recheck, (key, version), run, &mut self.old)? {
                    Target::Wait(wait) => return Ok(Pull::Wait(wait)),
                    Target::Skip => {
                        self.pending = Pending::None;
                        continue;
                    }
                    Target::Found(newest) => {
                        let key = key.clone();
                        self.compute(run)?;
                        self.pending = Pending::Write(key, newest);
                    }
                }
            }
            let Pending::Write(key, newest) = &self.pending else { continue };
            let scope = model.scope(run.cx.scope);
            match run.tx.update_row(run.view, &model, scope, (key, newest), &self.new)? {
                Written::Wait(wait) => return Ok(Pull::Wait(wait)),
                Written::Conflict(conflict) => {
                    let error = || conflict.error(&model, &self.node.schema, &self.new, run.cx.zone);
                    return Err(run.tx.refuse(&conflict, error));
                }
                Written::Done(_) => {}
            }
            self.pending = Pending::None;
            run.affected += 1;
            if let Some(exprs) = &self.node.returning {
                returning(exprs, &model, &mut self.new, run, out)?;
                return Ok(Pull::Row);
            }
        }
    }
}
