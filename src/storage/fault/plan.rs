//! Which step of a simulated machine fails, and how.

use crate::error::{Error, Result, SqlState};
use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// What kind of step is about to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Opening, making, renaming, removing, listing.
    Name,
    /// Reading a file.
    Read,
    /// Writing a file.
    Write,
    /// Syncing a file.
    Sync,
    /// Syncing a directory.
    SyncDir,
    /// Committing to the index.
    Index,
}

/// What a step is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Area {
    /// The commit log's files.
    Log,
    /// Files of large transactions.
    Bulk,
    /// The index.
    Index,
    /// Everything else.
    Other,
}

impl Area {
    /// What a file or a directory is part of.
    pub fn of(path: &Path) -> Area {
        let is_in = |name: &str| path.iter().any(|part| part == name);
        match () {
            () if is_in("log") => Area::Log,
            () if is_in("bulk") => Area::Bulk,
            () => Area::Other,
        }
    }

    fn counted(self) -> Option<&'static str> {
        match self {
            Area::Log => Some("of these at the log"),
            Area::Bulk => Some("of these at bulk files"),
            Area::Index => Some("of these at the index"),
            Area::Other => None,
        }
    }
}

/// How often what goes wrong: once in so many steps of a kind, never for 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct FaultRates {
    /// The machine stops.
    pub crash: u64,
    /// A read fails.
    pub read: u64,
    /// A write fails, part of it done.
    pub write: u64,
    /// A write finds no room, part of it done, though it extends nothing: copy-on-write file systems.
    pub write_full: u64,
    /// A sync fails.
    pub sync: u64,
    /// Opening, making, renaming or removing a file fails.
    pub name: u64,
    /// A commit to the index fails.
    pub index: u64,
}

/// What goes wrong for a while at one place, whatever happens elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Storm {
    /// Where.
    pub area: Area,
    /// In which kind of step; none for all.
    pub step: Option<Step>,
    /// How often there.
    pub rates: FaultRates,
}

/// What went wrong so far, by kind.
pub type FaultCounts = BTreeMap<&'static str, u64>;

pub(super) struct Plan {
    /// The state of SplitMix64.
    random: u64,
    rates: FaultRates,
    storm: Option<Storm>,
    /// Bytes that all files may have together.
    pub(super) capacity: u64,
    pub(super) crashed: bool,
    /// The machine stops before the step of this kind that comes after so many others.
    crash_at: Option<(Step, u64)>,
    counts: FaultCounts,
    /// A hash of every step and what became of it.
    trace: u64,
}

/// What decides which step fails. Clones are the same.
#[derive(Clone)]
pub struct Faults(Arc<Mutex<Plan>>);

/// What is to become of a step.
pub(super) enum Fate {
    Done,
    Fails(Error),
    /// The machine stops before it.
    CrashBefore,
    /// The machine stops after it; nobody hears of its success.
    CrashAfter,
}

impl Plan {
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(super) fn once_in(&mut self, n: u64) -> bool {
        n > 0 && self.below(n) == 0
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
        self.note(what.as_bytes());
    }

    fn count_at(&mut self, area: Area, what: &'static str) {
        self.count(what);
        if let Some(there) = area.counted() {
            *self.counts.entry(there).or_default() += 1;
        }
    }

    /// How much of a write is done that is not done whole: any part, and often all but the last bytes.
    pub(super) fn part(&mut self, bytes: usize) -> usize {
        match self.once_in(4) {
            true => bytes - (self.below(9) as usize).min(bytes),
            false => self.below(bytes as u64 + 1) as usize,
        }
    }

