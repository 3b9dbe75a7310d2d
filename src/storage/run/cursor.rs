//! Reading a run in order.

use super::block::Block;
use super::{Run, RunEntry};
use crate::error::{Error, Result};
use crate::storage::Direction;
use std::ops::Bound;
use std::sync::Arc;

/// The entries of a run in one direction. It holds one block.
pub struct RunCursor {
    run: Arc<Run>,
    direction: Direction,
    /// The next block to read.
    next: Option<usize>,
    block: Option<Block>,
    /// The next entry of the block; going backward, one above it.
    at: usize,
    /// Why the bound could not be found: the first entry tells. To read again from there would give what is before it.
    failed: Option<Error>,
}

impl RunCursor {
    pub(super) fn new(run: Arc<Run>, from: Bound<&[u8]>, direction: Direction) -> RunCursor {
        let next = run.block_for(from, direction);
        let mut cursor = RunCursor { run, direction, next, block: None, at: 0, failed: None };
        cursor.seek(from);
        cursor
    }

    /// Passes over what is before the bound.
    fn seek(&mut self, from: Bound<&[u8]>) {
        let (Bound::Included(key) | Bound::Excluded(key)) = from else { return };
        let excluded = matches!(from, Bound::Excluded(_));
        while self.next.is_some() {
            match self.load() {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    self.failed = Some(error);
                    return;
                }
            }
            let Some(block) = &self.block else { return };
            match self.direction {
                Direction::Forward => {
                    let passed = |at: usize| block.key(at) < key || excluded && block.key(at) == key;
                    self.at = partition(block.len(), passed);
                    if self.at < block.len() {
                        return;
                    }
                }
                Direction::Backward => {
                    let kept = |at: usize| block.key(at) < key || !excluded && block.key(at) == key;
                    self.at = partition(block.len(), kept);
                    if self.at > 0 {
                        return;
                    }
                }
            }
        }
    }

    /// Reads the next block; whether there was one.
    fn load(&mut self) -> Result<bool> {
        let Some(next) = self.next else { return Ok(false) };
        let block = self.run.read(next)?;
        (self.at, self.next) = match self.direction {
            Direction::Forward => (0, Some(next + 1).filter(|&next| next < self.run.blocks.len())),
            Direction::Backward => (block.len(), next.checked_sub(1)),
        };
        self.block = Some(block);
        Ok(true)
    }

    fn next_entry(&mut self) -> Result<Option<RunEntry>> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        loop {
            if let Some(block) = &self.block {
                match self.direction {
                    Direction::Forward if self.at < block.len() => {
                        self.at += 1;
                        return Ok(Some(block.entry(self.at - 1)));
                    }
                    Direction::Backward if self.at > 0 => {
                        self.at -= 1;
                        return Ok(Some(block.entry(self.at)));
                    }
                    _ => {}
                }
            }
            if !self.load()? {
                return Ok(None);
            }
        }
    }
}

impl Iterator for RunCursor {
    type Item = Result<RunEntry>;

    fn next(&mut self) -> Option<Result<RunEntry>> {
        self.next_entry().transpose()
    }
}

/// The first position for which `before` is false, where it is true for a beginning.
fn partition(length: usize, before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, length);
    while low < high {
        let middle = low.midpoint(high);
        if before(middle) { low = middle + 1 } else { high = middle }
    }
    low
}
