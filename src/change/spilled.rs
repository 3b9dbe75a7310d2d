//! The part of a write set that is on disk: sorted runs with every version, in one file of the transaction's own.
//!
//! Each spill is one run. Versions carry their order in the transaction, so that ROLLBACK TO needs to drop whole runs and
//! to remember one range of orders that do not count any more; and their command, so that a statement sees what was
//! there when it began. A run that has nothing of earlier commands is not even looked at.

use super::write_set::{Moved, RowChange, TopicAppend, Write};
use crate::error::{Error, Result, SqlState};
use crate::storage::Direction;
use crate::storage::bulk::SpillFile;
use crate::storage::run::{Merge, Run, RunCursor, RunEntry, RunWriter, hash_of};
use crate::types::{Oid, ScopeId, StorageId};
use bytes::{Buf, Bytes};
use std::ops::Bound;
use std::sync::Arc;

/// Where the flags of an encoded write stand, behind its command.
const FLAGS_AT: usize = 4;
const HAS_VALUE: u8 = 1;
const HAS_CHANGE: u8 = 2;
const HAS_OLD: u8 = 4;
const MOVES_AWAY: u8 = 8;

/// One run and what is in it.
struct Part {
    run: Arc<Run>,
    /// Where it ends in the file.
    end: u64,
    /// The lowest command and the highest order of its entries.
    command: u32,
    order: (u64, u64),
}

/// What a transaction has on disk.
pub(super) struct Spilled {
    file: SpillFile,
    writes: Vec<Part>,
    appends: Vec<Part>,
    /// Orders that ROLLBACK TO took back, in ascending ranges without their ends.
    dead: Vec<(u64, u64)>,
}

impl std::fmt::Debug for Spilled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spilled").field("file", &self.file).field("runs", &self.writes.len()).finish_non_exhaustive()
    }
}

/// A write as it is on disk.
struct StoredWrite {
    command: u32,
    value: Option<Bytes>,
    change: Option<StoredChange>,
}

/// The net effect of all writes to a key is told by the first one that has such, and where the row went by the last one.
#[derive(Clone, Debug)]
pub struct StoredChange {
    /// The table.
    pub relation: Oid,
    /// Whose row.
    pub scope: ScopeId,
    /// The row before.
    pub old: Option<Bytes>,
    /// The key where the row is after its UPDATE.
    pub moved_to: Option<Bytes>,
}

/// What a transaction did to one key.
#[derive(Clone, Debug)]
pub struct NetWrite {
    /// The key.
    pub key: Bytes,
    /// The first write's place in the transaction.
    pub order: u64,
    /// What the first write to a row replaced; none where no write was one.
    pub change: Option<StoredChange>,
    /// The last value.
    pub value: Option<Bytes>,
}

impl NetWrite {
    /// As bytes, for sorting.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let change = self.change.as_ref();
        let key = self.key.clone();
        let change = change.map(|change| RowChange {
            relation: change.relation,
            scope: change.scope,
            old: change.old.clone(),
            moved: change.moved_to.clone().map_or(Moved::No, Moved::To),
        });
        let write = Write { command: 0, key, value: self.value.clone(), volatile: false, change };
        encode_head(&write, out);
        out.extend_from_slice(self.value.as_deref().unwrap_or_default());
        out.extend_from_slice(write.change.as_ref().and_then(|change| change.old.as_deref()).unwrap_or_default());
        // the key last: its length is what is left
        out.extend_from_slice(&self.key);
        out.extend_from_slice(&(self.key.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.order.to_le_bytes());
    }

    /// From bytes.
    pub fn decode(mut bytes: Bytes) -> Result<NetWrite> {
        let mut tail = bytes.len().checked_sub(12).map(|at| bytes.split_off(at)).ok_or_else(damaged)?;
        let (length, order) = (tail.get_u32_le() as usize, tail.get_u64_le());
        let key = bytes.len().checked_sub(length).map(|at| bytes.split_off(at)).ok_or_else(damaged)?;
        let StoredWrite { value, change, .. } = decode(bytes)?;
        Ok(NetWrite { key, order, change, value })
    }
}

impl Spilled {
    pub(super) fn new(file: SpillFile) -> Spilled {
        Spilled { file, writes: Vec::new(), appends: Vec::new(), dead: Vec::new() }
    }

