//! The disk: what is durable, what the running machine sees, and what a crash makes of the difference.

use super::plan::{Area, Fate, Faults, Plan, Step, full, gone};
use crate::error::Result;
use crate::storage::disk::{Disk, DiskFile, missing};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes that a disk writes as one.
const SECTOR_BYTES: u64 = 512;
/// Bytes of a page, which the kernel writes back as one.
const PAGE_BYTES: u64 = 4096;

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

/// The disk; nothing fails on the default one. Clones are the same one.
#[derive(Clone, Default)]
pub struct FaultDisk {
    faults: Faults,
    files: Arc<Mutex<Files>>,
}

struct FaultFile {
    disk: FaultDisk,
    inode: u64,
    area: Area,
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
        let plan = &mut *self.faults.plan();
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

    fn file(&self, inode: u64, path: &Path) -> Arc<dyn DiskFile> {
        Arc::new(FaultFile { disk: self.clone(), inode, area: Area::of(path) })
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
    fn create_dir(&self, path: &Path) -> Result<()> {
        self.faults.strike(Step::Name, Area::of(path), || Ok(()))
    }

    fn list(&self, path: &Path) -> Result<Vec<String>> {
        self.faults.strike(Step::Name, Area::of(path), || Ok(()))?;
        let files = self.files.lock();
        let inside = files.names.keys().filter(|file| file.parent() == Some(path));
        Ok(inside.filter_map(|file| Some(file.file_name()?.to_string_lossy().into_owned())).collect())
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn DiskFile>> {
        self.faults.strike(Step::Name, Area::of(path), || Ok(()))?;
        let found = self.files.lock().names.get(path).copied();
        found.map(|inode| self.file(inode, path)).ok_or_else(|| missing(path))
    }

    fn create(&self, path: &Path) -> Result<Arc<dyn DiskFile>> {
        let mut made = 0;
        self.faults.strike(Step::Name, Area::of(path), || {
            let mut files = self.files.lock();
            files.next += 1;
            made = files.next;
            files.inodes.insert(made, Inode::default());
            files.names.insert(path.to_owned(), made);
            files.changes.push(NameChange::Put(path.to_owned(), made));
            Ok(())
        })?;
        Ok(self.file(made, path))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.faults.strike(Step::Name, Area::of(to), || {
            let mut files = self.files.lock();
            let inode = files.names.remove(from).ok_or_else(|| missing(from))?;
            files.names.insert(to.to_owned(), inode);
            files.changes.push(NameChange::Rename(from.to_owned(), to.to_owned(), inode));
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.faults.strike(Step::Name, Area::of(path), || {
            let mut files = self.files.lock();
            files.names.remove(path).ok_or_else(|| missing(path))?;
            files.changes.push(NameChange::Remove(path.to_owned()));
            Ok(())
        })
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        self.faults.strike(Step::SyncDir, Area::of(path), || {
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
        self.disk.faults.strike(Step::Read, self.area, || Ok(()))?;
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
            let free = self.disk.faults.plan().capacity.saturating_sub(files.bytes());
            (growth > free).then(|| data.len() - (growth - free).min(data.len() as u64) as usize)
        };
        let (part, outcome) = {
            let mut plan = self.disk.faults.plan();
            plan.note(&crc32fast::hash(data).to_le_bytes());
            let part = plan.part(data.len());
            match (plan.fate(Step::Write, self.area), room) {
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
        let fate = self.disk.faults.plan().fate(Step::Sync, self.area);
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
        self.disk.faults.strike(Step::Read, self.area, || Ok(()))?;
        Ok(self.with(|inode| inode.current.len() as u64))
    }
}
