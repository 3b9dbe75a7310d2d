//! The committer: gives commits their numbers, writes them to the log, publishes them. Group commit.
//!
//! A commit that is alone is flushed by its own thread, which saves two switches between threads; where others are at
//! work, that thread is wanted by them, and the committer's does it. What arrives meanwhile is the next group, taken in
//! one write and one sync. There is no timer. The order of a commit: sequence assigned, record appended, synced, installed
//! in the recent map, published, locks released, ticket settled, readers woken. Positions are published in order because
//! one group is at work at a time.

use super::engine::Engine;
use super::prepare::{Part, PartKind, Prepared};
use super::record::{self, FragmentWriter, Meaning};
use crate::catalog::Catalog;
use crate::change::{Change, Commit};
use crate::encoding::row;
use crate::error::{Error, Result};
use crate::interrupt::terminated;
use crate::limits::{GROUP_BYTES_MAX, SEQ_RESERVE};
use crate::storage::bulk::Bulk;
use crate::storage::{Entry, Pressure};
use crate::types::{CommitSeq, Oid, StorageId};
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Who flushes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flusher {
    Nobody,
    /// The thread of a lone commit.
    Session,
    /// The committer's thread, because commits arrived while another flush ran.
    Thread,
}

/// Whether a step of the committer may leave commits waiting for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// It does nothing where there is none.
    Left,
    /// They have waited for as long as they may: where there is none they fail.
    Over,
}

/// What a step of the committer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitStep {
    /// Nothing waits.
    Idle,
    /// A group has its outcome.
    Flushed,
    /// There is no room; a fold must make some.
    NoRoom,
}

struct Queue {
    waiting: Vec<Prepared>,
    flusher: Flusher,
    stopped: bool,
}

/// Commits that wait, and the numbers that only the one at work touches.
pub(super) struct Committer {
    queue: Mutex<Queue>,
    wake: Condvar,
    numbering: Mutex<Numbering>,
}

/// Where numbers go on.
struct Numbering {
    next: CommitSeq,
    /// Numbers that recovery skips, as of the last record.
    reserved: u64,
    snowflake_reserved: i64,
    /// The next offset of each partition that was written since the start.
    offsets: HashMap<(StorageId, u32), u64>,
    /// The group's record, kept for its allocation.
    record: Vec<u8>,
}

/// A commit with its number.
struct Numbered {
    seq: CommitSeq,
    prepared: Prepared,
}

impl Committer {
    /// A committer whose next commit is `next`.
    pub(super) fn new(next: CommitSeq) -> Committer {
        Committer {
            queue: Mutex::new(Queue { waiting: Vec::new(), flusher: Flusher::Nobody, stopped: false }),
            wake: Condvar::new(),
            numbering: Mutex::new(Numbering {
                next,
                reserved: next.0,
                snowflake_reserved: 0,
                offsets: HashMap::new(),
                record: Vec::new(),
            }),
        }
    }

    /// Takes a commit: flushes it at once if no other transaction is open and there is room, else leaves it to the
    /// committer's thread.
    pub(super) fn submit(&self, engine: &Engine, prepared: Prepared) {
        {
            let mut queue = self.queue.lock();
            if queue.stopped {
                drop(queue);
                prepared.fail(engine, terminated());
                return;
            }
            let idle = queue.flusher == Flusher::Nobody;
            if !idle || !engine.has_threads() || !is_lone(engine) {
                queue.waiting.push(prepared);
                if idle {
                    queue.flusher = Flusher::Thread;
                    drop(queue);
                    self.wake.notify_all();
                }
                return;
            }
            queue.flusher = Flusher::Session;
        }
        self.flush(engine, vec![prepared]);
        let mut queue = self.queue.lock();
        if queue.waiting.is_empty() {
            queue.flusher = Flusher::Nobody;
        } else {
            queue.flusher = Flusher::Thread;
            self.wake.notify_all();
        }
        if queue.stopped {
            self.wake.notify_all();
        }
    }

