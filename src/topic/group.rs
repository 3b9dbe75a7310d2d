//! A consumer group of a topic, in memory: the truth about claims, and of acknowledgements what is published.

use super::arrivals::Arrivals;
use super::claims::{Claimed, Claimer, Claims, Outcome, Settling};
use super::lease::{Lease, not_held};
use super::stored::{self, Place, Stored};
use crate::change::AtEnd;
use crate::error::Result;
use crate::types::{CommitSeq, Oid, StorageId, Str};
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

/// A write of a group's state: its key, and its value or none to remove it.
pub type GroupWrite = (Bytes, Option<Bytes>);

/// What the groups of a server share.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) arrivals: Arrivals,
    /// Partitions of groups whose acknowledgements are to be folded into their positions.
    pub(super) dirty: Mutex<Vec<(Weak<Group>, u32)>>,
}

/// One group.
pub struct Group {
    topic: Oid,
    storage: StorageId,
    name: Str,
    partitions: Vec<Mutex<Partition>>,
    turn: AtomicU32,
    shared: Arc<Shared>,
}

struct Partition {
    /// Counts the resets.
    generation: u32,
    claims: Claims,
    /// Messages that retention removed before the group had acknowledged them, since the start.
    skipped: u64,
    /// Whether it is among the dirty ones.
    dirty: bool,
}

/// A partition of a group as `system.topic_groups` shows it.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// All messages before it are acknowledged.
    pub position: u64,
    /// Messages acknowledged after it.
    pub acked: u64,
    /// Messages that are held.
    pub in_flight: usize,
    /// Messages that retention removed before they were acknowledged, since the server's start.
    pub skipped: u64,
}

/// Which messages are settled.
#[derive(Clone, Debug)]
pub enum Target {
    /// Single ones of a partition, by the session that consumed them.
    Offsets(u32, Vec<u64>),
    /// All that the session holds in a partition up to and with an offset.
    UpTo(u32, u64),
    /// Single ones, by whoever knows their leases.
    Leases(Vec<Lease>),
}

impl Group {
    pub(super) fn new(
        topic: Oid,
        storage: StorageId,
        name: Str,
        partitions: Vec<(u32, Claims)>,
        shared: Arc<Shared>,
    ) -> Group {
        let partition = |(generation, claims)| Mutex::new(Partition { generation, claims, skipped: 0, dirty: false });
        let partitions = partitions.into_iter().map(partition).collect();
        Group { topic, storage, name, partitions, turn: AtomicU32::new(0), shared }
    }

    /// Its name, unique among the topic's.
    pub fn name(&self) -> &Str {
        &self.name
    }

    /// Where its topic's messages are.
    pub fn storage(&self) -> StorageId {
        self.storage
    }

    /// How many partitions it reads.
    pub fn partitions(&self) -> u32 {
        self.partitions.len() as u32
    }

    fn place(&self, partition: u32) -> Place {
        Place::new(self.storage, &self.name, partition)
    }

    /// The keys of all that is stored for a partition begin with it; it is the key of the position too. Who writes the
    /// position holds its lock.
    pub fn key(&self, partition: u32) -> Bytes {
        Bytes::copy_from_slice(self.place(partition).prefix())
    }

    /// The entries that store a group whose positions are those of its partitions now.
    pub fn stored_positions(&self) -> Vec<GroupWrite> {
        let partitions = (0..).zip(&self.partitions);
        let entries = partitions.map(|(partition, state)| {
            let state = state.lock();
            self.place(partition).position(state.generation, state.claims.position())
        });
        entries.map(|(key, value)| (key, Some(value))).collect()
    }

    /// Where it stands in a partition.
    pub fn progress(&self, partition: u32, now: u64) -> Progress {
        let state = self.partitions[partition as usize].lock();
        Progress {
            position: state.claims.position(),
            acked: state.claims.acked().count(),
            in_flight: state.claims.in_flight(now),
            skipped: state.skipped,
        }
    }

    /// Claims messages before `end`; see [`Claims::claim`]. They are held until the claim ends with its transaction,
    /// and on, unless that rolls back.
    pub fn claim(
        self: &Arc<Self>,
        partition: u32,
        end: u64,
        max: usize,
        claimer: Claimer,
        secret: impl FnMut() -> u64,
    ) -> Claim {
        let claimed = self.partitions[partition as usize].lock().claims.claim(end, max, claimer, secret);
        Claim { group: self.clone(), partition, claimed }
    }

