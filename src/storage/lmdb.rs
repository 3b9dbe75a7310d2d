//! LMDB: the index that is built from the log, written by folds, and where what was dropped is freed.

use super::Direction;
use super::index::KeyRange;
use crate::error::{Error, Result, SqlState};
use crate::types::CommitSeq;
use heed::types::{Bytes as Raw, Str};
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, RoTxn, RwTxn, WithoutTls};
use parking_lot::Mutex;
use std::fs::File;
use std::path::Path;

/// The entry that says up to which commit the map is complete.
const POSITION: &str = "position";
/// Databases in the environment: the map and the meta entries.
const DATABASES: u32 = 4;
/// Readers kept for use by the next statement.
const POOLED_READERS: usize = 64;
/// Bytes of a page of the map.
const PAGE_BYTES: usize = 4 << 10;
/// Of so many keys that are written one is looked at, whether it makes a page dirty. A power of two.
const KEYS_A_SAMPLE: usize = 16;

/// The environment and its two databases.
pub(super) struct Lmdb {
    env: Env<WithoutTls>,
    map: Database<'static, Raw, Raw>,
    meta: Database<'static, Str, Raw>,
    pool: Mutex<Pool>,
}

/// Idle readers, all of one fold.
struct Pool {
    fold: u64,
    idle: Vec<RoTxn<'static, WithoutTls>>,
}

/// A read transaction, given back to the pool when it is dropped.
pub(super) struct Reader {
    txn: Option<RoTxn<'static, WithoutTls>>,
    fold: u64,
}

fn failed(error: heed::Error) -> Error {
    match error {
        heed::Error::Mdb(heed::MdbError::MapFull) => {
            let message = "could not write: the folded store has reached the size reserved for it";
            Error::new(SqlState::DISK_FULL, message).hint("Raise the setting map_size and restart.")
        }
        heed::Error::Mdb(heed::MdbError::ReadersFull) => {
            Error::new(SqlState::TOO_MANY_CONNECTIONS, "too many snapshots are open")
                .hint("Close suspended portals and end transactions; max_connections says how many there may be.")
        }
        heed::Error::Io(error) => error.into(),
        heed::Error::Mdb(
            error @ (heed::MdbError::Corrupted
            | heed::MdbError::Invalid
            | heed::MdbError::PageNotFound
            | heed::MdbError::VersionMismatch),
        ) => damaged(&error.to_string()),
        other => Error::internal(format!("LMDB: {other}")),
    }
}

fn damaged(what: &str) -> Error {
    let message = format!("the folded store is damaged: {what}");
    Error::new(SqlState::DATA_CORRUPTED, message).hint("Restore the data directory from a backup.")
}

impl Lmdb {
    /// Opens the environment in a directory, which must exist.
    pub(super) fn open(directory: &Path, map_size: usize, readers: u32) -> Result<Lmdb> {
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(map_size.next_multiple_of(4096)).max_readers(readers).max_dbs(DATABASES);
        // SAFETY: the data directory's lock keeps every other process away, and this process opens it once; no unsafe
        // flag is used.
        let env = unsafe { options.open(directory) }.map_err(failed)?;
        let txn = env.write_txn().map_err(failed)?;
        let opened = env.create_databases_and_commit(txn, |opener, txn| -> heed::Result<CommitOrAbort<_, ()>> {
            let map = opener.create_database::<Raw, Raw>(txn, Some("map"))?;
            let meta = opener.create_database::<Str, Raw>(txn, Some("meta"))?;
            Ok(CommitOrAbort::Commit((map, meta)))
        });
        let (map, meta) = opened.map_err(failed)?.unwrap_commit();
        // LMDB syncs its file, but not that the file is there
        File::open(directory)?.sync_all()?;
        let pool = Mutex::new(Pool { fold: 0, idle: Vec::new() });
        Ok(Lmdb { env, map, meta, pool })
    }

