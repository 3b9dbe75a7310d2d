//! The log in files of one directory.

use super::scan::{Scan, scan};
use super::segment::{self, HEADER_BYTES, Segment, record_bytes};
use super::{CommitLog, LogReader};
use crate::error::{Error, Result, SqlState};
use crate::storage::disk::Disk;
use crate::types::CommitSeq;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// The name of a segment that is being prepared.
const SPARE: &str = "spare";
/// The name of one that is prepared for a record larger than others.
const LARGE: &str = "large";

/// How a log is kept.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// Bytes of a segment; a larger record gets one of its own.
    pub segment_bytes: u64,
    /// Whether the next segment is prepared by a thread of its own; otherwise by the append that finds half of the current
    /// one full.
    pub threads: bool,
    /// What new segments' checksums begin with: a random number, which no user knows.
    pub salt: u64,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions { segment_bytes: 64 << 20, threads: true, salt: 0 }
    }
}

/// What opening found.
#[derive(Clone, Debug, Default)]
pub struct LogReport {
    /// Where a torn tail was cut, for the operator.
    pub tail_cut: Option<String>,
    /// The last sequence in the log.
    pub last: CommitSeq,
}

/// A spare segment on its way: made by a thread of its own, so that a roll does not wait for it.
enum Spare {
    None,
    Making(JoinHandle<Result<()>>),
    /// Made, or not, by the append before, where there are no threads.
    Made(Result<()>),
}

struct State {
    segments: VecDeque<Segment>,
    spare: Spare,
    buffer: Vec<u8>,
    /// Behind the last record may stand what a write has left that found no room.
    ragged: bool,
}

/// A log of segment files.
pub struct FileLog {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    options: LogOptions,
    state: Mutex<State>,
    poisoned: AtomicBool,
}

impl FileLog {
    /// Opens the log, or makes an empty one that begins after sequence 0. `settled` is the commit up to which the store
    /// has everything.
    ///
    /// # Errors
    /// XX001 with the place where the log is corrupt before its tail, or ends before `settled`; nothing has been changed
    /// then. 0A000 for an unknown format.
    pub fn open(
        disk: Arc<dyn Disk>,
        directory: &Path,
        options: LogOptions,
        settled: CommitSeq,
    ) -> Result<(FileLog, LogReport)> {
        disk.create_dir(directory)?;
        let scan = scan(&*disk, directory, &mut Err, &mut |_| ())?;
        scan.check_end(settled)?;
        let Scan { segments, report } = scan;
        // a spare of the life before may be unfinished, and on a full disk its room is needed
        for name in disk.list(directory)?.iter().filter(|name| [SPARE, LARGE].contains(&name.as_str())) {
            disk.remove(&directory.join(name))?;
        }
        if let Some(last) = segments.back().filter(|_| report.tail_cut.is_some()) {
            last.cut()?;
        }
        let log = FileLog::of(disk, directory, options, segments);
        if log.state.lock().segments.is_empty() {
            log.add_segment(&mut log.state.lock(), CommitSeq::ZERO, 0)?;
        }
        log.secure(settled)?;
        Ok((log, report))
    }

    /// Makes what a start found durable, as far as it may not be: commits after `settled`, which the index has not
    /// folded. The process before may have been killed between a write and its sync, or after a sync that failed: then
    /// what is read here is in the kernel's memory and on no disk, and no later sync would bring it there. Written once
    /// more, it is as good as new. Only the last segment can hold such records.
    fn secure(&self, settled: CommitSeq) -> Result<()> {
        let state = self.state.lock();
        if let Some(last) = state.segments.back().filter(|last| last.last > settled) {
            last.rewrite()?;
        }
        self.disk.sync_dir(&self.directory)
    }

    /// The log of a scan, which nothing can be written to: for looking at a data directory without changing it.
    pub fn sealed(disk: Arc<dyn Disk>, directory: &Path, scan: Scan) -> FileLog {
        let log = FileLog::of(disk, directory, LogOptions::default(), scan.segments);
        log.poisoned.store(true, Ordering::SeqCst);
        log
    }

    fn of(disk: Arc<dyn Disk>, directory: &Path, options: LogOptions, segments: VecDeque<Segment>) -> FileLog {
        let state = State { segments, spare: Spare::None, buffer: Vec::new(), ragged: false };
        FileLog { disk, directory: directory.to_owned(), options, state: state.into(), poisoned: false.into() }
    }

