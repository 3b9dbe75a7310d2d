//! A connection's way to its client, which others may use while the connection rests.

use super::backend;
use parking_lot::Mutex;
use std::cell::RefCell;
use std::io;
use tokio::net::tcp::OwnedWriteHalf;

thread_local! {
    static MESSAGES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The sending half of a connection's socket.
pub struct Line {
    half: OwnedWriteHalf,
    /// What is left of messages that the client took a part of.
    rest: Mutex<Vec<u8>>,
}

impl Line {
    pub(super) fn new(half: OwnedWriteHalf) -> Line {
        Line { half, rest: Mutex::default() }
    }

    /// Sends notifications (sender, channel, payload) as far as the client takes them at once: whether it took something,
    /// and whether that was all. What it left of them is for the connection to send, before anything else. For while the
    /// connection rests, and one caller at a time.
    pub fn try_notify<'a>(&self, notifications: impl Iterator<Item = (i32, &'a str, &'a str)>) -> (bool, bool) {
        MESSAGES.with_borrow_mut(|messages| {
            messages.clear();
            notifications.for_each(|(pid, channel, payload)| backend::notification(messages, pid, channel, payload));
            // where the client has gone, the connection learns it by itself
            let Ok(sent) = self.half.try_write(messages) else { return (false, false) };
            if sent < messages.len() {
                self.rest.lock().extend_from_slice(&messages[sent..]);
            }
            (true, sent == messages.len())
        })
    }

    /// Writes some of it, when the client takes some.
    pub(super) async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.half.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.half.writable().await?,
                written => return written,
            }
        }
    }

    /// Moves what others have left to be sent to the end of a buffer.
    pub(super) fn take_rest(&self, buffer: &mut Vec<u8>) {
        let mut rest = self.rest.lock();
        if !rest.is_empty() {
            buffer.append(&mut std::mem::take(&mut *rest));
        }
    }
}
