//! Locks on relations, rows, keys and the catalog: PostgreSQL's eight modes, first come first served, deadlocks found.
//!
//! One table for everything that can be locked, so that one wait-for graph covers it. It is split into shards by key;
//! a transaction that must wait takes the graph's mutex too, so of the transactions of a cycle the last one to begin
//! its wait sees all the others' waits, and is the one that gets 40P01. Locks are held until the transaction's end.

use crate::catalog::{CatalogKey, CatalogName};
use crate::error::{Error, Result, SqlState};
use crate::limits::LOCK_SHARDS;
use crate::types::Oid;
use crate::wait::{self, Signal, Wait};
use bytes::Bytes;
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::BuildHasher;

/// What can be locked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LockKey {
    /// An entry of the catalog: in [`LockMode::Exclusive`] by who changes it, in [`LockMode::AccessExclusive`] by who
    /// removes it, in [`LockMode::AccessShare`] by who adds something that needs it.
    Entry(CatalogKey),
    /// A name in the catalog, by who gives it to an object.
    Name(CatalogName),
    /// A relation.
    Relation(Oid),
    /// A key of the ordered map: a row, or an entry of a unique constraint, present or not.
    Key(Bytes),
}

/// PostgreSQL's lock modes (manual, 13.3.1). Rows use the four that PostgreSQL maps its row locks to: FOR KEY SHARE
/// AccessShare, FOR SHARE RowShare, FOR NO KEY UPDATE Exclusive, FOR UPDATE and writes AccessExclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LockMode {
    /// SELECT
    AccessShare = 1,
    /// SELECT FOR UPDATE and its kin
    RowShare = 2,
    /// INSERT, UPDATE, DELETE
    RowExclusive = 3,
    /// VACUUM, CREATE INDEX CONCURRENTLY
    ShareUpdateExclusive = 4,
    /// CREATE INDEX
    Share = 5,
    /// CREATE TRIGGER
    ShareRowExclusive = 6,
    /// REFRESH MATERIALIZED VIEW CONCURRENTLY
    Exclusive = 7,
    /// DROP TABLE and most of ALTER TABLE
    AccessExclusive = 8,
}

impl LockMode {
    const fn bit(self) -> u16 {
        1 << self as u16
    }

    /// The modes that this one conflicts with (manual, table 13.2), as a mask of bits.
    const fn conflicts(self) -> u16 {
        match self {
            LockMode::AccessShare => 1 << 8,
            LockMode::RowShare => 1 << 7 | 1 << 8,
            LockMode::RowExclusive => 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8,
            LockMode::ShareUpdateExclusive => 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8,
            LockMode::Share => 1 << 3 | 1 << 4 | 1 << 6 | 1 << 7 | 1 << 8,
            LockMode::ShareRowExclusive => 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8,
            LockMode::Exclusive => 0x1fc,
            LockMode::AccessExclusive => 0x1fe,
        }
    }

    /// Whether two transactions cannot hold these modes on one object at once.
    pub const fn conflicts_with(self, other: LockMode) -> bool {
        self.conflicts() & other.bit() != 0
    }

    /// The name that pg_locks and deadlock messages use.
    pub fn name(self) -> &'static str {
        match self {
            LockMode::AccessShare => "AccessShareLock",
            LockMode::RowShare => "RowShareLock",
            LockMode::RowExclusive => "RowExclusiveLock",
            LockMode::ShareUpdateExclusive => "ShareUpdateExclusiveLock",
            LockMode::Share => "ShareLock",
            LockMode::ShareRowExclusive => "ShareRowExclusiveLock",
            LockMode::Exclusive => "ExclusiveLock",
            LockMode::AccessExclusive => "AccessExclusiveLock",
        }
    }
}

/// What to do about a lock that somebody else holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockPolicy {
    /// Wait for it.
    Wait,
    /// Say that it is not available (NOWAIT and SKIP LOCKED).
    NoWait,
}

/// The answer to a request for a lock.
pub enum Locked {
    /// It is held now, until the transaction ends.
    Granted,
    /// Ask again after this wait.
    Wait(Wait),
    /// Another transaction holds it, and the policy was not to wait.
    NotAvailable,
}

/// A transaction as the lock table knows it: who it is, what it holds, what it waits for.
#[derive(Debug)]
pub struct LockOwner {
    id: u64,
    pid: i32,
    held: Vec<LockKey>,
    waiting: Option<LockKey>,
    /// Waits begun so far.
    waits: u64,
}