    /// The committer's thread, until [`stop`](Self::stop).
    pub(super) fn run(&self, engine: &Engine) {
        let mut queue = self.queue.lock();
        loop {
            while queue.flusher != Flusher::Thread {
                if queue.stopped && queue.flusher == Flusher::Nobody {
                    return;
                }
                self.wake.wait(&mut queue);
            }
            let group = take_group(&mut queue.waiting);
            drop(queue);
            self.flush(engine, group);
            queue = self.queue.lock();
            if queue.waiting.is_empty() {
                queue.flusher = Flusher::Nobody;
            }
        }
    }

    /// Flushes one group in the caller's thread, where the committer has none.
    pub(super) fn step(&self, engine: &Engine, patience: Patience) -> CommitStep {
        let group = {
            let mut queue = self.queue.lock();
            if queue.waiting.is_empty() {
                queue.flusher = Flusher::Nobody;
                return CommitStep::Idle;
            }
            if patience == Patience::Left && engine.store.pressure() == Pressure::Full {
                return CommitStep::NoRoom;
            }
            take_group(&mut queue.waiting)
        };
        self.flush(engine, group);
        CommitStep::Flushed
    }

    /// Whether commits wait.
    pub(super) fn has_waiting(&self) -> bool {
        !self.queue.lock().waiting.is_empty()
    }

    /// Refuses commits from now on; those that wait are still flushed.
    pub(super) fn stop(&self) {
        self.queue.lock().stopped = true;
        self.wake.notify_all();
    }

    fn flush(&self, engine: &Engine, group: Vec<Prepared>) {
        let _no_panic = NoPanic;
        let mut numbering = self.numbering.lock();
        if let Err(error) = wait_for_room(engine) {
            group.into_iter().for_each(|prepared| prepared.fail(engine, error.clone()));
            return;
        }
        match numbering.write(engine, group) {
            Ok((numbered, marks)) => publish(engine, numbered, marks),
            Err((error, group)) => group.into_iter().for_each(|prepared| prepared.fail(engine, error.clone())),
        }
    }
}

/// Takes commits for one record: one, and more as long as the record stays below [`GROUP_BYTES_MAX`]. A bulk commit has
/// its record to itself: it becomes a generation of the store, which holds nothing unpublished.
fn take_group(waiting: &mut Vec<Prepared>) -> Vec<Prepared> {
    let mut bytes = 0;
    let fits = |prepared: &&Prepared| {
        bytes += prepared.durable.as_ref().map_or(0, Vec::len);
        bytes <= GROUP_BYTES_MAX && prepared.bulk.is_none()
    };
    let count = waiting.iter().take_while(fits).count().max(1).min(waiting.len());
    let rest = waiting.split_off(count);
    std::mem::replace(waiting, rest)
}

/// Ends the process when a flush panics: between the log and the recent map nobody can say what is committed, and every
/// later commit would wait for this one for ever. A restart reads it from the log.
struct NoPanic;

impl Drop for NoPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

/// Whether a commit's own thread may flush it: nobody else wants the thread, and it will not wait for room.
fn is_lone(engine: &Engine) -> bool {
    engine.is_alone() && engine.store.pressure() == Pressure::None
}

/// Slows writers from half full on, and lets them wait only at the bound.
fn wait_for_room(engine: &Engine) -> Result<()> {
    match engine.store.pressure() {
        Pressure::None => Ok(()),
        Pressure::Delay(_) if !engine.has_threads() => Ok(()),
        Pressure::Full if !engine.has_threads() => engine.store.wait_for_room(Duration::ZERO),
        Pressure::Delay(_) | Pressure::Full => engine.store.hold_back(engine.options().room_wait_max),
    }
}

/// What the committer itself adds to a record.
struct Marks {
    seq: CommitSeq,
    entry: (Bytes, Bytes),
}

