//! The writes of one open transaction, versioned by command so that a statement sees the set as it was at its start.
//!
//! Writes are kept in the order they were made; the newest of each key stands in an ordered map and each write points
//! at the one of its key before it. So a savepoint is a few numbers, and going back to it pops from the end. What is
//! durable of a large set is spilled to disk in sorted runs; rows of STREAM tables stay in memory, where they belong.

use super::Notification;
use super::spilled::{Net, NetWrite, Spilled, StoredChange};
use crate::catalog::{CatalogEntry, CatalogKey};
use crate::error::Result;
use crate::limits::SCAN_BATCH_BYTES;
use crate::storage::bulk::BulkDir;
use crate::storage::{Direction, is_empty_range};
use crate::types::{Oid, ScopeId, StorageId};
use bytes::Bytes;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

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
    /// Whether an UPDATE changed the row's key.
    pub moved: Moved,
}

/// An UPDATE that changes a row's key is two writes: the removal of the old key, then the row under the new one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Moved {
    /// It is none of these.
    #[default]
    No,
    /// The row comes from this key.
    From(Bytes),
    /// The row goes to this key.
    To(Bytes),
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

impl TopicAppend {
    /// What it counts against the bound of what memory holds of a transaction.
    pub fn bytes(&self) -> usize {
        self.row.len() + size_of::<TopicAppend>() + 64
    }
}

/// A place in a write set to go back to.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    order: u64,
    notifications: usize,
    catalog: usize,
}

#[derive(Debug)]
struct Slot {
    write: Write,
    /// Its place among all writes and messages of the transaction.
    order: u64,
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
    /// Messages that statements made themselves (INSERT INTO topic), each with its place; those of sources are derived
    /// at commit.
    appends: Vec<(u64, TopicAppend)>,
    /// Catalog entries put (some) or removed (none).
    catalog: Vec<(CatalogKey, Option<CatalogEntry>)>,
    next_order: u64,
    /// Bytes in memory that can be spilled.
    durable_bytes: usize,
    /// Bytes in memory that stay there: rows of STREAM tables and notifications.
    kept_bytes: usize,
    moves: bool,
    spilled: Option<Spilled>,
}