    /// Adds a segment that has room for a record of `least` bytes. It gets its name when it is whole, so a failure
    /// before that leaves the log as it was: on a full disk the next commit may try again.
    fn add_segment(&self, state: &mut State, previous: CommitSeq, least: u64) -> Result<()> {
        let capacity = self.options.segment_bytes.max(HEADER_BYTES + least);
        let name = segment::name_after(previous);
        let usual = capacity == self.options.segment_bytes;
        let unnamed = self.directory.join(if usual { SPARE } else { LARGE });
        if !usual || !take_spare(&mut state.spare)? {
            allocate(&*self.disk, &unnamed, capacity)?;
        }
        let file = self.disk.open(&unnamed)?;
        let salt = self.options.salt;
        segment::write_header(&*file, previous, salt)?;
        file.sync_data()?;
        self.disk.rename(&unnamed, &self.directory.join(&name))?;
        let (end, stated_end) = (HEADER_BYTES, CommitSeq::ZERO);
        let fresh = Segment { name, file, previous, salt, last: previous, end, capacity, stated_end };
        // An empty segment that was too small had the same name: its file has just been replaced, so it must not stay
        // in the list, where a release would remove the new file under the old entry.
        if state.segments.back().is_some_and(|replaced| replaced.previous == previous) {
            state.segments.pop_back();
        }
        state.segments.push_back(fresh);
        self.poison(self.disk.sync_dir(&self.directory))?;
        let before = state.segments.len().checked_sub(2).and_then(|at| state.segments.get_mut(at));
        if let Some(before) = before.filter(|before| before.stated_end != before.last)
            && let Err(error) = before.state_end()
        {
            tracing::warn!(%error, "a segment of the commit log does not say that another one follows");
        }
        Ok(())
    }

    /// Begins to prepare the next segment once half of the current one is full.
    fn prepare_spare(&self, state: &mut State) {
        let half_full = state.segments.back().is_some_and(|segment| segment.end * 2 > segment.capacity);
        if !half_full || !matches!(state.spare, Spare::None) {
            return;
        }
        let (disk, path, capacity) = (self.disk.clone(), self.directory.join(SPARE), self.options.segment_bytes);
        let make = move || allocate(&*disk, &path, capacity);
        if !self.options.threads {
            state.spare = Spare::Made(make());
            return;
        }
        if let Ok(thread) = std::thread::Builder::new().name("log-segment".into()).spawn(make) {
            state.spare = Spare::Making(thread);
        }
    }

    /// Refuses everything after a failure: nobody knows what the disk holds of what was written before it.
    fn poison<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| {
            self.poisoned.store(true, Ordering::SeqCst);
            tracing::error!(%error, "the commit log failed; nothing can be written until the server is restarted");
            has_failed()
        })
    }

    /// As [`poison`](Self::poison), but for want of room: nothing is lost, and the next commit may try again.
    fn poison_unless_full<T>(&self, result: Result<T>) -> Result<T> {
        match result {
            Err(error) if error.code() == SqlState::DISK_FULL => Err(error),
            other => self.poison(other),
        }
    }

    /// Clears what a write that found no room has left behind the last record, before anything else is written: a torn
    /// write over it might complete the record, whose commits are reported as failed, and only the last segment may end in
    /// what is no record.
    fn clear_rest(&self, state: &mut State) -> Result<()> {
        if state.ragged
            && let Some(current) = state.segments.back()
        {
            self.poison_unless_full(current.cut())?;
            state.ragged = false;
        }
        Ok(())
    }

    fn try_append(&self, first: CommitSeq, last: CommitSeq, payload: &[u8]) -> Result<()> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let bytes = record_bytes(payload.len());
        self.clear_rest(state)?;
        let (end, capacity, before) = match state.segments.back() {
            Some(current) => (current.end, current.capacity, current.last),
            None => return Err(Error::internal("the log has no segment")),
        };
        assert!(first > before && last >= first, "sequences increase: {first}..{last} after {before}");
        if end + bytes > capacity {
            if let Some(current) = state.segments.back() {
                self.poison(current.file.sync_data())?;
            }
            self.add_segment(state, before, bytes)?;
        }
        let current = state.segments.back_mut().expect("a segment was there or has been added");
        segment::encode_record(current.salt, first, last, payload, &mut state.buffer);
        let written = self.poison_unless_full(current.file.write_at(current.end, &state.buffer));
        if let Err(error) = written {
            state.ragged = true;
            self.check()?;
            let record = &state.buffer[..segment::RECORD_HEADER_BYTES + payload.len()];
            if self.poison(is_written(current, record))? {
                self.poison(current.cut())?;
            }
            return Err(error);
        }
        current.end += bytes;
        current.last = last;
        if state.buffer.capacity() > 4 << 20 {
            state.buffer = Vec::new();
        }
        self.prepare_spare(state);
        Ok(())
    }
}

