//! A gate before the commits of the index in memory: a fold that is as slow as a test wants it, or stands still.

use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::time::Duration;

/// The gate. Clones are the same one; it is open at first.
#[derive(Clone, Default)]
pub struct Gate(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    opened: Condvar,
}

#[derive(Default)]
struct State {
    shut: bool,
    /// How long each commit takes at least.
    time: Duration,
}

impl Gate {
    /// Nobody passes from now on.
    pub fn shut(&self) {
        self.0.state.lock().shut = true;
    }

    /// Everybody passes again.
    pub fn open(&self) {
        self.0.state.lock().shut = false;
        self.0.opened.notify_all();
    }

    /// How long each commit is held from now on, as by a slow disk.
    pub fn slow(&self, time: Duration) {
        self.0.state.lock().time = time;
    }

    pub(super) fn pass(&self) {
        let mut state = self.0.state.lock();
        let time = state.time;
        if !time.is_zero() {
            // nobody notifies before it is over but one who opens the gate
            self.0.opened.wait_for(&mut state, time);
        }
        while state.shut {
            self.0.opened.wait(&mut state);
        }
    }
}