    /// Opens an environment that is there already, only to read it. XX001 where it is none of ours.
    pub(super) fn open_to_read(directory: &Path, map_size: usize) -> Result<Lmdb> {
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(map_size.next_multiple_of(4096)).max_dbs(DATABASES);
        // SAFETY: as for `open`; reading alone changes no page.
        unsafe { options.flags(EnvFlags::READ_ONLY) };
        // SAFETY: as for `open`.
        let env = unsafe { options.open(directory) }.map_err(failed)?;
        let txn = env.read_txn().map_err(failed)?;
        let opened = env.open_databases_and_commit(txn, |opener, txn| -> heed::Result<CommitOrAbort<_, ()>> {
            let map = opener.open_database::<Raw, Raw>(txn, Some("map"))?;
            let meta = opener.open_database::<Str, Raw>(txn, Some("meta"))?;
            Ok(map.zip(meta).map_or(CommitOrAbort::Abort(()), CommitOrAbort::Commit))
        });
        let CommitOrAbort::Commit((map, meta)) = opened.map_err(failed)? else {
            return Err(Error::new(SqlState::DATA_CORRUPTED, "the folded store lacks its databases"));
        };
        Ok(Lmdb { env, map, meta, pool: Mutex::new(Pool { fold: 0, idle: Vec::new() }) })
    }

    /// The commit up to which the map is complete.
    pub(super) fn position(&self) -> Result<CommitSeq> {
        let txn = self.env.read_txn().map_err(failed)?;
        match self.meta.get(&txn, POSITION).map_err(failed)? {
            None => Ok(CommitSeq::ZERO),
            Some(bytes) => {
                let bytes = bytes.try_into().map_err(|_| damaged("its position cannot be read"))?;
                Ok(CommitSeq(u64::from_le_bytes(bytes)))
            }
        }
    }

    /// A reader of the map as it is after at least `fold` folds.
    pub(super) fn reader(&self, fold: u64) -> Result<Reader> {
        let pooled = {
            let mut pool = self.pool.lock();
            if pool.fold == fold { pool.idle.pop() } else { None }
        };
        let txn = match pooled {
            Some(txn) => txn,
            None => self.env.clone().static_read_txn().map_err(failed)?,
        };
        Ok(Reader { txn: Some(txn), fold })
    }

    /// Gives a reader back.
    pub(super) fn give_back(&self, mut reader: Reader) {
        let mut pool = self.pool.lock();
        if pool.fold == reader.fold
            && pool.idle.len() < POOLED_READERS
            && let Some(txn) = reader.txn.take()
        {
            pool.idle.push(txn);
        }
    }

    /// Closes the idle readers, which would keep old pages alive, and pools those of `fold` from now on.
    pub(super) fn begin_fold(&self, fold: u64) {
        let old = {
            let mut pool = self.pool.lock();
            pool.fold = fold;
            std::mem::take(&mut pool.idle)
        };
        drop(old);
    }

