//! The writes of one open transaction, versioned by command so that a statement sees the set as it was at its start.
//!
//! Writes are kept in the order they were made; the newest of each key stands in an ordered map and each write points
//! at the one of its key before it. So a savepoint is three lengths, and going back to it pops from the end.

use super::Notification;
use crate::catalog::{CatalogEntry, CatalogKey};
use crate::types::{Oid, ScopeId, StorageId};
use bytes::Bytes;
use std::collections::{BTreeMap, HashSet};
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
    /// What it means for a table's row; none for index entries, acknowledgements and the like.
    pub change: Option<RowChange>,
}

/// What a write means for a row.
#[derive(Clone, Debug)]
pub struct RowChange {
    /// The table.
    pub relation: Oid,
    /// Whose row.
    pub scope: ScopeId,
    /// The row under this key that the write replaced or removed.
    pub old: Option<Bytes>,
    /// The key that the row had, where an UPDATE changed it. The old key's removal is a write of its own, before this.
    pub moved_from: Option<Bytes>,
    /// Whether this is the removal of a row that moves to another key.
    pub moves_away: bool,
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
    /// Where the offset's column stands in the row ([`fixed_i64_place`](crate::encoding::row::fixed_i64_place)).
    pub offset_at: u32,
}

/// A place in a write set to go back to.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    writes: usize,
    notifications: usize,
    appends: usize,
    catalog: usize,
}

#[derive(Debug)]
struct Slot {
    write: Write,
    /// The slot of the same key's write before this one.
    previous: Option<u32>,
}

/// All that a transaction has written so far.
#[derive(Debug, Default)]
pub struct WriteSet {
    slots: Vec<Slot>,
    /// The newest slot of each key.
    newest: BTreeMap<Bytes, u32>,
    notifications: Vec<Notification>,
    seen_notifications: HashSet<Notification>,
    /// Messages that statements made themselves (INSERT INTO topic); those of sources are derived at commit.
    appends: Vec<TopicAppend>,
    /// Catalog entries put (some) or removed (none).
    catalog: Vec<(CatalogKey, Option<CatalogEntry>)>,
    bytes: usize,
    moves: bool,
}