    fn end(&self) -> u64 {
        self.writes.iter().chain(&self.appends).map(|part| part.end).max().unwrap_or(0)
    }

    /// Bytes of the file that are in use.
    pub(super) fn bytes(&self) -> u64 {
        self.end()
    }

    /// How many runs of writes there are.
    pub(super) fn runs(&self) -> usize {
        self.writes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.appends.is_empty()
    }

    /// Writes a run: each write with its order, by key and newest first.
    pub(super) fn add_writes<'a>(&mut self, writes: impl Iterator<Item = (u64, &'a Write)> + Clone) -> Result<()> {
        let place = |(order, write): (u64, &'a Write)| (order, write.command);
        let Some((order, command)) = ranges(writes.clone().map(place)) else { return Ok(()) };
        let mut run = self.writer(writes.clone().count());
        let mut head = Vec::new();
        for (order, write) in writes {
            encode_head(write, &mut head);
            let old = write.change.as_ref().and_then(|change| change.old.as_deref());
            let value = write.value.as_deref().unwrap_or_default();
            run.push(&write.key, order, &[&head, value, old.unwrap_or_default()])?;
        }
        let (run, end) = run.finish()?;
        self.writes.push(Part { run: Arc::new(run), end, command, order });
        Ok(())
    }

    /// Writes a run of messages in their order.
    pub(super) fn add_appends<'a>(
        &mut self,
        appends: impl Iterator<Item = &'a (u64, TopicAppend)> + Clone,
    ) -> Result<()> {
        let places = appends.clone().map(|(order, append)| (*order, append.command));
        let Some((order, command)) = ranges(places) else { return Ok(()) };
        let mut run = self.writer(appends.clone().count());
        for (order, append) in appends {
            run.push(&order.to_be_bytes(), *order, &[&append_head(append), &append.row])?;
        }
        let (run, end) = run.finish()?;
        self.appends.push(Part { run: Arc::new(run), end, command, order });
        Ok(())
    }

    fn writer(&self, entries: usize) -> RunWriter {
        RunWriter::new(self.file.file().clone(), self.end(), entries as u64, None)
    }

    /// Forgets what has an order of `from` or above; `next` is the next order.
    pub(super) fn cut(&mut self, from: u64, next: u64) {
        for parts in [&mut self.writes, &mut self.appends] {
            while parts.last().is_some_and(|last| last.order.0 >= from) {
                parts.pop();
            }
        }
        while self.dead.last().is_some_and(|(start, _)| *start >= from) {
            self.dead.pop();
        }
        if self.writes.iter().chain(&self.appends).any(|part| part.order.1 >= from) {
            self.dead.push((from, next));
        }
    }

    fn is_alive(&self, order: u64) -> bool {
        let after = self.dead.partition_point(|(_, end)| *end <= order);
        self.dead.get(after).is_none_or(|(start, _)| order < *start)
    }

    /// The value of a key as of the beginning of a command.
    pub(super) fn get(&self, key: &[u8], command: u32) -> Result<Option<Option<Bytes>>> {
        let hash = hash_of(key);
        for part in self.writes.iter().rev().filter(|part| part.command < command) {
            if !part.run.may_have(key, hash) {
                continue;
            }
            for found in part.run.cursor(Bound::Included(key), Direction::Forward) {
                let found = found?;
                if *found.key != *key {
                    break;
                }
                let write = decode(found.payload)?;
                if write.command < command && self.is_alive(found.order) {
                    return Ok(Some(write.value));
                }
            }
        }
        Ok(None)
    }

    /// The keys of a range with their values as of a command, from each run that may have some; the newest run first.
    pub(super) fn ranges<'a>(
        &'a self,
        from: &Bound<Vec<u8>>,
        to: &Bound<Vec<u8>>,
        direction: Direction,
        command: u32,
    ) -> impl Iterator<Item = Visible<'a>> {
        let (near, far) = match direction {
            Direction::Forward => (from.clone(), to.clone()),
            Direction::Backward => (to.clone(), from.clone()),
        };
        let parts = self.writes.iter().rev();
        let parts: Vec<&Part> = parts.filter(|part| part.command < command && !part.run.is_outside(from, to)).collect();
        parts.into_iter().map(move |part| Visible {
            spilled: self,
            entries: part.run.cursor(near.as_ref().map(Vec::as_slice), direction),
            far: far.clone(),
            direction,
            command,
            ahead: None,
        })
    }

    /// The net effect on each key, in key order.
    pub(super) fn net(&self) -> Result<Net<'_>> {
        let runs = self.writes.iter().map(|part| part.run.cursor(Bound::Unbounded, Direction::Forward)).collect();
        Ok(Net { spilled: self, entries: Merge::new(runs)?, ahead: None })
    }

    /// An upper bound of the number of keys.
    pub(super) fn entries(&self) -> u64 {
        self.writes.iter().map(|part| part.run.entries()).sum()
    }

    /// The messages that statements made, in order.
    pub(super) fn appends(&self) -> Result<impl Iterator<Item = Result<TopicAppend>> + '_> {
        let runs = self.appends.iter().map(|part| part.run.cursor(Bound::Unbounded, Direction::Forward)).collect();
        let mut entries = Merge::new(runs)?;
        Ok(std::iter::from_fn(move || {
            loop {
                match entries.next_entry().transpose()? {
                    Ok(entry) if !self.is_alive(entry.order) => {}
                    Ok(entry) => return Some(decode_append(entry.payload)),
                    Err(error) => return Some(Err(error)),
                }
            }
        }))
    }
}

