//! How long a session holds snapshots while its client is silent: a held snapshot makes the store grow.
//!
//! A portal that is suspended under READ COMMITTED lets go of its snapshot after `snapshot_age_max`: what is left of its
//! rows goes to a file, and the client notices nothing. A REPEATABLE READ or SERIALIZABLE transaction needs its snapshot
//! to its end, which after `transaction_age_max` is 72000. A READ COMMITTED transaction without a suspended portal holds
//! none at all.
//!
//! A statement that runs holds its snapshot for as long as its client takes rows. One that takes none for
//! `snapshot_age_max` gets the rest from a file, too.

use super::block::Block;
use super::conversation::Session;
use super::portal::{Portal, Running, State};
use super::query::Acting;
use super::{Flow, Output};
use crate::error::{Error, Result};
use crate::sql::exec::too_old;
use std::time::Duration;

/// Rows that are brought into a file before others may have the thread.
const LET_GO_BUDGET: usize = 4_096;

impl Session {
    /// When the next snapshot is too old, on the monotonic clock.
    pub(super) fn snapshot_deadline(&self) -> Option<u64> {
        match self.transaction_deadline() {
            Some(deadline) => Some(deadline),
            None => self.portals.values().filter_map(|portal| self.portal_deadline(portal)).min(),
        }
    }

    /// When the transaction's snapshot is too old; none where it has none of its own.
    pub(super) fn transaction_deadline(&self) -> Option<u64> {
        let (Block::Implicit(transaction) | Block::Explicit(transaction) | Block::Failed(Some(transaction))) =
            &self.block
        else {
            return None;
        };
        let age = self.services.engine.options().transaction_age_max;
        transaction.snapshot_taken().map(|taken| taken + age.as_micros() as u64)
    }

    fn portal_deadline(&self, portal: &Portal) -> Option<u64> {
        let State::Running(running) = &portal.state else { return None };
        let age = self.services.engine.options().snapshot_age_max;
        running.execution.snapshot_taken().map(|taken| taken + age.as_micros() as u64)
    }

    /// How long the client may take for rows of the running statement before that lets go of its snapshot; none where it
    /// has none. The client must take some of them within `snapshot_age_max`, however long all of them take, up to
    /// `transaction_age_max`.
    pub fn row_patience(&self) -> Option<Duration> {
        if let Some(deadline) = self.transaction_deadline() {
            return Some(self.until(deadline));
        }
        let end = self.running_deadline()?;
        Some(self.until(end).min(self.services.engine.options().snapshot_age_max))
    }

    /// When the running statement has had its snapshot for longer than any may.
    fn running_deadline(&self) -> Option<u64> {
        let taken = self.running()?.execution.snapshot_taken()?;
        Some(taken + self.services.engine.options().transaction_age_max.as_micros() as u64)
    }

    fn running(&self) -> Option<&Running> {
        match &self.current {
            Some(Portal { state: State::Running(running), .. }) => Some(running),
            _ => None,
        }
    }

    /// Lets go of the snapshot of the running statement, whose client does not take its rows: they are written to a file,
    /// a part of them at once, and given out from there. Where the snapshot has been held for too long whatever the
    /// client does, the statement fails.
    pub fn let_go_running(&mut self, output: &mut dyn Output) -> Flow {
        let deadline = self.transaction_deadline().or_else(|| self.running_deadline());
        if deadline.is_some_and(|deadline| self.is_over(deadline)) {
            self.fail(&self.lost_error(), output);
            // with savepoints the failed transaction keeps its snapshot
            if self.transaction_deadline().is_some() {
                self.lose_transaction();
            }
            return Flow::Done;
        }
        let Some(mut portal) = self.current.take() else { return Flow::Done };
        let flow = match self.spill(&mut portal) {
            Ok(true) => Flow::Done,
            Ok(false) => Flow::Yield,
            Err(error) => {
                // the next step says so
                portal.state = State::Lost(error);
                Flow::Done
            }
        };
        self.current = Some(portal);
        flow
    }

    fn is_over(&self, deadline: u64) -> bool {
        self.services.engine.env().monotonic() >= deadline
    }

    /// Lets go of the snapshots that are too old, a bounded part of the work at once.
    pub(super) fn let_go(&mut self) -> Flow {
        if self.transaction_deadline().is_some_and(|deadline| self.is_over(deadline)) {
            self.lose_transaction();
            return Flow::Done;
        }
        if self.transaction_deadline().is_some() {
            return Flow::Done;
        }
        let is_old = |portal: &Portal| self.portal_deadline(portal).is_some_and(|deadline| self.is_over(deadline));
        let old = self.portals.iter().find(|(_, portal)| is_old(portal)).map(|(name, _)| name.clone());
        let Some((name, mut portal)) = old.and_then(|name| self.portals.remove_entry(&name)) else {
            return Flow::Done;
        };
        if let Err(error) = self.spill(&mut portal) {
            portal.state = State::Lost(error);
        }
        self.portals.insert(name, portal);
        Flow::Yield
    }

    fn spill(&mut self, portal: &mut Portal) -> Result<bool> {
        let State::Running(running) = &mut portal.state else { return Ok(true) };
        let Running { execution, identity, scope, statement_time, .. } = &mut **running;
        let acting = Acting { identity, scope: *scope, statement_time: *statement_time };
        self.within(acting, |transaction, world| execution.let_go(transaction, world, LET_GO_BUDGET))
    }

    /// Ends a transaction whose snapshot is too old. Its locks go too; the client is told with its next statement.
    fn lose_transaction(&mut self) {
        let explicit = self.block.is_explicit();
        if let Some(transaction) = self.block.transaction() {
            self.failed_options = Some(*transaction.options());
        }
        self.rollback();
        self.lost = Some(self.lost_error());
        if explicit {
            self.block = Block::Failed(None);
        }
    }

    /// The error of a transaction that the server opened itself and that is lost.
    pub(super) fn take_lost(&mut self) -> Option<Error> {
        if self.block.is_explicit() { None } else { self.lost.take() }
    }

    /// 72000 for a transaction that has held its snapshot for too long.
    fn lost_error(&self) -> Error {
        too_old()
            .detail("The transaction has held its snapshot for longer than the server's transaction_age_max.")
            .hint("Begin it again, or raise the setting for transactions that must read for so long.")
    }

    /// Fails a statement of a transaction that has held its snapshot for too long.
    pub(super) fn check_age(&self) -> Result<()> {
        match self.transaction_deadline() {
            Some(deadline) if self.is_over(deadline) => Err(self.lost_error()),
            _ => Ok(()),
        }
    }
}
