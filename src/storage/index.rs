//! The index that is built from the log: an ordered map that folds write in durable commits, each with the position up
//! to which it is complete.
//!
//! LMDB in a server. In a simulation an ordered map in memory that outlives the simulated crashes, with the same
//! promises: commits are atomic and durable, a reader sees the last commit before it was opened. An enum and no trait
//! object: a point read pays for one branch that is always taken the same way.

use super::Direction;
use super::lmdb::{self, Lmdb};
use super::memory::{self, MemoryIndex};
use crate::error::Result;
use crate::types::CommitSeq;
use std::ops::Bound;
use std::path::Path;

/// The keys between two bounds.
pub(super) type KeyRange<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// An open index.
pub struct Index(Kind);

enum Kind {
    Lmdb(Lmdb),
    Memory(MemoryIndex),
}

/// A reader of the index as it was when the reader was opened.
pub(super) enum Reader {
    Lmdb(lmdb::Reader),
    Memory(memory::Reader),
}

/// A write transaction. Dropped without commit, it changes nothing.
pub(super) enum Write<'a> {
    Lmdb(lmdb::Write<'a>),
    Memory(memory::Write<'a>),
}

impl Index {
    /// Opens LMDB in a directory, which must exist. `map_size` is the largest size that it can have, `readers` how many
    /// may be open at once.
    pub fn lmdb(directory: &Path, map_size: usize, readers: u32) -> Result<Index> {
        Ok(Index(Kind::Lmdb(Lmdb::open(directory, map_size, readers)?)))
    }

    /// Opens an LMDB that is there already, only to read it. XX001 where it is none of ours.
    pub fn lmdb_to_read(directory: &Path, map_size: usize) -> Result<Index> {
        Ok(Index(Kind::Lmdb(Lmdb::open_to_read(directory, map_size)?)))
    }

    /// The ordered map in memory.
    pub fn memory(index: MemoryIndex) -> Index {
        Index(Kind::Memory(index))
    }

    /// The commit up to which it is complete.
    pub(super) fn position(&self) -> Result<CommitSeq> {
        match &self.0 {
            Kind::Lmdb(index) => index.position(),
            Kind::Memory(index) => index.position(),
        }
    }

    /// A reader of the index as it is after at least `fold` folds.
    pub(super) fn reader(&self, fold: u64) -> Result<Reader> {
        match &self.0 {
            Kind::Lmdb(index) => index.reader(fold).map(Reader::Lmdb),
            Kind::Memory(index) => index.reader().map(Reader::Memory),
        }
    }

    /// Gives a reader back.
    pub(super) fn give_back(&self, reader: Reader) {
        match (&self.0, reader) {
            (Kind::Lmdb(index), Reader::Lmdb(reader)) => index.give_back(reader),
            (_, reader) => drop(reader),
        }
    }

    /// Closes idle readers, which would keep old pages alive, and keeps those of `fold` from now on.
    pub(super) fn begin_fold(&self, fold: u64) {
        match &self.0 {
            Kind::Lmdb(index) => index.begin_fold(fold),
            Kind::Memory(_) => {}
        }
    }

    /// A value.
    pub(super) fn get<'a>(&self, reader: &'a Reader, key: &[u8]) -> Result<Option<&'a [u8]>> {
        match (&self.0, reader) {
            (Kind::Lmdb(index), Reader::Lmdb(reader)) => index.get(reader, key),
            (Kind::Memory(_), Reader::Memory(reader)) => Ok(reader.get(key)),
            _ => unreachable!("a reader is used with the index that made it"),
        }
    }

    /// Visits the entries of a range in a direction, until `take` says that it has enough.
    pub(super) fn visit(
        &self,
        reader: &Reader,
        range: KeyRange<'_>,
        direction: Direction,
        take: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<()> {
        match (&self.0, reader) {
            (Kind::Lmdb(index), Reader::Lmdb(reader)) => index.visit(reader, range, direction, take),
            (Kind::Memory(_), Reader::Memory(reader)) => {
                reader.visit(range, direction, take);
                Ok(())
            }
            _ => unreachable!("a reader is used with the index that made it"),
        }
    }

    /// Begins a write. One at a time.
    pub(super) fn write(&self) -> Result<Write<'_>> {
        match &self.0 {
            Kind::Lmdb(index) => index.write().map(Write::Lmdb),
            Kind::Memory(index) => index.write().map(Write::Memory),
        }
    }
}

impl Write<'_> {
    /// About the bytes of memory that it takes: of the pages that it has changed, not only of what was put there.
    pub(super) fn memory(&self) -> usize {
        match self {
            Write::Lmdb(write) => write.memory(),
            Write::Memory(write) => write.memory(),
        }
    }

    /// Sets or removes a key.
    pub(super) fn put(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        match self {
            Write::Lmdb(write) => write.put(key, value),
            Write::Memory(write) => write.put(key, value),
        }
    }

    /// Removes up to `limit` keys of a range; whether all are gone.
    pub(super) fn delete_range(&mut self, from: &[u8], to: &[u8], limit: usize) -> Result<bool> {
        match self {
            Write::Lmdb(write) => write.delete_range(from, to, limit),
            Write::Memory(write) => write.delete_range(from, to, limit),
        }
    }

    /// Commits durably, and moves the position with it where one is given.
    pub(super) fn commit(self, position: Option<CommitSeq>) -> Result<()> {
        match self {
            Write::Lmdb(write) => write.commit(position),
            Write::Memory(write) => write.commit(position),
        }
    }
}
