//! The time limits of a session: of a statement, of a wait for a lock, and of a client's silence.
//!
//! They are moments on the environment's monotonic clock, compared where the session is asked anyway; whoever waits for
//! it shortens the wait to the nearest. When each runs is as PostgreSQL 15 has it: a statement's time begins with its
//! first message, goes on until Sync where it is suspended, and ends with the statement; silence counts from
//! ReadyForQuery on.

use super::Flow;
use super::block::Block;
use super::conversation::Session;
use crate::error::{Error, Result, SqlState};
use std::time::Duration;

/// When the session has had its time; none where there is no limit or nothing runs.
#[derive(Default)]
pub(super) struct Deadlines {
    /// The running statement (statement_timeout).
    pub(super) statement: Option<u64>,
    /// The wait for a lock that the transaction is in: its number, and its end (lock_timeout).
    pub(super) lock: Option<(u64, u64)>,
    /// The client's silence (idle_in_transaction_session_timeout, idle_session_timeout).
    pub(super) silence: Option<u64>,
}

impl Session {
    fn after(&self, limit: Duration) -> u64 {
        self.services.engine.env().monotonic() + limit.as_micros() as u64
    }

    pub(super) fn until(&self, deadline: u64) -> Duration {
        Duration::from_micros(deadline.saturating_sub(self.services.engine.env().monotonic()))
    }

    /// How long the client may yet stay silent before something is to be done.
    pub fn idle_limit(&self) -> Option<Duration> {
        let deadline = self.deadlines.silence.into_iter().chain(self.snapshot_deadline()).min();
        deadline.map(|deadline| self.until(deadline))
    }

    /// The client is to speak now.
    pub(super) fn begin_silence(&mut self) {
        let settings = self.settings.frequent();
        let limit = match self.block {
            Block::Idle | Block::Implicit(_) => settings.idle_session_timeout,
            Block::Explicit(_) | Block::Failed(_) => settings.idle_in_transaction_timeout,
        };
        self.deadlines.silence = limit.map(|limit| self.after(limit));
    }

    /// The session's end, if the client has been silent for too long.
    pub(super) fn overdue(&self) -> Option<Error> {
        let is_over = self.deadlines.silence.is_some_and(|deadline| self.until(deadline).is_zero());
        is_over.then(|| match self.block {
            Block::Idle | Block::Implicit(_) => {
                let message = "terminating connection due to idle-session timeout";
                Error::fatal(SqlState::IDLE_SESSION_TIMEOUT, message)
            }
            Block::Explicit(_) | Block::Failed(_) => {
                let message = "terminating connection due to idle-in-transaction timeout";
                Error::fatal(SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT, message)
            }
        })
    }

    /// Starts the time of statement_timeout, unless it runs already: it covers a statement's messages together.
    pub(super) fn start_clock(&mut self) {
        if self.deadlines.statement.is_none()
            && let Some(limit) = self.settings.frequent().statement_timeout
        {
            self.deadlines.statement = Some(self.after(limit));
        }
    }

    /// Cuts a wait to the time that the statement has left.
    pub(super) fn within_deadline(&self, flow: Flow) -> Flow {
        let lock = self.deadlines.lock.map(|(_, deadline)| deadline);
        match (flow, self.deadlines.statement.into_iter().chain(lock).chain(self.transaction_deadline()).min()) {
            (Flow::Wait(mut wait), Some(deadline)) if self.committing.is_none() => {
                let left = self.until(deadline);
                wait.limit = Some(wait.limit.map_or(left, |limit| limit.min(left)));
                Flow::Wait(wait)
            }
            (Flow::Input(_), Some(deadline)) => Flow::Input(Some(self.until(deadline))),
            (flow, _) => flow,
        }
    }

    /// Fails when the statement is to stop: told to, or because it has had its time. Of two limits that are over, the one
    /// that was over first is reported.
    pub(super) fn check_interrupts(&self) -> Result<()> {
        self.interrupt.check()?;
        self.check_age()?;
        if self.deadlines.statement.is_none() && self.deadlines.lock.is_none() {
            return Ok(());
        }
        let now = self.services.engine.env().monotonic();
        let lock = self.deadlines.lock.map(|(_, deadline)| deadline).filter(|deadline| now >= *deadline);
        let statement = self.deadlines.statement.filter(|deadline| now >= *deadline);
        match (lock, statement) {
            (Some(lock), statement) if statement.is_none_or(|statement| lock <= statement) => {
                let message = "canceling statement due to lock timeout";
                Err(Error::new(SqlState::LOCK_NOT_AVAILABLE, message))
            }
            (_, Some(_)) => Err(statement_timeout()),
            (_, None) => Ok(()),
        }
    }

    /// Notes which lock the transaction waits for, and until when at most.
    pub(super) fn note_lock_wait(&mut self) {
        let waits = self.block.transaction().and_then(|transaction| transaction.lock_wait());
        self.deadlines.lock = waits.and_then(|number| match self.deadlines.lock {
            Some((before, deadline)) if before == number => Some((number, deadline)),
            _ => {
                let limit = self.settings.frequent().lock_timeout?;
                Some((number, self.after(limit)))
            }
        });
    }
}

fn statement_timeout() -> Error {
    Error::new(SqlState::QUERY_CANCELED, "canceling statement due to statement timeout")
}
