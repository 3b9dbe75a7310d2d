//! Sorting more than fits into memory: runs in a file, merged when they are read.

use super::{Merge, Run, RunWriter};
use crate::error::Result;
use crate::storage::Direction;
use crate::storage::disk::DiskFile;
use std::ops::Bound;
use std::sync::Arc;

/// Bytes that an entry takes in memory beside its key and payload.
const ENTRY_OVERHEAD: usize = 96;

/// Key and payload.
type Entry = (Box<[u8]>, Box<[u8]>);

/// Entries to be sorted by key.
pub struct Sorter {
    file: Arc<dyn DiskFile>,
    end: u64,
    /// Bytes that may be in memory.
    bytes_max: usize,
    entries: Vec<Entry>,
    bytes: usize,
    runs: Vec<Arc<Run>>,
    count: u64,
}

impl Sorter {
    /// Sorts with so much memory and a file that is its own.
    pub fn new(file: Arc<dyn DiskFile>, bytes_max: usize) -> Sorter {
        Sorter { file, end: 0, bytes_max, entries: Vec::new(), bytes: 0, runs: Vec::new(), count: 0 }
    }

    /// Adds an entry. No two have the same key.
    pub fn push(&mut self, key: &[u8], payload: &[u8]) -> Result<()> {
        self.bytes += key.len() + payload.len() + ENTRY_OVERHEAD;
        self.entries.push((key.into(), payload.into()));
        self.count += 1;
        if self.bytes > self.bytes_max { self.write() } else { Ok(()) }
    }

    /// How many entries were added.
    pub fn entries(&self) -> u64 {
        self.count
    }

    fn write(&mut self) -> Result<()> {
        self.entries.sort_unstable();
        let mut run = RunWriter::new(self.file.clone(), self.end, self.entries.len() as u64, None);
        for (key, payload) in self.entries.drain(..) {
            run.push(&key, 0, &[&payload])?;
        }
        let (run, end) = run.finish()?;
        self.runs.push(Arc::new(run));
        (self.end, self.bytes) = (end, 0);
        Ok(())
    }

    /// The entries in order.
    pub fn finish(mut self) -> Result<Merge> {
        if !self.entries.is_empty() {
            self.write()?;
        }
        Merge::new(self.runs.iter().map(|run| run.cursor(Bound::Unbounded, Direction::Forward)).collect())
    }
}
