//! A disk that fails, for simulations: what a crash leaves of it, and which step fails, follows from a seed.
//!
//! It promises what POSIX promises and no more. A write is durable once a sync of its file has succeeded after it;
//! until then a crash keeps any part of it: whole writes, sectors, the beginning of one, in any order. A name is
//! durable once its directory has been synced. What a failed sync should have made durable may be lost although a later
//! sync succeeds. After a crash every call fails until [`FaultDisk::restart`] has settled what is left.

use super::disk::{Disk, DiskFile};
use crate::error::{Error, Result, SqlState};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes that a disk writes as one.
const SECTOR_BYTES: u64 = 512;
/// Bytes of a page, which the kernel writes back as one.
const PAGE_BYTES: u64 = 4096;

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

/// What went wrong so far, by kind.
pub type FaultCounts = BTreeMap<&'static str, u64>;

struct Plan {
    /// The state of SplitMix64.
    random: u64,
    rates: FaultRates,
    /// Bytes that all files may have together.
    capacity: u64,
    crashed: bool,
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
enum Fate {
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

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn once_in(&mut self, n: u64) -> bool {
        n > 0 && self.below(n) == 0
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
        self.note(what.as_bytes());
    }

    fn note(&mut self, bytes: &[u8]) {
        // FNV-1a
        for byte in bytes {
            self.trace = (self.trace ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn fate(&mut self, step: Step) -> Fate {
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
        if self.once_in(self.rates.crash) {
            self.crashed = true;
            let before = self.once_in(2);
            self.count(if before { "crash before a step" } else { "crash after a step" });
            return if before { Fate::CrashBefore } else { Fate::CrashAfter };
        }
        let (rate, what) = match step {
            Step::Name => (self.rates.name, "name error"),
            Step::Read => (self.rates.read, "read error"),
            Step::Write => (self.rates.write, "write error"),
            Step::Sync | Step::SyncDir => (self.rates.sync, "sync error"),
            Step::Index => (self.rates.index, "index error"),
        };
        if self.once_in(rate) {
            self.count(what);
            return Fate::Fails(broken());
        }
        if step == Step::Write && self.once_in(self.rates.write_full) {
            self.count("no room for a write");
            return Fate::Fails(full());
        }
        Fate::Done
    }
}

fn gone() -> Error {
    Error::new(SqlState::IO_ERROR, "the simulated machine has stopped")
}

fn broken() -> Error {
    std::io::Error::other("simulated failure").into()
}

fn full() -> Error {
    std::io::Error::from(std::io::ErrorKind::StorageFull).into()
}

impl Faults {
    /// Nothing goes wrong until [`set_rates`](Self::set_rates) says so.
    pub fn new(seed: u64) -> Faults {
        Faults(Arc::new(Mutex::new(Plan {
            random: seed,
            rates: FaultRates::default(),
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

    /// Does a step that is done whole or not at all.
    pub(super) fn strike(&self, step: Step, body: impl FnOnce() -> Result<()>) -> Result<()> {
        let fate = self.0.lock().fate(step);
        match fate {
            Fate::Done => body(),
            Fate::Fails(error) => Err(error),
            Fate::CrashBefore => Err(gone()),
            Fate::CrashAfter => body().and(Err(gone())),
        }
    }
}

/// A write that no sync has made durable.
#[derive(Clone)]
struct Unsynced {
    at: u64,
    data: Vec<u8>,
    /// A sync of it has failed: a later one does not make it durable.
    doubtful: bool,
}

#[derive(Default)]
struct Inode {
    durable: Vec<u8>,
    /// As the running machine sees it.
    current: Vec<u8>,
    unsynced: Vec<Unsynced>,
}

/// A change of names that its directory's sync has not made durable.
enum NameChange {
    Put(PathBuf, u64),
    Rename(PathBuf, PathBuf, u64),
    Remove(PathBuf),
}

impl NameChange {
    fn directory(&self) -> Option<&Path> {
        match self {
            NameChange::Put(path, _) | NameChange::Rename(_, path, _) | NameChange::Remove(path) => path.parent(),
        }
    }

    fn apply(self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            NameChange::Put(path, inode) => {
                names.insert(path, inode);
            }
            NameChange::Rename(from, to, inode) => {
                if names.get(&from) == Some(&inode) {
                    names.remove(&from);
                }
                names.insert(to, inode);
            }
            NameChange::Remove(path) => {
                names.remove(&path);
            }
        }
    }
}

#[derive(Default)]
struct Files {
    next: u64,
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    changes: Vec<NameChange>,
}

impl Files {
    fn bytes(&self) -> u64 {
        let named = self.names.values().filter_map(|inode| self.inodes.get(inode));
        named.map(|inode| inode.current.len() as u64).sum()
    }
}

/// The disk. Clones are the same one.
#[derive(Clone)]
pub struct FaultDisk {
    faults: Faults,
    files: Arc<Mutex<Files>>,
}

struct FaultFile {
    disk: FaultDisk,
    inode: u64,
}

fn missing(path: &Path) -> Error {
    Error::new(SqlState::UNDEFINED_FILE, format!("file \"{}\" does not exist", path.display()))
}

fn write_into(bytes: &mut Vec<u8>, at: u64, data: &[u8]) {
    let end = at as usize + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[at as usize..end].copy_from_slice(data);
}

fn overlap(a: &Unsynced, b: &Unsynced) -> bool {
    a.at < b.at + b.data.len() as u64 && b.at < a.at + a.data.len() as u64
}

impl FaultDisk {
    /// An empty disk.
    pub fn new(faults: Faults) -> FaultDisk {
        FaultDisk { faults, files: Arc::default() }
    }

    /// Settles what the crash has left, and lets the machine start again. Nobody may use a file that was open before.
    pub fn restart(&self) {
        let mut guard = self.files.lock();
        let files = &mut *guard;
        let plan = &mut *self.faults.0.lock();
        for inode in files.inodes.values_mut() {
            let kept = kept_writes(plan, std::mem::take(&mut inode.unsynced));
            for Unsynced { at, data, .. } in kept {
                write_into(&mut inode.durable, at, &data);
            }
            inode.current = inode.durable.clone();
        }
        let changes = std::mem::take(&mut files.changes);
        let (mode, cut) = (plan.below(4), plan.below(changes.len() as u64 + 1) as usize);
        for (number, change) in changes.into_iter().enumerate() {
            let keep = match mode {
                0 => true,
                1 => false,
                2 => number < cut,
                _ => plan.once_in(2),
            };
            if keep {
                change.apply(&mut files.durable_names);
            }
        }
        files.names = files.durable_names.clone();
        let named: Vec<u64> = files.names.values().copied().collect();
        files.inodes.retain(|inode, _| named.contains(inode));
        plan.crashed = false;
    }

    /// Bytes of all files together.
    pub fn bytes(&self) -> u64 {
        self.files.lock().bytes()
    }

    fn file(&self, inode: u64) -> Arc<dyn DiskFile> {
        Arc::new(FaultFile { disk: self.clone(), inode })
    }
}

/// What a crash keeps of unsynced writes, in order.
fn kept_writes(plan: &mut Plan, writes: Vec<Unsynced>) -> Vec<Unsynced> {
    let mode = plan.below(6);
    let cut = plan.below(writes.len() as u64 + 1) as usize;
    let mut kept = Vec::new();
    for (number, mut write) in writes.into_iter().enumerate() {
        match mode {
            0 => {}
            1 => kept.push(write),
            2 if number < cut => kept.push(write),
            // the write at the cut is torn in the middle
            2 if number == cut => {
                write.data.truncate(plan.below(write.data.len() as u64 + 1) as usize);
                kept.push(write);
            }
            2 => {}
            3 => kept.extend(kept_blocks(plan, &write, SECTOR_BYTES)),
            4 => kept.extend(kept_blocks(plan, &write, PAGE_BYTES)),
            _ if plan.once_in(2) => kept.push(write),
            _ => {}
        }
    }
    kept
}

/// Any of a write's blocks.
fn kept_blocks(plan: &mut Plan, write: &Unsynced, block: u64) -> Vec<Unsynced> {
    let mut kept = Vec::new();
    let (mut at, end) = (write.at, write.at + write.data.len() as u64);
    while at < end {
        let next = (at / block * block + block).min(end);
        if plan.once_in(2) {
            let data = write.data[(at - write.at) as usize..(next - write.at) as usize].to_vec();
            kept.push(Unsynced { at, data, doubtful: false });
        }
        at = next;
    }
    kept
}

impl Disk for FaultDisk {
    fn create_dir(&self, _path: &Path) -> Result<()> {
        self.faults.strike(Step::Name, || Ok(()))
    }

    fn list(&self, path: &Path) -> Result<Vec<String>> {
        self.faults.strike(Step::Name, || Ok(()))?;
        let files = self.files.lock();
        let inside = files.names.keys().filter(|file| file.parent() == Some(path));
        Ok(inside.filter_map(|file| Some(file.file_name()?.to_string_lossy().into_owned())).collect())
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn DiskFile>> {
        self.faults.strike(Step::Name, || Ok(()))?;
        let found = self.files.lock().names.get(path).copied();
        found.map(|inode| self.file(inode)).ok_or_else(|| missing(path))
    }

    fn create(&self, path: &Path) -> Result<Arc<dyn DiskFile>> {
        let mut made = 0;
        self.faults.strike(Step::Name, || {
            let mut files = self.files.lock();
            files.next += 1;
            made = files.next;
            files.inodes.insert(made, Inode::default());
            files.names.insert(path.to_owned(), made);
            files.changes.push(NameChange::Put(path.to_owned(), made));
            Ok(())
        })?;
        Ok(self.file(made))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.faults.strike(Step::Name, || {
            let mut files = self.files.lock();
            let inode = files.names.remove(from).ok_or_else(|| missing(from))?;
            files.names.insert(to.to_owned(), inode);
            files.changes.push(NameChange::Rename(from.to_owned(), to.to_owned(), inode));
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.faults.strike(Step::Name, || {
            let mut files = self.files.lock();
            files.names.remove(path).ok_or_else(|| missing(path))?;
            files.changes.push(NameChange::Remove(path.to_owned()));
            Ok(())
        })
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        self.faults.strike(Step::SyncDir, || {
            let mut guard = self.files.lock();
            let files = &mut *guard;
            let changes = std::mem::take(&mut files.changes);
            for change in changes {
                if change.directory() == Some(path) {
                    change.apply(&mut files.durable_names);
                } else {
                    files.changes.push(change);
                }
            }
            Ok(())
        })
    }
}

impl FaultFile {
    fn with<T>(&self, body: impl FnOnce(&mut Inode) -> T) -> T {
        // a file that lost its name keeps its content, since it may be open, until the machine stops
        body(self.disk.files.lock().inodes.entry(self.inode).or_default())
    }
}

impl DiskFile for FaultFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        self.disk.faults.strike(Step::Read, || Ok(()))?;
        self.with(|inode| {
            let rest = inode.current.get(offset as usize..).unwrap_or_default();
            let length = rest.len().min(buffer.len());
            buffer[..length].copy_from_slice(&rest[..length]);
            Ok(length)
        })
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        let room = {
            let files = self.disk.files.lock();
            let length = files.inodes.get(&self.inode).map_or(0, |inode| inode.current.len() as u64);
            let growth = (offset + data.len() as u64).saturating_sub(length);
            let free = self.disk.faults.0.lock().capacity.saturating_sub(files.bytes());
            (growth > free).then(|| data.len() - (growth - free).min(data.len() as u64) as usize)
        };
        let (part, outcome) = {
            let mut plan = self.disk.faults.0.lock();
            plan.note(&crc32fast::hash(data).to_le_bytes());
            let part = plan.below(data.len() as u64 + 1) as usize;
            match (plan.fate(Step::Write), room) {
                (Fate::Done, None) => (data.len(), Ok(())),
                (Fate::Done, Some(room)) => {
                    plan.count("disk full");
                    (room, Err(full()))
                }
                (Fate::Fails(_), _) if plan.crashed => return Err(gone()),
                (Fate::Fails(error), _) => (part.min(room.unwrap_or(part)), Err(error)),
                (Fate::CrashBefore, _) => (part.min(room.unwrap_or(part)), Err(gone())),
                (Fate::CrashAfter, _) => (room.unwrap_or(data.len()), Err(gone())),
            }
        };
        if part > 0 {
            self.with(|inode| {
                write_into(&mut inode.current, offset, &data[..part]);
                inode.unsynced.push(Unsynced { at: offset, data: data[..part].to_vec(), doubtful: false });
            });
        }
        outcome
    }

    fn sync_data(&self) -> Result<()> {
        let fate = self.disk.faults.0.lock().fate(Step::Sync);
        let done = |inode: &mut Inode| {
            let (doubtful, synced): (Vec<_>, Vec<_>) =
                std::mem::take(&mut inode.unsynced).into_iter().partition(|write| write.doubtful);
            for write in &synced {
                write_into(&mut inode.durable, write.at, &write.data);
            }
            // what has been written over is durable as it was written over
            let standing = |write: &Unsynced| !synced.iter().any(|over| overlap(write, over));
            inode.unsynced = doubtful.into_iter().filter(standing).collect();
        };
        match fate {
            Fate::Done => self.with(done),
            Fate::CrashAfter => {
                self.with(done);
                return Err(gone());
            }
            Fate::CrashBefore => return Err(gone()),
            Fate::Fails(error) => {
                self.with(|inode| inode.unsynced.iter_mut().for_each(|write| write.doubtful = true));
                return Err(error);
            }
        }
        Ok(())
    }

    fn len(&self) -> Result<u64> {
        self.disk.faults.strike(Step::Read, || Ok(()))?;
        Ok(self.with(|inode| inode.current.len() as u64))
    }
}