impl Numbering {
    /// Numbers a group, writes its record and syncs it.
    #[expect(clippy::type_complexity, reason = "a failure gives the group back to those who wait for it")]
    fn write(
        &mut self,
        engine: &Engine,
        mut group: Vec<Prepared>,
    ) -> std::result::Result<(Vec<Numbered>, Option<Marks>), (Error, Vec<Prepared>)> {
        let reserved = (self.reserved, self.snowflake_reserved);
        match self.try_write(engine, &mut group) {
            Ok((first, marks)) => {
                let number = |(at, prepared)| Numbered { seq: CommitSeq(first.0 + at as u64), prepared };
                Ok((group.into_iter().enumerate().map(number).collect(), marks))
            }
            Err(error) => {
                // what no record reserves is not reserved: the next one must
                (self.reserved, self.snowflake_reserved) = reserved;
                // offsets that were given out have no messages: the store knows where they go on
                self.offsets.clear();
                Err((error, group))
            }
        }
    }

    fn try_write(&mut self, engine: &Engine, group: &mut [Prepared]) -> Result<(CommitSeq, Option<Marks>)> {
        // STREAM-only commits too: a restart may find the commits that failed, and these would have later positions
        engine.log.check()?;
        let first = self.next;
        self.record.clear();
        for (at, prepared) in group.iter_mut().enumerate() {
            let seq = CommitSeq(first.0 + at as u64);
            self.patch(engine, prepared, seq)?;
            self.patch_bulk(engine, prepared)?;
            if let Some(fragment) = &prepared.durable {
                self.record.extend_from_slice(fragment);
            }
        }
        let mut last = CommitSeq(first.0 + group.len() as u64 - 1);
        let marks = self.marks(engine, last.next())?;
        if marks.is_some() {
            last = last.next();
        }
        self.next = last.next();
        if !self.record.is_empty() {
            engine.log.append(first, last, &self.record)?;
            engine.log.sync()?;
            engine.snowflake.set_reserved(self.snowflake_reserved);
        }
        if self.record.capacity() > RECORD_KEPT_BYTES {
            self.record = Vec::new();
        }
        Ok((first, marks))
    }

    /// Reserves numbers and ids ahead, when what the last record reserved is half used.
    fn marks(&mut self, engine: &Engine, seq: CommitSeq) -> Result<Option<Marks>> {
        let durable = !self.record.is_empty();
        let seq_low = seq.0 + if durable { SEQ_RESERVE / 2 } else { 2 } >= self.reserved;
        let ids_low = durable && engine.snowflake.last() > self.snowflake_reserved;
        if !seq_low && !ids_low {
            return Ok(None);
        }
        self.reserved = seq.0 + SEQ_RESERVE;
        self.snowflake_reserved = engine.snowflake.reserve(engine.env.now());
        let entry = super::recovery::marks_entry(self.reserved, self.snowflake_reserved);
        let mut writer = FragmentWriter::new(engine.env.now(), 64);
        writer.entry(&entry.0, Some(&entry.1), &Meaning::Plain);
        let mut fragment = writer.finish()?;
        record::set_seq(&mut fragment, seq);
        self.record.extend_from_slice(&fragment);
        Ok(Some(Marks { seq, entry }))
    }

    /// Writes what only the committer knows at the places that the session left for it.
    fn patch(&mut self, engine: &Engine, prepared: &mut Prepared, seq: CommitSeq) -> Result<()> {
        if let Some(fragment) = &mut prepared.durable {
            record::set_seq(fragment, seq);
        }
        for part in &prepared.parts {
            let buffer = match (&mut prepared.durable, part.volatile) {
                (Some(durable), false) => durable,
                _ => &mut prepared.volatile,
            };
            let Some(value) = part.value else { continue };
            match part.kind {
                PartKind::Plain => {}
                PartKind::Row | PartKind::Expiring(_) => row::set_seq(value.of_mut(buffer), seq),
                PartKind::Message { storage, partition, offset_at, .. } => {
                    let offset = self.take_offsets(engine, storage, partition, 1)?;
                    let key = part.key.of_mut(buffer);
                    let tail = key.len() - 8;
                    key[tail..].copy_from_slice(&offset.to_be_bytes());
                    let row = value.of_mut(buffer);
                    row::set_seq(row, seq);
                    row[offset_at as usize..][..8].copy_from_slice(&offset.to_le_bytes());
                }
            }
        }
        Ok(())
    }

