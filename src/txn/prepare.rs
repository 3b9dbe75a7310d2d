//! From a write set to what the committer needs: all of a commit's work that can be done before it has a number.

use super::bulk::PreparedBulk;
use super::engine::Engine;
use super::lock::LockOwner;
use super::record::{FragmentWriter, Meaning, Span};
use super::ticket::Receipt;
use crate::catalog::{self, Catalog, CatalogEntry, CatalogKey, RelationKind, TableKind};
use crate::change::{AtEnd, Change, ChangeKind, Derive, Notification, TopicAppend, WriteSet, net_changes};
use crate::encoding::{key, row};
use crate::env::UnixMicros;
use crate::error::Result;
use crate::storage::bulk::NewBulk;
use crate::types::{CommitSeq, Oid, ScopeId, StorageId};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::iter::Peekable;
use std::sync::Arc;

/// A commit that waits for its number.
pub(super) struct Prepared {
    /// The fragment of the log record; none where nothing is durable.
    pub(super) durable: Option<Vec<u8>>,
    /// Entries that are in memory only, in the same form.
    pub(super) volatile: Vec<u8>,
    pub(super) parts: Vec<Part>,
    pub(super) changes: Vec<PreparedChange>,
    pub(super) notifications: Vec<Notification>,
    pub(super) catalog: Vec<(CatalogKey, Option<CatalogEntry>)>,
    /// Whether some row's key changed.
    pub(super) moves: bool,
    /// Scopes whose names this commit stores.
    pub(super) named: Vec<ScopeId>,
    /// The file of a bulk commit.
    pub(super) bulk: Option<PreparedBulk>,
    pub(super) time: UnixMicros,
    pub(super) locks: LockOwner,
    /// Its number, if it is a serializable transaction whose reads matter to others.
    pub(super) serializable: Option<u64>,
    pub(super) at_end: Vec<Box<dyn AtEnd>>,
    pub(super) receipt: Receipt,
}

/// One entry of the ordered map, as places in a buffer.
pub(super) struct Part {
    pub(super) volatile: bool,
    pub(super) key: Span,
    pub(super) value: Option<Span>,
    pub(super) kind: PartKind,
}

/// What the committer fills in.
#[derive(Clone, Copy)]
pub(super) enum PartKind {
    /// Nothing.
    Plain,
    /// The commit sequence of a row.
    Row,
    /// The commit sequence of a STREAM row, which vanishes then.
    Expiring(UnixMicros),
    /// Sequence and offset of a topic message.
    Message { topic: Oid, storage: StorageId, partition: u32, offset_at: u32 },
}

/// A change whose key and new row are a part's.
pub(super) struct PreparedChange {
    pub(super) part: usize,
    pub(super) relation: Oid,
    pub(super) scope: ScopeId,
    pub(super) kind: ChangeKind,
    pub(super) old: Option<Bytes>,
}

/// What a transaction hands over with its write set.
pub(super) struct Handover<'a> {
    pub(super) engine: &'a Engine,
    pub(super) catalog: &'a Catalog,
    pub(super) derivers: &'a HashMap<Oid, &'a [Arc<dyn Derive>]>,
    pub(super) scopes: &'a [ScopeId],
    pub(super) time: UnixMicros,
}

/// A [`Prepared`] in the making.
struct Encoded {
    durable: FragmentWriter,
    volatile: FragmentWriter,
    parts: Vec<Part>,
    changes: Vec<PreparedChange>,
}

/// The result of preparing: a [`Prepared`] less who waits for it.
pub(super) struct Finished {
    durable: Option<Vec<u8>>,
    volatile: Vec<u8>,
    parts: Vec<Part>,
    changes: Vec<PreparedChange>,
    named: Vec<ScopeId>,
    bulk: Option<PreparedBulk>,
}

