//! The locks of rows and keys: millions of them, nearly all held by one transaction for which nobody waits.
//!
//! Such a lock is a hash and a word that names its holder; only what several hold or wait for has an [`Entry`].
//! Unlike objects, rows are not fair: who suits the holders passes those who wait, as in PostgreSQL, where a locker
//! looks at the row before it queues.

use super::entry::{Asker, Entry, OwnerId, Party, Request, Woken};
use super::key::{ByRowKey, RowKey};
use super::mode::{Modes, RowHold};
use crate::error::{Error, Result, SqlState};
use crate::limits::{LOCK_SHARDS, ROW_LOCKS_MAX, SHARED_ROW_LOCKS_MAX};
use std::collections::HashMap;

/// A lock with one holder and nobody who waits: the transaction's number, then what it holds.
#[derive(Clone, Copy)]
struct Single(u64);

impl Single {
    fn new(owner: OwnerId, hold: RowHold) -> Single {
        Single(owner.0 << 4 | u64::from(hold.0))
    }

    fn owner(self) -> OwnerId {
        OwnerId(self.0 >> 4)
    }

    fn hold(self) -> RowHold {
        RowHold((self.0 & 15) as u8)
    }
}

/// The answer to one request.
pub(super) enum Attempt {
    /// It is held. What was held before, where it is more now than before.
    Granted(Option<Modes>),
    /// Somebody else's hold, or one who came before, is in the way.
    Busy,
}

/// Part of the row locks. A key is in one of the maps at most.
#[derive(Default)]
pub(super) struct RowShard {
    single: HashMap<RowKey, Single, ByRowKey>,
    shared: HashMap<RowKey, Box<Entry>, ByRowKey>,
}

impl RowShard {
    /// Asks for a lock. `awaited` is what was held before a wait for it began, if one did.
    pub(super) fn attempt(
        &mut self,
        key: RowKey,
        who: Asker,
        request: Request,
        awaited: Option<Modes>,
        party_of: impl Fn(OwnerId) -> Party,
    ) -> Result<Attempt> {
        let wanted = RowHold::of(request.modes());
        if let Some(entry) = self.shared.get_mut(&key) {
            let held = RowHold::of(entry.modes_of(who.owner));
            if held.and(wanted) == held {
                return Ok(Attempt::Granted(awaited));
            }
            if !entry.suits_holders(who, request.mode) {
                return Ok(Attempt::Busy);
            }
            entry.leave_queue(who.owner);
            entry.hold(who, request.modes());
            return Ok(Attempt::Granted(Some(awaited.unwrap_or(held.modes()))));
        }
        match self.single.get_mut(&key) {
            Some(single) if single.owner() == who.owner => {
                let held = single.hold();
                if held.and(wanted) == held {
                    return Ok(Attempt::Granted(awaited));
                }
                *single = Single::new(who.owner, held.and(wanted));
                Ok(Attempt::Granted(Some(awaited.unwrap_or(held.modes()))))
            }
            Some(single) if single.hold().modes() & request.mode.conflicts() != 0 => Ok(Attempt::Busy),
            Some(_) => {
                self.share(key, party_of)?.hold(who, request.modes());
                Ok(Attempt::Granted(Some(0)))
            }
            None => {
                if self.single.len() >= ROW_LOCKS_MAX / LOCK_SHARDS {
                    return Err(full(HINT));
                }
                self.single.insert(key, Single::new(who.owner, wanted));
                Ok(Attempt::Granted(Some(0)))
            }
        }
    }

    /// The lock as an entry that several can hold and wait for.
    pub(super) fn share(&mut self, key: RowKey, party_of: impl Fn(OwnerId) -> Party) -> Result<&mut Entry> {
        if !self.shared.contains_key(&key) && self.shared.len() >= SHARED_ROW_LOCKS_MAX / LOCK_SHARDS {
            return Err(full(HINT));
        }
        let entry = self.shared.entry(key).or_default();
        if let Some(single) = self.single.remove(&key) {
            let owner = single.owner();
            entry.hold(Asker { owner, party: party_of(owner) }, single.hold().modes());
        }
        Ok(entry)
    }

    /// The entry of a key that several hold or wait for.
    pub(super) fn entry(&self, key: RowKey) -> Option<&Entry> {
        self.shared.get(&key).map(|entry| &**entry)
    }