impl LockOwner {
    /// An owner without locks.
    pub fn new(id: u64, pid: i32) -> LockOwner {
        LockOwner { id, pid, held: Vec::new(), waiting: None, waits: 0 }
    }

    /// The number of the wait that it is in.
    pub fn wait_number(&self) -> Option<u64> {
        self.waiting.is_some().then_some(self.waits)
    }
}

struct Holder {
    txn: u64,
    pid: i32,
    modes: u16,
}

struct Waiter {
    txn: u64,
    pid: i32,
    mode: LockMode,
    signal: Signal,
}

#[derive(Default)]
struct Entry {
    holders: SmallVec<[Holder; 1]>,
    queue: VecDeque<Waiter>,
}

/// All locks of the server.
pub struct LockTable {
    shards: Vec<Mutex<HashMap<LockKey, Entry>>>,
    hasher: RandomState,
    /// What each waiting transaction waits for. Taken before a shard, never after.
    graph: Mutex<HashMap<u64, LockKey>>,
}

/// Who a waiter waits for, for the deadlock's description.
struct Edge {
    pid: i32,
    mode: LockMode,
    key: LockKey,
    blocker: u64,
    blocker_pid: i32,
}

impl Default for LockTable {
    fn default() -> LockTable {
        LockTable {
            shards: (0..LOCK_SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            graph: Mutex::default(),
        }
    }
}

impl LockTable {
    /// Asks for a lock. A mode that is held already is granted again; after a wait the same question is asked again.
    pub fn lock(&self, owner: &mut LockOwner, key: LockKey, mode: LockMode, policy: LockPolicy) -> Result<Locked> {
        if owner.waiting.as_ref().is_some_and(|waiting| *waiting != key) {
            self.stop_waiting(owner);
        }
        match self.try_grant(owner, &key, mode, policy) {
            Attempt::Granted => {
                if owner.waiting.take().is_some() {
                    self.graph.lock().remove(&owner.id);
                }
                Ok(Locked::Granted)
            }
            Attempt::NotAvailable => Ok(Locked::NotAvailable),
            Attempt::MustWait => self.begin_wait(owner, key, mode),
        }
    }

    /// Whether a lock in at least this mode is held by the owner.
    pub fn holds(&self, owner: &LockOwner, key: &LockKey, mode: LockMode) -> bool {
        let shard = self.shard(key).lock();
        shard.get(key).is_some_and(|entry| {
            entry.holders.iter().any(|holder| holder.txn == owner.id && holder.modes >= mode.bit())
        })
    }

    /// Whether a process waits for a lock that somebody else holds.
    pub fn is_waiting(&self, pid: i32) -> bool {
        self.graph.lock().iter().any(|(txn, key)| {
            let shard = self.shard(key).lock();
            let queue = shard.get(key).map(|entry| &entry.queue);
            queue.is_some_and(|queue| queue.iter().any(|waiter| waiter.txn == *txn && waiter.pid == pid))
        })
    }

    /// Gives all locks back and ends the wait, if there is one.
    pub fn release(&self, owner: &mut LockOwner) {
        self.stop_waiting(owner);
        let mut woken: SmallVec<[Signal; 4]> = SmallVec::new();
        for key in owner.held.drain(..) {
            let mut shard = self.shard(&key).lock();
            let Some(entry) = shard.get_mut(&key) else { continue };
            entry.holders.retain(|holder| holder.txn != owner.id);
            entry.grant_queue(&mut woken);
            if entry.holders.is_empty() && entry.queue.is_empty() {
                shard.remove(&key);
            }
        }
        for signal in woken {
            signal.fire();
        }
    }

    /// Takes the owner out of the queue that it waits in (a cancelled statement, a lock timeout).
    pub fn stop_waiting(&self, owner: &mut LockOwner) {
        let Some(key) = owner.waiting.take() else { return };
        self.graph.lock().remove(&owner.id);
        let mut woken: SmallVec<[Signal; 4]> = SmallVec::new();
        {
            let mut shard = self.shard(&key).lock();
            if let Some(entry) = shard.get_mut(&key) {
                entry.queue.retain(|waiter| waiter.txn != owner.id);
                entry.grant_queue(&mut woken);
                if entry.holders.iter().any(|holder| holder.txn == owner.id) && !owner.held.contains(&key) {
                    // granted in the meantime: it is given back with the rest
                    owner.held.push(key.clone());
                }
                if entry.holders.is_empty() && entry.queue.is_empty() {
                    shard.remove(&key);
                }
            }
        }
        for signal in woken {
            signal.fire();
        }
    }

