//! Snapshots: the map as of one commit, for point reads and ordered scans.

use super::index::Reader;
use super::store::{Generations, Store};
use super::tier::{Tier, TierRef};
use super::{Direction, is_empty_range};
use crate::error::Result;
use crate::limits::{SCAN_BATCH, SCAN_BATCH_BYTES};
use crate::types::CommitSeq;
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

/// The map as of one commit. Cheap to open; held no longer than needed, since it keeps old LMDB pages alive.
pub struct StoreSnapshot {
    store: Arc<Store>,
    seq: CommitSeq,
    generations: Arc<Generations>,
    /// Behind a lock of its own (nobody contends for it) since LMDB's read transactions move between threads but are
    /// not shared; so a statement's view can go wherever its session goes.
    reader: Mutex<Option<Reader>>,
}

impl StoreSnapshot {
    pub(super) fn new(store: Arc<Store>, seq: CommitSeq, generations: Arc<Generations>, reader: Reader) -> Self {
        StoreSnapshot { store, seq, generations, reader: Mutex::new(Some(reader)) }
    }

    /// The newest commit that it sees.
    pub fn seq(&self) -> CommitSeq {
        self.seq
    }

    /// Reads the index as of the snapshot.
    fn with_reader<T>(&self, read: impl FnOnce(&Reader) -> Result<T>) -> Result<T> {
        let guard = self.reader.lock();
        read(guard.as_ref().expect("a snapshot has its reader until it is dropped"))
    }

    /// The memory tiers, newest first; the volatile twin's keys are its own.
    fn tiers(&self) -> impl Iterator<Item = TierRef<'_>> {
        [&self.store.volatile, &self.generations.active]
            .into_iter()
            .map(|map| TierRef::Map(map))
            .chain(self.generations.frozen.iter().map(Tier::view))
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        for tier in self.tiers() {
            if let Some(found) = tier.get(key, self.seq)? {
                return Ok(found);
            }
        }
        self.with_reader(|reader| Ok(self.store.index.get(reader, key)?.map(Bytes::copy_from_slice)))
    }

    /// Whether a key is held in memory only: its removal must be volatile too.
    pub fn is_volatile(&self, key: &[u8]) -> bool {
        matches!(self.store.volatile.get(key, self.seq), Ok(Some(Some(_))))
    }

    /// A cursor over the keys between two bounds.
    pub fn cursor(&self, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>, direction: Direction) -> StoreCursor {
        let tiers = self.generations.frozen.len() + 3;
        let source = || Source { from: from.clone(), to: to.clone(), ..Source::default() };
        StoreCursor { direction, sources: (0..tiers).map(|_| source()).collect() }
    }
}

impl Drop for StoreSnapshot {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.get_mut().take() {
            self.store.index.give_back(reader);
        }
        self.store.forget_snapshot(self.seq);
    }
}

/// One tier's part of a scan: what is read ahead, and the bounds of what is not.
struct Source {
    from: Bound<Vec<u8>>,
    to: Bound<Vec<u8>>,
    ahead: VecDeque<(Bytes, Option<Bytes>)>,
    exhausted: bool,
}

impl Default for Source {
    fn default() -> Source {
        Source { from: Bound::Unbounded, to: Bound::Unbounded, ahead: VecDeque::new(), exhausted: false }
    }
}

impl Source {
    /// Moves the near bound behind the last key read.
    fn advance(&mut self, direction: Direction) {
        if let Some((last, _)) = self.ahead.back() {
            let near = match direction {
                Direction::Forward => &mut self.from,
                Direction::Backward => &mut self.to,
            };
            *near = Bound::Excluded(last.to_vec());
        }
    }
}

/// An ordered scan of a snapshot. It reads ahead in batches and holds no lock between calls.
pub struct StoreCursor {
    direction: Direction,
    /// Newest tier first; the index last.
    sources: Vec<Source>,
}

impl StoreCursor {
    /// Appends up to `max` further entries in order, fewer where they are large; whether there may be more. The snapshot is
    /// the one that made the cursor.
    pub fn next_batch(&mut self, snapshot: &StoreSnapshot, out: &mut Vec<(Bytes, Bytes)>, max: usize) -> Result<bool> {
        let wanted = out.len() + max;
        let mut bytes = 0;
        while out.len() < wanted && bytes < SCAN_BATCH_BYTES {
            self.fill(snapshot, max)?;
            match self.pop_newest() {
                None => return Ok(false),
                Some((_, None)) => {}
                Some((key, Some(value))) => {
                    bytes += key.len() + value.len();
                    out.push((key, value));
                }
            }
        }
        Ok(true)
    }

    /// Reads ahead where a source has nothing ready: as much as is wanted at once, since the caller knows best.
    fn fill(&mut self, snapshot: &StoreSnapshot, max: usize) -> Result<()> {
        let direction = self.direction;
        let index = self.sources.len() - 1;
        let count = max.clamp(1, SCAN_BATCH);
        for (source, tier) in self.sources[..index].iter_mut().zip(snapshot.tiers()) {
            while source.ahead.is_empty() && !source.exhausted {
                let range = (&source.from, &source.to);
                source.exhausted = tier.batch(range, direction, snapshot.seq, count, &mut source.ahead)?;
                source.advance(direction);
            }
        }
        let source = &mut self.sources[index];
        if source.ahead.is_empty() && !source.exhausted {
            read_index(source, snapshot, direction, count)?;
            source.advance(direction);
        }
        Ok(())
    }

    /// Takes the next key; the newest tier that has it wins and the others' versions are dropped.
    fn pop_newest(&mut self) -> Option<(Bytes, Option<Bytes>)> {
        let mut best: Option<usize> = None;
        for (index, source) in self.sources.iter().enumerate() {
            let Some((key, _)) = source.ahead.front() else { continue };
            let better = best.is_none_or(|best| {
                let chosen = &self.sources[best].ahead[0].0;
                match self.direction {
                    Direction::Forward => key < chosen,
                    Direction::Backward => key > chosen,
                }
            });
            if better {
                best = Some(index);
            }
        }
        let best = best?;
        let found = self.sources[best].ahead.pop_front()?;
        for source in &mut self.sources[best + 1..] {
            if source.ahead.front().is_some_and(|(key, _)| *key == found.0) {
                source.ahead.pop_front();
            }
        }
        Some(found)
    }
}

/// Reads up to `count` entries of the index into one shared buffer, fewer where they are large.
fn read_index(source: &mut Source, snapshot: &StoreSnapshot, direction: Direction, count: usize) -> Result<()> {
    fn edge(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
        bound.as_ref().map(Vec::as_slice)
    }
    let (from, to) = (edge(&source.from), edge(&source.to));
    if is_empty_range(from, to) {
        source.exhausted = true;
        return Ok(());
    }
    let mut places: Vec<(usize, usize)> = Vec::with_capacity(count);
    let mut buffer = BytesMut::new();
    let mut is_full = false;
    let take = |key: &[u8], value: &[u8]| {
        buffer.extend_from_slice(key);
        buffer.extend_from_slice(value);
        places.push((key.len(), value.len()));
        is_full = places.len() == count || buffer.len() >= SCAN_BATCH_BYTES;
        !is_full
    };
    snapshot.with_reader(|reader| snapshot.store.index.visit(reader, (from, to), direction, take))?;
    source.exhausted = !is_full;
    let mut shared = buffer.freeze();
    for (key, value) in places {
        let key = shared.split_to(key);
        source.ahead.push_back((key, Some(shared.split_to(value))));
    }
    Ok(())
}
