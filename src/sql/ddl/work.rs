//! Long work of definitions: rows that are judged or stored anew, a piece at a time.
//!
//! It begins when everything is worked out and locked, and ends before anything of the definition is written, so what
//! others see meanwhile is a lock and nothing else. Between its pieces others have the thread and an interrupt is looked
//! at; a definition that is given up then has its transaction rolled back with all that its work has written.

use super::Expressions;
use super::staged::Staged;
use crate::error::{Error, Result};
use crate::expr::EvalContext;
use crate::txn::Transaction;
use std::collections::VecDeque;

/// Work that is done a piece at a time.
pub(super) trait Job: Send {
    /// The next piece. True when that was the last one.
    fn step(&mut self, tx: &mut Transaction, world: &EvalContext) -> Result<bool>;
}

/// How far a definition is, between the calls of [`execute`](super::execute).
#[derive(Default)]
pub struct Progress {
    /// What it has to say to the client, for whoever calls to take.
    pub notices: Vec<Error>,
    /// What is left, once it is worked out.
    pub(super) worked_out: Option<WorkedOut>,
}

/// A definition that has only to be done.
pub(super) struct WorkedOut {
    pub(super) staged: Staged,
    pub(super) jobs: VecDeque<Box<dyn Job>>,
}

impl WorkedOut {
    /// Does a piece of what is left. True when all of it is done.
    pub(super) fn go_on(&mut self, tx: &mut Transaction, expressions: &dyn Expressions) -> Result<bool> {
        if let Some(job) = self.jobs.front_mut() {
            if job.step(tx, expressions.world())? {
                self.jobs.pop_front();
            }
            return Ok(false);
        }
        self.staged.write(tx)?;
        Ok(true)
    }
}