impl WriteSet {
    /// Whether nothing would be committed.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
            && self.notifications.is_empty()
            && self.appends.is_empty()
            && self.catalog.is_empty()
            && self.spilled.is_none()
    }

    /// Bytes of keys and values in memory.
    pub fn bytes(&self) -> usize {
        self.durable_bytes + self.kept_bytes
    }

    /// Those of them that [`spill`](Self::spill) would put on disk.
    pub fn durable_bytes(&self) -> usize {
        self.durable_bytes
    }

    /// Whether there is so much of what [`spill`](Self::spill) puts on disk that it should. The more runs there are, the
    /// more makes one, since every look-up asks each of them: up to four times `chunk_bytes`.
    pub fn is_large(&self, chunk_bytes: usize) -> bool {
        let runs = self.spilled.as_ref().map_or(0, Spilled::runs);
        self.durable_bytes > chunk_bytes.saturating_mul((1 + runs / 32).min(4))
    }

    /// Those that it would not.
    pub fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    /// Whether its commit is a bulk commit.
    pub fn is_spilled(&self) -> bool {
        self.spilled.is_some()
    }

    /// Bytes on disk.
    pub fn spilled_bytes(&self) -> u64 {
        self.spilled.as_ref().map_or(0, Spilled::bytes)
    }

    /// Whether an UPDATE changed the key of a row.
    pub fn has_moves(&self) -> bool {
        self.moves
    }

    /// Adds a write.
    pub fn push(&mut self, write: Write) {
        *self.count_of(write.volatile) += write_bytes(&write);
        self.moves |= write.change.as_ref().is_some_and(|change| change.moved != Moved::No);
        let order = self.next_order();
        self.put_slot(write, order);
    }

    fn put_slot(&mut self, write: Write, order: u64) {
        let at = u32::try_from(self.slots.len()).expect("WRITE_SET_BYTES_MAX ends a transaction long before");
        let previous = self.newest.insert(write.key.clone(), at);
        self.slots.push(Slot { write, order, previous });
    }

    fn next_order(&mut self) -> u64 {
        self.next_order += 1;
        self.next_order - 1
    }

    fn count_of(&mut self, volatile: bool) -> &mut usize {
        if volatile { &mut self.kept_bytes } else { &mut self.durable_bytes }
    }

    /// Adds a notification unless the transaction has the same one already.
    pub fn notify(&mut self, notification: Notification) {
        if self.seen_notifications.insert(notification.clone()) {
            self.kept_bytes += notification.channel.len() + notification.payload.len();
            self.notifications.push(notification);
        }
    }

    /// Adds a message.
    pub fn append(&mut self, append: TopicAppend) {
        self.durable_bytes += append.bytes();
        let order = self.next_order();
        self.appends.push((order, append));
    }

    /// Puts or removes a catalog entry.
    pub fn change_catalog(&mut self, key: CatalogKey, entry: Option<CatalogEntry>) {
        self.catalog.push((key, entry));
    }

    /// Puts the durable writes and messages on disk. After a failure the set is as it was.
    pub fn spill(&mut self, dir: &Arc<BulkDir>) -> Result<()> {
        let mut spilled = match self.spilled.take() {
            Some(spilled) => spilled,
            None => Spilled::new(dir.spill()?),
        };
        let added = self.add_runs(&mut spilled);
        if let Err(error) = added {
            self.spilled = Some(spilled).filter(|spilled| !spilled.is_empty());
            return Err(error);
        }
        self.spilled = Some(spilled);
        self.newest.clear();
        for slot in std::mem::take(&mut self.slots) {
            if slot.write.volatile {
                self.put_slot(slot.write, slot.order);
            }
        }
        self.appends = Vec::new();
        self.durable_bytes = 0;
        Ok(())
    }

    fn add_runs(&self, spilled: &mut Spilled) -> Result<()> {
        let versions = self
            .newest
            .values()
            .flat_map(|&newest| std::iter::successors(Some(newest), |&at| self.slots[at as usize].previous));
        let writes = versions.map(|at| &self.slots[at as usize]).filter(|slot| !slot.write.volatile);
        spilled.add_writes(writes.map(|slot| (slot.order, &slot.write)))?;
        // should this fail, the next attempt writes the first run again: it hides nothing, being equal
        spilled.add_appends(self.appends.iter())
    }

    /// What was spilled: its net effect on each key in key order. None where nothing was.
    pub fn spilled_net(&self) -> Result<Option<Net<'_>>> {
        self.spilled.as_ref().map(Spilled::net).transpose()
    }

    /// What is in memory: its net effect on each key, in the order of first writes. A row there has the key it began with,
    /// for no UPDATE changes that of a STREAM table's.
    pub fn kept_net(&self) -> impl Iterator<Item = NetWrite> {
        let firsts = self.slots.iter().filter(|slot| slot.previous.is_none());
        firsts.zip(self.net()).map(|(slot, (first, last))| NetWrite {
            key: first.key.clone(),
            order: slot.order,
            change: first.change.as_ref().map(|change| StoredChange {
                relation: change.relation,
                scope: change.scope,
                old: change.old.clone(),
                moved_to: None,
            }),
            value: last.value.clone(),
        })
    }

    /// About how many keys were spilled: not more than that.
    pub fn spilled_entries(&self) -> u64 {
        self.spilled.as_ref().map_or(0, Spilled::entries)
    }

    /// The messages that were spilled, in order.
    pub fn spilled_appends(&self) -> Result<Option<impl Iterator<Item = Result<TopicAppend>> + '_>> {
        self.spilled.as_ref().map(Spilled::appends).transpose()
    }

    /// The newest value of a key written before `command` began: none if the transaction has not written it,
    /// `Some(None)` if it has removed it.
    pub fn get(&self, key: &[u8], command: u32) -> Result<Option<Option<Bytes>>> {
        if let Some(&newest) = self.newest.get(key)
            && let Some(write) = self.before(newest, command)
        {
            return Ok(Some(write.value.clone()));
        }
        match &self.spilled {
            Some(spilled) => spilled.get(key, command),
            None => Ok(None),
        }
    }

    /// Appends the next keys of a range that were written before `command` began, each with its newest value, `limit`
    /// at most. Whether the range is exhausted.
    pub fn batch(
        &self,
        range: (&Bound<Vec<u8>>, &Bound<Vec<u8>>),
        direction: Direction,
        command: u32,
        limit: usize,
        out: &mut VecDeque<(Bytes, Option<Bytes>)>,
    ) -> Result<bool> {
        let (from, to) = range;
        let bounds = (from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice));
        // BTreeMap panics on such a range
        if is_empty_range(bounds.0, bounds.1) {
            return Ok(true);
        }
        let held = self
            .newest
            .range::<[u8], _>(bounds)
            .filter_map(move |(key, &at)| self.before(at, command).map(|write| Ok((key.clone(), write.value.clone()))));
        let mut sources: Vec<Source<'_>> = Vec::new();
        sources.push(match direction {
            Direction::Forward => Box::new(held),
            Direction::Backward => Box::new(held.rev()),
        });
        if let Some(spilled) = &self.spilled {
            let runs = spilled.ranges(from, to, direction, command);
            sources.extend(runs.map(|run| -> Source<'_> { Box::new(run) }));
        }
        merge_newest(sources, direction, limit, out)
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

    /// All writes in memory in order.
    pub fn writes(&self) -> impl Iterator<Item = &Write> {
        self.slots.iter().map(|slot| &slot.write)
    }

    /// Each key of those once, in the order of first writes: its first write that changed a row, or its first one, and its
    /// newest. A rewritten table's rows are written anew without a change; one that is updated after that was changed.
    pub fn net(&self) -> impl Iterator<Item = (&Write, &Write)> {
        self.slots.iter().filter(|slot| slot.previous.is_none()).map(|slot| {
            let newest = self.newest[&slot.write.key];
            let first = match &slot.write.change {
                Some(_) => &slot.write,
                None => self.versions(newest).filter(|write| write.change.is_some()).last().unwrap_or(&slot.write),
            };
            (first, &self.slots[newest as usize].write)
        })
    }

    /// All writes to a key, the newest first.
    fn versions(&self, newest: u32) -> impl Iterator<Item = &Write> {
        let slots = std::iter::successors(Some(newest), |&at| self.slots[at as usize].previous);
        slots.map(|at| &self.slots[at as usize].write)
    }

    /// All notifications in order.
    pub fn notifications(&self) -> &[Notification] {
        &self.notifications
    }

    /// All messages in memory that statements made, in order.
    pub fn appends(&self) -> impl ExactSizeIterator<Item = &TopicAppend> {
        self.appends.iter().map(|(_, append)| append)
    }

    /// All catalog changes in order.
    pub fn catalog(&self) -> &[(CatalogKey, Option<CatalogEntry>)] {
        &self.catalog
    }

    /// The present place.
    pub fn mark(&self) -> Mark {
        Mark { order: self.next_order, notifications: self.notifications.len(), catalog: self.catalog.len() }
    }

    /// Forgets all that was added since the mark.
    pub fn cut(&mut self, mark: Mark) {
        while let Some(slot) = self.slots.pop_if(|slot| slot.order >= mark.order) {
            *self.count_of(slot.write.volatile) -= write_bytes(&slot.write);
            match slot.previous {
                Some(previous) => self.newest.insert(slot.write.key, previous),
                None => self.newest.remove(&slot.write.key),
            };
        }
        while let Some((_, append)) = self.appends.pop_if(|(order, _)| *order >= mark.order) {
            self.durable_bytes -= append.bytes();
        }
        if let Some(spilled) = &mut self.spilled {
            spilled.cut(mark.order, self.next_order);
            self.spilled.take_if(|spilled| spilled.is_empty());
        }
        for notification in self.notifications.drain(mark.notifications..) {
            self.kept_bytes -= notification.channel.len() + notification.payload.len();
            self.seen_notifications.remove(&notification);
        }
        self.catalog.truncate(mark.catalog);
    }
}

/// Keys of one place where a transaction's writes are, in order.
type Source<'a> = Box<dyn Iterator<Item = Result<(Bytes, Option<Bytes>)>> + 'a>;

/// Merges sources, of which an earlier one is newer. Whether all are exhausted.
fn merge_newest(
    sources: Vec<Source<'_>>,
    direction: Direction,
    limit: usize,
    out: &mut VecDeque<(Bytes, Option<Bytes>)>,
) -> Result<bool> {
    let mut heads = Vec::with_capacity(sources.len());
    for mut source in sources {
        if let Some(head) = source.next().transpose()? {
            heads.push((head, source));
        }
    }
    let (mut taken, mut bytes) = (0, 0);
    while taken < limit && bytes < SCAN_BATCH_BYTES {
        let nearest = heads.iter().map(|((key, _), _)| key);
        let nearest = match direction {
            Direction::Forward => nearest.min(),
            Direction::Backward => nearest.max(),
        };
        let Some(nearest) = nearest.cloned() else { return Ok(true) };
        let mut newest = None;
        let mut at = 0;
        while let Some((head, source)) = heads.get_mut(at) {
            if head.0 == nearest {
                newest = newest.or_else(|| Some(head.1.clone()));
                match source.next().transpose()? {
                    Some(next) => *head = next,
                    None => {
                        drop(heads.remove(at));
                        continue;
                    }
                }
            }
            at += 1;
        }
        let newest = newest.flatten();
        taken += 1;
        bytes += newest.as_ref().map_or(0, Bytes::len);
        out.push_back((nearest, newest));
    }
    Ok(heads.is_empty())
}

/// Bytes that a write takes beside its keys and rows: its slot, its place in the map, and what the allocator adds.
const WRITE_OVERHEAD: usize = 256;

/// What a write counts against the bound: its bytes and about what the maps around it take.
fn write_bytes(write: &Write) -> usize {
    let old = write.change.as_ref().and_then(|change| change.old.as_ref()).map_or(0, Bytes::len);
    write.key.len() + write.value.as_ref().map_or(0, Bytes::len) + old + WRITE_OVERHEAD
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
        assert_eq!(set.get(b"a", 1).unwrap(), None);
        assert_eq!(set.get(b"a", 2).unwrap(), Some(Some(Bytes::from("1"))));
        assert_eq!(set.get(b"a", 3).unwrap(), Some(None));
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
        assert_eq!(set.get(b"a", 9).unwrap(), Some(Some(Bytes::from("1"))));
        assert_eq!(set.get(b"b", 9).unwrap(), None);
        assert_eq!(set.bytes(), bytes);
        assert_eq!(set.net().count(), 1);
    }
}
