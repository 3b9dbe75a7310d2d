//! Background steps: folding, the log's release, consumer groups' positions, expired messages and STREAM rows, dropped
//! storages.
//!
//! Folding has a thread of its own, because writers wait for it, and so do the commits of the other steps: those have
//! another thread, which calls them in turn, each in small pieces. The threads follow no clock of their own: they look
//! at the environment's.

use crate::env::UnixMicros;
use crate::error::Result;
use crate::limits::FREED_PIECES_MAX;
use crate::txn::Engine;
use crate::types::CommitSeq;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a thread sleeps when there is nothing to do. Rows of STREAM tables are hidden by their expiry, so being
/// late costs memory only.
const PAUSE: Duration = Duration::from_millis(250);

/// How often the front of each topic's partitions is looked at for messages that are too old.
const TOPICS_PAUSE: Duration = Duration::from_secs(10);

/// How often the log's bytes are counted.
const LOG_PAUSE: Duration = Duration::from_secs(1);

/// How often a position is noted for the log's retention, as a part of the retention.
const MARKS_PER_RETENTION: i64 = 64;

/// How a thread is told to go on at once, or to end.
#[derive(Default)]
struct Bell {
    state: Mutex<BellState>,
    rings: Condvar,
}

#[derive(Default)]
struct BellState {
    rung: bool,
    stopped: bool,
}

/// The maintenance threads. Dropping it ends them.
pub struct Maintenance {
    threads: Vec<(Arc<Bell>, JoinHandle<()>)>,
}

impl Maintenance {
    /// Starts the threads.
    pub fn start(engine: Arc<Engine>) -> Result<Maintenance> {
        let mut maintenance = Maintenance { threads: Vec::new() };
        let bell = maintenance.spawn("folding", engine.clone(), fold)?;
        engine.on_frozen(move || bell.ring());
        maintenance.spawn("maintenance", engine, keep_up)?;
        Ok(maintenance)
    }

    fn spawn(&mut self, name: &str, engine: Arc<Engine>, run: fn(&Arc<Engine>, &Bell)) -> Result<Arc<Bell>> {
        let bell = Arc::new(Bell::default());
        let own = bell.clone();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || run(&engine, &own))?;
        self.threads.push((bell.clone(), thread));
        Ok(bell)
    }

    /// Ends the threads after the steps that they are in.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        for (bell, _) in &self.threads {
            bell.state.lock().stopped = true;
            bell.rings.notify_all();
        }
        for (_, thread) in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a maintenance thread panicked");
            }
        }
    }
}

impl Drop for Maintenance {
    fn drop(&mut self) {
        self.end();
    }
}

impl Bell {
    fn ring(&self) {
        self.state.lock().rung = true;
        self.rings.notify_all();
    }

    /// Sleeps until the pause is over or somebody rings; true at the end.
    fn pause(&self) -> bool {
        let mut state = self.state.lock();
        if !state.stopped && !state.rung {
            self.rings.wait_for(&mut state, PAUSE);
        }
        state.rung = false;
        state.stopped
    }
}

/// Folds whatever is frozen.
fn fold(engine: &Arc<Engine>, bell: &Bell) {
    while !bell.pause() {
        repeat(engine, "folding", || {
            while engine.fold()? {}
            Ok(())
        });
    }
}

/// Everything that is not urgent.
fn keep_up(engine: &Arc<Engine>, bell: &Bell) {
    let mut schedule = Schedule::default();
    match engine.log_times() {
        Ok(times) => schedule.log.marks = times.into(),
        // the log is kept for longer than it need be, and nothing else
        Err(error) => tracing::warn!(%error, "the log's age cannot be read"),
    }
    while !bell.pause() {
        repeat(engine, "a maintenance step", || step(engine, &mut schedule));
    }
}

/// Runs what is run again after a while. Commits are refused while the server ends, and a step must not report that as a
/// failure.
fn repeat(engine: &Engine, what: &str, step: impl FnOnce() -> Result<()>) {
    if !engine.is_stopping()
        && let Err(error) = step()
        && !engine.is_stopping()
    {
        tracing::warn!(%error, "{what} failed and will be tried again");
    }
}

/// Everything that is due.
fn step(engine: &Arc<Engine>, schedule: &mut Schedule) -> Result<()> {
    engine.prune_volatile();
    let kept = engine.options().change_retention.as_micros() as i64;
    if let Some(upto) = schedule.log.note(engine.env().now(), engine.current(), kept) {
        engine.release_log(upto)?;
    }
    engine.store_scopes()?;
    engine.fold_groups()?;
    let now = engine.env().monotonic();
    if now >= schedule.log_at {
        schedule.log_at = now + LOG_PAUSE.as_micros() as u64;
        if let Some(upto) = engine.log_beyond(engine.options().change_retention_bytes)? {
            engine.release_log(upto)?;
        }
    }
    if now >= schedule.topics_at {
        schedule.topics_at = now + TOPICS_PAUSE.as_micros() as u64;
        while !engine.is_stopping() && engine.expire_messages()? {}
    }
    while engine.sweep_expired()? > 0 {}
    for _ in 0..FREED_PIECES_MAX {
        if engine.is_stopping() || !engine.free_dropped()? {
            break;
        }
    }
    Ok(())
}

/// What is not done in every step.
#[derive(Default)]
struct Schedule {
    log: Retention,
    /// When the log's bytes are counted next, on the monotonic clock.
    log_at: u64,
    /// When the topics' retention is looked at next, on the monotonic clock.
    topics_at: u64,
}

/// Which position was current when, so that the log is kept for as long as it should be.
#[derive(Default)]
struct Retention {
    marks: VecDeque<(UnixMicros, CommitSeq)>,
}

impl Retention {
    /// Notes the present position. The position up to which the log need not be kept any more, when there is a new one.
    fn note(&mut self, now: UnixMicros, current: CommitSeq, kept: i64) -> Option<CommitSeq> {
        let step = kept / MARKS_PER_RETENTION;
        if self.marks.back().is_none_or(|(noted, _)| now - noted >= step) {
            self.marks.push_back((now, current));
        }
        let mut upto = None;
        while self.marks.front().is_some_and(|(noted, _)| now - noted >= kept) {
            upto = self.marks.pop_front().map(|(_, seq)| seq);
        }
        upto
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_kept_for_the_retention() {
        let mut retention = Retention::default();
        assert_eq!(retention.note(0, CommitSeq(5), 640), None);
        assert_eq!(retention.note(5, CommitSeq(6), 640), None);
        assert_eq!(retention.note(10, CommitSeq(7), 640), None);
        assert_eq!(retention.note(639, CommitSeq(8), 640), None);
        assert_eq!(retention.note(640, CommitSeq(9), 640), Some(CommitSeq(5)));
        assert_eq!(retention.note(650, CommitSeq(9), 640), Some(CommitSeq(7)));
    }
}