    /// All of those.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.shared.values().map(|entry| &**entry)
    }

    /// What an owner holds.
    pub(super) fn held(&self, key: RowKey, owner: OwnerId) -> RowHold {
        match (self.single.get(&key), self.entry(key)) {
            (Some(single), _) if single.owner() == owner => single.hold(),
            (_, Some(entry)) => RowHold::of(entry.modes_of(owner)),
            _ => RowHold::default(),
        }
    }

    /// Whether somebody else writes the row.
    pub(super) fn has_other_writer(&self, key: RowKey, owner: OwnerId) -> bool {
        match (self.single.get(&key), self.entry(key)) {
            (Some(single), _) => single.owner() != owner && single.hold().writes(),
            (_, Some(entry)) => {
                entry.holders.iter().any(|holder| holder.who.owner != owner && RowHold::of(holder.modes).writes())
            }
            _ => false,
        }
    }

    /// Leaves an owner with what it held before.
    pub(super) fn restore(&mut self, key: RowKey, owner: OwnerId, before: RowHold, woken: &mut Woken) {
        if let Some(single) = self.single.get_mut(&key) {
            debug_assert!(single.owner() == owner, "only a holder gives a lock back");
            if before.is_none() {
                self.single.remove(&key);
                self.shrink();
            } else {
                *single = Single::new(owner, before);
            }
        } else if let Some(entry) = self.shared.get_mut(&key) {
            entry.restore(owner, before.modes());
            entry.grant_queue(woken);
            self.settle(key);
        }
    }

    /// Takes an owner out of the queue, or gives back what it was granted meanwhile: nothing, where it waited for a writer
    /// only.
    pub(super) fn stop_waiting(&mut self, key: RowKey, owner: OwnerId, before: Modes, woken: &mut Woken) {
        let entry = self.shared.get_mut(&key);
        let Some(entry) = entry.filter(|entry| entry.is_queued(owner)) else {
            if !self.held(key, owner).is_none() {
                self.restore(key, owner, RowHold::of(before), woken);
            }
            return;
        };
        entry.leave_queue(owner);
        entry.grant_queue(woken);
        self.settle(key);
    }

    /// Brings an entry back into the short form once one holds it and nobody waits.
    pub(super) fn settle(&mut self, key: RowKey) {
        let Some(entry) = self.shared.get(&key) else { return };
        match entry.holders.as_slice() {
            _ if !entry.queue.is_empty() => {}
            [] => drop(self.shared.remove(&key)),
            [holder] => {
                let single = Single::new(holder.who.owner, RowHold::of(holder.modes));
                self.shared.remove(&key);
                self.single.insert(key, single);
            }
            _ => {}
        }
    }

    /// Gives memory back after a big transaction; seldom enough to cost nothing for each lock.
    fn shrink(&mut self) {
        const KEPT: usize = 1 << 10;
        if self.single.capacity() > KEPT && self.single.len() < self.single.capacity() / 8 {
            self.single.shrink_to(self.single.len() * 2);
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.single.is_empty() && self.shared.is_empty()
    }

    /// Bytes of the map, as hashbrown lays it out.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let buckets = (self.single.capacity() * 8 / 7).next_power_of_two();
        buckets * (std::mem::size_of::<(RowKey, Single)>() + 1)
    }
}

/// 53200, as PostgreSQL says it of its lock table.
pub(super) fn full(hint: &str) -> Error {
    Error::new(SqlState::OUT_OF_MEMORY, "out of shared memory").hint(hint)
}

const HINT: &str = "Too many rows are locked at once; commit in smaller pieces.";

#[cfg(test)]
mod tests {
    use super::super::key::Secret;
    use super::super::mode::LockMode;
    use super::*;
    use crate::env::ManualEnv;

    fn ask(shard: &mut RowShard, key: RowKey, owner: u64) -> Option<SqlState> {
        let party = |owner: OwnerId| Party::of(owner.0 as i32, owner.0);
        let who = Asker { owner: OwnerId(owner), party: party(OwnerId(owner)) };
        let request = Request { mode: LockMode::AccessShare, writes: false, after_writers: false };
        match shard.attempt(key, who, request, None, party) {
            Ok(Attempt::Granted(_)) => None,
            Ok(Attempt::Busy) => panic!("nobody is in the way"),
            Err(error) => Some(error.code()),
        }
    }

    #[test]
    fn a_full_part_refuses_what_is_new_and_nothing_that_is_held() {
        let secret = Secret::new(&ManualEnv::new(0, 7));
        let (most, shared_most) = (ROW_LOCKS_MAX / LOCK_SHARDS, SHARED_ROW_LOCKS_MAX / LOCK_SHARDS);
        let keys: Vec<RowKey> = (0..=most as u64).map(|row| secret.row(&row.to_be_bytes())).collect();
        let mut shard = RowShard::default();
        assert!(keys[..most].iter().all(|key| ask(&mut shard, *key, 1).is_none()));
        assert_eq!(ask(&mut shard, keys[most], 1), Some(SqlState::OUT_OF_MEMORY));
        assert_eq!(ask(&mut shard, keys[0], 1), None);
        assert!(keys[..shared_most].iter().all(|key| ask(&mut shard, *key, 2).is_none()));
        assert_eq!(ask(&mut shard, keys[shared_most], 2), Some(SqlState::OUT_OF_MEMORY));
        assert_eq!(ask(&mut shard, keys[most], 1), None, "what is shared now has left room");
        shard.restore(keys[0], OwnerId(2), RowHold::default(), &mut Woken::new());
        assert_eq!(ask(&mut shard, keys[shared_most], 2), None, "so has what was given back");
    }
}