    /// Gives the messages of a bulk commit their first offsets.
    fn patch_bulk(&mut self, engine: &Engine, prepared: &mut Prepared) -> Result<()> {
        let (Some(bulk), Some(fragment)) = (&mut prepared.bulk, &mut prepared.durable) else { return Ok(()) };
        for (partition, &(storage, number)) in bulk.file.named.partitions.iter_mut().zip(&bulk.partitions) {
            partition.base = self.take_offsets(engine, storage, number, partition.count)?;
        }
        bulk.place.of_mut(fragment).copy_from_slice(&bulk.file.named.encode());
        Ok(())
    }

    /// The next offset of a partition, for so many messages.
    fn take_offsets(&mut self, engine: &Engine, storage: StorageId, partition: u32, count: u64) -> Result<u64> {
        let next = match self.offsets.get(&(storage, partition)) {
            Some(next) => *next,
            None => engine.offset_end(storage, partition)?,
        };
        self.offsets.insert((storage, partition), next + count);
        Ok(next)
    }
}

/// Bytes of the record's buffer that are kept between groups.
const RECORD_KEPT_BYTES: usize = 1 << 20;

/// Installs, publishes, releases the locks, tells those who wait, wakes the readers: in this order.
fn publish(engine: &Engine, group: Vec<Numbered>, marks: Option<Marks>) {
    let mut commits = Vec::with_capacity(group.len());
    let mut ended = Vec::with_capacity(group.len());
    let mut catalog: Option<Arc<Catalog>> = None;
    let mut last = CommitSeq::ZERO;
    let mut serializable = false;
    for Numbered { seq, mut prepared } in group {
        let bulk = prepared.bulk.take().map(|bulk| bulk.file.published(seq));
        let installed = install(engine, &mut prepared, seq);
        if let Some(bulk) = &bulk {
            engine.store.adopt(bulk.clone());
        }
        if prepared.moves {
            engine.note_move(seq);
        }
        if !prepared.catalog.is_empty() {
            catalog = Some(apply_catalog(&catalog.unwrap_or_else(|| engine.catalog()), &prepared, seq));
        }
        let changed = (!prepared.catalog.is_empty()).then(|| catalog.clone()).flatten();
        commits.push(Arc::new(make_commit(&mut prepared, installed, seq, bulk, changed)));
        // before anybody can see it, so that no snapshot is in doubt whether it does
        if let Some(id) = prepared.serializable {
            engine.serializable.commit(id, Some(seq));
            serializable = true;
        }
        ended.push((seq, prepared));
        last = seq;
    }
    if let Some(marks) = marks {
        let (key, value) = marks.entry;
        engine.store.install(marks.seq, [Entry { key, value: Some(value), volatile: false }]);
        last = marks.seq;
    }
    engine.store.publish(last);
    if serializable {
        engine.serializable.published(last);
    }
    if let Some(catalog) = catalog {
        engine.set_catalog(catalog.clone());
        engine.groups.keep(catalog.relations());
    }
    let arrivals = arrivals(&commits);
    engine.feed.push(commits);
    for (seq, prepared) in ended {
        prepared.succeed(engine, seq);
    }
    engine.feed.wake();
    for (topic, seq) in arrivals {
        engine.groups.arrivals().arrived(topic, seq);
    }
}

/// The topics that got messages, each with the last commit that brought some.
fn arrivals(commits: &[Arc<Commit>]) -> Vec<(Oid, CommitSeq)> {
    let mut topics: Vec<(Oid, CommitSeq)> = Vec::new();
    for commit in commits {
        for arrival in &commit.arrivals {
            match topics.iter_mut().find(|(topic, _)| *topic == arrival.topic) {
                Some((_, seq)) => *seq = commit.seq,
                None => topics.push((arrival.topic, commit.seq)),
            }
        }
    }
    topics
}

