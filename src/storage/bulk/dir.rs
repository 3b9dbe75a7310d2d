//! The directory of bulk files and of what open transactions spill.
//!
//! ```text
//! <n>.spill    what an open transaction has written beyond memory; goes with it
//! <n>.new      a bulk commit whose record may or may not be in the log
//! <seq>.bulk   one whose record is; the name is given before the commit is folded
//! ```
//!
//! At a start recovery asks for the files that the log names, which gives them their names; what is left is swept.

use super::{Bulk, BulkPartition, BulkPayload, BulkRef, Name, NewBulk};
use crate::error::{Error, Result, SqlState};
use crate::storage::disk::{Disk, DiskFile};
use crate::storage::run::{Run, RunWriter};
use crate::types::{CommitSeq, Oid, StorageId};
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const MAGIC: &[u8; 8] = b"TRTLBLK\x01";
const TRAILER_BYTES: usize = 32;
/// Bytes of a bulk file that are written between syncs: others' commits share the disk and wait for so much at most.
const SYNC_BYTES: u64 = 4 << 20;

/// The directory.
pub struct BulkDir {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    next: AtomicU64,
}

impl BulkDir {
    /// Opens the directory, or makes it.
    pub fn open(disk: Arc<dyn Disk>, path: &Path) -> Result<Arc<BulkDir>> {
        disk.create_dir(path)?;
        Ok(Arc::new(BulkDir { disk, path: path.to_owned(), next: AtomicU64::new(1) }))
    }

    /// The directory of a server that does not run, of which nothing is changed.
    pub fn to_read(disk: Arc<dyn Disk>, path: &Path) -> Arc<BulkDir> {
        Arc::new(BulkDir { disk, path: path.to_owned(), next: AtomicU64::new(1) })
    }

    fn new_file(&self, number: u64) -> PathBuf {
        self.path.join(format!("{number:020}.new"))
    }

