//! The index as an ordered map in memory: LMDB's twin for simulations.
//!
//! What is committed outlives the engine that wrote it, as files outlive a process: whoever holds the map opens it
//! again. What is not committed is gone.

use super::Direction;
use super::fault::{Area, Faults, Step};
use super::gate::Gate;
use super::index::KeyRange;
use crate::error::Result;
use crate::types::CommitSeq;
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

type Map = BTreeMap<Bytes, Bytes>;

/// An ordered map with atomic, durable commits. Clones are the same map.
#[derive(Clone, Default)]
pub struct MemoryIndex {
    committed: Arc<Mutex<Committed>>,
    /// One write at a time.
    writing: Arc<Mutex<()>>,
    /// What may make a commit fail.
    faults: Option<Faults>,
    gate: Option<Gate>,
}

#[derive(Clone, Default)]
struct Committed {
    map: Arc<Map>,
    position: CommitSeq,
}

/// The map as of the last commit before the reader was opened.
pub(super) struct Reader(Arc<Map>);

/// A write transaction.
pub(super) struct Write<'a> {
    index: &'a MemoryIndex,
    map: Arc<Map>,
    memory: usize,
    _alone: MutexGuard<'a, ()>,
}

impl MemoryIndex {
    /// An empty map whose commits fail as these say.
    pub fn with_faults(faults: Faults) -> MemoryIndex {
        MemoryIndex { faults: Some(faults), ..MemoryIndex::default() }
    }

    /// An empty map whose commits pass a gate first.
    pub fn with_gate(gate: Gate) -> MemoryIndex {
        MemoryIndex { gate: Some(gate), ..MemoryIndex::default() }
    }

    /// The position of the last commit that moved it.
    pub fn position(&self) -> Result<CommitSeq> {
        Ok(self.committed.lock().position)
    }

    pub(super) fn reader(&self) -> Result<Reader> {
        Ok(Reader(self.committed.lock().map.clone()))
    }

    pub(super) fn write(&self) -> Result<Write<'_>> {
        let alone = self.writing.lock();
        let map = self.committed.lock().map.clone();
        Ok(Write { index: self, map, memory: 0, _alone: alone })
    }
}

impl Reader {
    pub(super) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.0.get(key).map(|value| &value[..])
    }

    pub(super) fn visit(&self, range: KeyRange<'_>, direction: Direction, mut take: impl FnMut(&[u8], &[u8]) -> bool) {
        let mut entries = self.0.range::<[u8], _>(range);
        // it ends where enough was taken
        let _ = match direction {
            Direction::Forward => entries.all(|(key, value)| take(key, value)),
            Direction::Backward => entries.rev().all(|(key, value)| take(key, value)),
        };
    }
}

impl Write<'_> {
    /// Bytes that were put.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    pub(super) fn put(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        self.memory += key.len() + value.map_or(0, <[u8]>::len);
        let map = Arc::make_mut(&mut self.map);
        match value {
            Some(value) => map.insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)),
            None => map.remove(key),
        };
        Ok(())
    }

    pub(super) fn delete_range(&mut self, from: &[u8], to: &[u8], limit: usize) -> Result<bool> {
        let range = (Bound::Included(from), Bound::Excluded(to));
        let keys: Vec<Bytes> = self.map.range::<[u8], _>(range).take(limit).map(|(key, _)| key.clone()).collect();
        let map = Arc::make_mut(&mut self.map);
        for key in &keys {
            map.remove(key);
        }
        Ok(keys.len() < limit)
    }

    pub(super) fn commit(self, position: Option<CommitSeq>) -> Result<()> {
        let store = || {
            let mut committed = self.index.committed.lock();
            committed.map = self.map;
            committed.position = position.unwrap_or(committed.position);
            Ok(())
        };
        self.index.gate.iter().for_each(Gate::pass);
        match &self.index.faults {
            Some(faults) => faults.strike(Step::Index, Area::Index, store),
            None => store(),
        }
    }
}