    pub(super) fn note(&mut self, bytes: &[u8]) {
        // FNV-1a
        for byte in bytes {
            self.trace = (self.trace ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub(super) fn fate(&mut self, step: Step, area: Area) -> Fate {
        self.note(&[step as u8]);
        if self.crashed {
            return Fate::Fails(gone());
        }
        match &mut self.crash_at {
            Some((kind, 0)) if *kind == step => {
                self.crash_at = None;
                self.crashed = true;
                return Fate::CrashBefore;
            }
            Some((kind, left)) if *kind == step => *left -= 1,
            _ => {}
        }
        let strikes = |storm: &Storm| storm.area == area && storm.step.is_none_or(|kind| kind == step);
        let rates = self.storm.filter(strikes).map_or(self.rates, |storm| storm.rates);
        if self.once_in(rates.crash) {
            self.crashed = true;
            let before = self.once_in(2);
            self.count_at(area, if before { "crash before a step" } else { "crash after a step" });
            return if before { Fate::CrashBefore } else { Fate::CrashAfter };
        }
        let (rate, what) = match step {
            Step::Name => (rates.name, "name error"),
            Step::Read => (rates.read, "read error"),
            Step::Write => (rates.write, "write error"),
            Step::Sync | Step::SyncDir => (rates.sync, "sync error"),
            Step::Index => (rates.index, "index error"),
        };
        if self.once_in(rate) {
            self.count_at(area, what);
            return Fate::Fails(broken());
        }
        if step == Step::Write && self.once_in(rates.write_full) {
            self.count_at(area, "no room for a write");
            return Fate::Fails(full());
        }
        Fate::Done
    }
}

pub(super) fn gone() -> Error {
    Error::new(SqlState::IO_ERROR, "the simulated machine has stopped")
}

fn broken() -> Error {
    std::io::Error::other("simulated failure").into()
}

pub(super) fn full() -> Error {
    std::io::Error::from(std::io::ErrorKind::StorageFull).into()
}

impl Default for Faults {
    fn default() -> Faults {
        Faults::new(0)
    }
}

impl Faults {
    /// Nothing goes wrong until [`set_rates`](Self::set_rates) says so.
    pub fn new(seed: u64) -> Faults {
        Faults(Arc::new(Mutex::new(Plan {
            random: seed,
            rates: FaultRates::default(),
            storm: None,
            capacity: u64::MAX,
            crashed: false,
            crash_at: None,
            counts: FaultCounts::new(),
            trace: 0xcbf2_9ce4_8422_2325,
        })))
    }

    /// How often what goes wrong from now on.
    pub fn set_rates(&self, rates: FaultRates) {
        self.0.lock().rates = rates;
    }

    /// What goes wrong at one place instead from now on.
    pub fn set_storm(&self, storm: Option<Storm>) {
        self.0.lock().storm = storm;
    }

    /// How many bytes all files may have together from now on.
    pub fn set_capacity(&self, bytes: u64) {
        self.0.lock().capacity = bytes;
    }

    /// Stops the machine before the step of a kind that comes after so many others.
    pub fn crash_after(&self, kind: Step, steps: u64) {
        self.0.lock().crash_at = Some((kind, steps));
    }

    /// Stops the machine now.
    pub fn crash(&self) {
        let mut plan = self.0.lock();
        plan.crashed = true;
        plan.crash_at = None;
        plan.count("crash between steps");
    }

    /// Whether the machine has stopped.
    pub fn has_crashed(&self) -> bool {
        self.0.lock().crashed
    }

    /// What went wrong so far.
    pub fn counts(&self) -> FaultCounts {
        self.0.lock().counts.clone()
    }

    /// Adds to the hash of all that happened.
    pub fn note(&self, what: &[u8]) {
        self.0.lock().note(what);
    }

    /// The hash of all that happened: equal for equal runs.
    pub fn trace(&self) -> u64 {
        self.0.lock().trace
    }

    pub(super) fn plan(&self) -> MutexGuard<'_, Plan> {
        self.0.lock()
    }

    /// Does a step that is done whole or not at all.
    pub(in crate::storage) fn strike(&self, step: Step, area: Area, body: impl FnOnce() -> Result<()>) -> Result<()> {
        let fate = self.0.lock().fate(step, area);
        match fate {
            Fate::Done => body(),
            Fate::Fails(error) => Err(error),
            Fate::CrashBefore => Err(gone()),
            Fate::CrashAfter => body().and(Err(gone())),
        }
    }
}