/// The visible keys of one run.
pub(super) struct Visible<'a> {
    spilled: &'a Spilled,
    entries: RunCursor,
    far: Bound<Vec<u8>>,
    direction: Direction,
    command: u32,
    /// The first entry of the next key.
    ahead: Option<RunEntry>,
}

impl Visible<'_> {
    fn pull(&mut self) -> Result<Option<RunEntry>> {
        match self.ahead.take() {
            Some(ahead) => Ok(Some(ahead)),
            None => self.entries.next().transpose(),
        }
    }

    fn next_key(&mut self) -> Result<Option<(Bytes, Option<Bytes>)>> {
        while let Some(first) = self.pull()? {
            let key = first.key.clone();
            if self.direction.is_beyond(&key, &self.far) {
                self.ahead = Some(first);
                return Ok(None);
            }
            let mut chosen = None;
            let mut entry = Some(first);
            while let Some(version) = entry.take_if(|version| version.key == key) {
                // newest first going forward, newest last going backward
                if (chosen.is_none() || self.direction == Direction::Backward) && self.spilled.is_alive(version.order) {
                    let write = decode(version.payload)?;
                    if write.command < self.command {
                        chosen = Some(write.value);
                    }
                }
                entry = self.entries.next().transpose()?;
            }
            self.ahead = entry;
            if let Some(value) = chosen {
                return Ok(Some((key, value)));
            }
        }
        Ok(None)
    }
}

impl Iterator for Visible<'_> {
    type Item = Result<(Bytes, Option<Bytes>)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_key().transpose()
    }
}

/// The net effects of all runs.
pub struct Net<'a> {
    spilled: &'a Spilled,
    entries: Merge,
    ahead: Option<RunEntry>,
}

