//! The threads that end large transactions. Merging what was spilled and giving back millions of locks take seconds, for
//! which nobody should wait but those who want the outcome: not the thread that a session shares with others, and not
//! the committer's.

use super::lock::{LockOwner, LockTable};
use crate::change::WriteSet;
use crate::error::{Error, Result, SqlState};
use crate::limits::LOCKS_RELEASED_AT_ONCE;
use parking_lot::Mutex;
use std::sync::Arc;
use std::thread::JoinHandle;

/// What the threads are called.
const THREAD: &str = "bulk-end";

/// Those that run, one for each large transaction that ends.
pub(super) struct Endings {
    locks: Arc<LockTable>,
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    /// There are none, or no more: work is done by whoever brings it.
    closed: bool,
    threads: Vec<JoinHandle<()>>,
}

impl Endings {
    /// None yet; without `threads` there never will be any.
    pub(super) fn new(locks: Arc<LockTable>, threads: bool) -> Endings {
        Endings { locks, running: Mutex::new(Running { closed: !threads, threads: Vec::new() }) }
    }

    /// Does something in a thread of its own; in the caller's where it is one of these already, where the server ends, or
    /// where no thread can be had.
    pub(super) fn run(&self, work: impl FnOnce() + Send + 'static) {
        // in a place of its own, for a thread that cannot be started gives nothing back
        let place = Arc::new(Mutex::new(Some(work)));
        let take = |place: &Mutex<Option<_>>| place.lock().take();
        if std::thread::current().name() != Some(THREAD) {
            let theirs = place.clone();
            let start = move || {
                let work = theirs.lock().take();
                work.into_iter().for_each(|work| work());
            };
            // under the lock, so that the end of the server finds it
            let mut running = self.running.lock();
            if !running.closed {
                running.threads.retain(|thread| !thread.is_finished());
                if let Ok(thread) = std::thread::Builder::new().name(THREAD.to_owned()).spawn(start) {
                    running.threads.push(thread);
                    return;
                }
            }
        }
        if let Some(work) = take(&place) {
            work();
        }
    }

    /// Gives back what a transaction held, and does something then.
    pub(super) fn give_back(&self, mut locks: LockOwner, writes: WriteSet, then: impl FnOnce() + Send + 'static) {
        if writes.spilled_bytes() == 0 && locks.rows() <= LOCKS_RELEASED_AT_ONCE {
            self.locks.release(&mut locks);
            return then();
        }
        let table = self.locks.clone();
        self.run(move || {
            table.release(&mut locks);
            drop(writes);
            then();
        });
    }

    /// Waits for the threads; what comes later is done by whoever brings it.
    pub(super) fn close(&self) -> Result<()> {
        let threads = {
            let mut running = self.running.lock();
            running.closed = true;
            std::mem::take(&mut running.threads)
        };
        let joined: Vec<_> = threads.into_iter().map(JoinHandle::join).collect();
        match joined.iter().all(std::result::Result::is_ok) {
            true => Ok(()),
            false => Err(Error::new(SqlState::INTERNAL_ERROR, "a thread that ended a large transaction panicked")),
        }
    }
}
