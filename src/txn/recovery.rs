//! Start-up: the store, the log after its position, and the counters that go on from there.

use super::record;
use crate::catalog::{self, Catalog};
use crate::encoding::key::{self, Space};
use crate::error::{Error, Result, SqlState};
use crate::storage::bulk::BulkDir;
use crate::storage::log::CommitLog;
use crate::storage::{Direction, Entry, Pressure, Store, StoreSnapshot};
use crate::types::{CommitSeq, ScopeId, StorageId};
use bytes::Bytes;
use std::ops::Bound;
use std::sync::Arc;

/// After the prefix of a storage in space Meta: the storage is to be freed. The space's number follows.
pub(super) const DROPPED: &[u8] = b"dropped";
/// After the prefix of a topic's storage in space Meta: the first offset after messages that retention removed. The
/// partition follows.
const OFFSETS: &[u8] = b"offset";

/// What start-up found.
#[derive(Clone, Debug, Default)]
pub struct RecoveryReport {
    /// What was cut off the log's end, where a write had not finished.
    pub tail_cut: Option<String>,
    /// Commits that the log had and the store had not.
    pub replayed: u64,
    /// The last commit.
    pub last: CommitSeq,
    /// Whether the data directory was new.
    pub created: bool,
}

/// The counters as stored.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    pub(super) next_oid: u32,
    pub(super) next_storage: u32,
}

/// The marks as stored: numbers that may have been given out without a record.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks {
    pub(super) seq_reserved: u64,
    pub(super) snowflake_reserved: i64,
}

fn meta_key(name: &[u8]) -> Vec<u8> {
    let mut out = key::prefix(Space::Meta, StorageId(0), ScopeId::SHARED);
    out.extend_from_slice(name);
    out
}

fn two_numbers(first: u64, second: u64) -> Bytes {
    Bytes::from([first.to_le_bytes(), second.to_le_bytes()].concat())
}

fn read_two_numbers(snapshot: &StoreSnapshot, name: &[u8]) -> Result<(u64, u64)> {
    let Some(bytes) = snapshot.get(&meta_key(name))? else { return Ok((0, 0)) };
    if bytes.len() != 16 {
        return Err(Error::new(SqlState::DATA_CORRUPTED, "stored counter cannot be decoded"));
    }
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    Ok((number(0), number(8)))
}

/// The entry that stores the counters.
pub(super) fn counters_entry(counters: Counters) -> (Bytes, Bytes) {
    (Bytes::from(meta_key(b"counters")), two_numbers(counters.next_oid.into(), counters.next_storage.into()))
}

/// An entry whose commit is a record, so that the committer's marks have one to go with.
pub(super) fn reservation_entry(time: i64) -> (Bytes, Bytes) {
    (Bytes::from(meta_key(b"ids")), two_numbers(time as u64, 0))
}

/// The entry that stores the marks.
pub(super) fn marks_entry(seq_reserved: u64, snowflake_reserved: i64) -> (Bytes, Bytes) {
    (Bytes::from(meta_key(b"marks")), two_numbers(seq_reserved, snowflake_reserved as u64))
}

pub(super) fn read_counters(snapshot: &StoreSnapshot) -> Result<Counters> {
    let (oid, storage) = read_two_numbers(snapshot, b"counters")?;
    Ok(Counters { next_oid: oid as u32, next_storage: storage as u32 })
}

pub(super) fn read_marks(snapshot: &StoreSnapshot) -> Result<Marks> {
    let (seq_reserved, snowflake) = read_two_numbers(snapshot, b"marks")?;
    Ok(Marks { seq_reserved, snowflake_reserved: snowflake as i64 })
}

/// Installs what the log has after the store's position. Says how many commits that were, and the last one's number.
pub(super) fn replay(store: &Store, log: &dyn CommitLog, bulks: &Arc<BulkDir>) -> Result<(u64, CommitSeq)> {
    let position = store.position();
    if position < log.oldest() {
        let oldest = log.oldest();
        let message = format!(
            "commit log is corrupt: its first segment continues after commit {oldest}, but the store ends at {position}"
        );
        return Err(Error::new(SqlState::DATA_CORRUPTED, message)
            .hint("Files of the commit log are missing; restore the data directory as a whole."));
    }
    let mut last = position;
    let mut replayed = 0;
    let mut folding = true;
    let mut records = log.read_from(position)?;
    while let Some(record) = records.next().transpose()? {
        for fragment in record::fragments(record.payload)? {
            if fragment.seq <= position {
                continue;
            }
            replayed += 1;
            if let Some(named) = fragment.bulk()? {
                store.adopt(bulks.open_named(&named, fragment.seq)?);
                continue;
            }
            let entries = fragment.entries()?.into_iter().map(|entry| Entry {
                key: entry.key,
                // copied, for the record's buffer has the old rows too; of the key the map makes a copy of its own
                value: entry.value.as_deref().map(Bytes::copy_from_slice),
                volatile: false,
            });
            store.install(fragment.seq, entries);
        }
        last = last.max(record.last);
        store.publish(last);
        fold_what_is_frozen(store, &mut folding);
    }
    Ok((replayed, last))
}