    /// A value of the map.
    pub(super) fn get<'a>(&self, reader: &'a Reader, key: &[u8]) -> Result<Option<&'a [u8]>> {
        self.map.get(reader.txn(), key).map_err(failed)
    }

    /// Visits the entries of a range until `take` has enough.
    pub(super) fn visit(
        &self,
        reader: &Reader,
        range: KeyRange<'_>,
        direction: Direction,
        mut take: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<()> {
        match direction {
            Direction::Forward => {
                for entry in self.map.range(reader.txn(), &range).map_err(failed)? {
                    let (key, value) = entry.map_err(failed)?;
                    if !take(key, value) {
                        break;
                    }
                }
            }
            Direction::Backward => {
                for entry in self.map.rev_range(reader.txn(), &range).map_err(failed)? {
                    let (key, value) = entry.map_err(failed)?;
                    if !take(key, value) {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Begins a write.
    pub(super) fn write(&self) -> Result<Write<'_>> {
        let txn = self.env.write_txn().map_err(failed)?;
        // where snapshots have all readers a fold must go on all the same
        let before = self.env.clone().static_read_txn().ok();
        Ok(Write { lmdb: self, txn, before, keys: 0, memory: 0 })
    }
}

impl Reader {
    fn txn(&self) -> &RoTxn<'static, WithoutTls> {
        self.txn.as_ref().expect("a reader has its transaction until it is given back")
    }
}

/// A write transaction. Dropped without commit, it changes nothing.
///
/// LMDB copies each page that it changes into memory of its own, and keeps that memory for the next transaction. Few
/// bytes can change many pages: a key in each. So the pages are counted, by a sample, for LMDB does not say.
pub(super) struct Write<'a> {
    lmdb: &'a Lmdb,
    txn: RwTxn<'a>,
    /// The map as it was before; without it every page that is looked at counts as changed by that.
    before: Option<RoTxn<'static, WithoutTls>>,
    /// Keys that were written.
    keys: u64,
    /// About the bytes of memory that this has taken: of pages that were there, and of what was put.
    memory: usize,
}

impl Write<'_> {
    /// About the bytes of memory that it takes.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    /// Whether the page where a key belongs is as it was before: it lies in the file then, where the reader has it too.
    fn is_clean(&self, key: &[u8]) -> Result<bool> {
        let Some(before) = &self.before else { return Ok(true) };
        let now = self.lmdb.map.get_lower_than_or_equal_to(&self.txn, key).map_err(failed)?;
        let before = self.lmdb.map.get_lower_than_or_equal_to(before, key).map_err(failed)?;
        Ok(now.zip(before).is_some_and(|((now, _), (before, _))| std::ptr::eq(now.as_ptr(), before.as_ptr())))
    }

    fn count(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        self.keys += 1;
        // not every sixteenth: so many keys may be on a page
        let spread = self.keys.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        if spread.leading_zeros() >= KEYS_A_SAMPLE.trailing_zeros() && self.is_clean(key)? {
            self.memory += KEYS_A_SAMPLE * PAGE_BYTES;
        }
        self.memory += key.len() + value.map_or(0, <[u8]>::len);
        Ok(())
    }

    /// Sets or removes a key.
    pub(super) fn put(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        self.count(key, value)?;
        match value {
            Some(value) => self.lmdb.map.put(&mut self.txn, key, value).map_err(failed),
            None => self.lmdb.map.delete(&mut self.txn, key).map(|_| ()).map_err(failed),
        }
    }

    /// Removes up to `limit` keys of a range; whether all are gone.
    pub(super) fn delete_range(&mut self, from: &[u8], to: &[u8], limit: usize) -> Result<bool> {
        let range = (std::ops::Bound::Included(from), std::ops::Bound::Excluded(to));
        let mut keys: Vec<Vec<u8>> = Vec::new();
        for entry in self.lmdb.map.range(&self.txn, &range).map_err(failed)?.take(limit) {
            keys.push(entry.map_err(failed)?.0.to_vec());
        }
        for key in &keys {
            self.lmdb.map.delete(&mut self.txn, key).map_err(failed)?;
        }
        Ok(keys.len() < limit)
    }

    /// Stores the position and commits durably.
    pub(super) fn commit(mut self, position: Option<CommitSeq>) -> Result<()> {
        // it keeps pages from being used again
        drop(self.before);
        if let Some(position) = position {
            self.lmdb.meta.put(&mut self.txn, POSITION, &position.0.to_le_bytes()).map_err(failed)?;
        }
        self.txn.commit().map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: u32 = 100_000;

    fn write(lmdb: &Lmdb, keys: impl Iterator<Item = u32>) -> usize {
        let mut write = lmdb.write().unwrap();
        for key in keys {
            write.put(&key.to_be_bytes(), Some(&[b'x'; 100])).unwrap();
        }
        let memory = write.memory();
        write.commit(None).unwrap();
        memory
    }

    /// Not seen from outside: what LMDB keeps is memory that its process has for good.
    #[test]
    fn the_pages_that_a_write_changes_are_counted_and_not_only_what_it_puts() {
        let dir = tempfile::tempdir().unwrap();
        let lmdb = Lmdb::open(dir.path(), 1 << 30, 4).unwrap();
        let put = ROWS as usize * 104;
        let appended = write(&lmdb, 0..ROWS);
        assert!((put..put * 3 / 2).contains(&appended), "{appended}: new pages are what is put");
        let all = write(&lmdb, 0..ROWS);
        assert!((put * 2..put * 3).contains(&all), "{all}: each page once, and what is put");
        // some thirty rows are on a page
        let every = write(&lmdb, (0..ROWS).step_by(40));
        let pages = ROWS as usize / 40 * PAGE_BYTES;
        assert!((pages * 3 / 4..pages * 5 / 4).contains(&every), "{every}: a page for each row, not {pages}");
    }
}
