//! Backpressure: writers are held back so that folding keeps up and memory stays bounded.
//!
//! From half full on each group of commits is delayed, the more the fuller, so that the rate of writes comes down to that
//! of the folds without a jump. At the bound they wait, as long as folds get on: a part that is folded counts, though it
//! makes no room yet. Only where none has got on for a while, or one has failed, do commits fail, with 53100.

use super::Pressure;
use super::store::Store;
use crate::error::{Error, Result, SqlState};
use crate::limits::WRITER_DELAY_MAX;
use crate::wait::{self, Wait};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How often writers were held back.
#[derive(Default)]
pub(super) struct HeldBack {
    delayed: AtomicU64,
    stopped: AtomicU64,
}

fn no_room() -> Error {
    let message = "could not write: recent commits cannot be folded into the store";
    Error::new(SqlState::DISK_FULL, message).hint("Check the disk's free space and the log.")
}

impl Store {
    /// How hard the recent map is pressed: writers are slowed from half full on, and wait at the bound.
    pub fn pressure(&self) -> Pressure {
        let (bytes, bound) = (self.recent_bytes(), self.options.recent_bytes_max);
        if bytes >= bound {
            Pressure::Full
        } else if bytes > bound / 2 {
            let share = (bytes - bound / 2) as f64 / (bound / 2) as f64;
            Pressure::Delay(WRITER_DELAY_MAX.mul_f64(share * share))
        } else {
            Pressure::None
        }
    }

    /// Holds a writer back as the pressure says: for a moment, or until folds have made room.
    ///
    /// # Errors
    /// Those of [`wait_for_room`](Self::wait_for_room).
    pub fn hold_back(&self, limit: Duration) -> Result<()> {
        match self.pressure() {
            Pressure::None => Ok(()),
            Pressure::Delay(time) => {
                self.held_back.delayed.fetch_add(1, Ordering::Relaxed);
                Wait::for_time(time).block();
                Ok(())
            }
            Pressure::Full => self.wait_for_room(limit),
        }
    }

    /// How often groups of commits were delayed, and how often they had to wait for room.
    pub fn held_back(&self) -> (u64, u64) {
        let HeldBack { delayed, stopped } = &self.held_back;
        (delayed.load(Ordering::Relaxed), stopped.load(Ordering::Relaxed))
    }

    /// Blocks until folds have made room. At the server's end all are let in: all of it is folded then.
    ///
    /// # Errors
    /// 53100 where a fold has failed, or none has got on for `limit`.
    pub fn wait_for_room(&self, limit: Duration) -> Result<()> {
        self.held_back.stopped.fetch_add(1, Ordering::Relaxed);
        self.wait_for_folds(limit, |closing| Ok(closing || self.pressure() != Pressure::Full))
    }

    /// Blocks until fewer than `max` bulk commits wait to be folded.
    ///
    /// # Errors
    /// 53100 where a fold has failed, or none has got on for `limit`, or the server ends.
    pub fn wait_for_bulks(&self, max: usize, limit: Duration) -> Result<()> {
        self.wait_for_folds(limit, |closing| match self.bulks() < max {
            false if closing => Err(no_room()),
            has_room => Ok(has_room),
        })
    }

    /// Blocks, as long as folds get on, until there is what `has_room` looks for; it is told whether the server ends.
    fn wait_for_folds(&self, limit: Duration, has_room: impl Fn(bool) -> Result<bool>) -> Result<()> {
        let has_failed = || self.fold_failed.load(Ordering::Acquire);
        loop {
            let (signal, wait) = wait::pair(Some(limit));
            // before the look: a fold that makes room after it ends the wait
            self.waiting.lock().room.push(signal);
            if has_room(self.closing.load(Ordering::Acquire))? {
                return Ok(());
            }
            if !has_failed() {
                wait.block();
            }
            if !wait.is_done() || has_failed() {
                return Err(no_room());
            }
        }
    }

    /// Ends the waits for room: the server is stopping.
    pub fn end_waits(&self) {
        self.closing.store(true, Ordering::Release);
        self.tell_waiting();
    }
}