fn has_failed() -> Error {
    let message = "commit log has failed; nothing can be written until the server is restarted";
    Error::new(SqlState::IO_ERROR, message).detail("Whether the last commits are durable is known after the restart.")
}

/// Whether a write that found no room has written all of a record but its padding: a start would take it for one.
fn is_written(current: &Segment, record: &[u8]) -> Result<bool> {
    let mut written = vec![0; record.len()];
    current.file.read_at(current.end, &mut written)?;
    Ok(written == record)
}

/// Makes a file of zeros. What could not be finished is removed: on a full disk its room is wanted.
fn allocate(disk: &dyn Disk, path: &Path, capacity: u64) -> Result<()> {
    let made = disk.create(path).and_then(|file| segment::allocate(&*file, capacity));
    if made.is_err() {
        // where that fails too the next attempt, or the next start, replaces the file
        let _ = disk.remove(path);
    }
    made
}

/// Whether a spare segment is ready. One that could not be made is none: the disk may have room by now.
fn take_spare(spare: &mut Spare) -> Result<bool> {
    match std::mem::replace(spare, Spare::None) {
        Spare::None => Ok(false),
        Spare::Made(made) => Ok(made.is_ok()),
        Spare::Making(thread) => {
            let made = thread.join().map_err(|_| Error::internal("the thread that prepares log segments failed"))?;
            Ok(made.is_ok())
        }
    }
}

impl CommitLog for FileLog {
    fn check(&self) -> Result<()> {
        if self.poisoned.load(Ordering::SeqCst) { Err(has_failed()) } else { Ok(()) }
    }

    fn append(&self, first: CommitSeq, last: CommitSeq, payload: &[u8]) -> Result<()> {
        self.check()?;
        if u32::try_from(payload.len()).is_err() {
            let message = "commits are too large for one commit log record";
            return Err(Error::new(SqlState::CONFIGURATION_LIMIT_EXCEEDED, message));
        }
        self.try_append(first, last, payload)
    }

    fn sync(&self) -> Result<()> {
        self.check()?;
        let current = self.state.lock().segments.back().map(|segment| segment.file.clone());
        match current {
            Some(file) => self.poison(file.sync_data()),
            None => Ok(()),
        }
    }

    fn read_from(&self, after: CommitSeq) -> Result<LogReader> {
        let state = self.state.lock();
        if state.segments.front().is_some_and(|oldest| oldest.previous > after) {
            let message = format!("commits after {after} are no longer kept");
            return Err(Error::new(SqlState::UNDEFINED_FILE, message));
        }
        let needed = state.segments.iter().filter(|segment| segment.last > after);
        Ok(LogReader::new(needed.cloned().collect(), after))
    }

    fn release(&self, upto: CommitSeq) -> Result<()> {
        let unneeded = || {
            let state = self.state.lock();
            let oldest = state.segments.front().filter(|oldest| state.segments.len() > 1 && oldest.last <= upto);
            oldest.map(|oldest| oldest.name.clone())
        };
        // commits go on meanwhile
        while let Some(name) = unneeded() {
            // one after the other, each durably: a hole among those that are left would be corruption at the next start
            match self.disk.remove(&self.directory.join(&name)) {
                // it went the last time, but its directory could not be synced
                Err(error) if error.code() == SqlState::UNDEFINED_FILE => {}
                removed => removed?,
            }
            self.disk.sync_dir(&self.directory)?;
            let mut state = self.state.lock();
            if state.segments.front().is_some_and(|oldest| oldest.name == name) {
                state.segments.pop_front();
            }
        }
        Ok(())
    }

    fn segments(&self) -> Vec<(CommitSeq, u64)> {
        self.state.lock().segments.iter().map(|segment| (segment.previous, segment.capacity)).collect()
    }

    fn oldest(&self) -> CommitSeq {
        self.state.lock().segments.front().map_or(CommitSeq::ZERO, |segment| segment.previous)
    }
}

impl Drop for FileLog {
    fn drop(&mut self) {
        if let Spare::Making(thread) = std::mem::replace(&mut self.state.lock().spare, Spare::None) {
            // A spare that could not be made is made again at the next start.
            let _ = thread.join();
        }
    }
}
