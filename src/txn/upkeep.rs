//! The steps that keep an engine in shape. Each is short and does a bounded piece of work; the threads of
//! [`maintenance`](crate::maintenance) call them.

use super::engine::Engine;
use super::lock::{LockKey, LockMode, LockPolicy, Locked};
use super::record;
use super::recovery;
use super::transaction::{StatementView, Transaction, TxnOptions};
use crate::change::Write;
use crate::encoding::key::{Space, place_of, prefix_successor};
use crate::encoding::row;
use crate::env::UnixMicros;
use crate::error::Result;
use crate::limits::{FREED_KEYS_MAX, SWEEP_ROWS_MAX};
use crate::storage::{Direction, StoreSnapshot};
use crate::table::Model;
use crate::types::CommitSeq;
use bytes::Bytes;
use std::ops::Bound;
use std::sync::Arc;

impl Engine {
    /// Folds a frozen generation into LMDB, if there is one.
    pub fn fold(&self) -> Result<bool> {
        if !self.store.needs_fold() {
            return Ok(false);
        }
        Ok(self.store.fold()?.is_some())
    }

    /// How many bulk commits are not folded yet.
    pub fn unfolded_bulks(&self) -> usize {
        self.store.bulks()
    }

    /// Forgets versions of STREAM rows that nobody can see any more, a bounded number of keys a call.
    pub fn prune_volatile(&self) {
        self.store.prune_volatile(SWEEP_ROWS_MAX);
    }

    /// When the commits at the beginnings of the log's segments were made, oldest first: what a restart knows of how far
    /// back the log reaches in time. Each is the position before such a commit with the commit's time.
    pub fn log_times(&self) -> Result<Vec<(UnixMicros, CommitSeq)>> {
        let mut times = Vec::new();
        for (start, _) in self.log.segments() {
            let Some(record) = self.log.read_from(start)?.next().transpose()? else { continue };
            if let Some(first) = record::fragments(record.payload)?.first() {
                times.push((first.time, start));
            }
        }
        Ok(times)
    }

    /// The position up to which the log must be given up where it and the files of its large commits are to take no more
    /// than so many bytes; none where they take no more.
    pub fn log_beyond(&self, bytes: u64) -> Result<Option<CommitSeq>> {
        let mut bulks = self.bulks.sizes()?;
        bulks.sort_unstable_by_key(|&(seq, _)| seq);
        let mut kept = 0_u64;
        let mut end = None;
        for (start, size) in self.log.segments().into_iter().rev() {
            let inside = bulks.partition_point(|&(seq, _)| seq <= start);
            let large: u64 = bulks.drain(inside..).map(|(_, size)| size).sum();
            kept = kept.saturating_add(size).saturating_add(large);
            // the newest is being written to and stays
            if kept > bytes && end.is_some() {
                return Ok(end);
            }
            end = Some(start);
        }
        Ok(None)
    }

    /// Gives up log segments whose commits are folded, up to a position that nobody resumes from any more.
    pub fn release_log(&self, upto: CommitSeq) -> Result<()> {
        self.log.release(upto.min(self.store.position()))?;
        self.bulks.release(self.log.oldest())
    }

    /// Removes STREAM rows whose time is over. No reader sees them any more, so the commit has no changes.
    pub fn sweep_expired(self: &Arc<Engine>) -> Result<usize> {
        let now = self.env.now();
        let due = self.expiry.take(now, SWEEP_ROWS_MAX);
        if due.is_empty() {
            return Ok(0);
        }
        // what fails now is due again later
        self.sweep(due.clone(), now).inspect_err(|_| self.expiry.put_back(due))
    }

    fn sweep(self: &Arc<Engine>, due: Vec<(UnixMicros, Bytes)>, now: UnixMicros) -> Result<usize> {
        let mut transaction = self.begin(TxnOptions::default())?;
        let view = transaction.statement()?;
        let models = self.streams_with_indexes()?;
        let mut busy = Vec::new();
        let count = due.len();
        for (expires, key) in due {
            match transaction.lock(LockKey::Key(key.clone()), LockMode::AccessExclusive, LockPolicy::NoWait)? {
                Locked::Granted => {}
                // its transaction decides first
                _ => {
                    busy.push((expires, key));
                    continue;
                }
            }
            let row = transaction.newest(&view, &key)?;
            let Some(row) = row else { continue };
            if row::expires(&row).is_some_and(|expires| expires <= now) {
                remove_entries(&mut transaction, &view, &models, &key, &row)?;
                remove_volatile(&mut transaction, key)?;
            }
        }
        let swept = count - busy.len();
        self.finish(&transaction.start_commit()?)?;
        self.expiry.put_back(busy);
        Ok(swept)
    }

    /// STREAM tables whose rows have index entries beside them.
    fn streams_with_indexes(&self) -> Result<Vec<Arc<Model>>> {
        let catalog = self.catalog();
        let streams =
            catalog.relations().filter(|table| table.is_volatile() && table.index_storages().next().is_some());
        streams.map(Model::new).collect()
    }

