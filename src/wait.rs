//! Waits as values: the engine never sleeps and never awaits; what it must wait for it returns.
//!
//! A [`Wait`] is the receiving end of a one-shot signal, with an optional time limit. The rim awaits it (it is a
//! [`Future`]) or blocks on it; whoever made the engine wait holds the [`Signal`]. After a wake the caller asks the
//! engine again, so a spurious wake is harmless.

use parking_lot::{Condvar, Mutex};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

#[derive(Default)]
struct State {
    done: bool,
    waker: Option<Waker>,
}

#[derive(Default)]
struct Cell {
    state: Mutex<State>,
    condvar: Condvar,
}

/// The end that ends a wait. Dropping it ends the wait too, so nobody waits for someone who is gone.
pub struct Signal(Arc<Cell>);

/// The end that waits.
pub struct Wait {
    cell: Arc<Cell>,
    /// The longest time to wait; after it the caller asks the engine again, which decides what the timeout means.
    pub limit: Option<Duration>,
    /// An interrupt of the session that waits does not end it: there is nothing any more that could be stopped.
    pub firm: bool,
}

/// A connected pair.
pub fn pair(limit: Option<Duration>) -> (Signal, Wait) {
    let cell = Arc::new(Cell::default());
    (Signal(cell.clone()), Wait { cell, limit, firm: false })
}

impl Signal {
    /// Ends the wait. Later calls do nothing.
    pub fn fire(&self) {
        let waker = {
            let mut state = self.0.state.lock();
            state.done = true;
            self.0.condvar.notify_all();
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether nobody waits any more.
    pub fn is_abandoned(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

impl Drop for Signal {
    fn drop(&mut self) {
        self.fire();
    }
}

impl Wait {
    /// A wait that is over already.
    pub fn ready() -> Wait {
        pair(None).1
    }

    /// A wait that only its time limit ends.
    pub fn for_time(limit: Duration) -> Wait {
        Wait { cell: Arc::default(), limit: Some(limit), firm: false }
    }

    /// The same wait, which no interrupt ends.
    pub fn firmly(self) -> Wait {
        Wait { firm: true, ..self }
    }

    /// Whether the signal has been given.
    pub fn is_done(&self) -> bool {
        self.cell.state.lock().done
    }

    /// Blocks the thread until the signal or the time limit. For tests, background threads and in-process sessions.
    pub fn block(&self) {
        let mut state = self.cell.state.lock();
        while !state.done {
            match self.limit {
                None => self.cell.condvar.wait(&mut state),
                Some(limit) => {
                    if self.cell.condvar.wait_for(&mut state, limit).timed_out() {
                        return;
                    }
                }
            }
        }
    }
}

impl Future for Wait {
    type Output = ();

    /// Ready once the signal is given; the time limit is the awaiting side's to apply.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.cell.state.lock();
        if state.done {
            return Poll::Ready(());
        }
        match &state.waker {
            Some(waker) if waker.will_wake(context.waker()) => {}
            _ => state.waker = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}