    /// Takes claims back as if they had not been made.
    pub fn undo(&self, partition: u32, claimed: &[Claimed]) {
        if !claimed.is_empty() {
            self.partitions[partition as usize].lock().claims.undo(claimed);
            self.shared.arrivals.returned(self.topic);
        }
    }

    /// The first time after `now` at which a message of a partition becomes free.
    pub fn next_due(&self, partition: u32, now: u64) -> Option<u64> {
        self.partitions[partition as usize].lock().claims.next_due(now)
    }

    /// Goes on at `first`, for retention has removed what was before. Where the group was, and how many messages it has
    /// missed; none where it has missed none.
    pub fn skip_to(self: &Arc<Self>, partition: u32, first: u64) -> Option<(u64, u64)> {
        let mut state = self.partitions[partition as usize].lock();
        let from = state.claims.position();
        let lost = state.claims.skip_to(first);
        state.skipped += lost;
        self.mark_dirty(partition, &mut state);
        (lost > 0).then_some((from, lost))
    }

    /// Counts those who consume, so that each can begin with another partition.
    pub fn next_turn(&self) -> u32 {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// Begins to settle messages: decided by the end of the transaction that the settlement is given to. 55000 for one
    /// that is not held by the caller, and then nothing is begun.
    pub fn settle(self: &Arc<Self>, target: &Target, outcome: Outcome, pid: i32) -> Result<Settlement> {
        let mut settlement = Settlement { group: self.clone(), outcome, settled: Vec::new() };
        match self.settle_into(target, outcome, pid, &mut settlement.settled) {
            Ok(()) => Ok(settlement),
            Err(error) => {
                Box::new(settlement).end(None);
                Err(error)
            }
        }
    }

    fn settle_into(&self, target: &Target, outcome: Outcome, pid: i32, settled: &mut Vec<Settled>) -> Result<()> {
        match target {
            Target::Offsets(partition, offsets) => {
                let mut state = self.partitions[*partition as usize].lock();
                for &offset in offsets {
                    let settling = state.claims.settle_offset(offset, pid, outcome)?;
                    settled.push(Settled { partition: *partition, generation: state.generation, settling });
                }
            }
            Target::UpTo(partition, upto) => {
                let mut state = self.partitions[*partition as usize].lock();
                let (partition, generation) = (*partition, state.generation);
                let settling = state.claims.settle_upto(*upto, pid, outcome);
                settled.extend(settling.into_iter().map(|settling| Settled { partition, generation, settling }));
            }
            Target::Leases(leases) => {
                for lease in leases {
                    let state = self.partitions.get(lease.partition as usize);
                    let mut state = state.ok_or_else(|| not_held(format_args!("lease \"{lease}\"")))?.lock();
                    let settling = state.claims.settle_lease(lease, outcome)?;
                    let (partition, generation) = (lease.partition, state.generation);
                    settled.push(Settled { partition, generation, settling });
                }
            }
        }
        Ok(())
    }

    /// Goes back or forth: at the end of the transaction the partitions are at these positions and nothing is held or
    /// acknowledged after them. The caller holds the locks of the partitions' keys and writes
    /// [`Reset::writes`].
    pub fn reset(self: &Arc<Self>, positions: Vec<u64>) -> Reset {
        let next = |(position, state): (u64, &Mutex<Partition>)| (state.lock().generation + 1, position);
        let to = positions.into_iter().zip(&self.partitions).map(next).collect();
        Reset { group: self.clone(), to }
    }

    /// Makes a partition's entries few again: the position as it is now, acknowledgements before it gone, neighbouring
    /// ones joined. `entries` are those stored, in order from the first; the caller holds the lock of the partition's
    /// key.
    pub fn fold(&self, partition: u32, entries: &[(Bytes, Bytes)]) -> Result<Vec<GroupWrite>> {
        let place = self.place(partition);
        let state = self.partitions[partition as usize].lock();
        let (generation, position) = (state.generation, state.claims.position());
        let mut writes = Vec::new();
        let mut joined = None;
        for (key, value) in entries {
            match stored::decode(key, value)?.2 {
                Stored::Position { position: stored, .. } if stored == position => {}
                Stored::Position { .. } => writes.push(put(place.position(generation, position))),
                Stored::Acked { generation: of, end, .. } if of != generation || end <= position => {
                    writes.push((key.clone(), None));
                }
                Stored::Acked { start, end, .. } => {
                    // one that is published but not yet in memory stays as it is
                    let Some(range) = state.claims.acked().containing(start).filter(|(_, to)| *to >= end) else {
                        continue;
                    };
                    if start > range.0 {
                        writes.push((key.clone(), None));
                    }
                    if (start, end) != range && joined.replace(range) != Some(range) {
                        writes.push(put(place.acked(generation, range.0, range.1)));
                    }
                }
            }
        }
        Ok(writes)
    }

    /// It was taken from the dirty ones.
    pub(super) fn unmark(&self, partition: u32) {
        self.partitions[partition as usize].lock().dirty = false;
    }

    /// Has a partition folded.
    pub fn mark(self: &Arc<Self>, partition: u32) {
        self.mark_dirty(partition, &mut self.partitions[partition as usize].lock());
    }

    fn mark_dirty(self: &Arc<Self>, partition: u32, state: &mut Partition) {
        if !std::mem::replace(&mut state.dirty, true) {
            self.shared.dirty.lock().push((Arc::downgrade(self), partition));
        }
    }
}

fn put((key, value): (Bytes, Bytes)) -> GroupWrite {
    (key, Some(value))
}

/// Messages that a transaction has claimed: they return at once when it rolls back.
pub struct Claim {
    group: Arc<Group>,
    partition: u32,
    claimed: Vec<Claimed>,
}

impl Claim {
    /// The messages.
    pub fn claimed(&self) -> &[Claimed] {
        &self.claimed
    }
}

impl AtEnd for Claim {
    fn end(self: Box<Self>, committed: Option<CommitSeq>) {
        if committed.is_none() && !self.claimed.is_empty() {
            self.group.partitions[self.partition as usize].lock().claims.give_back(&self.claimed);
            self.group.shared.arrivals.returned(self.group.topic);
        }
    }
}

struct Settled {
    partition: u32,
    generation: u32,
    settling: Settling,
}

/// Messages that a transaction settles.
pub struct Settlement {
    group: Arc<Group>,
    outcome: Outcome,
    settled: Vec<Settled>,
}

impl Settlement {
    /// How many.
    pub fn count(&self) -> u64 {
        self.settled.len() as u64
    }

