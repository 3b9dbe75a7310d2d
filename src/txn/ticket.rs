//! The receipt for a commit under way.

use crate::error::Result;
use crate::types::CommitSeq;
use crate::wait::{self, Signal, Wait};
use parking_lot::Mutex;
use std::sync::Arc;

#[derive(Default)]
struct State {
    outcome: Option<Result<CommitSeq>>,
    signal: Option<Signal>,
}

/// What a session holds while its commit is flushed with others.
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
        CommitTicket(Arc::new(Mutex::new(State { outcome: Some(Ok(seq)), signal: None })))
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
        state.signal = Some(signal);
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

impl Receipt {
    /// Gives the outcome.
    pub(super) fn settle(self, outcome: Result<CommitSeq>) {
        let signal = {
            let mut state = self.0.lock();
            state.outcome = Some(outcome);
            state.signal.take()
        };
        if let Some(signal) = signal {
            signal.fire();
        }
    }
}