/// Encodes a write set; none where the messages that sources make of it are more than memory should hold beside it, so
/// that it is to be spilled. Fails where a message cannot be derived; nothing has happened then.
pub(super) fn encode(set: &WriteSet, handover: &Handover<'_>) -> Result<Option<Finished>> {
    let changes = net_changes(set);
    let mut appends: Vec<TopicAppend> = set.appends().cloned().collect();
    let mut room = handover.engine.options().write_set_chunk_bytes.saturating_sub(set.durable_bytes());
    for change in &changes {
        let before = appends.len();
        for deriver in handover.derivers.get(&change.relation).into_iter().copied().flatten() {
            deriver.derive(change, handover.time, &mut appends)?;
        }
        let derived: usize = appends[before..].iter().map(TopicAppend::bytes).sum();
        let Some(left) = room.checked_sub(derived) else { return Ok(None) };
        room = left;
    }
    let mut encoded = Encoded::new(set, handover, set.bytes() + 64, appends.len());
    encoded.rows(set, changes, handover)?;
    encoded.messages(&appends);
    let (entries, named) = additions(set, handover)?;
    for (key, value) in entries {
        encoded.entry(false, &key, value.as_deref(), &Meaning::Plain, PartKind::Plain);
    }
    encoded.finish(named).map(Some)
}

/// Encodes what is left in memory of a spilled write set, and the name of the file that has the rest.
pub(super) fn encode_bulk(
    set: &WriteSet,
    handover: &Handover<'_>,
    scopes: Vec<ScopeId>,
    file: NewBulk,
    partitions: Vec<(StorageId, u32)>,
) -> Result<Finished> {
    let mut encoded = Encoded::new(set, handover, 64, 0);
    let (_, place) = encoded.durable.entry(&[], Some(&file.named.encode()), &Meaning::Bulk);
    let place = place.expect("a value was given");
    encoded.rows(set, net_changes(set), handover)?;
    Ok(Finished { bulk: Some(PreparedBulk { file, place, partitions }), ..encoded.finish(scopes)? })
}

/// An entry of the map that is no row.
type PlainEntry = (Bytes, Option<Bytes>);

/// What a commit stores beside its writes: catalog entries, counters, the names of scopes; and which scopes those are.
pub(super) fn additions(set: &WriteSet, handover: &Handover<'_>) -> Result<(Vec<PlainEntry>, Vec<ScopeId>)> {
    let mut entries: BTreeMap<Bytes, Option<Bytes>> = BTreeMap::new();
    for (name, entry) in set.catalog() {
        let value = entry.as_ref().map(catalog::encode_entry).transpose()?;
        entries.insert(Bytes::from(catalog::entry_key(*name)), value.map(Bytes::from));
    }
    if !set.catalog().is_empty() {
        let (key, value) = handover.engine.counters_entry();
        entries.insert(key, Some(value));
    }
    let mut named = Vec::new();
    for scope in handover.scopes {
        let Some(names) = handover.engine.scopes.entries_if_unstored(*scope) else { continue };
        entries.extend(names.into_iter().map(|(key, value)| (key, Some(value))));
        named.push(*scope);
    }
    Ok((entries.into_iter().collect(), named))
}

impl Encoded {
    fn new(set: &WriteSet, handover: &Handover<'_>, bytes: usize, messages: usize) -> Encoded {
        Encoded {
            durable: FragmentWriter::new(handover.time, bytes),
            volatile: FragmentWriter::new(handover.time, 0),
            parts: Vec::with_capacity(set.net().size_hint().0 + messages),
            changes: Vec::new(),
        }
    }

    fn rows(&mut self, set: &WriteSet, changes: Vec<Change>, handover: &Handover<'_>) -> Result<()> {
        let mut changes = changes.into_iter().peekable();
        for (first, last) in set.net() {
            let change = next_for(&mut changes, &first.key);
            let Some(was) = &first.change else {
                self.entry(last.volatile, &last.key, last.value.as_deref(), &Meaning::Plain, PartKind::Plain);
                continue;
            };
            if was.old.is_none() && last.value.is_none() {
                // made and removed again: nobody has seen it
                continue;
            }
            let part = self.parts.len();
            let ttl = if last.volatile { ttl_of(handover.catalog, was.relation) } else { None };
            match (&last.value, ttl) {
                (Some(value), Some(ttl)) => {
                    // a STREAM row's time runs from its commit
                    let expires = handover.time.saturating_add(ttl);
                    let mut value = value.to_vec();
                    row::set_expires(&mut value, expires);
                    self.entry(true, &last.key, Some(&value), &Meaning::Plain, PartKind::Expiring(expires));
                }
                (value, _) => {
                    let meaning = match &change {
                        Some(change) if !last.volatile => Meaning::Change(change),
                        _ => Meaning::Plain,
                    };
                    self.entry(last.volatile, &last.key, value.as_deref(), &meaning, PartKind::Row);
                }
            }
            if let Some(Change { relation, scope, kind, old, .. }) = change {
                // it may be a slice of the large buffer of the commit that wrote it, and readers keep it for long
                let old = old.map(|old| Bytes::copy_from_slice(&old));
                self.changes.push(PreparedChange { part, relation, scope, kind, old });
            }
        }
        Ok(())
    }