impl Net<'_> {
    /// The next key's.
    pub fn next_net(&mut self) -> Result<Option<NetWrite>> {
        loop {
            let Some(newest) = self.alive()? else { return Ok(None) };
            let (key, mut order) = (newest.key, newest.order);
            let last = decode(newest.payload)?;
            let moved_to = last.change.as_ref().and_then(|change| change.moved_to.clone());
            let mut oldest = None;
            while let Some(older) = self.alive()? {
                if older.key != key {
                    self.ahead = Some(older);
                    break;
                }
                order = older.order;
                if has_change(&older.payload) {
                    oldest = Some(older.payload);
                }
            }
            let mut change = match oldest {
                Some(oldest) => decode(oldest)?.change,
                None => last.change,
            };
            if let Some(change) = &mut change {
                // made and removed again: nobody has seen it, unless the row that was under another key went on from here
                if last.value.is_none() && change.old.is_none() && moved_to.is_none() {
                    continue;
                }
                change.moved_to = moved_to;
            }
            return Ok(Some(NetWrite { key, order, change, value: last.value }));
        }
    }

    fn alive(&mut self) -> Result<Option<RunEntry>> {
        if let Some(ahead) = self.ahead.take() {
            return Ok(Some(ahead));
        }
        while let Some(entry) = self.entries.next_entry()? {
            if self.spilled.is_alive(entry.order) {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }
}

/// The lowest and the highest order, and the lowest command.
fn ranges(places: impl Iterator<Item = (u64, u32)>) -> Option<((u64, u64), u32)> {
    places.fold(None, |found, (order, command)| match found {
        None => Some(((order, order), command)),
        Some(((low, high), lowest)) => Some(((low.min(order), high.max(order)), lowest.min(command))),
    })
}

/// Whether an encoded write changed a row.
fn has_change(payload: &[u8]) -> bool {
    payload.get(FLAGS_AT).is_some_and(|flags| flags & HAS_CHANGE != 0)
}

fn encode_head(write: &Write, out: &mut Vec<u8>) {
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    let old = write.change.as_ref().and_then(|change| change.old.as_ref());
    let target = write.change.as_ref().and_then(|change| match &change.moved {
        Moved::To(key) => Some(key),
        Moved::No | Moved::From(_) => None,
    });
    out.clear();
    out.extend_from_slice(&write.command.to_le_bytes());
    out.push(
        flag(write.value.is_some(), HAS_VALUE)
            | flag(write.change.is_some(), HAS_CHANGE)
            | flag(old.is_some(), HAS_OLD)
            | flag(target.is_some(), MOVES_AWAY),
    );
    out.extend_from_slice(&(write.value.as_ref().map_or(0, Bytes::len) as u32).to_le_bytes());
    if let Some(RowChange { relation, scope, .. }) = &write.change {
        out.extend_from_slice(&relation.0.to_le_bytes());
        out.extend_from_slice(&scope.0.to_le_bytes());
    }
    if let Some(target) = target {
        out.extend_from_slice(&(target.len() as u16).to_le_bytes());
        out.extend_from_slice(target);
    }
}

fn decode(mut payload: Bytes) -> Result<StoredWrite> {
    let rest = &mut payload;
    let mut read = || -> Option<StoredWrite> {
        let command = rest.try_get_u32_le().ok()?;
        let flags = rest.try_get_u8().ok()?;
        let length = rest.try_get_u32_le().ok()? as usize;
        let place = if flags & HAS_CHANGE != 0 {
            Some((Oid(rest.try_get_u32_le().ok()?), ScopeId(rest.try_get_u64_le().ok()?)))
        } else {
            None
        };
        let moved_to = match flags & MOVES_AWAY {
            0 => None,
            _ => {
                let length = usize::from(rest.try_get_u16_le().ok()?);
                Some((length <= rest.len()).then(|| rest.split_to(length))?)
            }
        };
        let value = (length <= rest.len()).then(|| rest.split_to(length))?;
        Some(StoredWrite {
            command,
            value: (flags & HAS_VALUE != 0).then_some(value),
            change: place.map(|(relation, scope)| StoredChange {
                relation,
                scope,
                old: (flags & HAS_OLD != 0).then(|| rest.split_off(0)),
                moved_to,
            }),
        })
    };
    read().ok_or_else(damaged)
}

fn append_head(append: &TopicAppend) -> [u8; 20] {
    let mut head = [0; 20];
    head[..4].copy_from_slice(&append.command.to_le_bytes());
    head[4..8].copy_from_slice(&append.topic.0.to_le_bytes());
    head[8..12].copy_from_slice(&append.storage.0.to_le_bytes());
    head[12..16].copy_from_slice(&append.partition.to_le_bytes());
    head[16..].copy_from_slice(&append.offset_at.to_le_bytes());
    head
}

fn decode_append(mut payload: Bytes) -> Result<TopicAppend> {
    if payload.len() < 20 {
        return Err(damaged());
    }
    Ok(TopicAppend {
        command: payload.get_u32_le(),
        topic: Oid(payload.get_u32_le()),
        storage: StorageId(payload.get_u32_le()),
        partition: payload.get_u32_le(),
        offset_at: payload.get_u32_le(),
        row: payload,
    })
}

fn damaged() -> Error {
    Error::new(SqlState::DATA_CORRUPTED, "what a transaction spilled cannot be decoded")
}