    /// Stores the numbers of user ids that are known in memory only, when there are so many that they must be able to
    /// be forgotten.
    pub fn store_scopes(self: &Arc<Engine>) -> Result<()> {
        let unstored = self.scopes.unstored_if_many();
        if unstored.is_empty() {
            return Ok(());
        }
        let mut transaction = self.begin(TxnOptions::default())?;
        for scope in unstored {
            transaction.name_scope(scope);
        }
        self.finish(&transaction.start_commit()?)?;
        Ok(())
    }

    /// Frees the next piece of a storage that was dropped. False when there is none, or nothing can be done before a fold.
    pub fn free_dropped(self: &Arc<Engine>) -> Result<bool> {
        let snapshot = self.store.snapshot()?;
        let Some((mark, space, storage)) = recovery::dropped_storages(&snapshot)?.into_iter().next() else {
            return Ok(false);
        };
        let mut from = vec![space];
        from.extend_from_slice(&storage.0.to_be_bytes());
        let to = prefix_successor(&from).expect("a space's number is not ff");
        let keys = some_keys(&snapshot, from.clone(), to.clone())?;
        if keys.len() < SWEEP_ROWS_MAX || space == Space::Stream as u8 || snapshot.is_volatile(&keys[0]) {
            self.free_by_commit(&snapshot, keys, mark)?;
            return Ok(true);
        }
        self.free_folded(&snapshot, (&from, &to), mark)
    }

    /// Removes keys by a commit, with the mark if these are the last: what is in memory only has no other way, and for a
    /// few keys it is the shortest.
    fn free_by_commit(self: &Arc<Engine>, snapshot: &StoreSnapshot, keys: Vec<Bytes>, mark: Bytes) -> Result<()> {
        let mut transaction = self.begin(TxnOptions::default())?;
        if keys.len() < SWEEP_ROWS_MAX {
            transaction.put_plain(mark, None)?;
        }
        for key in keys {
            // the index of a STREAM table is in memory as its rows are
            match snapshot.is_volatile(&key) {
                true => remove_volatile(&mut transaction, key)?,
                false => transaction.put_plain(key, None)?,
            }
        }
        self.finish(&transaction.start_commit()?).map(|_| ())
    }

    /// Removes keys where they are folded, without a word in the log. Nobody has written them since they were dropped, so
    /// when everything up to a later commit is folded they cannot come back. That commit is noted in the mark, and its
    /// fold is hurried on.
    fn free_folded(
        self: &Arc<Engine>,
        snapshot: &StoreSnapshot,
        (from, to): (&[u8], &[u8]),
        mark: Bytes,
    ) -> Result<bool> {
        let noted = snapshot.get(&mark)?.and_then(|seq| Some(u64::from_le_bytes(*seq.first_chunk()?)));
        match noted {
            Some(seq) if self.store.position().0 < seq && self.store.needs_fold() => Ok(false),
            // not noted yet, or a restart has forgotten that the fold was to be hurried on
            noted if noted.is_none_or(|seq| self.store.position().0 < seq) => {
                let mut transaction = self.begin(TxnOptions::default())?;
                transaction.put_plain(mark, Some(Bytes::copy_from_slice(&snapshot.seq().0.to_le_bytes())))?;
                self.store.freeze_soon();
                self.finish(&transaction.start_commit()?)?;
                Ok(false)
            }
            _ => {
                self.store.delete_range(from, to, FREED_KEYS_MAX)?;
                Ok(true)
            }
        }
    }
}

fn some_keys(snapshot: &StoreSnapshot, from: Vec<u8>, to: Vec<u8>) -> Result<Vec<Bytes>> {
    let mut cursor = snapshot.cursor(Bound::Included(from), Bound::Excluded(to), Direction::Forward);
    let (mut keys, mut batch) = (Vec::new(), Vec::new());
    let mut more = true;
    while more && keys.len() < SWEEP_ROWS_MAX {
        more = cursor.next_batch(snapshot, &mut batch, SWEEP_ROWS_MAX - keys.len())?;
        // a share in a batch's buffer would keep its rows
        keys.extend(batch.drain(..).map(|(key, _)| Bytes::copy_from_slice(&key)));
    }
    Ok(keys)
}

/// Removes the index entries of an expired row, as far as they still name it.
fn remove_entries(
    transaction: &mut Transaction,
    view: &StatementView,
    models: &[Arc<Model>],
    key: &Bytes,
    row: &Bytes,
) -> Result<()> {
    let Some((_, storage, scope)) = place_of(key) else { return Ok(()) };
    let Some(model) = models.iter().find(|model| model.relation().storage == storage) else { return Ok(()) };
    let values = model.decode(row)?;
    for index in model.indexes() {
        let entry = index.entry_key(scope, &values, key)?;
        // who holds the entry's lock is about to replace it
        let locked = transaction.lock(LockKey::Key(entry.clone()), LockMode::AccessExclusive, LockPolicy::NoWait)?;
        if matches!(locked, Locked::Granted) && transaction.newest(view, &entry)?.as_ref() == Some(key) {
            remove_volatile(transaction, entry)?;
        }
    }
    Ok(())
}

fn remove_volatile(transaction: &mut Transaction, key: Bytes) -> Result<()> {
    transaction.put(Write { command: 0, key, value: None, volatile: true, change: None })
}
