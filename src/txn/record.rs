//! A commit as bytes: one fragment of a log record.
//!
//! ```text
//! record    fragment*                         one record a group, a fragment for each of its commits
//! fragment  length u32, seq u64, time i64, entry*
//! entry     kind u8, key length u32, value length u32 (ffffffff: removed), key, value, tail
//! tail      plain: nothing
//!           insert, update, delete: relation u32, scope u64, old length u32 (ffffffff: none), old row
//!           message: topic u32
//!           bulk: nothing; the value names the file that has all of the commit's entries
//! ```
//!
//! A session encodes its fragment before it submits, with the places where the committer then writes what only it
//! knows: commit sequence and topic offsets. The recent map gets copies of the keys and values, without the old rows.
//! Numbers are little-endian.

use crate::catalog;
use crate::change::{Change, ChangeKind, Commit, TopicArrival};
use crate::encoding::key::Space;
use crate::error::{Error, Result, SqlState};
use crate::storage::bulk::{BulkDir, BulkPartition, BulkRef};
use crate::types::{CommitSeq, Oid, ScopeId};
use bytes::{Buf, Bytes};
use std::sync::Arc;

/// Length, sequence and time.
const HEADER_BYTES: usize = 20;
const NONE: u32 = u32::MAX;

const PLAIN: u8 = 0;
const INSERT: u8 = 1;
const UPDATE: u8 = 2;
const DELETE: u8 = 3;
const MESSAGE: u8 = 4;
const BULK: u8 = 5;

/// A place in a fragment's buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// The bytes.
    pub(super) fn of(self, buffer: &Bytes) -> Bytes {
        buffer.slice(self.start as usize..self.end as usize)
    }

    /// How many bytes.
    pub(super) fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Copies the bytes to the end of another buffer; where they are there.
    pub(super) fn copy(self, from: &[u8], to: &mut Vec<u8>) -> Span {
        let start = to.len() as u32;
        to.extend_from_slice(&from[self.start as usize..self.end as usize]);
        Span { start, end: to.len() as u32 }
    }

    /// The bytes, to be patched.
    pub(super) fn of_mut(self, buffer: &mut [u8]) -> &mut [u8] {
        &mut buffer[self.start as usize..self.end as usize]
    }
}

/// What an entry means, beside its key and value.
pub(super) enum Meaning<'a> {
    /// Nothing: index entries, catalog entries, marks.
    Plain,
    /// A row's net change.
    Change(&'a Change),
    /// A topic message.
    Message(Oid),
    /// The name of a bulk file.
    Bulk,
}

/// A fragment that is being written.
pub(super) struct FragmentWriter {
    buffer: Vec<u8>,
}

impl FragmentWriter {
    /// Begins a fragment.
    pub(super) fn new(time: i64, capacity: usize) -> FragmentWriter {
        let mut buffer = Vec::with_capacity(HEADER_BYTES + capacity);
        buffer.extend_from_slice(&[0; 12]);
        buffer.extend_from_slice(&time.to_le_bytes());
        FragmentWriter { buffer }
    }

    /// Whether it has no entries.
    pub(super) fn is_empty(&self) -> bool {
        self.buffer.len() == HEADER_BYTES
    }

    /// Adds an entry; says where its key and value are.
    pub(super) fn entry(&mut self, key: &[u8], value: Option<&[u8]>, meaning: &Meaning<'_>) -> (Span, Option<Span>) {
        let kind = match meaning {
            Meaning::Plain => PLAIN,
            Meaning::Message(_) => MESSAGE,
            Meaning::Bulk => BULK,
            Meaning::Change(change) => match change.kind {
                ChangeKind::Insert => INSERT,
                ChangeKind::Update => UPDATE,
                ChangeKind::Delete => DELETE,
            },
        };
        self.buffer.push(kind);
        self.length(Some(key));
        self.length(value);
        let key = self.bytes(key);
        let value = value.map(|value| self.bytes(value));
        match meaning {
            Meaning::Plain | Meaning::Bulk => {}
            Meaning::Message(topic) => self.buffer.extend_from_slice(&topic.0.to_le_bytes()),
            Meaning::Change(change) => {
                self.buffer.extend_from_slice(&change.relation.0.to_le_bytes());
                self.buffer.extend_from_slice(&change.scope.0.to_le_bytes());
                self.length(change.old.as_deref());
                self.bytes(change.old.as_deref().unwrap_or_default());
            }
        }
        (key, value)
    }

    /// The fragment; its sequence is zero until [`set_seq`].
    pub(super) fn finish(mut self) -> Result<Vec<u8>> {
        let length = u32::try_from(self.buffer.len()).map_err(|_| too_large())?;
        self.buffer[..4].copy_from_slice(&length.to_le_bytes());
        Ok(self.buffer)
    }

