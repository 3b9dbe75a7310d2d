//! Sorted runs: entries in key order in a file, written once and read in blocks.
//!
//! ```text
//! run    block*                      in key order; of equal keys the later (higher order) first
//! block  length u32 | crc u32 | entry*
//! entry  key length u16 | payload length u32 | order u64 | key | payload
//! ```
//!
//! What a transaction writes beyond its memory goes into runs of a file of its own, and a large commit is one run: so
//! memory is bounded whatever its size. Of a run only the first key of each block and a filter stay in memory; blocks are
//! read by position, not mapped, and checked each time. Numbers are little-endian.

mod block;
mod cursor;
mod filter;
mod merge;
mod sorter;
mod stored;
mod writer;

pub use cursor::RunCursor;
pub use filter::hash_of;
pub use merge::Merge;
pub use sorter::Sorter;
pub use writer::{BLOCK_BYTES, RunWriter};

use crate::error::{Error, Result, SqlState};
use crate::storage::Direction;
use crate::storage::disk::DiskFile;
use block::Block;
use bytes::Bytes;
use filter::Filter;
use std::ops::Bound;
use std::sync::Arc;

/// One entry of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunEntry {
    /// Its key.
    pub key: Bytes,
    /// Tells the versions of a key apart: later ones are higher and come first.
    pub order: u64,
    /// Whatever the writer makes of it.
    pub payload: Bytes,
}

/// Where a block is and what it begins with.
#[derive(Clone, Debug)]
struct BlockAt {
    first: Box<[u8]>,
    offset: u64,
    length: u32,
}

/// A finished run.
#[derive(Clone)]
pub struct Run {
    file: Arc<dyn DiskFile>,
    blocks: Vec<BlockAt>,
    filter: Filter,
    last: Box<[u8]>,
    entries: u64,
}

impl Run {
    /// How many entries it has.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Where it begins in its file; none for one without entries.
    pub fn begin(&self) -> Option<u64> {
        self.blocks.first().map(|block| block.offset)
    }

    /// About the bytes of it that are in memory.
    pub fn memory(&self) -> usize {
        let blocks: usize = self.blocks.iter().map(|block| block.first.len() + size_of::<BlockAt>() + 16).sum();
        blocks + self.filter.bytes()
    }

    /// Whether a key may be in it. `hash` is the key's [`hash_of`].
    pub fn may_have(&self, key: &[u8], hash: u64) -> bool {
        self.blocks.first().is_some_and(|first| *first.first <= *key)
            && *key <= *self.last
            && self.filter.may_have(hash)
    }

    /// Whether no key of it can lie in a range.
    pub fn is_outside(&self, from: &Bound<Vec<u8>>, to: &Bound<Vec<u8>>) -> bool {
        let Some(first) = self.blocks.first() else { return true };
        let before = match from {
            Bound::Included(from) => *self.last < **from,
            Bound::Excluded(from) => *self.last <= **from,
            Bound::Unbounded => false,
        };
        let behind = match to {
            Bound::Included(to) => *first.first > **to,
            Bound::Excluded(to) => *first.first >= **to,
            Bound::Unbounded => false,
        };
        before || behind
    }

    /// The entries from a bound on, in the direction; the caller stops where its range ends.
    pub fn cursor(self: &Arc<Run>, from: Bound<&[u8]>, direction: Direction) -> RunCursor {
        RunCursor::new(self.clone(), from, direction)
    }

    /// Where a scan begins: the block that has the bound. Forward the first that may have a key behind it.
    fn block_for(&self, from: Bound<&[u8]>, direction: Direction) -> Option<usize> {
        let last = self.blocks.len().checked_sub(1)?;
        let (Bound::Included(key) | Bound::Excluded(key)) = from else {
            return Some(if direction == Direction::Forward { 0 } else { last });
        };
        match direction {
            // versions of one key may begin in the block before the one that begins with it
            Direction::Forward => Some(self.blocks.partition_point(|block| *block.first < *key).saturating_sub(1)),
            Direction::Backward => self.blocks.partition_point(|block| *block.first <= *key).checked_sub(1),
        }
    }

    fn read(&self, at: usize) -> Result<Block> {
        let place = &self.blocks[at];
        let mut bytes = vec![0; place.length as usize];
        if self.file.read_at(place.offset, &mut bytes)? < bytes.len() {
            return Err(corrupt(place.offset, "the file ends too early"));
        }
        Block::decode(Bytes::from(bytes)).ok_or_else(|| corrupt(place.offset, "a block is damaged"))
    }
}

fn corrupt(offset: u64, what: &str) -> Error {
    Error::new(SqlState::DATA_CORRUPTED, format!("sorted run, offset {offset}: {what}"))
}
