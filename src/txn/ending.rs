//! The end of a transaction, and how large it may grow until then.

use super::bulk;
use super::engine::Engine;
use super::lock::LockOwner;
use super::prepare::{self, Finished, Handover};
use super::ticket::{self, CommitTicket, Receipt};
use super::transaction::{Savepoint, Transaction};
use crate::change::Write;
use crate::error::{Error, Result, SqlState};
use crate::limits::{LOCKS_RELEASED_AT_ONCE, WRITE_SET_BYTES_MAX};
use crate::types::CommitSeq;
use std::sync::Arc;

impl Transaction {
    /// 53400 beyond the bound of a transaction.
    pub(super) fn check_size(&self) -> Result<()> {
        let spilled_max = self.engine().options().big_commit_bytes_max;
        let message = if self.writes.kept_bytes() > WRITE_SET_BYTES_MAX {
            format!("transaction writes more than {WRITE_SET_BYTES_MAX} bytes of STREAM rows and notifications")
        } else if self.writes.spilled_bytes() > spilled_max {
            format!("transaction writes more than {spilled_max} bytes")
        } else {
            return Ok(());
        };
        Err(Error::new(SqlState::CONFIGURATION_LIMIT_EXCEEDED, message).hint("Split it into smaller transactions."))
    }

    /// Puts the writes on disk once they are more than memory should hold.
    pub(super) fn spill_if_large(&mut self) -> Result<()> {
        let engine = self.engine().clone();
        if !self.writes.is_large(engine.options().write_set_chunk_bytes) {
            return Ok(());
        }
        self.writes.spill(&engine.bulks)?;
        self.check_size()
    }

    /// Makes the commit one that writes a record, which reserves the ids that were given out.
    pub(super) fn reserve_ids(&mut self) {
        let (key, value) = super::recovery::reservation_entry(self.time());
        self.writes.push(Write { command: 0, key, value: Some(value), volatile: false, change: None });
    }

    /// Ends the transaction by a commit. An error means that nothing was done and the transaction is rolled back; so
    /// does an error that the ticket tells.
    pub fn start_commit(mut self) -> Result<CommitTicket> {
        let engine = self.engine().clone();
        self.stop_waiting();
        if self.writes.is_empty() && engine.snowflake.is_ahead(self.ids_before) {
            self.reserve_ids();
        }
        if self.writes.is_empty() && self.scopes.is_empty() {
            if std::mem::take(&mut self.noted) {
                engine.serializable.prepare(self.id).inspect_err(|_| engine.serializable.abort(self.id))?;
                engine.serializable.commit(self.id, None);
            }
            // nothing to publish: what is done beside the map is done now
            let seq = engine.current();
            for hook in self.at_end.drain(..) {
                hook.end(Some(seq));
            }
            if !self.is_large() {
                engine.locks.release(&mut self.locks);
                return Ok(CommitTicket::done(seq));
            }
            let (receipt, ticket) = ticket::pair();
            let locks = std::mem::replace(&mut self.locks, LockOwner::nobody());
            receipt.release_and_settle(&engine.endings, locks, Ok(seq));
            return Ok(ticket);
        }
        let (receipt, ticket) = ticket::pair();
        if self.writes.is_spilled() {
            self.start_bulk_commit(&engine, receipt)?;
        } else {
            self.submit(&engine, receipt)?;
        }
        Ok(ticket)
    }

    /// Hands everything to the committer, which ends the transaction. An error drops it, which ends its hooks and locks.
    fn submit(mut self, engine: &Arc<Engine>, receipt: Receipt) -> Result<()> {
        let Some((finished, time)) = self.prepare(engine)? else {
            self.writes.spill(&engine.bulks)?;
            return self.start_bulk_commit(engine, receipt);
        };
        let locks = std::mem::replace(&mut self.locks, LockOwner::nobody());
        let at_end = std::mem::take(&mut self.at_end);
        let serializable = std::mem::take(&mut self.noted).then_some(self.id);
        self.pinned = None;
        let prepared = finished.submit_as(&self.writes, time, (locks, serializable), at_end, receipt);
        engine.committer.submit(engine, prepared);
        Ok(())
    }