impl WriteSet {
    /// Whether nothing would be committed.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.notifications.is_empty() && self.appends.is_empty() && self.catalog.is_empty()
    }

    /// Bytes of keys and values, for the bound.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether an UPDATE changed the key of a row.
    pub fn has_moves(&self) -> bool {
        self.moves
    }

    /// Adds a write.
    pub fn push(&mut self, write: Write) {
        self.bytes += write_bytes(&write);
        self.moves |= write.change.as_ref().is_some_and(|change| change.moved_from.is_some());
        let at = u32::try_from(self.slots.len()).expect("WRITE_SET_BYTES_MAX ends a transaction long before");
        let previous = self.newest.insert(write.key.clone(), at);
        self.slots.push(Slot { write, previous });
    }

    /// Adds a notification unless the transaction has the same one already.
    pub fn notify(&mut self, notification: Notification) {
        if self.seen_notifications.insert(notification.clone()) {
            self.bytes += notification.channel.len() + notification.payload.len();
            self.notifications.push(notification);
        }
    }

    /// Adds a message.
    pub fn append(&mut self, append: TopicAppend) {
        self.bytes += append.row.len();
        self.appends.push(append);
    }

    /// Puts or removes a catalog entry.
    pub fn change_catalog(&mut self, key: CatalogKey, entry: Option<CatalogEntry>) {
        self.catalog.push((key, entry));
    }

    /// The newest value of a key written before `command` began: none if the transaction has not written it,
    /// `Some(None)` if it has removed it.
    pub fn get(&self, key: &[u8], command: u32) -> Option<Option<&Bytes>> {
        self.before(*self.newest.get(key)?, command).map(|write| write.value.as_ref())
    }

    /// The keys between two bounds that were written before `command` began, in order, each with its newest value.
    pub fn range<'a>(
        &'a self,
        from: Bound<&'a [u8]>,
        to: Bound<&'a [u8]>,
        command: u32,
    ) -> impl DoubleEndedIterator<Item = (&'a Bytes, Option<&'a Bytes>)> + 'a {
        self.newest
            .range::<[u8], _>((from, to))
            .filter_map(move |(key, &at)| Some((key, self.before(at, command)?.value.as_ref())))
    }

    fn before(&self, newest: u32, command: u32) -> Option<&Write> {
        let mut at = Some(newest);
        while let Some(slot) = at.map(|at| &self.slots[at as usize]) {
            if slot.write.command < command {
                return Some(&slot.write);
            }
            at = slot.previous;
        }
        None
    }

    /// All writes in order.
    pub fn writes(&self) -> impl Iterator<Item = &Write> {
        self.slots.iter().map(|slot| &slot.write)
    }

    /// Each key once, in the order of first writes: its first write and its newest.
    pub fn net(&self) -> impl Iterator<Item = (&Write, &Write)> {
        self.slots.iter().filter(|slot| slot.previous.is_none()).map(|slot| {
            let newest = self.newest[&slot.write.key];
            (&slot.write, &self.slots[newest as usize].write)
        })
    }

    /// All notifications in order.
    pub fn notifications(&self) -> &[Notification] {
        &self.notifications
    }

    /// All messages that statements made, in order.
    pub fn appends(&self) -> &[TopicAppend] {
        &self.appends
    }

    /// All catalog changes in order.
    pub fn catalog(&self) -> &[(CatalogKey, Option<CatalogEntry>)] {
        &self.catalog
    }

    /// The present place.
    pub fn mark(&self) -> Mark {
        Mark {
            writes: self.slots.len(),
            notifications: self.notifications.len(),
            appends: self.appends.len(),
            catalog: self.catalog.len(),
        }
    }

    /// Forgets all that was added since the mark.
    pub fn cut(&mut self, mark: Mark) {
        while self.slots.len() > mark.writes {
            let slot = self.slots.pop().expect("the length was just compared");
            self.bytes -= write_bytes(&slot.write);
            match slot.previous {
                Some(previous) => self.newest.insert(slot.write.key, previous),
                None => self.newest.remove(&slot.write.key),
            };
        }
        for notification in self.notifications.drain(mark.notifications..) {
            self.bytes -= notification.channel.len() + notification.payload.len();
            self.seen_notifications.remove(&notification);
        }
        for append in self.appends.drain(mark.appends..) {
            self.bytes -= append.row.len();
        }
        self.catalog.truncate(mark.catalog);
    }
}

/// What a write counts against the bound: its bytes and about what the maps around it take.
fn write_bytes(write: &Write) -> usize {
    let old = write.change.as_ref().and_then(|change| change.old.as_ref()).map_or(0, Bytes::len);
    write.key.len() + write.value.as_ref().map_or(0, Bytes::len) + old + 64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(set: &mut WriteSet, command: u32, key: &'static str, value: Option<&'static str>) {
        set.push(Write {
            command,
            key: Bytes::from(key),
            value: value.map(Bytes::from),
            volatile: false,
            change: None,
        });
    }

    #[test]
    fn a_command_sees_only_earlier_commands() {
        let mut set = WriteSet::default();
        put(&mut set, 1, "a", Some("1"));
        put(&mut set, 2, "a", None);
        assert_eq!(set.get(b"a", 1), None);
        assert_eq!(set.get(b"a", 2), Some(Some(&Bytes::from("1"))));
        assert_eq!(set.get(b"a", 3), Some(None));
    }

    #[test]
    fn cutting_restores_what_was_before() {
        let mut set = WriteSet::default();
        put(&mut set, 1, "a", Some("1"));
        let bytes = set.bytes();
        let mark = set.mark();
        put(&mut set, 2, "a", Some("2"));
        put(&mut set, 2, "b", Some("3"));
        set.cut(mark);
        assert_eq!(set.get(b"a", 9), Some(Some(&Bytes::from("1"))));
        assert_eq!(set.get(b"b", 9), None);
        assert_eq!(set.bytes(), bytes);
        assert_eq!(set.net().count(), 1);
    }
}
