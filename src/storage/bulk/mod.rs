//! Bulk commits: a commit that is too large for memory is a sorted run in a file of its own beside the log.
//!
//! ```text
//! file     run | index of the run | trailer
//! trailer  index offset u64 | index length u64 | index crc u32 | trailer crc u32 | magic "TRTLBLK\x01"
//! payload  flags u8 | [place of the offset u32] | value length u32 (ffffffff: removed) | value | note
//! ```
//!
//! Its session writes and syncs the file before it asks for a number, so the log's record only names it: nobody waits for
//! a large commit in the log, what was rolled back leaves nothing there, and a torn log's tail is still one record. What
//! only the committer knows, the sequence in each row and the offsets of topic messages, is filled in whenever an entry is
//! read. Messages are numbered from zero within the file.
//!
//! Once published, the file is a generation of the store like those in memory, without being read first. It stays after
//! it is folded for as long as the log's records of its time, since readers that resume need it.

mod dir;
mod entry;
mod named;
mod place;

pub use dir::{BulkDir, BulkWriter, SpillFile};
pub use entry::{BulkEntry, BulkPayload};
pub use named::BulkRef;
pub use place::BulkPartition;

use super::Direction;
use super::run::{Run, RunCursor, hash_of};
use crate::error::Result;
use crate::types::{CommitSeq, Oid, StorageId};
use parking_lot::Mutex;
use std::ops::Bound;
use std::sync::Arc;

/// A finished bulk file whose commit has no number yet.
pub struct NewBulk {
    dir: Arc<BulkDir>,
    run: Arc<Run>,
    /// What the log's record is to say of it; the bases of its partitions are the committer's.
    pub named: BulkRef,
}

impl NewBulk {
    /// The commit, once its record is durable.
    pub fn published(self, seq: CommitSeq) -> Arc<Bulk> {
        let NewBulk { dir, run, named } = self;
        Arc::new(Bulk { dir, run, seq, named, name: Mutex::new(Name::New) })
    }

    /// Removes the file of a commit that failed, with nothing of it in the log.
    pub fn discard(self) {
        self.dir.discard(self.named.number);
    }
}

/// A bulk commit that was published: its file, and what the committer gave it.
pub struct Bulk {
    dir: Arc<BulkDir>,
    run: Arc<Run>,
    seq: CommitSeq,
    named: BulkRef,
    name: Mutex<Name>,
}

/// What is known of a file's name. Not asked of the disk again, where the number of a new file may be another's by then.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    /// It is that of a new file.
    New,
    /// It is the commit's, but a crash may take that back.
    Renamed,
    /// It is the commit's durably.
    Kept,
}

impl Bulk {
    /// Its position in the sequence.
    pub fn seq(&self) -> CommitSeq {
        self.seq
    }

    /// How many keys it writes.
    pub fn entries(&self) -> u64 {
        self.run.entries()
    }

    /// Where the rows are that it writes of a table.
    pub fn storages(&self, table: Oid) -> impl Iterator<Item = StorageId> {
        self.named.tables.iter().filter(move |(written, _)| *written == table).map(|(_, storage)| *storage)
    }

    /// About the bytes of it that are in memory.
    pub fn memory(&self) -> usize {
        self.run.memory()
    }

    /// Gives its file the name by which the next start knows that the commit is in the log.
    pub fn keep(&self) -> Result<()> {
        self.dir.keep(self)
    }

    /// Whether it may write a key.
    pub(super) fn may_have(&self, key: &[u8]) -> bool {
        self.inner_key(key).is_some_and(|inner| self.run.may_have(&inner, hash_of(&inner)))
    }

    /// The entry of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<BulkEntry>> {
        let Some(inner) = self.inner_key(key) else { return Ok(None) };
        if !self.run.may_have(&inner, hash_of(&inner)) {
            return Ok(None);
        }
        let found = self.run.cursor(Bound::Included(&inner), Direction::Forward).next().transpose();
        match found.map_err(|error| self.dir.located(self, error))? {
            Some(found) if *found.key == *inner => self.outer(found).map(Some),
            _ => Ok(None),
        }
    }

    /// The entries of a range in a direction.
    pub fn range(self: &Arc<Bulk>, from: Bound<&[u8]>, to: Bound<&[u8]>, direction: Direction) -> BulkCursor {
        let (from, to) = (self.inner_bound(from, true), self.inner_bound(to, false));
        let (near, far) = match direction {
            Direction::Forward => (from, to),
            Direction::Backward => (to, from),
        };
        let outside = match direction {
            Direction::Forward => self.run.is_outside(&near, &far),
            Direction::Backward => self.run.is_outside(&far, &near),
        };
        let near = near.as_ref().map(Vec::as_slice);
        let run = (!outside).then(|| self.run.cursor(near, direction));
        BulkCursor { bulk: self.clone(), run, far, direction }
    }
}

impl std::fmt::Debug for Bulk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bulk").field("seq", &self.seq).field("entries", &self.run.entries()).finish_non_exhaustive()
    }
}

/// The entries of a range of a bulk commit.
pub struct BulkCursor {
    bulk: Arc<Bulk>,
    run: Option<RunCursor>,
    far: Bound<Vec<u8>>,
    direction: Direction,
}

impl Iterator for BulkCursor {
    type Item = Result<BulkEntry>;

    fn next(&mut self) -> Option<Result<BulkEntry>> {
        let found = match self.run.as_mut()?.next()? {
            Ok(found) => found,
            Err(error) => {
                self.run = None;
                return Some(Err(self.bulk.dir.located(&self.bulk, error)));
            }
        };
        if self.direction.is_beyond(&found.key, &self.far) {
            self.run = None;
            return None;
        }
        Some(self.bulk.outer(found))
    }
}