    fn shard(&self, key: &LockKey) -> &Mutex<HashMap<LockKey, Entry>> {
        &self.shards[self.hasher.hash_one(key) as usize % self.shards.len()]
    }

    fn try_grant(&self, owner: &mut LockOwner, key: &LockKey, mode: LockMode, policy: LockPolicy) -> Attempt {
        let mut shard = self.shard(key).lock();
        let entry = match shard.get_mut(key) {
            Some(entry) => entry,
            None => shard.entry(key.clone()).or_default(),
        };
        let held = entry.modes_of(owner.id);
        if held & mode.bit() != 0 {
            // given by whoever released it, or held since before
            if owner.waiting.is_some() && !owner.held.contains(key) {
                owner.held.push(key.clone());
            }
            return Attempt::Granted;
        }
        if entry.is_free_for(owner.id, held, mode) {
            if held == 0 {
                owner.held.push(key.clone());
            }
            entry.hold(owner.id, owner.pid, mode);
            // it may still stand in the queue, and must not be granted anything once it has ended
            entry.queue.retain(|waiter| waiter.txn != owner.id);
            return Attempt::Granted;
        }
        match policy {
            LockPolicy::Wait => Attempt::MustWait,
            LockPolicy::NoWait => Attempt::NotAvailable,
        }
    }

    /// Queues the owner unless that closes a cycle.
    fn begin_wait(&self, owner: &mut LockOwner, key: LockKey, mode: LockMode) -> Result<Locked> {
        let mut graph = self.graph.lock();
        let (signal, wait) = wait::pair(None);
        {
            let mut shard = self.shard(&key).lock();
            let entry = shard.entry(key.clone()).or_default();
            let held = entry.modes_of(owner.id);
            if held & mode.bit() != 0 || entry.is_free_for(owner.id, held, mode) {
                // released since we looked: asking again is granted or finds a new holder
                return Ok(Locked::Wait(Wait::ready()));
            }
            entry.enqueue(Waiter { txn: owner.id, pid: owner.pid, mode, signal }, held);
        }
        owner.waits += u64::from(owner.waiting.is_none());
        owner.waiting = Some(key.clone());
        graph.insert(owner.id, key);
        match self.find_cycle(&graph, owner.id) {
            None => Ok(Locked::Wait(wait)),
            Some(cycle) => {
                drop(graph);
                self.stop_waiting(owner);
                Err(deadlock(&cycle))
            }
        }
    }

    /// A cycle of waits through `start`, depth first. Other waits cannot begin meanwhile: the graph is locked.
    fn find_cycle(&self, graph: &HashMap<u64, LockKey>, start: u64) -> Option<Vec<Edge>> {
        let mut path: Vec<Edge> = Vec::new();
        let mut visited = HashSet::from([start]);
        let mut open: Vec<(usize, Edge)> = self.edges(graph, start).into_iter().map(|edge| (0, edge)).collect();
        while let Some((depth, edge)) = open.pop() {
            path.truncate(depth);
            let blocker = edge.blocker;
            path.push(edge);
            if blocker == start {
                return Some(path);
            }
            if visited.insert(blocker) {
                open.extend(self.edges(graph, blocker).into_iter().map(|edge| (path.len(), edge)));
            }
        }
        None
    }

    /// Whom a transaction waits for: holders, and those before it in the queue, of conflicting modes.
    fn edges(&self, graph: &HashMap<u64, LockKey>, txn: u64) -> Vec<Edge> {
        let Some(key) = graph.get(&txn) else { return Vec::new() };
        let shard = self.shard(key).lock();
        let Some(entry) = shard.get(key) else { return Vec::new() };
        let Some(at) = entry.queue.iter().position(|waiter| waiter.txn == txn) else { return Vec::new() };
        let waiter = &entry.queue[at];
        let edge = |blocker: u64, blocker_pid: i32| Edge {
            pid: waiter.pid,
            mode: waiter.mode,
            key: key.clone(),
            blocker,
            blocker_pid,
        };
        let holders = entry.holders.iter().filter(|holder| holder.txn != txn);
        let holders = holders.filter(|holder| holder.modes & waiter.mode.conflicts() != 0);
        let before = entry.queue.iter().take(at).filter(|other| other.mode.conflicts_with(waiter.mode));
        holders
            .map(|holder| edge(holder.txn, holder.pid))
            .chain(before.map(|other| edge(other.txn, other.pid)))
            .collect()
    }
}

enum Attempt {
    Granted,
    NotAvailable,
    MustWait,
}

impl Entry {
    fn modes_of(&self, txn: u64) -> u16 {
        self.holders.iter().find(|holder| holder.txn == txn).map_or(0, |holder| holder.modes)
    }

