//! Folding: frozen generations into the index, the oldest first.
//!
//! A bulk commit takes many steps. Generations in memory that came after it must not wait for all of them, or their
//! writers would: they are folded ahead of it, one between two of its parts. The keys that they wrote are hidden in the
//! bulk commit from then on, for the index has newer values of them, which reads must find and the fold must not
//! overwrite. The position stays before the bulk commit until all of it is folded; a crash before that replays it and
//! what came after, in order, over an index that has some of it already.

use super::bulk::Bulk;
use super::recent::Generation;
use super::store::{Generations, Store};
use super::tier::{BulkTier, Tier};
use crate::error::Result;
use crate::limits::BULK_FOLD_PART_BYTES;
use crate::types::CommitSeq;
use crate::wait::Signal;
use bytes::Bytes;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What the folding thread remembers between steps.
#[derive(Default)]
pub(super) struct Folding {
    /// Folded generations that a snapshot still had, so that the folding thread frees them and not the session that lets
    /// go last: that takes up to a quarter of a second.
    retired: Vec<Arc<Generation>>,
    /// The last key that was folded of the oldest bulk commit.
    bulk: Option<Bytes>,
    /// The last commits of generations that were folded ahead of a bulk commit.
    ahead: Vec<CommitSeq>,
    /// Whether the bulk commit is next though a generation waits.
    bulk_turn: bool,
}

impl Folding {
    /// Frees folded generations: those that no snapshot has any more; of the others the oldest where all together are
    /// more than may be kept, and the snapshots that still read them learn that they are too old.
    fn let_retired_go(&mut self, bytes_max: usize) {
        self.retired.retain(|generation| Arc::strong_count(generation) > 1);
        let mut bytes: usize = self.retired.iter().map(|generation| generation.bytes()).sum();
        let mut given_up = 0;
        while bytes > bytes_max {
            bytes -= self.retired[given_up].give_up();
            given_up += 1;
        }
        self.retired.drain(..given_up);
    }
}

impl Store {
    /// Whether a generation is frozen and waits to be folded.
    pub fn needs_fold(&self) -> bool {
        !self.generations().frozen.is_empty()
    }

    /// Folds the oldest frozen generation into the index and lets go of it; of a bulk commit a part. Blocks on the disk;
    /// for a background thread. Returns the position, none where nothing was frozen.
    pub fn fold(&self) -> Result<Option<CommitSeq>> {
        let folded = self.fold_step();
        self.fold_failed.store(folded.is_err(), Ordering::Release);
        // after a failure too
        self.tell_waiting();
        folded
    }

    /// Has those who wait for room look again: a fold has got on, even if it has made none yet.
    pub(super) fn tell_waiting(&self) {
        let waiting = std::mem::take(&mut self.waiting.lock().room);
        waiting.iter().for_each(Signal::fire);
    }

    fn fold_step(&self) -> Result<Option<CommitSeq>> {
        let folding = &mut *self.folding.lock();
        folding.let_retired_go(self.options.retired_bytes_max);
        // the list of generations is let go of before the fold, so that a share in one of them is a snapshot's
        let frozen = self.generations().frozen.clone();
        let has_maps = frozen.iter().any(|tier| matches!(tier, Tier::Map(_)));
        match frozen.last() {
            None => return Ok(None),
            Some(Tier::Bulk(tier)) if !has_maps || folding.bulk_turn => {
                folding.bulk_turn = false;
                self.fold_bulk(tier, folding)?;
            }
            Some(_) => {
                folding.bulk_turn = true;
                self.fold_map(frozen, folding)?;
            }
        }
        Ok(Some(self.position()))
    }