/// Folds during a replay, so that memory stays bounded. Where the disk has no room for that, what is replayed stays in
/// memory, where it was before the start too: reads go on, and writers wait until a fold succeeds.
fn fold_what_is_frozen(store: &Store, folding: &mut bool) {
    // a bulk commit takes no memory and can wait for the server's start
    while *folding && store.needs_fold() && store.pressure() != Pressure::None {
        if let Err(error) = store.fold() {
            tracing::warn!(%error, "what the log has cannot be folded yet");
            *folding = false;
        }
    }
}

/// The catalog as stored.
pub(super) fn load_catalog(snapshot: &StoreSnapshot) -> Result<Catalog> {
    let mut catalog = Catalog::default();
    for_each(snapshot, catalog::entries_prefix(), |_, value| {
        catalog.put(catalog::decode_entry(&value)?);
        Ok(())
    })?;
    Ok(catalog)
}

/// The first scope number that was never stored.
pub(super) fn scope_end(snapshot: &StoreSnapshot) -> Result<u64> {
    let (from, to) = super::scopes::names_range();
    let mut cursor = snapshot.cursor(Bound::Included(from), Bound::Excluded(to), Direction::Backward);
    let mut last = Vec::new();
    while last.is_empty() && cursor.next_batch(snapshot, &mut last, 1)? {}
    match last.first() {
        Some((key, _)) => Ok(super::scopes::scope_in_key(key)?.0 + 1),
        None => Ok(1),
    }
}

/// The next offset that a partition of a topic gives.
pub fn offset_end(snapshot: &StoreSnapshot, storage: StorageId, partition: u32) -> Result<u64> {
    let (from, to) = key::prefixed(key::partition_prefix(storage, partition));
    let mut cursor = snapshot.cursor(from, to, Direction::Backward);
    let mut last = Vec::new();
    while last.is_empty() && cursor.next_batch(snapshot, &mut last, 1)? {}
    let after_last = last.first().and_then(|(key, _)| key.last_chunk::<8>()).map_or(0, |o| u64::from_be_bytes(*o) + 1);
    let mark = snapshot.get(&offset_mark(storage, partition))?;
    let marked = mark.as_deref().and_then(|bytes| bytes.first_chunk::<8>()).map_or(0, |o| u64::from_be_bytes(*o));
    Ok(after_last.max(marked))
}

/// The key whose value (u64, big-endian) keeps a partition's offsets growing when retention removes its last message.
pub fn offset_mark(storage: StorageId, partition: u32) -> Vec<u8> {
    let mut out = key::prefix(Space::Meta, storage, ScopeId::SHARED);
    out.extend_from_slice(OFFSETS);
    out.extend_from_slice(&partition.to_be_bytes());
    out
}

/// Whether a key in space Meta is the mark of a storage that is to be freed.
pub(super) fn is_drop_mark(key: &[u8]) -> bool {
    dropped_space(key).is_some()
}

/// The number of the space whose rows such a mark is about.
fn dropped_space(key: &[u8]) -> Option<u8> {
    let (space, rest) = key.get(key::PREFIX_BYTES..)?.split_last()?;
    (rest == DROPPED).then_some(*space)
}

/// Storages that are to be freed, with the keys of their marks.
pub(super) fn dropped_storages(snapshot: &StoreSnapshot) -> Result<Vec<(Bytes, u8, StorageId)>> {
    let mut dropped = Vec::new();
    for_each(snapshot, vec![Space::Meta as u8], |key, _| {
        if let (Some(space), Some((_, storage, _))) = (dropped_space(&key), key::place_of(&key)) {
            dropped.push((key, space, storage));
        }
        Ok(())
    })?;
    Ok(dropped)
}

/// Calls `visit` for every key that begins with `prefix`.
pub(super) fn for_each(
    snapshot: &StoreSnapshot,
    prefix: Vec<u8>,
    mut visit: impl FnMut(Bytes, Bytes) -> Result<()>,
) -> Result<()> {
    let (from, to) = key::prefixed(prefix);
    let mut cursor = snapshot.cursor(from, to, Direction::Forward);
    let mut batch = Vec::new();
    loop {
        let more = cursor.next_batch(snapshot, &mut batch, crate::limits::SCAN_BATCH)?;
        for (key, value) in batch.drain(..) {
            visit(key, value)?;
        }
        if !more {
            return Ok(());
        }
    }
}