    fn kept_file(&self, seq: CommitSeq) -> PathBuf {
        self.path.join(format!("{:020}.bulk", seq.0))
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// A file for what a transaction spills.
    pub fn spill(self: &Arc<BulkDir>) -> Result<SpillFile> {
        let path = self.path.join(format!("{:020}.spill", self.number()));
        let file = self.disk.create(&path)?;
        Ok(SpillFile { dir: self.clone(), path, file })
    }

    /// A new bulk file of up to so many entries.
    pub fn create(self: &Arc<BulkDir>, entries: u64) -> Result<BulkWriter> {
        let number = self.number();
        let file = self.disk.create(&self.new_file(number))?;
        let run = RunWriter::new(file.clone(), 0, entries, Some(SYNC_BYTES));
        Ok(BulkWriter { dir: self.clone(), number, file, run, head: Vec::new(), finished: false })
    }

    /// Removes a new file whose commit is not in the log.
    pub(super) fn discard(&self, number: u64) {
        if let Err(error) = self.disk.remove(&self.new_file(number)) {
            tracing::warn!(%error, "the file of a commit that failed stays until the next start");
        }
    }

    /// Gives the file of a published commit its name, durably.
    pub(super) fn keep(&self, bulk: &Bulk) -> Result<()> {
        let mut name = bulk.name.lock();
        if *name == Name::New {
            self.disk.rename(&self.new_file(bulk.named.number), &self.kept_file(bulk.seq))?;
            *name = Name::Renamed;
        }
        if *name == Name::Renamed {
            self.disk.sync_dir(&self.path)?;
            *name = Name::Kept;
        }
        Ok(())
    }

    /// Opens the file of a commit that the log names.
    ///
    /// # Errors
    /// 58P01 where it is missing, XX001 where it is not what was named.
    pub fn open_named(self: &Arc<BulkDir>, named: &BulkRef, seq: CommitSeq) -> Result<Arc<Bulk>> {
        let (file, name) = match self.disk.open(&self.kept_file(seq)) {
            // renamed, but whether durably is not known
            Ok(file) => (file, Name::Renamed),
            Err(error) if error.code() != SqlState::UNDEFINED_FILE => return Err(error),
            Err(_) => {
                let file = self.disk.open(&self.new_file(named.number)).map_err(|error| match error.code() {
                    SqlState::UNDEFINED_FILE => {
                        let path = self.kept_file(seq);
                        let message = format!("file \"{}\" of bulk commit {seq} is missing", path.display());
                        Error::new(SqlState::UNDEFINED_FILE, message).hint("Restore the data directory as a whole.")
                    }
                    _ => error,
                })?;
                (file, Name::New)
            }
        };
        let run = read_index(file, named)?.ok_or_else(|| {
            let path = if name == Name::New { self.new_file(named.number) } else { self.kept_file(seq) };
            corrupt(&path, seq, "its index is damaged")
        })?;
        let name = Mutex::new(name);
        Ok(Arc::new(Bulk { dir: self.clone(), run: Arc::new(run), seq, named: named.clone(), name }))
    }

    /// Removes what no commit of the log needs: called once, after recovery has named the files of all that it replayed.
    /// `last` is the last commit in the log: where its end was cut, a file of a later one would be taken for that of
    /// another commit to come.
    pub fn sweep(&self, last: CommitSeq) -> Result<()> {
        for name in self.disk.list(&self.path)? {
            let is_later = seq_of(&name).is_some_and(|seq| seq > last.0);
            if name.ends_with(".new") || name.ends_with(".spill") || is_later {
                self.disk.remove(&self.path.join(name))?;
            }
        }
        Ok(())
    }

    /// An error of reading a commit's file, with its place.
    pub(super) fn located(&self, bulk: &Bulk, error: Error) -> Error {
        if error.code() != SqlState::DATA_CORRUPTED {
            return error;
        }
        let path = match *bulk.name.lock() {
            Name::New => self.new_file(bulk.named.number),
            Name::Renamed | Name::Kept => self.kept_file(bulk.seq),
        };
        corrupt(&path, bulk.seq, &error.fields().message)
    }

    /// The commits whose files are kept, with the bytes of each file, in no order.
    pub fn sizes(&self) -> Result<Vec<(CommitSeq, u64)>> {
        let mut sizes = Vec::new();
        for name in self.disk.list(&self.path)? {
            let Some(seq) = seq_of(&name) else { continue };
            match self.disk.open(&self.path.join(name)) {
                Ok(file) => sizes.push((CommitSeq(seq), file.len()?)),
                // it has been removed meanwhile
                Err(error) if error.code() == SqlState::UNDEFINED_FILE => {}
                Err(error) => return Err(error),
            }
        }
        Ok(sizes)
    }

    /// Removes the files of commits up to `upto`, which the log does not name any more.
    pub fn release(&self, upto: CommitSeq) -> Result<()> {
        for name in self.disk.list(&self.path)? {
            if seq_of(&name).is_some_and(|seq| seq <= upto.0) {
                self.disk.remove(&self.path.join(name))?;
            }
        }
        Ok(())
    }
}

/// The commit whose file has a name.
fn seq_of(name: &str) -> Option<u64> {
    name.strip_suffix(".bulk")?.parse().ok()
}

fn corrupt(path: &Path, seq: CommitSeq, what: &str) -> Error {
    let message = format!("file \"{}\" of bulk commit {seq} is corrupt: {what}", path.display());
    Error::new(SqlState::DATA_CORRUPTED, message).hint("Restore the data directory from a backup.")
}

/// Checks a file's trailer and index; none where it is not what was named.
fn read_index(file: Arc<dyn DiskFile>, named: &BulkRef) -> Result<Option<Run>> {
    let length = file.len()?;
    let Some(at) = length.checked_sub(TRAILER_BYTES as u64).filter(|_| length == named.bytes) else { return Ok(None) };
    let mut trailer = [0; TRAILER_BYTES];
    file.read_at(at, &mut trailer)?;
    let number = |at: usize| u64::from_le_bytes(trailer[at..at + 8].try_into().expect("eight bytes"));
    let word = |at: usize| u32::from_le_bytes(trailer[at..at + 4].try_into().expect("four bytes"));
    let sound = &trailer[24..] == MAGIC && word(20) == crc32fast::hash(&trailer[..20]) && word(16) == named.crc;
    let (index_at, index_length) = (number(0), number(8));
    if !sound || index_at.checked_add(index_length) != Some(at) {
        return Ok(None);
    }
    let mut index = vec![0; index_length as usize];
    if file.read_at(index_at, &mut index)? < index.len() || crc32fast::hash(&index) != named.crc {
        return Ok(None);
    }
    Ok(Run::from_index(file, &index))
}

/// The file of a transaction's spilled writes; it is removed with this.
pub struct SpillFile {
    dir: Arc<BulkDir>,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
}

impl SpillFile {
    /// The file.
    pub fn file(&self) -> &Arc<dyn DiskFile> {
        &self.file
    }
}

impl std::fmt::Debug for SpillFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpillFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Drop for SpillFile {
    fn drop(&mut self) {
        if let Err(error) = self.dir.disk.remove(&self.path) {
            tracing::warn!(%error, "a spilled transaction's file stays until the next start");
        }
    }
}

/// A bulk file in the making; dropped unfinished, it is removed.
pub struct BulkWriter {
    dir: Arc<BulkDir>,
    number: u64,
    file: Arc<dyn DiskFile>,
    run: RunWriter,
    head: Vec<u8>,
    finished: bool,
}

impl BulkWriter {
    /// Adds an entry whose payload was encoded by [`BulkPayload::encode`].
    pub fn push_encoded(&mut self, key: &[u8], payload: &[u8]) -> Result<()> {
        self.run.push(key, 0, &[payload])
    }

    /// How many entries were added.
    pub fn entries(&self) -> u64 {
        self.run.entries()
    }

    /// Adds an entry; keys come in order, each once.
    pub fn push(&mut self, key: &[u8], payload: &BulkPayload<'_>) -> Result<()> {
        payload.head(&mut self.head);
        self.run.push(key, 0, &[&self.head, payload.value.unwrap_or_default(), payload.note])
    }

    /// Completes the file and makes it durable.
    pub fn finish(mut self, tables: Vec<(Oid, StorageId)>, partitions: Vec<BulkPartition>) -> Result<NewBulk> {
        let fresh = RunWriter::new(self.file.clone(), 0, 0, None);
        let (run, at) = std::mem::replace(&mut self.run, fresh).finish()?;
        let mut tail = Vec::new();
        run.encode_index(&mut tail);
        let index_length = tail.len() as u64;
        let crc = crc32fast::hash(&tail);
        let trailer = tail.len();
        tail.extend_from_slice(&at.to_le_bytes());
        tail.extend_from_slice(&index_length.to_le_bytes());
        tail.extend_from_slice(&crc.to_le_bytes());
        tail.extend_from_slice(&crc32fast::hash(&tail[trailer..]).to_le_bytes());
        tail.extend_from_slice(MAGIC);
        self.file.write_at(at, &tail)?;
        self.file.sync_data()?;
        self.dir.disk.sync_dir(&self.dir.path)?;
        self.finished = true;
        let named = BulkRef { number: self.number, bytes: at + tail.len() as u64, crc, tables, partitions };
        Ok(NewBulk { dir: self.dir.clone(), run: Arc::new(run), named })
    }
}

impl Drop for BulkWriter {
    fn drop(&mut self) {
        if !self.finished {
            self.dir.discard(self.number);
        }
    }
}