    /// Folds the oldest generation in memory, ahead of the bulk commits that are older.
    fn fold_map(&self, mut frozen: Vec<Tier>, folding: &mut Folding) -> Result<()> {
        let at = frozen.iter().rposition(|tier| matches!(tier, Tier::Map(_)));
        let older = frozen.split_off(at.map_or(frozen.len(), |at| at + 1));
        let Some(Tier::Map(map)) = frozen.pop() else { return Ok(()) };
        drop(frozen);
        assert!(map.last() <= self.published(), "a frozen generation holds published commits only");
        let mut write = Some(self.index.write()?);
        let mut hidden = Vec::new();
        map.for_each_newest(|key, value| -> Result<()> {
            if let Some(part) = write.take_if(|part| part.memory() > self.options.fold_part_bytes) {
                part.commit(None)?;
                self.tell_waiting();
                write = Some(self.index.write()?);
            }
            if older.iter().any(|tier| tier.may_have(key)) {
                hidden.push(Bytes::copy_from_slice(key));
            }
            write.as_mut().expect("a part is open").put(key, value)
        })?;
        let ahead = !older.is_empty();
        write.expect("a part is open").commit((!ahead).then(|| map.last()))?;
        if ahead {
            folding.ahead.push(map.last());
        } else {
            self.position.store(map.last().0, Ordering::Release);
        }
        self.replace_frozen(|frozen| {
            let at = frozen.iter().position(|tier| matches!(tier, Tier::Map(found) if Arc::ptr_eq(found, &map)));
            let at = at.expect("only a fold removes generations");
            frozen.remove(at);
            for older in &mut frozen[at..] {
                *older = older.hiding(&hidden);
            }
        });
        if Arc::strong_count(&map) > 1 {
            folding.retired.push(map);
        }
        Ok(())
    }

    /// Folds a part of the oldest bulk commit.
    fn fold_bulk(&self, tier: &BulkTier, folding: &mut Folding) -> Result<()> {
        if folding.bulk.is_none() {
            // once the position has moved past it nothing but this name tells that the file is needed
            tier.bulk.keep()?;
        }
        let from = folding.bulk.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut entries = tier.bulk.range(from, Bound::Unbounded, super::Direction::Forward);
        let mut write = self.index.write()?;
        let mut last = None;
        while write.memory() < self.options.fold_part_bytes.min(BULK_FOLD_PART_BYTES) {
            let Some(entry) = entries.next().transpose()? else {
                return self.end_bulk(&tier.bulk, write, folding);
            };
            if !tier.hides(&entry.key) {
                write.put(&entry.key, entry.value.as_deref())?;
            }
            last = Some(entry.key);
        }
        write.commit(None)?;
        folding.bulk = last;
        Ok(())
    }

    /// The last part: the index is complete up to this commit, and up to what was folded ahead and before the next one.
    fn end_bulk(&self, bulk: &Arc<Bulk>, write: super::index::Write<'_>, folding: &mut Folding) -> Result<()> {
        let generations = self.generations();
        let later = generations.frozen.iter().rev().skip(1).find(|tier| matches!(tier, Tier::Bulk(_)));
        let before = later.map_or(CommitSeq(u64::MAX), Tier::last);
        let (complete, ahead) = folding.ahead.iter().partition(|seq| **seq < before);
        let complete: Vec<CommitSeq> = complete;
        let position = complete.into_iter().fold(bulk.seq(), CommitSeq::max);
        write.commit(Some(position))?;
        folding.ahead = ahead;
        folding.bulk = None;
        self.position.store(position.0, Ordering::Release);
        self.replace_frozen(|frozen| {
            let dropped = frozen.pop();
            let expected = |tier: Tier| matches!(tier, Tier::Bulk(found) if Arc::ptr_eq(&found.bulk, bulk));
            assert!(dropped.is_some_and(expected), "only a fold removes generations");
        });
        Ok(())
    }

    /// Changes the list of frozen generations after a fold.
    fn replace_frozen(&self, change: impl FnOnce(&mut Vec<Tier>)) {
        let fold = {
            let mut slot = self.generations.write();
            let mut frozen = slot.frozen.clone();
            change(&mut frozen);
            *slot = Arc::new(Generations { fold: slot.fold + 1, active: slot.active.clone(), frozen });
            slot.fold
        };
        self.index.begin_fold(fold);
    }

    /// Removes up to `limit` folded keys of a range that nobody writes any more; whether all are gone. What is still in
    /// a recent generation would come back with its fold.
    pub fn delete_range(&self, from: &[u8], to: &[u8], limit: usize) -> Result<bool> {
        let _one_at_a_time = self.folding.lock();
        let mut write = self.index.write()?;
        let all = write.delete_range(from, to, limit)?;
        write.commit(None)?;
        // readers of before would still show them, and keep their pages
        self.replace_frozen(|_| ());
        Ok(all)
    }
}
