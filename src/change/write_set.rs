//! The writes of one open transaction, versioned by command so that a statement sees the set as it was at its start.

use super::Notification;
use crate::catalog::CatalogEntry;
use crate::catalog::CatalogKey;
use crate::types::{Oid, ScopeId, StorageId};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ops::Bound;

/// One write to the ordered map.
#[derive(Clone, Debug)]
pub struct Write {
    /// The command that made it.
    pub command: u32,
    /// Key in the store.
    pub key: Bytes,
    /// The new value; none removes the key. A row's commit sequence is filled in by the committer.
    pub value: Option<Bytes>,
    /// In memory only, never logged: STREAM rows.
    pub volatile: bool,
    /// What it means for a table's row; none for index entries, catalog entries, acknowledgements.
    pub change: Option<RowChange>,
}

/// What a write means for a row.
#[derive(Clone, Debug)]
pub struct RowChange {
    /// The table.
    pub relation: Oid,
    /// Whose row.
    pub scope: ScopeId,
    /// The row that this write replaced or removed, as the statement saw it.
    pub old: Option<Bytes>,
    /// The key that the row had, where an UPDATE changed it. That key's own removal is a write without `change`.
    pub moved_from: Option<Bytes>,
}

/// A message for a topic. The committer gives it the partition's next offset.
#[derive(Clone, Debug)]
pub struct TopicAppend {
    /// The command that made it.
    pub command: u32,
    /// The topic.
    pub topic: Oid,
    /// Where its messages are.
    pub storage: StorageId,
    /// The partition.
    pub partition: u32,
    /// The message as a row of the topic; the committer fills in offset and commit sequence.
    pub row: Bytes,
}

/// All that a transaction has written so far.
#[derive(Debug, Default)]
pub struct WriteSet {
    writes: Vec<Write>,
    by_key: BTreeMap<Bytes, Vec<usize>>,
    /// Notifications with the command that made them.
    notifications: Vec<(u32, Notification)>,
    seen_notifications: BTreeSet<(Vec<u8>, Vec<u8>)>,
    /// Messages that statements made themselves (INSERT INTO topic); those of sources are derived at commit.
    pub appends: Vec<TopicAppend>,
    /// Catalog entries put (some) or removed (none).
    pub catalog: Vec<(CatalogKey, Option<CatalogEntry>)>,
    bytes: usize,
}

impl WriteSet {
    /// Whether nothing would be committed.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.notifications.is_empty() && self.appends.is_empty() && self.catalog.is_empty()
    }

    /// Bytes of keys and values, for the bound.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a write.
    pub fn push(&mut self, write: Write) {
        self.bytes += write.key.len() + write.value.as_ref().map_or(0, Bytes::len) + 64;
        self.bytes += write.change.as_ref().and_then(|change| change.old.as_ref()).map_or(0, Bytes::len);
        self.by_key.entry(write.key.clone()).or_default().push(self.writes.len());
        self.writes.push(write);
    }

    /// Adds a notification unless the transaction has the same one already.
    pub fn notify(&mut self, command: u32, notification: Notification) {
        let same = (notification.channel.as_bytes().to_vec(), notification.payload.as_bytes().to_vec());
        if self.seen_notifications.insert(same) {
            self.bytes += notification.channel.len() + notification.payload.len();
            self.notifications.push((command, notification));
        }
    }

    /// The newest value of a key written before `command` began: none if the transaction has not written it,
    /// `Some(None)` if it has removed it.
    pub fn get(&self, key: &[u8], command: u32) -> Option<Option<&Bytes>> {
        let versions = self.by_key.get(key)?;
        let newest = versions.iter().rev().map(|&at| &self.writes[at]).find(|write| write.command < command)?;
        Some(newest.value.as_ref())
    }

    /// The keys between two bounds that were written before `command` began, in order, each with its newest value.
    pub fn range<'a>(
        &'a self,
        from: Bound<&'a [u8]>,
        to: Bound<&'a [u8]>,
        command: u32,
    ) -> impl DoubleEndedIterator<Item = (&'a Bytes, Option<&'a Bytes>)> + 'a {
        self.by_key.range::<[u8], _>((from, to)).filter_map(move |(key, versions)| {
            let newest = versions.iter().rev().map(|&at| &self.writes[at]).find(|write| write.command < command)?;
            Some((key, newest.value.as_ref()))
        })
    }

    /// All writes in order.
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// All notifications in order.
    pub fn notifications(&self) -> impl Iterator<Item = &Notification> {
        self.notifications.iter().map(|(_, notification)| notification)
    }
}
