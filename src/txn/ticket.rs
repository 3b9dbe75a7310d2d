//! The receipt for a commit under way.

use super::endings::Endings;
use super::lock::LockOwner;
use crate::change::WriteSet;
use crate::error::{Error, Result};
use crate::expr::Pending;
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
}

/// What a session holds while its commit is flushed with others.
#[derive(Clone)]
pub struct CommitTicket(Arc<Mutex<State>>);

/// The committer's end. One that is dropped has failed, and says so: its thread has panicked.
pub(super) struct Receipt(Option<Arc<Mutex<State>>>);

/// A connected pair.
pub(super) fn pair() -> (Receipt, CommitTicket) {
    let state = Arc::new(Mutex::new(State::default()));
    (Receipt(Some(state.clone())), CommitTicket(state))
}

impl CommitTicket {
    /// The ticket of a commit that had nothing to do: it is as of `seq`.
    pub(super) fn done(seq: CommitSeq) -> CommitTicket {
        let ticket = CommitTicket(Arc::default());
        ticket.0.lock().outcome = Some(Ok(seq));
        ticket
    }

    /// The outcome, once there is one: the commit's position, or why nothing of it was done.
    pub fn poll(&self) -> Option<Result<CommitSeq>> {
        self.0.lock().outcome.clone()
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
    /// Gives the outcome of a transaction after its locks; many of them take a thread of their own.
    pub(super) fn release_and_settle(self, endings: &Endings, owner: LockOwner, outcome: Result<CommitSeq>) {
        endings.give_back(owner, WriteSet::default(), move || self.settle(outcome));
    }

    /// Gives the outcome.
    pub(super) fn settle(mut self, outcome: Result<CommitSeq>) {
        self.put(|| outcome);
    }

    fn put(&mut self, outcome: impl FnOnce() -> Result<CommitSeq>) {
        let Some(state) = self.0.take() else { return };
        let signals = {
            let mut state = state.lock();
            state.outcome = Some(outcome());
            std::mem::take(&mut state.signals)
        };
        signals.iter().for_each(Signal::fire);
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.put(|| Err(Error::internal("the end of a transaction was given up")));
    }
}
