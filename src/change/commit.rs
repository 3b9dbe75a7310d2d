//! A published commit as its readers see it.

use super::TopicAppend;
use crate::catalog::Catalog;
use crate::env::UnixMicros;
use crate::error::Result;
use crate::storage::bulk::Bulk;
use crate::types::{CommitSeq, Oid, ScopeId, Str};
use bytes::Bytes;
use std::sync::Arc;

/// One commit of the sequence: the net effect on each row, the notifications and the topic messages.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Its position.
    pub seq: CommitSeq,
    /// When it was committed.
    pub time: UnixMicros,
    /// Net effect per row, at most one a key, in the order of first writes.
    pub changes: Vec<Change>,
    /// The rest of them where the commit was too large for memory: [`bulk_changes`](Commit::bulk_changes).
    pub bulk: Option<Arc<Bulk>>,
    /// NOTIFY and pg_notify, duplicates merged, in order.
    pub notifications: Vec<Notification>,
    /// Topics that got messages.
    pub arrivals: Vec<TopicArrival>,
    /// The catalog after it, where it changed.
    pub catalog: Option<Arc<Catalog>>,
    /// Relations that it defined, where it gave up storages as well: their rows may have been replaced as a whole, of
    /// which `changes` says nothing. [`may_replace`](Commit::may_replace) knows of bulk commits too.
    pub replaced: Vec<Oid>,
}

/// Something outside the ordered map that a transaction changes with its end: acknowledgements in the memory of a
/// consumer group, say.
pub trait AtEnd: Send {
    /// Called once: after the commit is published, with its position, or when the transaction (or the part of it since
    /// a savepoint) is rolled back, with none. Must be quick and must not commit anything itself.
    fn end(self: Box<Self>, committed: Option<CommitSeq>);
}

/// Makes topic messages of a table's net changes: source filters and payloads, handed down from `sql`.
pub trait Derive: Send + Sync {
    /// Adds the messages for one change. The new row has no commit sequence yet; `time` is the commit's.
    fn derive(&self, change: &Change, time: UnixMicros, out: &mut Vec<TopicAppend>) -> Result<()>;
}

/// What happened to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was not there before.
    Insert,
    /// It was and is there, perhaps under another key.
    Update,
    /// It is not there any more.
    Delete,
}

impl ChangeKind {
    /// What happened to a row by what was there before and is there after; none where neither was.
    pub fn between(old: Option<&Bytes>, new: Option<&Bytes>) -> Option<ChangeKind> {
        match (old, new) {
            (None, None) => None,
            (None, Some(_)) => Some(ChangeKind::Insert),
            (Some(_), Some(_)) => Some(ChangeKind::Update),
            (Some(_), None) => Some(ChangeKind::Delete),
        }
    }
}

/// The net effect of a commit on one row. Rows are in the stored form of `encoding::row`, which names its version.
#[derive(Clone, Debug)]
pub struct Change {
    /// The table.
    pub relation: Oid,
    /// Whose row.
    pub scope: ScopeId,
    /// What happened.
    pub kind: ChangeKind,
    /// The row's key in the store, after the commit (for a delete: before).
    pub key: Bytes,
    /// The row before; none for an insert.
    pub old: Option<Bytes>,
    /// The row after; none for a delete.
    pub new: Option<Bytes>,
}

/// A notification on a plain channel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Notification {
    /// Channel.
    pub channel: Str,
    /// Payload, empty where none was given.
    pub payload: Str,
    /// The notifying session's process id.
    pub pid: i32,
}

/// Messages that a topic's partition got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicArrival {
    /// The topic.
    pub topic: Oid,
    /// The partition.
    pub partition: u32,
    /// Offset of the first.
    pub first: u64,
    /// How many.
    pub count: u64,
}