    fn length(&mut self, bytes: Option<&[u8]>) {
        let length = bytes.map_or(NONE, |bytes| bytes.len() as u32);
        self.buffer.extend_from_slice(&length.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) -> Span {
        let start = self.buffer.len() as u32;
        self.buffer.extend_from_slice(bytes);
        Span { start, end: self.buffer.len() as u32 }
    }
}

/// Writes the commit's position into its fragment.
pub(super) fn set_seq(fragment: &mut [u8], seq: CommitSeq) {
    fragment[4..12].copy_from_slice(&seq.0.to_le_bytes());
}

/// A commit as the log has it.
pub(super) struct Fragment {
    /// Its position.
    pub(super) seq: CommitSeq,
    /// When its commit was made, in Unix microseconds.
    pub(super) time: i64,
    entries: Bytes,
}

/// One entry of a fragment.
pub(super) struct LoggedEntry {
    /// Key in the store.
    pub(super) key: Bytes,
    /// Value, none where the key was removed.
    pub(super) value: Option<Bytes>,
    kind: u8,
    relation: Oid,
    scope: ScopeId,
    old: Option<Bytes>,
}

/// Takes a record apart.
pub(super) fn fragments(mut record: Bytes) -> Result<Vec<Fragment>> {
    let mut fragments = Vec::new();
    while !record.is_empty() {
        if record.len() < HEADER_BYTES {
            return Err(corrupt());
        }
        let length = u32::from_le_bytes(record[..4].try_into().expect("four bytes")) as usize;
        if length < HEADER_BYTES || length > record.len() {
            return Err(corrupt());
        }
        let mut entries = record.split_to(length);
        entries.advance(4);
        let seq = CommitSeq(entries.get_u64_le());
        let time = entries.get_i64_le();
        fragments.push(Fragment { seq, time, entries });
    }
    Ok(fragments)
}

impl Fragment {
    /// The entries in order.
    pub(super) fn entries(&self) -> Result<Vec<LoggedEntry>> {
        let mut rest = self.entries.clone();
        let mut entries = Vec::new();
        while !rest.is_empty() {
            entries.push(entry(&mut rest)?);
        }
        Ok(entries)
    }

    /// The bulk file that has the commit's entries, where it has one; there are no others then.
    pub(super) fn bulk(&self) -> Result<Option<BulkRef>> {
        if self.entries.first() != Some(&BULK) {
            return Ok(None);
        }
        let named = entry(&mut self.entries.clone())?.value.and_then(BulkRef::decode);
        named.map(Some).ok_or_else(corrupt)
    }

    /// The commit as its readers saw it, without notifications, which nobody may see twice, and without what was in
    /// memory only.
    pub(super) fn commit(&self, bulks: &Arc<BulkDir>) -> Result<Commit> {
        let named = self.bulk()?;
        let mut commit = Commit {
            seq: self.seq,
            time: self.time,
            changes: Vec::new(),
            bulk: named.map(|named| bulks.open_named(&named, self.seq)).transpose()?,
            notifications: Vec::new(),
            arrivals: Vec::new(),
            catalog: None,
            replaced: Vec::new(),
        };
        if let Some(bulk) = &commit.bulk {
            commit.arrivals = bulk_arrivals(bulk.partitions());
        }
        let mut replaced = Replaced::default();
        for entry in self.entries()? {
            replaced.look_at(&entry.key);
            let kind = match entry.kind {
                INSERT => ChangeKind::Insert,
                UPDATE => ChangeKind::Update,
                DELETE => ChangeKind::Delete,
                MESSAGE => {
                    add_arrival(&mut commit.arrivals, entry.relation, &entry.key)?;
                    continue;
                }
                _ => continue,
            };
            commit.changes.push(Change {
                relation: entry.relation,
                scope: entry.scope,
                kind,
                key: entry.key,
                old: entry.old,
                new: entry.value,
            });
        }
        commit.replaced = replaced.relations();
        Ok(commit)
    }
}

/// Finds the relations whose rows a commit may have replaced: those that it defined, if it gave up storages too.
#[derive(Default)]
pub(super) struct Replaced {
    defined: Vec<Oid>,
    drops: bool,
}

impl Replaced {
    /// Looks at the key of an entry.
    pub(super) fn look_at(&mut self, key: &[u8]) {
        match key.first() {
            Some(&space) if space == Space::Catalog as u8 => self.defined.extend(catalog::relation_in_key(key)),
            Some(&space) if space == Space::Meta as u8 => self.drops |= super::recovery::is_drop_mark(key),
            _ => {}
        }
    }

