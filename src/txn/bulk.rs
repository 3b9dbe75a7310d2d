//! From a spilled write set to a bulk commit: its file, written and synced before it asks for a number.
//!
//! The runs are merged into the net effect on each key. Messages of sources are derived in the order of the first writes,
//! as those of a small commit are, which takes a sort of the changes by that order; all sorting is done on disk. Changes of
//! STREAM tables, which stay in memory, take part in it. The work has a thread of its own, which nobody waits for but the
//! session that commits.

use super::engine::Engine;
use super::prepare::{self, Finished, Handover};
use super::record::Span;
use crate::change::{Change, Derive, NetWrite, TopicAppend, WriteSet};
use crate::encoding::key;
use crate::error::{Error, Result, SqlState};
use crate::interrupt::terminated;
use crate::limits::BULKS_MAX;
use crate::storage::bulk::{BulkPartition, BulkPayload, NewBulk, SpillFile};
use crate::storage::run::Sorter;
use crate::types::{Oid, StorageId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A bulk file that waits for its commit's number.
pub(super) struct PreparedBulk {
    /// The file.
    pub(super) file: NewBulk,
    /// Where in the fragment it is named.
    pub(super) place: Span,
    /// The partitions that it has messages for, in the order of the name's.
    pub(super) partitions: Vec<(StorageId, u32)>,
}

/// Entries that do not come from the runs, by key: messages, and what every commit adds.
struct Extras {
    sorter: Sorter,
    _file: SpillFile,
    /// For each partition its topic and how many messages it gets.
    partitions: BTreeMap<(StorageId, u32), (Oid, u64)>,
    /// How many bytes of messages there may still be.
    room: u64,
    payload: Vec<u8>,
}

/// Writes the file of a spilled write set, and the fragment that names it.
pub(super) fn encode(set: &mut WriteSet, handover: &Handover<'_>) -> Result<Finished> {
    let engine = handover.engine;
    set.spill(&engine.bulks)?;
    let mut extras = Extras::new(engine)?;
    for append in set.spilled_appends()?.into_iter().flatten() {
        extras.message(&append?)?;
    }
    if !handover.derivers.is_empty() {
        derive(set, handover, &mut extras)?;
    }
    let (entries, scopes) = prepare::additions(set, handover)?;
    for (key, value) in entries {
        extras.entry(&key, value.as_deref())?;
    }
    if engine.has_threads() {
        engine.store.wait_for_bulks(BULKS_MAX, engine.options().room_wait_max)?;
    }
    let (file, partitions) = write_file(set, engine, extras)?;
    prepare::encode_bulk(set, handover, scopes, file, partitions)
}

/// Merges the net effects with the extras into the file.
fn write_file(set: &WriteSet, engine: &Engine, extras: Extras) -> Result<(NewBulk, Vec<(StorageId, u32)>)> {
    let mut writer = engine.bulks.create(set.spilled_entries() + extras.sorter.entries())?;
    let Extras { sorter, partitions, _file, .. } = extras;
    let mut extras = sorter.finish()?;
    let mut extra = extras.next_entry()?;
    let (mut note, mut tables) = (Vec::new(), BTreeSet::new());
    if let Some(mut net) = set.spilled_net()? {
        while let Some(write) = next(engine, || net.next_net())? {
            while let Some(before) = extra.take_if(|extra| extra.key < write.key) {
                writer.push_encoded(&before.key, &before.payload)?;
                extra = extras.next_entry()?;
            }
            // what every commit adds is newer than what the transaction itself wrote there
            if extra.as_ref().is_some_and(|extra| extra.key == write.key) {
                continue;
            }
            if let (Some(change), Some((_, storage, _))) = (&write.change, key::place_of(&write.key)) {
                tables.insert((change.relation, storage));
            }
            write.note(&mut note);
            let payload = BulkPayload {
                value: write.value.as_deref(),
                row: write.change.is_some(),
                offset_at: None,
                note: &note,
            };
            writer.push(&write.key, &payload)?;
        }
    }
    while let Some(left) = extra {
        writer.push_encoded(&left.key, &left.payload)?;
        extra = next(engine, || extras.next_entry())?;
    }
    let named = partitions.iter().map(|(&(storage, partition), &(topic, count))| BulkPartition {
        topic,
        prefix: key::partition_prefix(storage, partition),
        base: 0,
        count,
    });
    Ok((writer.finish(tables.into_iter().collect(), named.collect())?, partitions.into_keys().collect()))
}

/// The next entry, unless the server is stopping: nobody should wait then for a commit that will be refused.
fn next<T>(engine: &Engine, read: impl FnOnce() -> Result<Option<T>>) -> Result<Option<T>> {
    if engine.is_stopping() {
        return Err(terminated());
    }
    read()
}

/// Derives the messages of sources from the net changes, in the order of first writes.
fn derive(set: &WriteSet, handover: &Handover<'_>, extras: &mut Extras) -> Result<()> {
    let engine = handover.engine;
    let file = engine.bulks.spill()?;
    let mut changes = Sorter::new(file.file().clone(), engine.options().write_set_chunk_bytes);
    let derivers =
        |relation: Oid| -> &[Arc<dyn Derive>] { handover.derivers.get(&relation).copied().unwrap_or_default() };
    let mut payload = Vec::new();
    let mut add = |write: NetWrite| -> Result<()> {
        if write.change.as_ref().is_some_and(|change| !derivers(change.relation).is_empty()) {
            write.encode(&mut payload);
            changes.push(&write.order.to_be_bytes(), &payload)?;
        }
        Ok(())
    };
    if let Some(mut net) = set.spilled_net()? {
        while let Some(write) = next(engine, || net.next_net())? {
            add(write)?;
        }
    }
    set.kept_net().try_for_each(&mut add)?;
    let mut changes = changes.finish()?;
    let mut appends: Vec<TopicAppend> = Vec::new();
    while let Some(entry) = next(engine, || changes.next_entry())? {
        let Some(change) = NetWrite::decode(entry.payload)?.to_change() else { continue };
        derive_one(&change, derivers(change.relation), handover, &mut appends)?;
        for append in appends.drain(..) {
            extras.message(&append)?;
        }
    }
    Ok(())
}

fn derive_one(
    change: &Change,
    derivers: &[Arc<dyn Derive>],
    handover: &Handover<'_>,
    out: &mut Vec<TopicAppend>,
) -> Result<()> {
    derivers.iter().try_for_each(|deriver| deriver.derive(change, handover.time, out))
}

impl Extras {
    fn new(engine: &Engine) -> Result<Extras> {
        let file = engine.bulks.spill()?;
        let sorter = Sorter::new(file.file().clone(), engine.options().write_set_chunk_bytes);
        let room = engine.options().big_commit_bytes_max;
        Ok(Extras { sorter, _file: file, partitions: BTreeMap::new(), room, payload: Vec::new() })
    }

    /// Adds a message; 53400 where there are too many.
    fn message(&mut self, append: &TopicAppend) -> Result<()> {
        self.room = self.room.checked_sub(append.row.len() as u64).ok_or_else(|| {
            Error::new(SqlState::CONFIGURATION_LIMIT_EXCEEDED, "transaction makes too many messages for topics")
                .hint("Split it into smaller transactions.")
        })?;
        let place = (append.storage, append.partition);
        let (_, count) = self.partitions.entry(place).or_insert((append.topic, 0));
        let mut key = key::partition_prefix(append.storage, append.partition);
        key.extend_from_slice(&count.to_be_bytes());
        *count += 1;
        let payload =
            BulkPayload { value: Some(&append.row), row: true, offset_at: Some(append.offset_at), note: &[0] };
        payload.encode(&mut self.payload);
        self.sorter.push(&key, &self.payload)
    }

    fn entry(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        BulkPayload { value, row: false, offset_at: None, note: &[0] }.encode(&mut self.payload);
        self.sorter.push(key, &self.payload)
    }
}
