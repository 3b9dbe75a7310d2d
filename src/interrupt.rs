//! Interrupts: how a running statement is told to stop, from another thread.
//!
//! Nothing is ever killed in the middle: whoever wants a statement or a session to end sets the flag, the executor
//! tests it at every step, and a wait in progress is woken.

use crate::error::{Error, Result, SqlState};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Waker;

/// Why a statement must stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Reason {
    /// CancelRequest or pg_cancel_backend: 57014.
    Cancel = 1,
    /// The session must end, because the server does or pg_terminate_backend says so: 57P01.
    Shutdown = 2,
    /// The client is gone; nobody reads the error.
    Disconnected = 3,
}

/// 57P01 for a session that must end.
pub fn terminated() -> Error {
    Error::fatal(SqlState::ADMIN_SHUTDOWN, "terminating connection due to administrator command")
}

/// The flag of one session, shared with whoever may interrupt it.
#[derive(Default)]
pub struct Interrupt {
    reason: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

impl Interrupt {
    /// Asks the session to stop and wakes it. A stronger reason that is already there stays.
    pub fn set(&self, reason: Reason) {
        self.reason.fetch_max(reason as u8, Ordering::SeqCst);
        if let Some(waker) = self.waker.lock().take() {
            waker.wake();
        }
    }

    /// Whether a reason is set.
    pub fn is_set(&self) -> bool {
        self.reason.load(Ordering::Relaxed) != 0
    }

    /// Whether the session is to end.
    pub fn is_final(&self) -> bool {
        self.reason.load(Ordering::Relaxed) >= Reason::Shutdown as u8
    }

    /// Fails with the reason's error while one is set. A cancel is thereby answered and forgotten; the others stay.
    pub fn check(&self) -> Result<()> {
        if !self.is_set() {
            return Ok(());
        }
        let cancel = Reason::Cancel as u8;
        match self.reason.compare_exchange(cancel, 0, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => Err(Error::new(SqlState::QUERY_CANCELED, "canceling statement due to user request")),
            Err(reason) if reason == Reason::Shutdown as u8 => Err(terminated()),
            Err(_) => Err(Error::fatal(SqlState::CONNECTION_FAILURE, "connection to client lost")),
        }
    }

    /// Forgets a cancel that came when nothing was running, as PostgreSQL does.
    pub fn forget_cancel(&self) {
        let _ = self.reason.compare_exchange(Reason::Cancel as u8, 0, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Whom to wake when a reason is set.
    pub fn register(&self, waker: &Waker) {
        let mut known = self.waker.lock();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }
}