    /// What the transaction must write so that it lasts: acknowledgements do, in ranges.
    pub fn writes(&self) -> Vec<GroupWrite> {
        if self.outcome != Outcome::Ack {
            return Vec::new();
        }
        let mut offsets: Vec<(u32, u32, u64)> =
            self.settled.iter().map(|one| (one.partition, one.generation, one.settling.offset)).collect();
        offsets.sort_unstable();
        let mut writes = Vec::new();
        for run in offsets.chunk_by(|a, b| (a.0, a.1, a.2 + 1) == *b) {
            let (partition, generation, start) = run[0];
            let end = start + run.len() as u64;
            writes.push(put(self.group.place(partition).acked(generation, start, end)));
        }
        writes
    }
}

impl AtEnd for Settlement {
    fn end(self: Box<Self>, committed: Option<CommitSeq>) {
        let mut returned = false;
        for one in &self.settled {
            let mut state = self.group.partitions[one.partition as usize].lock();
            returned |= state.claims.end(one.settling, committed.is_some());
            if committed.is_some() && self.outcome == Outcome::Ack {
                self.group.mark_dirty(one.partition, &mut state);
            }
        }
        if returned {
            self.group.shared.arrivals.returned(self.group.topic);
        }
    }
}

/// New positions of a group, in force when the transaction commits.
pub struct Reset {
    group: Arc<Group>,
    /// Generation and position of each partition. Two resets of one transaction begin the same generation.
    to: Vec<(u32, u64)>,
}

impl Reset {
    /// What the transaction must write.
    pub fn writes(&self) -> Vec<GroupWrite> {
        let entries = (0..).zip(&self.to);
        entries
            .map(|(partition, (generation, to))| put(self.group.place(partition).position(*generation, *to)))
            .collect()
    }
}

impl AtEnd for Reset {
    fn end(self: Box<Self>, committed: Option<CommitSeq>) {
        if committed.is_none() {
            return;
        }
        for ((partition, (generation, to)), state) in (0..).zip(&self.to).zip(&self.group.partitions) {
            let mut state = state.lock();
            state.generation = *generation;
            state.claims = Claims::new(*to, []);
            self.group.mark_dirty(partition, &mut state);
        }
        self.group.shared.arrivals.returned(self.group.topic);
    }
}
