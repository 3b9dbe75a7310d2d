//! Several runs in one order.

use super::{RunCursor, RunEntry};
use crate::error::Result;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// The next entry of one run.
struct Head {
    entry: RunEntry,
    run: usize,
}

impl Ord for Head {
    /// The heap gives the greatest: the lowest key, of equal ones the latest.
    fn cmp(&self, other: &Head) -> Ordering {
        other.entry.key.cmp(&self.entry.key).then_with(|| self.entry.order.cmp(&other.entry.order))
    }
}
impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Head) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Head {
    fn eq(&self, other: &Head) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Head {}

/// The entries of several runs in key order, of equal keys the later first.
pub struct Merge {
    runs: Vec<RunCursor>,
    heads: BinaryHeap<Head>,
}

impl Merge {
    /// Merges runs that are read forward.
    pub fn new(runs: Vec<RunCursor>) -> Result<Merge> {
        let mut merge = Merge { heads: BinaryHeap::with_capacity(runs.len()), runs };
        for run in 0..merge.runs.len() {
            merge.pull(run)?;
        }
        Ok(merge)
    }

    fn pull(&mut self, run: usize) -> Result<()> {
        if let Some(entry) = self.runs[run].next().transpose()? {
            self.heads.push(Head { entry, run });
        }
        Ok(())
    }

    /// The next entry.
    pub fn next_entry(&mut self) -> Result<Option<RunEntry>> {
        let Some(Head { entry, run }) = self.heads.pop() else { return Ok(None) };
        self.pull(run)?;
        Ok(Some(entry))
    }
}
