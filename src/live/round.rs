//! Outboxes that got something, to be posted together: one that got much is posted once, and many are posted by several
//! threads.

use super::outbox::Outbox;
use crate::error::Result;
use crate::limits::STACK_BYTES;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Events that are posted together, about: what takes a millisecond to find and put there.
const NOTES: usize = 4_096;

/// Outboxes that a thread posts before it looks for more.
const HEAP: usize = 32;

/// Threads that help, at most: with them posting is no longer what takes the time.
const HELPERS_MAX: usize = 3;

/// What came together since it was last posted.
pub(super) struct Round {
    /// Marks the outboxes that are in it.
    bit: u8,
    outboxes: Vec<Arc<Outbox>>,
    notes: usize,
    desk: Arc<Desk>,
}

impl Round {
    /// Of those where the reader is.
    pub(super) fn front(desk: Arc<Desk>) -> Round {
        Round { bit: 1, outboxes: Vec::new(), notes: 0, desk }
    }

    /// Of those behind it.
    pub(super) fn behind(desk: Arc<Desk>) -> Round {
        Round { bit: 2, outboxes: Vec::new(), notes: 0, desk }
    }

    /// Notes one that got something.
    pub(super) fn note(&mut self, outbox: &Arc<Outbox>) {
        self.notes += 1;
        if outbox.mark(self.bit) {
            self.outboxes.push(outbox.clone());
        }
    }

    /// Whether so much has come together that the first should not wait for more.
    pub(super) fn is_full(&self) -> bool {
        self.notes >= NOTES
    }

    /// Posts all that were noted.
    pub(super) fn post(&mut self) {
        self.notes = 0;
        self.outboxes.iter().for_each(|outbox| outbox.unmark(self.bit));
        if self.outboxes.len() < 2 * HEAP || !self.desk.has_helpers() {
            self.outboxes.drain(..).for_each(|outbox| outbox.post());
            return;
        }
        let mut outboxes = self.outboxes.drain(..);
        let heaps =
            std::iter::from_fn(|| Some(outboxes.by_ref().take(HEAP).collect()).filter(|heap: &Heap| !heap.is_empty()));
        self.desk.put(heaps);
        while let Some(heap) = self.desk.try_take() {
            heap.into_iter().for_each(|outbox| outbox.post());
        }
    }
}

type Heap = Vec<Arc<Outbox>>;

/// Where heaps lie until somebody posts them.
#[derive(Default)]
pub(super) struct Desk {
    state: Mutex<State>,
    condvar: Condvar,
}

#[derive(Default)]
struct State {
    heaps: VecDeque<Heap>,
    helpers: usize,
    stopped: bool,
}

impl Desk {
    fn has_helpers(&self) -> bool {
        self.state.lock().helpers > 0
    }

    fn put(&self, heaps: impl Iterator<Item = Heap>) {
        self.state.lock().heaps.extend(heaps);
        self.condvar.notify_all();
    }

    fn try_take(&self) -> Option<Heap> {
        self.state.lock().heaps.pop_front()
    }

    /// Waits for a heap; none when it is over.
    fn take(&self) -> Option<Heap> {
        let mut state = self.state.lock();
        loop {
            if state.stopped {
                return None;
            }
            if let Some(heap) = state.heaps.pop_front() {
                return Some(heap);
            }
            self.condvar.wait(&mut state);
        }
    }
}

/// Threads that help to post. What lies on the desk when they end stays for the thread that put it there.
pub(super) struct Helpers {
    desk: Arc<Desk>,
    threads: Vec<JoinHandle<()>>,
}

impl Helpers {
    /// Starts one for each processor but one, at most [`HELPERS_MAX`].
    pub(super) fn start(desk: Arc<Desk>) -> Result<Helpers> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let mut helpers = Helpers { desk, threads: Vec::new() };
        for _ in 0..(processors - 1).min(HELPERS_MAX) {
            let desk = helpers.desk.clone();
            let help = move || {
                while let Some(heap) = desk.take() {
                    heap.into_iter().for_each(|outbox| outbox.post());
                }
            };
            let builder = std::thread::Builder::new().name("live-helper".to_owned()).stack_size(STACK_BYTES);
            helpers.threads.push(builder.spawn(help)?);
            helpers.desk.state.lock().helpers += 1;
        }
        Ok(helpers)
    }

    /// Ends them.
    pub(super) fn stop(&mut self) {
        {
            let mut state = self.desk.state.lock();
            state.stopped = true;
            state.helpers = 0;
        }
        self.desk.condvar.notify_all();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread that delivers notifications panicked");
            }
        }
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        self.stop();
    }
}
