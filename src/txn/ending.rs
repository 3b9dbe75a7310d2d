//! The end of a transaction, and how large it may grow until then.

use super::bulk;
use super::engine::Engine;
use super::lock::LockOwner;
use super::prepare::{self, Finished, Handover};
use super::ticket::{self, CommitTicket, Receipt};
use super::transaction::Transaction;
use crate::change::Write;
use crate::change::WriteSet;
use crate::error::{Error, Result, SqlState};
use crate::limits::{LOCKS_RELEASED_AT_ONCE, WRITE_SET_BYTES_MAX};
use crate::types::CommitSeq;
use parking_lot::Mutex;
use std::sync::Arc;
use std::thread::JoinHandle;

/// The threads that end large transactions.
const BULK_THREAD: &str = "bulk-end";

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
            if engine.locks.release_some(&mut self.locks, LOCKS_RELEASED_AT_ONCE) {
                return Ok(CommitTicket::done(seq));
            }
            let locks = std::mem::replace(&mut self.locks, LockOwner::nobody());
            return Ok(CommitTicket::done_but_for(seq, &engine.locks, locks));
        }
        let (receipt, ticket) = ticket::pair();
        if self.writes.spilled_bytes() > 0 {
            self.start_bulk_commit(&engine, receipt)?;
            return Ok(ticket);
        }
        self.submit(&engine, receipt)?;
        Ok(ticket)
    }

    /// Hands everything to the committer, which ends the transaction. An error drops it, which ends its hooks and locks.
    fn submit(mut self, engine: &Arc<Engine>, receipt: Receipt) -> Result<()> {
        let (finished, time) = self.prepare(engine)?;
        let locks = std::mem::replace(&mut self.locks, LockOwner::nobody());
        let at_end = std::mem::take(&mut self.at_end);
        let serializable = std::mem::take(&mut self.noted).then_some(self.id);
        self.pinned = None;
        let prepared = finished.submit_as(&self.writes, time, (locks, serializable), at_end, receipt);
        engine.committer.submit(engine, prepared);
        Ok(())
    }

    fn prepare(&mut self, engine: &Arc<Engine>) -> Result<(Finished, i64)> {
        let catalog = self.catalog();
        let derivers = self.derivers.iter().map(|said| (said.table, said.derive.as_slice())).collect();
        let time = engine.env.now();
        let handover = Handover { engine, catalog: &catalog, derivers: &derivers, scopes: &self.scopes, time };
        let finished = if self.writes.spilled_bytes() > 0 {
            bulk::encode(&mut self.writes, &handover)?
        } else {
            prepare::encode(&self.writes, &handover)?
        };
        if self.noted {
            engine.serializable.prepare(self.id)?;
        }
        Ok((finished, time))
    }

    /// Commits what was spilled. Writing its file and giving back its locks take long, so they have a thread of their
    /// own; the session, and everybody else, goes on meanwhile.
    fn start_bulk_commit(self, engine: &Arc<Engine>, receipt: Receipt) -> Result<()> {
        if !engine.has_threads() {
            return self.submit(engine, receipt);
        }
        let own = engine.clone();
        let commit = move || {
            let (inner, ticket) = ticket::pair();
            let outcome = self.commit_bulk_and_end(&own, inner, &ticket);
            receipt.settle(outcome);
        };
        keep(engine, std::thread::Builder::new().name(BULK_THREAD.to_owned()).spawn(commit)?);
        Ok(())
    }

    fn commit_bulk_and_end(
        mut self,
        engine: &Arc<Engine>,
        receipt: Receipt,
        ticket: &CommitTicket,
    ) -> Result<CommitSeq> {
        let (finished, time) = self.prepare(engine)?;
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

    /// Ends the transaction and everything it did.
    pub fn rollback(self) {
        drop(self);
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        for hook in self.at_end.drain(..) {
            hook.end(None);
        }
        self.stop_noting();
        let locks = std::mem::replace(&mut self.locks, LockOwner::nobody());
        give_back(&self.engine, locks, std::mem::take(&mut self.writes));
        self.engine.count_end();
    }
}

/// Gives back what a transaction held. Millions of locks take seconds, for which nobody but those who want them should
/// wait: not the thread that the session shares with others.
fn give_back(engine: &Arc<Engine>, mut locks: LockOwner, writes: WriteSet) {
    let is_own = std::thread::current().name() == Some(BULK_THREAD);
    if writes.spilled_bytes() == 0 || is_own || !engine.has_threads() || engine.is_stopping() {
        engine.locks.release(&mut locks);
        return;
    }
    // in a place of its own, for a thread that cannot be started gives nothing back
    let held = Arc::new(Mutex::new(Some((locks, writes))));
    let (own, theirs) = (engine.clone(), held.clone());
    let release = move || {
        if let Some((mut locks, writes)) = theirs.lock().take() {
            own.locks.release(&mut locks);
            drop(writes);
        }
    };
    match std::thread::Builder::new().name(BULK_THREAD.to_owned()).spawn(release) {
        Ok(thread) => keep(engine, thread),
        Err(_) => {
            if let Some((mut locks, _)) = held.lock().take() {
                engine.locks.release(&mut locks);
            }
        }
    }
}

/// Remembers a thread, to be waited for at shutdown.
fn keep(engine: &Engine, thread: JoinHandle<()>) {
    let mut threads = engine.bulk_threads.lock();
    threads.retain(|thread| !thread.is_finished());
    threads.push(thread);
}