/// A commit's buffers once they are final.
struct Installed {
    durable: Bytes,
    volatile: Bytes,
}

impl Installed {
    fn buffer(&self, part: &Part) -> &Bytes {
        if part.volatile { &self.volatile } else { &self.durable }
    }
}

/// Copies the keys and values of a commit out of its fragments into buffers of just their size: the fragments have the
/// old rows too, which only the log needs, and the recent map keeps its buffers for long.
fn compact(prepared: &mut Prepared) -> Installed {
    let lengths = |volatile: bool, parts: &[Part]| -> usize {
        let parts = parts.iter().filter(|part| part.volatile == volatile);
        parts.map(|part| part.key.len() + part.value.map_or(0, |value| value.len())).sum()
    };
    let mut durable = Vec::with_capacity(lengths(false, &prepared.parts));
    let mut volatile = Vec::with_capacity(lengths(true, &prepared.parts));
    let fragments = (prepared.durable.take().unwrap_or_default(), std::mem::take(&mut prepared.volatile));
    for part in &mut prepared.parts {
        let (from, to) = match part.volatile {
            false => (&fragments.0, &mut durable),
            true => (&fragments.1, &mut volatile),
        };
        part.key = part.key.copy(from, to);
        part.value = part.value.map(|value| value.copy(from, to));
    }
    Installed { durable: Bytes::from(durable), volatile: Bytes::from(volatile) }
}

fn install(engine: &Engine, prepared: &mut Prepared, seq: CommitSeq) -> Installed {
    let installed = compact(prepared);
    let entries = prepared.parts.iter().map(|part| {
        let buffer = installed.buffer(part);
        let key = part.key.of(buffer);
        if let PartKind::Expiring(expires) = part.kind {
            engine.expiry.add(expires, key.clone());
        }
        Entry { key, value: part.value.map(|value| value.of(buffer)), volatile: part.volatile }
    });
    engine.store.install(seq, entries);
    installed
}

fn make_commit(
    prepared: &mut Prepared,
    installed: Installed,
    seq: CommitSeq,
    bulk: Option<Arc<Bulk>>,
    catalog: Option<Arc<Catalog>>,
) -> Commit {
    let parts = &prepared.parts;
    let changes = prepared.changes.drain(..).map(|change| {
        let part = &parts[change.part];
        let buffer = installed.buffer(part);
        Change {
            relation: change.relation,
            scope: change.scope,
            kind: change.kind,
            key: part.key.of(buffer),
            old: change.old,
            new: part.value.map(|value| value.of(buffer)),
        }
    });
    let changes = changes.collect();
    let mut arrivals = bulk.as_ref().map_or_else(Vec::new, |bulk| record::bulk_arrivals(bulk.partitions()));
    let mut replaced = record::Replaced::default();
    for part in parts {
        if catalog.is_some() {
            replaced.look_at(&part.key.of(installed.buffer(part)));
        }
        if let PartKind::Message { topic, .. } = part.kind {
            record::add_arrival(&mut arrivals, topic, &part.key.of(installed.buffer(part)))
                .expect("the session made the key with partition and offset");
        }
    }
    Commit {
        seq,
        time: prepared.time,
        changes,
        bulk,
        notifications: std::mem::take(&mut prepared.notifications),
        arrivals,
        catalog,
        replaced: replaced.relations(),
    }
}

/// The catalog after a commit: the newest one with the commit's entries, not the transaction's private copy, for others
/// may have defined other objects meanwhile.
fn apply_catalog(before: &Catalog, prepared: &Prepared, seq: CommitSeq) -> Arc<Catalog> {
    let mut catalog = before.clone();
    catalog.apply(&prepared.catalog, seq);
    catalog.version += 1;
    Arc::new(catalog)
}