    /// The relations.
    pub(super) fn relations(self) -> Vec<Oid> {
        if self.drops { self.defined } else { Vec::new() }
    }
}

fn entry(rest: &mut Bytes) -> Result<LoggedEntry> {
    let kind = rest.try_get_u8().map_err(|_| corrupt())?;
    let key_length = length(rest)?.ok_or_else(corrupt)?;
    let value_length = length(rest)?;
    let key = take(rest, key_length)?;
    let value = value_length.map(|length| take(rest, length)).transpose()?;
    let mut entry = LoggedEntry { key, value, kind, relation: Oid::INVALID, scope: ScopeId::SHARED, old: None };
    match kind {
        PLAIN | BULK => {}
        MESSAGE => entry.relation = Oid(rest.try_get_u32_le().map_err(|_| corrupt())?),
        INSERT | UPDATE | DELETE => {
            entry.relation = Oid(rest.try_get_u32_le().map_err(|_| corrupt())?);
            entry.scope = ScopeId(rest.try_get_u64_le().map_err(|_| corrupt())?);
            entry.old = length(rest)?.map(|length| take(rest, length)).transpose()?;
        }
        _ => return Err(corrupt()),
    }
    Ok(entry)
}

fn length(rest: &mut Bytes) -> Result<Option<usize>> {
    let length = rest.try_get_u32_le().map_err(|_| corrupt())?;
    Ok((length != NONE).then_some(length as usize))
}

fn take(rest: &mut Bytes, length: usize) -> Result<Bytes> {
    if length > rest.len() {
        return Err(corrupt());
    }
    Ok(rest.split_to(length))
}

/// The messages that a bulk commit brings.
pub(super) fn bulk_arrivals(partitions: &[BulkPartition]) -> Vec<TopicArrival> {
    let arrival = |partition: &BulkPartition| TopicArrival {
        topic: partition.topic,
        partition: partition.prefix.last_chunk().map_or(0, |number| u32::from_be_bytes(*number)),
        first: partition.base,
        count: partition.count,
    };
    partitions.iter().map(arrival).collect()
}

/// Counts a message whose key is complete.
pub(super) fn add_arrival(arrivals: &mut Vec<TopicArrival>, topic: Oid, key: &[u8]) -> Result<()> {
    let tail = key.len().checked_sub(12).ok_or_else(corrupt)?;
    let partition = u32::from_be_bytes(key[tail..tail + 4].try_into().expect("four bytes"));
    let offset = u64::from_be_bytes(key[tail + 4..].try_into().expect("eight bytes"));
    match arrivals.iter_mut().find(|arrival| arrival.topic == topic && arrival.partition == partition) {
        Some(arrival) => arrival.count += 1,
        None => arrivals.push(TopicArrival { topic, partition, first: offset, count: 1 }),
    }
    Ok(())
}

fn corrupt() -> Error {
    Error::new(SqlState::DATA_CORRUPTED, "commit log record cannot be decoded")
}

fn too_large() -> Error {
    Error::new(SqlState::CONFIGURATION_LIMIT_EXCEEDED, "transaction is too large for one commit log record")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_gives_back_its_commits() {
        let change = Change {
            relation: Oid(7),
            scope: ScopeId(3),
            kind: ChangeKind::Update,
            key: Bytes::from("k"),
            old: Some(Bytes::from("before")),
            new: Some(Bytes::from("after")),
        };
        let mut writer = FragmentWriter::new(5, 0);
        writer.entry(b"k", Some(b"after"), &Meaning::Change(&change));
        writer.entry(b"index", None, &Meaning::Plain);
        let message_key = [b"topic".as_slice(), &2u32.to_be_bytes(), &9u64.to_be_bytes()].concat();
        writer.entry(&message_key, Some(b"m"), &Meaning::Message(Oid(8)));
        let mut record = writer.finish().unwrap();
        set_seq(&mut record, CommitSeq(11));
        record.extend(FragmentWriter::new(6, 0).finish().unwrap());

        let fragments = fragments(Bytes::from(record)).unwrap();
        assert_eq!(fragments.len(), 2);
        let disk = Arc::new(crate::storage::fault::FaultDisk::default());
        let bulks = BulkDir::open(disk, std::path::Path::new("bulk")).unwrap();
        let commit = fragments[0].commit(&bulks).unwrap();
        assert_eq!((commit.seq, commit.time), (CommitSeq(11), 5));
        assert_eq!(commit.changes.len(), 1);
        assert_eq!(commit.changes[0].old, change.old);
        assert_eq!(commit.changes[0].new, change.new);
        assert_eq!(commit.arrivals, [TopicArrival { topic: Oid(8), partition: 2, first: 9, count: 1 }]);
        assert_eq!(fragments[0].entries().unwrap()[1].value, None);
    }

    #[test]
    fn damage_is_an_error() {
        let mut writer = FragmentWriter::new(5, 0);
        writer.entry(b"k", Some(b"v"), &Meaning::Plain);
        let record = writer.finish().unwrap();
        for cut in 1..record.len() {
            assert!(fragments(Bytes::copy_from_slice(&record[..cut])).is_err(), "cut at {cut}");
        }
    }
}