    /// Encodes everything; none where it has to be spilled first.
    fn prepare(&mut self, engine: &Arc<Engine>) -> Result<Option<(Finished, i64)>> {
        let catalog = self.catalog();
        let derivers = self.derivers.iter().map(|said| (said.table, said.derive.as_slice())).collect();
        let time = engine.env.now();
        let handover = Handover { engine, catalog: &catalog, derivers: &derivers, scopes: &self.scopes, time };
        let finished = if self.writes.is_spilled() {
            Some(bulk::encode(&mut self.writes, &handover)?)
        } else {
            prepare::encode(&self.writes, &handover)?
        };
        let Some(finished) = finished else { return Ok(None) };
        if self.noted {
            engine.serializable.prepare(self.id)?;
        }
        Ok(Some((finished, time)))
    }

    /// Commits what was spilled. Writing its file and giving back its locks take long, so they have a thread of their
    /// own; the session, and everybody else, goes on meanwhile.
    fn start_bulk_commit(self, engine: &Arc<Engine>, receipt: Receipt) -> Result<()> {
        if !engine.has_threads() {
            return self.submit(engine, receipt);
        }
        let own = engine.clone();
        engine.endings.run(move || {
            let (inner, ticket) = ticket::pair();
            let outcome = self.commit_bulk_and_end(&own, inner, &ticket);
            receipt.settle(outcome);
        });
        Ok(())
    }

    fn commit_bulk_and_end(
        mut self,
        engine: &Arc<Engine>,
        receipt: Receipt,
        ticket: &CommitTicket,
    ) -> Result<CommitSeq> {
        let prepared = self.prepare(engine)?;
        let (finished, time) =
            prepared.ok_or_else(|| Error::internal("a spilled transaction was not a bulk commit"))?;
        self.pinned = None;
        let serializable = std::mem::take(&mut self.noted).then_some(self.id);
        let nobody = (LockOwner::nobody(), serializable);
        let prepared = finished.submit_as(&self.writes, time, nobody, Vec::new(), receipt);
        engine.committer.submit(engine, prepared);
        let seq = ticket.block()?;
        for hook in self.at_end.drain(..) {
            hook.end(Some(seq));
        }
        Ok(seq)
    }

    /// Whether giving back what it holds takes so long that it is not done in passing.
    fn is_large(&self) -> bool {
        self.writes.is_spilled() || self.locks.rows() > LOCKS_RELEASED_AT_ONCE
    }

    /// Ends the transaction and everything it did. Where that takes long a thread does it, and the ticket says when all
    /// is given back; whoever does not care for that may drop it.
    pub fn rollback(mut self) -> Option<CommitTicket> {
        if !self.is_large() {
            return None;
        }
        let (receipt, ticket) = ticket::pair();
        self.ended = Some(receipt);
        drop(self);
        Some(ticket)
    }

    /// Begins to forget what was done since a savepoint, and to give back the locks that were got since. Where there are
    /// many [`go_back`](Self::go_back) gives back the rest: they cannot be left to a thread, for the transaction goes on.
    pub fn start_rollback_to(&mut self, savepoint: Savepoint) {
        self.cut_to(&savepoint);
        self.stop_waiting();
        self.going_back = Some(savepoint.locks);
        self.go_back();
    }

    /// Forgets what was done since a savepoint, and gives back the locks that were got since.
    pub fn rollback_to(&mut self, savepoint: Savepoint) {
        self.start_rollback_to(savepoint);
        self.be_back();
    }

    /// Gives back some of the locks that were got since the savepoint that the transaction goes back to; true when none
    /// is left.
    pub fn go_back(&mut self) -> bool {
        if let Some(mark) = self.going_back
            && self.engine.locks.release_some_to(&mut self.locks, mark, LOCKS_RELEASED_AT_ONCE)
        {
            self.going_back = None;
        }
        self.going_back.is_none()
    }

    /// Gives back all of them: before anything else is locked.
    pub(super) fn be_back(&mut self) {
        while !self.go_back() {}
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        for hook in self.at_end.drain(..) {
            hook.end(None);
        }
        self.stop_noting();
        let locks = std::mem::replace(&mut self.locks, LockOwner::nobody());
        let (ended, seq) = (self.ended.take(), self.engine.current());
        let then = move || {
            if let Some(receipt) = ended {
                receipt.settle(Ok(seq));
            }
        };
        self.engine.endings.give_back(locks, std::mem::take(&mut self.writes), then);
        self.engine.count_end();
    }
}
