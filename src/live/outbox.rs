//! What waits for one session's socket.

use crate::change::Notification;
use crate::error::{Error, Result, SqlState};
use crate::limits::OUTBOX_BYTES_MAX;
use crate::wait::{self, Signal, Wait};
use parking_lot::Mutex;
use std::collections::VecDeque;

/// What a waiting notification counts beside its texts, so that empty ones are bounded too.
const ENTRY_BYTES: usize = 64;

#[derive(Default)]
struct State {
    waiting: VecDeque<Notification>,
    bytes: usize,
    /// Something was lost: nothing more is taken, and the session ends.
    lost: bool,
    signal: Option<Signal>,
}

/// Notifications that a session has not sent yet, in commit order. Channel and payload share the commit's buffers, so
/// one that goes to many sessions is held once.
#[derive(Default)]
pub struct Outbox {
    state: Mutex<State>,
}

impl Outbox {
    /// Adds a notification and wakes the session. Beyond [`OUTBOX_BYTES_MAX`] everything is dropped and the session is
    /// marked to end.
    pub fn push(&self, notification: &Notification) {
        let signal = {
            let mut state = self.state.lock();
            if state.lost {
                return;
            }
            let bytes = weight(notification);
            if state.bytes + bytes > OUTBOX_BYTES_MAX {
                state.lose();
            } else {
                state.bytes += bytes;
                state.waiting.push_back(notification.clone());
            }
            state.signal.take()
        };
        // fired without the lock, since it may run the session's task
        drop(signal);
    }

    /// Marks the session to end, because notifications were lost on their way here.
    pub fn lose(&self) {
        let signal = {
            let mut state = self.state.lock();
            state.lose();
            state.signal.take()
        };
        drop(signal);
    }

    /// Takes all that waits. 53400, ending the session, when something was lost.
    pub fn drain(&self) -> Result<VecDeque<Notification>> {
        let mut state = self.state.lock();
        if state.lost {
            return Err(Error::fatal(
                SqlState::CONFIGURATION_LIMIT_EXCEEDED,
                "terminating connection because it did not receive its notifications fast enough",
            )
            .hint("Read from the connection continually, and LISTEN again after reconnecting."));
        }
        state.bytes = 0;
        Ok(std::mem::take(&mut state.waiting))
    }

    /// Over when there is something to drain. A session has one such wait at a time; a new one ends the one before.
    pub fn wait(&self) -> Wait {
        let mut state = self.state.lock();
        if state.lost || !state.waiting.is_empty() {
            return Wait::ready();
        }
        let (signal, wait) = wait::pair(None);
        let before = state.signal.replace(signal);
        drop(state);
        drop(before);
        wait
    }
}

impl State {
    fn lose(&mut self) {
        self.lost = true;
        self.waiting = VecDeque::new();
        self.bytes = 0;
    }
}

fn weight(notification: &Notification) -> usize {
    ENTRY_BYTES + notification.channel.len() + notification.payload.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Str;

    fn notification(payload: &str) -> Notification {
        Notification { channel: Str::from_static("c"), payload: Str::from(payload), pid: 1 }
    }

    #[test]
    fn what_is_pushed_comes_out_once_and_in_order() {
        let outbox = Outbox::default();
        let wait = outbox.wait();
        assert!(!wait.is_done());
        outbox.push(&notification("1"));
        outbox.push(&notification("2"));
        assert!(wait.is_done() && outbox.wait().is_done());
        assert_eq!(outbox.drain().unwrap(), [notification("1"), notification("2")]);
        assert!(outbox.drain().unwrap().is_empty());
        assert!(!outbox.wait().is_done());
    }

    #[test]
    fn an_outbox_that_overflows_ends_its_session_and_holds_nothing() {
        let outbox = Outbox::default();
        let large = notification(&"x".repeat(1 << 20));
        for _ in 0..OUTBOX_BYTES_MAX >> 20 {
            outbox.push(&large);
        }
        assert!(outbox.wait().is_done());
        let error = outbox.drain().unwrap_err();
        assert!(error.is_fatal());
        assert_eq!(error.code(), SqlState::CONFIGURATION_LIMIT_EXCEEDED);
        assert!(outbox.state.lock().waiting.is_empty());
    }
}