    /// Whether nobody else's hold conflicts, and nobody who waits longer would be passed over. Who holds the object
    /// already does not queue behind those who wait for him.
    fn is_free_for(&self, txn: u64, held: u16, mode: LockMode) -> bool {
        let conflicts = mode.conflicts();
        let held_by_others = self.holders.iter().any(|holder| holder.txn != txn && holder.modes & conflicts != 0);
        let passes_over =
            held == 0 && self.queue.iter().any(|waiter| waiter.txn != txn && conflicts & waiter.mode.bit() != 0);
        !held_by_others && !passes_over
    }

    fn hold(&mut self, txn: u64, pid: i32, mode: LockMode) {
        match self.holders.iter_mut().find(|holder| holder.txn == txn) {
            Some(holder) => holder.modes |= mode.bit(),
            None => self.holders.push(Holder { txn, pid, modes: mode.bit() }),
        }
    }

    /// Adds a waiter at the end; one who holds the object already goes before the first that waits for him, as in
    /// PostgreSQL, or they would wait for each other. A repeated question keeps its place.
    fn enqueue(&mut self, waiter: Waiter, held: u16) {
        if let Some(old) = self.queue.iter_mut().find(|old| old.txn == waiter.txn && old.mode == waiter.mode) {
            old.signal = waiter.signal;
            return;
        }
        self.queue.retain(|old| old.txn != waiter.txn);
        let place = self.queue.iter().position(|other| other.mode.conflicts() & held != 0);
        self.queue.insert(place.unwrap_or(self.queue.len()), waiter);
    }