    fn messages(&mut self, appends: &[TopicAppend]) {
        for append in appends {
            let TopicAppend { topic, storage, partition, offset_at, .. } = *append;
            let mut key = key::partition_prefix(storage, partition);
            key.extend_from_slice(&[0; 8]);
            let kind = PartKind::Message { topic, storage, partition, offset_at };
            self.entry(false, &key, Some(&append.row), &Meaning::Message(append.topic), kind);
        }
    }

    fn entry(&mut self, volatile: bool, key: &[u8], value: Option<&[u8]>, meaning: &Meaning<'_>, kind: PartKind) {
        let writer = if volatile { &mut self.volatile } else { &mut self.durable };
        let (key, value) = writer.entry(key, value, meaning);
        self.parts.push(Part { volatile, key, value, kind });
    }

    /// Completes the buffers, which fails where they are too large.
    fn finish(self, named: Vec<ScopeId>) -> Result<Finished> {
        Ok(Finished {
            durable: (!self.durable.is_empty()).then(|| self.durable.finish()).transpose()?,
            volatile: self.volatile.finish()?,
            parts: self.parts,
            changes: self.changes,
            named,
            bulk: None,
        })
    }
}

impl Finished {
    /// Adds who waits and what is to be done at the end. From here on it is the committer that releases and ends.
    pub(super) fn submit_as(
        self,
        set: &WriteSet,
        time: UnixMicros,
        (locks, serializable): (LockOwner, Option<u64>),
        at_end: Vec<Box<dyn AtEnd>>,
        receipt: Receipt,
    ) -> Prepared {
        Prepared {
            durable: self.durable,
            volatile: self.volatile,
            parts: self.parts,
            changes: self.changes,
            notifications: set.notifications().to_vec(),
            catalog: set.catalog().to_vec(),
            moves: set.has_moves(),
            named: self.named,
            bulk: self.bulk,
            time,
            locks,
            serializable,
            at_end,
            receipt,
        }
    }
}

/// The changes are in the order of the keys' first writes, though not every key has one.
fn next_for(changes: &mut Peekable<std::vec::IntoIter<Change>>, key: &Bytes) -> Option<Change> {
    changes.next_if(|change| change.key == *key)
}

fn ttl_of(catalog: &Catalog, relation: Oid) -> Option<i64> {
    match catalog.relation(relation)?.kind {
        RelationKind::Table(TableKind::Stream { ttl_micros }) => Some(ttl_micros),
        _ => None,
    }
}

impl Prepared {
    /// Gives everything back after a failure.
    pub(super) fn fail(mut self, engine: &Engine, error: crate::error::Error) {
        // a record that may be on the disk must find its file at the next start
        if let Some(bulk) = self.bulk.take()
            && engine.log.check().is_ok()
        {
            bulk.file.discard();
        }
        for hook in self.at_end.drain(..) {
            hook.end(None);
        }
        if let Some(id) = self.serializable {
            engine.serializable.abort(id);
        }
        self.receipt.release_and_settle(&engine.endings, self.locks, Err(error));
    }

    /// Ends it after publication.
    pub(super) fn succeed(mut self, engine: &Engine, seq: CommitSeq) {
        for scope in self.named.drain(..) {
            engine.scopes.mark_stored(scope);
        }
        for hook in self.at_end.drain(..) {
            hook.end(Some(seq));
        }
        self.receipt.release_and_settle(&engine.endings, self.locks, Ok(seq));
    }
}
