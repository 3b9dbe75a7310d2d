//! A data directory as the next start would find it, read without changing it: for `tertulia check`.

use super::record;
use super::recovery;
use crate::catalog::Catalog;
use crate::error::Result;
use crate::storage::bulk::BulkDir;
use crate::storage::disk::Disk;
use crate::storage::log::{CommitLog, FileLog, Scan};
use crate::storage::{Direction, Index, Store, StoreOptions, StoreSnapshot};
use crate::types::{CommitSeq, StorageId};
use bytes::Bytes;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

/// The store and the log after it, recovered in memory.
pub struct Inspection {
    log: FileLog,
    bulks: Arc<BulkDir>,
    snapshot: StoreSnapshot,
    catalog: Catalog,
    /// The commit up to which the store was folded.
    pub position: CommitSeq,
    /// Commits that the log had and the store had not.
    pub replayed: u64,
}

/// A key that a commit in the log has set or removed.
pub struct LoggedWrite {
    /// The commit.
    pub seq: CommitSeq,
    /// Key in the store.
    pub key: Bytes,
    /// Value; none where it was removed.
    pub value: Option<Bytes>,
}

impl Inspection {
    /// Recovers a directory of a disk whose log has been found whole, with its index.
    ///
    /// # Errors
    /// XX001 where the store or the catalog cannot be read, or does not belong to the log.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, index: Index, scan: Scan) -> Result<Inspection> {
        // what the log has is installed in memory, and never folded
        let options = StoreOptions {
            generation_bytes: usize::MAX,
            recent_bytes_max: usize::MAX,
            fold_part_bytes: usize::MAX,
            retired_bytes_max: usize::MAX,
        };
        let store = Arc::new(Store::open(index, options)?);
        let position = store.position();
        scan.check_end(position)?;
        let log = FileLog::sealed(disk.clone(), &dir.join("log"), scan);
        let bulks = BulkDir::to_read(disk, &dir.join("bulk"));
        let (replayed, _) = recovery::replay(&store, &log, &bulks)?;
        let snapshot = store.snapshot()?;
        let catalog = recovery::load_catalog(&snapshot)?;
        Ok(Inspection { log, bulks, snapshot, catalog, position, replayed })
    }

    /// What is stored.
    pub fn snapshot(&self) -> &StoreSnapshot {
        &self.snapshot
    }

    /// What exists.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Storages that were dropped and wait to be freed, with the numbers of their spaces.
    pub fn dropped(&self) -> Result<Vec<(u8, StorageId)>> {
        let dropped = recovery::dropped_storages(&self.snapshot)?;
        Ok(dropped.into_iter().map(|(_, space, storage)| (space, storage)).collect())
    }

    /// Whether a stored user id leads to its number and the number back to it; asked with the key and the value of either
    /// entry.
    pub fn is_named_both_ways(&self, key: &[u8], value: &[u8]) -> Result<bool> {
        super::scopes::is_named_both_ways(key, value, |other| self.snapshot.get(other))
    }

    /// Calls `visit` for every write that the log still has, in the order of the commits.
    pub fn for_each_logged(&self, mut visit: impl FnMut(LoggedWrite) -> Result<()>) -> Result<()> {
        let mut records = self.log.read_from(self.log.oldest())?;
        while let Some(record) = records.next().transpose()? {
            for fragment in record::fragments(record.payload)? {
                if let Some(named) = fragment.bulk()? {
                    let bulk = self.bulks.open_named(&named, fragment.seq)?;
                    for entry in bulk.range(Bound::Unbounded, Bound::Unbounded, Direction::Forward) {
                        let entry = entry?;
                        visit(LoggedWrite { seq: fragment.seq, key: entry.key, value: entry.value })?;
                    }
                    continue;
                }
                for entry in fragment.entries()? {
                    visit(LoggedWrite { seq: fragment.seq, key: entry.key, value: entry.value })?;
                }
            }
        }
        Ok(())
    }
}
