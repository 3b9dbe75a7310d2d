//! The receipt for a commit under way.

use super::lock::{LockOwner, LockTable};
use crate::error::Result;
use crate::expr::Pending;
use crate::limits::LOCKS_RELEASED_AT_ONCE;
use crate::types::CommitSeq;
use crate::wait::{self, Signal, Wait};
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::sync::Arc;

#[derive(Default)]
struct State {
    outcome: Option<Result<CommitSeq>>,
    /// Those who wait: of a sequence's block they may be several.
    signals: SmallVec<[Signal; 1]>,
    /// Locks that the committer left to whoever holds the ticket: too many to be given back in its thread.
    locks: Option<(Arc<LockTable>, LockOwner)>,
}

impl Drop for State {
    fn drop(&mut self) {
        if let Some((table, mut owner)) = self.locks.take() {
            table.release(&mut owner);
        }
    }
}

/// What a session holds while its commit is flushed with others.
#[derive(Clone)]
pub struct CommitTicket(Arc<Mutex<State>>);

/// The committer's end.
pub(super) struct Receipt(Arc<Mutex<State>>);

/// A connected pair.
pub(super) fn pair() -> (Receipt, CommitTicket) {
    let state = Arc::new(Mutex::new(State::default()));
    (Receipt(state.clone()), CommitTicket(state))
}

impl CommitTicket {
    /// The ticket of a commit that had nothing to do: it is as of `seq`.
    pub(super) fn done(seq: CommitSeq) -> CommitTicket {
        let ticket = CommitTicket(Arc::default());
        ticket.0.lock().outcome = Some(Ok(seq));
        ticket
    }

    /// The same, of a transaction whose locks are still to be given back.
    pub(super) fn done_but_for(seq: CommitSeq, table: &Arc<LockTable>, owner: LockOwner) -> CommitTicket {
        let ticket = CommitTicket::done(seq);
        ticket.0.lock().locks = Some((table.clone(), owner));
        ticket
    }

    /// The outcome, once there is one: the commit's position, or why nothing of it was done. Where the committer left
    /// many locks each call gives some of them back, until none is left.
    pub fn poll(&self) -> Option<Result<CommitSeq>> {
        let mut state = self.0.lock();
        if let Some((table, owner)) = &mut state.locks {
            if !table.release_some(owner, LOCKS_RELEASED_AT_ONCE) {
                return None;
            }
            state.locks = None;
        }
        state.outcome.clone()
    }

    /// Over when there is an outcome.
    pub fn wait(&self) -> Wait {
        let mut state = self.0.lock();
        if state.outcome.is_some() {
            return Wait::ready();
        }
        let (signal, wait) = wait::pair(None);
        state.signals.retain(|waiting| !waiting.is_abandoned());
        state.signals.push(signal);
        wait
    }

    /// Blocks until there is an outcome. For tests, background threads and in-process sessions.
    pub fn block(&self) -> Result<CommitSeq> {
        loop {
            if let Some(outcome) = self.poll() {
                return outcome;
            }
            self.wait().block();
        }
    }
}

impl Pending for CommitTicket {
    fn poll(&self) -> Result<Option<Wait>> {
        match CommitTicket::poll(self) {
            None => Ok(Some(self.wait())),
            Some(outcome) => outcome.map(|_| None),
        }
    }
}

impl Receipt {
    /// Gives the outcome of a transaction after its locks; many of them are left to the ticket.
    pub(super) fn release_and_settle(self, table: &Arc<LockTable>, mut owner: LockOwner, outcome: Result<CommitSeq>) {
        if !table.release_some(&mut owner, LOCKS_RELEASED_AT_ONCE) {
            self.0.lock().locks = Some((table.clone(), owner));
        }
        self.settle(outcome);
    }

    /// Gives the outcome.
    pub(super) fn settle(self, outcome: Result<CommitSeq>) {
        let signals = {
            let mut state = self.0.lock();
            state.outcome = Some(outcome);
            std::mem::take(&mut state.signals)
        };
        signals.iter().for_each(Signal::fire);
    }
}