    /// Grants to those in the queue, in order, whose mode conflicts with no hold and with nobody still waiting before
    /// them.
    fn grant_queue(&mut self, woken: &mut SmallVec<[Signal; 4]>) {
        let mut waiting_before = 0;
        let mut at = 0;
        while at < self.queue.len() {
            let (txn, mode) = (self.queue[at].txn, self.queue[at].mode);
            let conflicts = mode.conflicts();
            let blocked = self.holders.iter().any(|holder| holder.txn != txn && holder.modes & conflicts != 0);
            if blocked || waiting_before & conflicts != 0 {
                waiting_before |= mode.bit();
                at += 1;
                continue;
            }
            let waiter = self.queue.remove(at).expect("the place is within the queue");
            self.hold(waiter.txn, waiter.pid, waiter.mode);
            woken.push(waiter.signal);
        }
    }
}

/// 40P01 with PostgreSQL's detail, one line for each process of the cycle. A row is waited for as PostgreSQL does it:
/// by waiting for the transaction that holds it.
fn deadlock(cycle: &[Edge]) -> Error {
    let lines: Vec<String> = cycle
        .iter()
        .map(|edge| {
            let wanted = match &edge.key {
                LockKey::Relation(oid) => format!("{} on relation {oid}", edge.mode.name()),
                LockKey::Entry(key) => {
                    let (class, oid) = class_and_oid(key);
                    format!("{} on object {oid} of class {class} of database 1", edge.mode.name())
                }
                LockKey::Name(_) => format!("ShareLock on transaction {}", edge.blocker),
                LockKey::Key(_) => format!("ShareLock on transaction {}", edge.blocker),
            };
            format!("Process {} waits for {wanted}; blocked by process {}.", edge.pid, edge.blocker_pid)
        })
        .collect();
    Error::new(SqlState::T_R_DEADLOCK_DETECTED, "deadlock detected")
        .detail(lines.join("\n"))
        .hint("See server log for query details.")
}

/// The system catalog that an object stands in, by PostgreSQL's OIDs, and the object's own.
fn class_and_oid(key: &CatalogKey) -> (u32, Oid) {
    match key {
        CatalogKey::Schema(oid) => (2615, *oid),
        CatalogKey::Relation(oid) => (1259, *oid),
        CatalogKey::Role(oid) => (1260, *oid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &'static str) -> LockKey {
        LockKey::Key(Bytes::from(name))
    }

    fn take(table: &LockTable, owner: &mut LockOwner, name: &'static str, mode: LockMode) -> Result<Locked> {
        table.lock(owner, key(name), mode, LockPolicy::Wait)
    }

    fn granted(table: &LockTable, owner: &mut LockOwner, name: &'static str, mode: LockMode) -> bool {
        matches!(take(table, owner, name, mode), Ok(Locked::Granted))
    }

    use LockMode::{AccessExclusive as X, AccessShare as S};

    #[test]
    fn the_conflict_table_is_symmetric() {
        use LockMode::*;
        let all = [
            AccessShare,
            RowShare,
            RowExclusive,
            ShareUpdateExclusive,
            Share,
            ShareRowExclusive,
            Exclusive,
            AccessExclusive,
        ];
        for a in all {
            for b in all {
                assert_eq!(a.conflicts_with(b), b.conflicts_with(a), "{a:?} {b:?}");
            }
        }
        assert!(!RowExclusive.conflicts_with(RowExclusive));
        assert!(!Share.conflicts_with(Share));
        assert!(ShareUpdateExclusive.conflicts_with(ShareUpdateExclusive));
    }

    #[test]
    fn a_release_grants_to_the_longest_waiting() {
        let table = LockTable::default();
        let [mut a, mut b, mut c] = [1, 2, 3].map(|id| LockOwner::new(id, id as i32));
        assert!(granted(&table, &mut a, "k", X));
        let Ok(Locked::Wait(wait_b)) = take(&table, &mut b, "k", X) else { panic!("b must wait") };
        let Ok(Locked::Wait(wait_c)) = take(&table, &mut c, "k", X) else { panic!("c must wait") };
        table.release(&mut a);
        assert!(wait_b.is_done() && !wait_c.is_done());
        assert!(granted(&table, &mut b, "k", X));
        table.release(&mut b);
        assert!(wait_c.is_done());
        table.release(&mut c);
        assert!(table.shards.iter().all(|shard| shard.lock().is_empty()), "nothing remains in the table");
        assert!(table.graph.lock().is_empty());
    }

    #[test]
    fn a_reader_does_not_pass_a_waiting_writer() {
        let table = LockTable::default();
        let [mut a, mut b, mut c] = [1, 2, 3].map(|id| LockOwner::new(id, id as i32));
        assert!(granted(&table, &mut a, "k", S));
        assert!(!granted(&table, &mut b, "k", X));
        assert!(!granted(&table, &mut c, "k", S));
        assert!(granted(&table, &mut a, "k", S), "who holds it already may ask again");
        table.stop_waiting(&mut b);
        assert!(granted(&table, &mut c, "k", S), "the writer gave up");
    }

    #[test]
    fn a_cycle_is_found_when_its_last_wait_begins() {
        let table = LockTable::default();
        let [mut a, mut b, mut c] = [1, 2, 3].map(|id| LockOwner::new(id, 100 + id as i32));
        assert!(granted(&table, &mut a, "1", X) && granted(&table, &mut b, "2", X) && granted(&table, &mut c, "3", X));
        assert!(!granted(&table, &mut a, "2", X));
        assert!(!granted(&table, &mut b, "3", X));
        let Err(error) = take(&table, &mut c, "1", X) else { panic!("a deadlock") };
        assert_eq!(error.code(), SqlState::T_R_DEADLOCK_DETECTED);
        assert_eq!(
            error.fields().detail.as_deref(),
            Some(
                "Process 103 waits for ShareLock on transaction 1; blocked by process 101.\n\
                 Process 101 waits for ShareLock on transaction 2; blocked by process 102.\n\
                 Process 102 waits for ShareLock on transaction 3; blocked by process 103."
            )
        );
        table.release(&mut c);
        assert!(granted(&table, &mut b, "3", X));
    }

    #[test]
    fn two_readers_that_both_want_to_write_deadlock() {
        let table = LockTable::default();
        let [mut a, mut b] = [1, 2].map(|id| LockOwner::new(id, id as i32));
        assert!(granted(&table, &mut a, "k", S) && granted(&table, &mut b, "k", S));
        assert!(matches!(take(&table, &mut a, "k", X), Ok(Locked::Wait(_))));
        assert!(take(&table, &mut b, "k", X).is_err());
        table.release(&mut b);
        assert!(granted(&table, &mut a, "k", X));
    }
}
