//! Writing a run.

use super::block;
use super::filter::{Filter, hash_of};
use super::{BlockAt, Run};
use crate::error::Result;
use crate::storage::disk::DiskFile;
use std::sync::Arc;

/// Bytes at which a block is complete: enough that the list of blocks is small, little enough for a look-up.
pub const BLOCK_BYTES: usize = 16 << 10;
/// Bytes that are written at once.
const WRITE_BYTES: usize = 1 << 20;

/// A run in the making. Entries come in order.
pub struct RunWriter {
    file: Arc<dyn DiskFile>,
    /// Where the buffer goes in the file.
    at: u64,
    /// Complete blocks that are not written yet.
    buffer: Vec<u8>,
    block: Vec<u8>,
    first: Box<[u8]>,
    last: Vec<u8>,
    blocks: Vec<BlockAt>,
    filter: Filter,
    entries: u64,
    /// Bytes after which what was written is synced, so that others' syncs never meet much of it; none: never.
    sync_every: Option<u64>,
    unsynced: u64,
}

impl RunWriter {
    /// Begins a run at a place of a file, of about so many entries.
    pub fn new(file: Arc<dyn DiskFile>, at: u64, entries: u64, sync_every: Option<u64>) -> RunWriter {
        let mut block = Vec::with_capacity(BLOCK_BYTES * 2);
        block::begin(&mut block);
        RunWriter {
            file,
            at,
            buffer: Vec::with_capacity(WRITE_BYTES + BLOCK_BYTES * 2),
            block,
            first: Box::default(),
            last: Vec::new(),
            blocks: Vec::new(),
            filter: Filter::new(entries),
            entries: 0,
            sync_every,
            unsynced: 0,
        }
    }

    /// Adds an entry, whose payload is given in parts.
    pub fn push(&mut self, key: &[u8], order: u64, payload: &[&[u8]]) -> Result<()> {
        debug_assert!(self.entries == 0 || *key >= *self.last, "entries come in key order");
        if self.block.len() == block::HEADER_BYTES {
            self.first = key.into();
        }
        block::push(&mut self.block, key, order, payload);
        self.filter.add(hash_of(key));
        self.last.clear();
        self.last.extend_from_slice(key);
        self.entries += 1;
        if self.block.len() >= BLOCK_BYTES { self.end_block() } else { Ok(()) }
    }

    /// How many entries were added.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    fn end_block(&mut self) -> Result<()> {
        block::finish(&mut self.block);
        self.blocks.push(BlockAt {
            first: std::mem::take(&mut self.first),
            offset: self.at + self.buffer.len() as u64,
            length: self.block.len() as u32,
        });
        self.buffer.extend_from_slice(&self.block);
        block::begin(&mut self.block);
        if self.block.capacity() > WRITE_BYTES {
            self.block.shrink_to(BLOCK_BYTES * 2);
        }
        if self.buffer.len() >= WRITE_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<()> {
        self.file.write_at(self.at, &self.buffer)?;
        self.at += self.buffer.len() as u64;
        self.unsynced += self.buffer.len() as u64;
        self.buffer.clear();
        if self.sync_every.is_some_and(|every| self.unsynced >= every) {
            self.file.sync_data()?;
            self.unsynced = 0;
        }
        Ok(())
    }

    /// Writes what is left. The run, and where it ends in the file.
    pub fn finish(mut self) -> Result<(Run, u64)> {
        if self.block.len() > block::HEADER_BYTES {
            self.end_block()?;
        }
        self.write()?;
        let run = Run {
            file: self.file,
            blocks: self.blocks,
            filter: self.filter,
            last: self.last.into_boxed_slice(),
            entries: self.entries,
        };
        Ok((run, self.at))
    }
}
