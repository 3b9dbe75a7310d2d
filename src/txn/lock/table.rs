//! The table of all locks of the server: asking, waiting, giving back.

use super::entry::{Asker, Entry, OwnerId, Party, Request, Waiter, Woken};
use super::graph::{Graph, deadlock};
use super::key::{LockKey, Object, Place, RowKey, Secret};
use super::mode::{LockMode, Modes, RowHold, RowLock};
use super::owner::{HeldObject, LockMark, LockOwner, Waiting};
use super::rows::{Attempt, RowShard, full};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::limits::{LOCK_SHARDS, OBJECT_LOCK_SHARDS, OBJECT_LOCKS_MAX};
use crate::types::Oid;
use crate::wait::{self, Wait};
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::sync::Arc;

/// What to do about a lock that somebody else holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockPolicy {
    /// Wait for it.
    Wait,
    /// Say that it is not available (NOWAIT and SKIP LOCKED).
    NoWait,
    /// Wait as long as another transaction writes the row; say that it is not available where others only lock it.
    AfterWriters,
}

/// The answer to a request for a lock.
pub enum Locked {
    /// It is held now.
    Granted,
    /// Ask again after this wait.
    Wait(Wait),
    /// Another transaction holds it, and the policy was not to wait for that.
    NotAvailable,
}

impl Locked {
    /// What to wait for before the same question is asked again, where the policy was to wait; none once it is held.
    pub fn wait(self) -> Result<Option<Wait>> {
        match self {
            Locked::Granted => Ok(None),
            Locked::Wait(wait) => Ok(Some(wait)),
            Locked::NotAvailable => Err(Error::internal("a lock that was to be waited for is not available")),
        }
    }
}

/// A transaction that is open, as others see it.
#[derive(Clone, Copy)]
pub(super) struct OpenTransaction {
    pub(super) pid: i32,
    pub(super) has_id: bool,
}

pub(super) type Objects = HashMap<Object, Entry>;

/// How often a session holds each advisory lock in each mode.
pub(super) type SessionLocks = HashMap<(Object, LockMode), u64>;

/// All locks of the server. Mutexes are taken in the order graph, shard, open transactions.
pub struct LockTable {
    pub(super) env: Arc<dyn Env>,
    secret: Secret,
    pub(super) objects: Vec<Mutex<Objects>>,
    pub(super) rows: Vec<Mutex<RowShard>>,
    open: Vec<Mutex<HashMap<u64, OpenTransaction>>>,
    /// What each waiting session waits for.
    pub(super) graph: Mutex<Graph>,
    /// What each session holds beyond its transactions.
    pub(super) sessions: Mutex<HashMap<i32, SessionLocks>>,
}

impl LockTable {
    /// An empty one.
    pub fn new(env: Arc<dyn Env>) -> LockTable {
        LockTable {
            secret: Secret::new(&*env),
            env,
            objects: (0..OBJECT_LOCK_SHARDS).map(|_| Mutex::default()).collect(),
            rows: (0..LOCK_SHARDS).map(|_| Mutex::default()).collect(),
            open: (0..OBJECT_LOCK_SHARDS).map(|_| Mutex::default()).collect(),
            graph: Mutex::default(),
            sessions: Mutex::default(),
        }
    }

    /// A transaction that begins; 0 for one that no session runs.
    pub fn begin(&self, id: u64, pid: i32) -> LockOwner {
        self.open_shard(id).insert(id, OpenTransaction { pid, has_id: false });
        LockOwner::new(id, pid, true)
    }

    /// Asks for a lock; of rows and keys, to write them. A mode that is held already is granted again; after a wait the
    /// same question is asked again.
    pub fn lock(&self, owner: &mut LockOwner, key: &LockKey, mode: LockMode, policy: LockPolicy) -> Result<Locked> {
        let place = Place::of(key, &self.secret);
        let request = Request { mode, writes: matches!(place, Place::Row(..)), after_writers: false };
        let who = owner.who;
        self.ask(owner, who, place, request, policy)
    }

    /// Asks for a row's lock, to write the row or only to keep others from it.
    pub fn lock_row(
        &self,
        owner: &mut LockOwner,
        row: (Oid, &Bytes),
        lock: RowLock,
        writes: bool,
        policy: LockPolicy,
    ) -> Result<Locked> {
        let place = Place::Row(self.secret.row(row.1), Some(row.0));
        let who = owner.who;
        let after_writers = policy == LockPolicy::AfterWriters;
        self.ask(owner, who, place, Request { mode: lock.mode(), writes, after_writers }, policy)
    }

    /// Whether a lock in at least this mode is held by the owner. What it was granted in its wait counts once it has asked
    /// again.
    pub fn holds(&self, owner: &LockOwner, key: &LockKey, mode: LockMode) -> bool {
        let place = Place::of(key, &self.secret);
        let modes = match (place, &owner.waiting) {
            (_, Some(waiting)) if waiting.place == place => waiting.before,
            (Place::Object(object), _) => {
                let shard = self.object_shard(&object);
                shard.get(&object).map_or(0, |entry| entry.modes_of(owner.who.owner))
            }
            (Place::Row(row, _), _) => self.row_shard(row).held(row, owner.who.owner).modes(),
        };
        modes >= mode.bit()
    }

    /// The owner writes, or locks rows: it has a transaction id that others can wait for.
    pub fn give_id(&self, owner: &mut LockOwner) {
        if owner.has_id {
            return;
        }
        owner.has_id = true;
        let id = owner.who.owner.0;
        if let Some(open) = self.open_shard(id).get_mut(&id) {
            open.has_id = true;
        }
    }

    /// Gives all locks back, ends the wait, if there is one, and the transaction. No mutex is held for longer than one
    /// lock takes, however many there are.
    pub fn release(&self, owner: &mut LockOwner) {
        self.stop_waiting(owner);
        self.release_objects(owner, 0, false);
        self.release_rows(owner, 0);
        if owner.is_open {
            owner.is_open = false;
            let id = owner.who.owner.0;
            self.open_shard(id).remove(&id);
        }
    }

    /// Does a part of [`release_to`](Self::release_to), about so many locks; true when nothing is left.
    pub fn release_some_to(&self, owner: &mut LockOwner, mark: LockMark, locks: usize) -> bool {
        let keep = owner.rows.len().saturating_sub(locks).max(mark.rows);
        self.release_to(owner, LockMark { objects: mark.objects, rows: keep });
        keep == mark.rows
    }

    /// Gives back what was got since a place: what was held more weakly then is held so again.
    pub fn release_to(&self, owner: &mut LockOwner, mark: LockMark) {
        self.release_objects(owner, mark.objects, true);
        self.release_rows(owner, mark.rows);
    }

    /// A relation's lock of this mode, which is held, stays to the transaction's end: going back to a savepoint does not
    /// give it back.
    pub fn keep_to_end(&self, owner: &mut LockOwner, relation: Oid, mode: LockMode) {
        let got_it =
            |held: &&mut HeldObject| held.object == Object::Relation(relation) && held.before & mode.bit() == 0;
        if let Some(held) = owner.objects.iter_mut().rev().find(got_it) {
            held.kept |= mode.bit();
        }
    }

    fn release_objects(&self, owner: &mut LockOwner, mark: usize, keeps: bool) {
        let mut kept: Vec<HeldObject> = Vec::new();
        while owner.objects.len() > mark {
            let Some(held) = owner.objects.pop() else { break };
            let HeldObject { object, before, .. } = held;
            let mut modes = if keeps { before } else { 0 };
            if keeps && held.kept != 0 {
                kept.push(held);
            }
            for kept in kept.iter_mut().filter(|kept| kept.object == object) {
                kept.before = before;
                modes |= kept.kept;
            }
            self.restore_object(object, owner.who.owner, modes);
        }
        owner.objects.extend(kept.into_iter().rev());
    }

    fn release_rows(&self, owner: &mut LockOwner, mark: usize) {
        let who = owner.who;
        while owner.rows.len() > mark {
            let Some((row, before)) = owner.rows.pop() else { break };
            let mut woken = Woken::new();
            self.row_shard(row).restore(row, who.owner, before, &mut woken);
            fire(woken);
        }
    }

    /// Takes the owner out of the queue that it waits in (a cancelled statement, a lock timeout); what it was granted
    /// meanwhile goes back.
    pub fn stop_waiting(&self, owner: &mut LockOwner) {
        let Some(waiting) = owner.waiting.take() else { return };
        self.graph.lock().remove(waiting.who.party);
        let mut woken = Woken::new();
        match waiting.place {
            Place::Row(row, _) => {
                self.row_shard(row).stop_waiting(row, waiting.who.owner, waiting.before, &mut woken);
            }
            Place::Object(object) => {
                let mut shard = self.object_shard(&object);
                if let Some(entry) = shard.get_mut(&object) {
                    match entry.is_queued(waiting.who.owner) {
                        true => entry.leave_queue(waiting.who.owner),
                        false => entry.restore(waiting.who.owner, waiting.before),
                    }
                    entry.grant_queue(&mut woken);
                    if entry.is_unused() {
                        shard.remove(&object);
                    }
                }
            }
        }
        fire(woken);
    }

    /// One request, in the name of the owner's transaction or of its session.
    pub(super) fn ask(
        &self,
        owner: &mut LockOwner,
        who: Asker,
        place: Place,
        request: Request,
        policy: LockPolicy,
    ) -> Result<Locked> {
        // as in PostgreSQL one who means to write has it from the start, one who locks a row with the lock
        if request.writes {
            self.give_id(owner);
        }
        let wanted = (place, request.modes(), who);
        if let Some(waiting) = owner.waiting
            && (waiting.place, waiting.request.modes(), waiting.who) != wanted
        {
            // whoever was woken asks again for what he got before; were the new lock given back for that, two who wait
            // for it would hand it to each other for ever
            if waiting.place != place && self.has(who, place, request) {
                return Ok(Locked::Granted);
            }
            self.stop_waiting(owner);
        }
        match self.attempt(owner, who, place, request)? {
            Attempt::Granted(got) => {
                if owner.waiting.take().is_some() {
                    self.graph.lock().remove(who.party);
                }
                match (got, place) {
                    (Some(before), Place::Object(object)) if !who.owner.is_session() => {
                        owner.objects.push(HeldObject { object, before, kept: 0 });
                    }
                    (Some(before), Place::Row(row, _)) => {
                        self.give_id(owner);
                        owner.rows.push(row, RowHold::of(before));
                    }
                    _ => {}
                }
                Ok(Locked::Granted)
            }
            Attempt::Busy if policy == LockPolicy::NoWait => Ok(Locked::NotAvailable),
            Attempt::Busy if request.after_writers && !self.has_other_writer(place, who) => {
                self.stop_waiting(owner);
                Ok(Locked::NotAvailable)
            }
            Attempt::Busy => self.begin_wait(owner, who, place, request),
        }
    }

    fn has_other_writer(&self, place: Place, who: Asker) -> bool {
        match place {
            Place::Row(row, _) => self.row_shard(row).has_other_writer(row, who.owner),
            Place::Object(_) => false,
        }
    }

    /// Whether a request asks for nothing new.
    fn has(&self, who: Asker, place: Place, request: Request) -> bool {
        match place {
            Place::Row(row, _) => {
                let held = self.row_shard(row).held(row, who.owner);
                held.and(RowHold::of(request.modes())) == held
            }
            Place::Object(object) => {
                let shard = self.object_shard(&object);
                shard.get(&object).is_some_and(|entry| entry.modes_of(who.owner) & request.mode.bit() != 0)
            }
        }
    }

    fn attempt(&self, owner: &LockOwner, who: Asker, place: Place, request: Request) -> Result<Attempt> {
        let awaited = owner.waiting.map(|waiting| waiting.before);
        match place {
            Place::Row(row, _) => self.row_shard(row).attempt(row, who, request, awaited, |owner| self.party_of(owner)),
            Place::Object(object) => {
                let mut shard = self.object_shard(&object);
                if shard.len() >= OBJECT_LOCKS_MAX / OBJECT_LOCK_SHARDS && !shard.contains_key(&object) {
                    return Err(full("Too many relations and advisory locks are held at once; give some back."));
                }
                let entry = shard.entry(object).or_default();
                let held = entry.modes_of(who.owner);
                if held & request.mode.bit() != 0 {
                    return Ok(Attempt::Granted(awaited));
                }
                if !entry.suits_holders(who, request.mode) || !entry.suits_queue(who, request.mode) {
                    return Ok(Attempt::Busy);
                }
                // it may still stand in the queue, and must not be granted anything once it has ended
                entry.leave_queue(who.owner);
                entry.hold(who, request.mode.bit());
                Ok(Attempt::Granted(Some(awaited.unwrap_or(held))))
            }
        }
    }

    /// Queues the owner unless that closes a cycle.
    fn begin_wait(&self, owner: &mut LockOwner, who: Asker, place: Place, request: Request) -> Result<Locked> {
        let since = self.env.now();
        let mut graph = self.graph.lock();
        let (signal, wait) = wait::pair(None);
        let before = {
            let enqueue = |entry: &mut Entry, relation| {
                entry.enqueue(Waiter { who, request, signal, since, relation });
                entry.modes_of(who.owner)
            };
            match place {
                Place::Object(object) => {
                    let mut shard = self.object_shard(&object);
                    let entry = shard.entry(object).or_default();
                    if entry.suits_holders(who, request.mode) && entry.suits_queue(who, request.mode) {
                        // released since we looked: asking again is granted or finds a new holder
                        return Ok(Locked::Wait(Wait::ready()));
                    }
                    enqueue(entry, None)
                }
                Place::Row(row, relation) => {
                    let mut shard = self.row_shard(row);
                    let entry = shard.share(row, |owner| self.party_of(owner))?;
                    let is_over = request.after_writers && !entry.has_other_writer(who);
                    if is_over || entry.suits_holders(who, request.mode) {
                        shard.settle(row);
                        return Ok(Locked::Wait(Wait::ready()));
                    }
                    // as in PostgreSQL who waits for a writer only is not seen in the row's own queue
                    enqueue(entry, relation.filter(|_| !request.after_writers))
                }
            }
        };
        if owner.waiting.is_none() {
            owner.waits += 1;
            owner.waiting = Some(Waiting { place, request, who, before });
        }
        graph.insert(who, place);
        match self.find_cycle(&graph, who.party) {
            None => Ok(Locked::Wait(wait)),
            Some(cycle) => {
                let opened = self.open_cycle(&graph, who.party, cycle);
                drop(graph);
                match opened {
                    Ok(woken) => {
                        fire(woken);
                        Ok(Locked::Wait(wait))
                    }
                    Err(cycle) => {
                        self.stop_waiting(owner);
                        Err(deadlock(&cycle))
                    }
                }
            }
        }
    }

    pub(super) fn restore_object(&self, object: Object, owner: OwnerId, before: Modes) {
        let mut woken = Woken::new();
        {
            let mut shard = self.object_shard(&object);
            if let Some(entry) = shard.get_mut(&object) {
                entry.restore(owner, before);
                entry.grant_queue(&mut woken);
                if entry.is_unused() {
                    shard.remove(&object);
                }
            }
        }
        fire(woken);
    }

    /// The party of a transaction that holds a row's lock.
    fn party_of(&self, owner: OwnerId) -> Party {
        let pid = self.open_shard(owner.0).get(&owner.0).map_or(0, |open| open.pid);
        Party::of(pid, owner.0)
    }

    /// The transactions that are open.
    pub(super) fn open_transactions(&self) -> Vec<(u64, OpenTransaction)> {
        let of = |shard: &Mutex<HashMap<u64, OpenTransaction>>| {
            shard.lock().iter().map(|(id, open)| (*id, *open)).collect::<Vec<_>>()
        };
        self.open.iter().flat_map(of).collect()
    }

    fn open_shard(&self, id: u64) -> MutexGuard<'_, HashMap<u64, OpenTransaction>> {
        self.open[id as usize % self.open.len()].lock()
    }

    pub(super) fn object_shard(&self, object: &Object) -> MutexGuard<'_, Objects> {
        self.objects[self.secret.object(object) as usize % self.objects.len()].lock()
    }

    pub(super) fn row_shard(&self, row: RowKey) -> MutexGuard<'_, RowShard> {
        self.rows[row.shard(self.rows.len())].lock()
    }
}

fn fire(woken: Woken) {
    for signal in woken {
        signal.fire();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::ManualEnv;
    use crate::error::SqlState;
    use crate::txn::lock::{AdvisoryKey, AdvisoryLevel, LockedThing};

    fn table() -> LockTable {
        LockTable::new(Arc::new(ManualEnv::new(0, 7)))
    }

    fn owners<const N: usize>(table: &LockTable) -> [LockOwner; N] {
        std::array::from_fn(|at| table.begin(at as u64 + 1, 101 + at as i32))
    }

    fn ask(table: &LockTable, owner: &mut LockOwner, key: &str, lock: RowLock) -> Result<Locked> {
        let key = Bytes::copy_from_slice(key.as_bytes());
        table.lock_row(owner, (Oid(9), &key), lock, false, LockPolicy::Wait)
    }

    fn granted(table: &LockTable, owner: &mut LockOwner, key: &str, lock: RowLock) -> bool {
        matches!(ask(table, owner, key, lock), Ok(Locked::Granted))
    }

    fn relation(table: &LockTable, owner: &mut LockOwner, mode: LockMode) -> bool {
        matches!(table.lock(owner, &LockKey::Relation(Oid(1)), mode, LockPolicy::Wait), Ok(Locked::Granted))
    }

    fn is_empty(table: &LockTable) -> bool {
        table.objects.iter().all(|shard| shard.lock().is_empty())
            && table.rows.iter().all(|shard| shard.lock().is_empty())
            && table.open_transactions().is_empty()
            && table.graph.lock().is_empty()
            && table.sessions.lock().is_empty()
    }

    use RowLock::{KeyShare, NoKeyUpdate, Share, Update};

    #[test]
    fn a_release_grants_to_the_longest_waiting() {
        let table = table();
        let [mut a, mut b, mut c] = owners(&table);
        assert!(granted(&table, &mut a, "k", Update));
        let Ok(Locked::Wait(wait_b)) = ask(&table, &mut b, "k", Update) else { panic!("b must wait") };
        let Ok(Locked::Wait(wait_c)) = ask(&table, &mut c, "k", Update) else { panic!("c must wait") };
        assert_eq!((table.blockers(102), table.blockers(103)), (vec![101], vec![102]));
        table.release(&mut a);
        assert!(wait_b.is_done() && !wait_c.is_done());
        assert!(granted(&table, &mut b, "k", Update));
        table.release(&mut b);
        assert!(wait_c.is_done());
        table.release(&mut c);
        assert!(is_empty(&table));
    }

    #[test]
    fn who_suits_the_holders_of_a_row_passes_those_who_wait_but_not_in_the_queue_of_an_object() {
        let table = table();
        let [mut a, mut b, mut c] = owners(&table);
        assert!(granted(&table, &mut a, "k", KeyShare));
        assert!(!granted(&table, &mut b, "k", Update));
        assert!(granted(&table, &mut c, "k", NoKeyUpdate));
        table.release(&mut a);
        table.release(&mut c);
        assert!(granted(&table, &mut b, "k", Update));

        let [mut a, mut b, mut c] = owners(&table);
        assert!(relation(&table, &mut a, LockMode::AccessShare));
        assert!(!relation(&table, &mut b, LockMode::AccessExclusive));
        assert!(!relation(&table, &mut c, LockMode::AccessShare));
        assert!(relation(&table, &mut a, LockMode::RowExclusive), "who is waited for goes before");
        table.stop_waiting(&mut b);
        assert!(relation(&table, &mut c, LockMode::AccessShare), "the writer gave up");
    }

    #[test]
    fn a_cycle_is_found_when_its_last_wait_begins_whatever_is_locked() {
        let table = table();
        let [mut a, mut b, mut c] = owners(&table);
        let key = AdvisoryKey::of_bigint(7);
        let advisory = |owner: &mut LockOwner| {
            table.lock_advisory(owner, key, LockMode::Exclusive, AdvisoryLevel::Session, LockPolicy::Wait)
        };
        assert!(granted(&table, &mut a, "1", Update) && relation(&table, &mut b, LockMode::Share));
        assert!(matches!(advisory(&mut c), Ok(Locked::Granted)));
        assert!(!relation(&table, &mut a, LockMode::RowExclusive));
        assert!(matches!(advisory(&mut b), Ok(Locked::Wait(_))));
        let Err(error) = ask(&table, &mut c, "1", KeyShare) else { panic!("a deadlock") };
        assert_eq!(error.code(), SqlState::T_R_DEADLOCK_DETECTED);
        assert_eq!(
            error.fields().detail.as_deref(),
            Some(
                "Process 103 waits for ShareLock on transaction 1; blocked by process 101.\n\
                 Process 101 waits for RowExclusiveLock on relation 1 of database 5; blocked by process 102.\n\
                 Process 102 waits for ExclusiveLock on advisory lock [5,0,7,1]; blocked by process 103."
            )
        );
        table.release(&mut c);
        assert!(!matches!(advisory(&mut b), Ok(Locked::Granted)), "a session's lock outlives its transaction");
        table.unlock_session(103);
        assert!(matches!(advisory(&mut b), Ok(Locked::Granted)));
        for owner in [&mut a, &mut b] {
            table.release(owner);
        }
        assert!(table.unlock_advisory(102, key, LockMode::Exclusive));
        assert!(!table.unlock_advisory(102, key, LockMode::Exclusive));
        assert!(is_empty(&table));
    }

    #[test]
    fn two_readers_that_both_want_to_write_deadlock() {
        let table = table();
        let [mut a, mut b] = owners(&table);
        assert!(granted(&table, &mut a, "k", Share) && granted(&table, &mut b, "k", Share));
        assert!(matches!(ask(&table, &mut a, "k", Update), Ok(Locked::Wait(_))));
        assert!(ask(&table, &mut b, "k", Update).is_err());
        table.release(&mut b);
        assert!(granted(&table, &mut a, "k", Update));
    }

    #[test]
    fn going_back_gives_back_what_was_got_since_and_leaves_what_was_held() {
        let table = table();
        let [mut a, mut b] = owners(&table);
        assert!(granted(&table, &mut a, "old", KeyShare) && relation(&table, &mut a, LockMode::AccessShare));
        let mark = a.mark();
        assert!(granted(&table, &mut a, "old", Update) && granted(&table, &mut a, "new", Update));
        assert!(relation(&table, &mut a, LockMode::AccessExclusive));
        let Ok(Locked::Wait(wait)) = ask(&table, &mut b, "old", NoKeyUpdate) else { panic!("b must wait") };
        table.release_to(&mut a, mark);
        assert!(wait.is_done());
        assert!(granted(&table, &mut b, "old", NoKeyUpdate) && granted(&table, &mut b, "new", Update));
        assert!(relation(&table, &mut b, LockMode::RowExclusive));
        assert!(!granted(&table, &mut b, "old", Update), "the weaker lock of before is held");
        for owner in [&mut a, &mut b] {
            table.release(owner);
        }
        assert!(is_empty(&table));
    }

    #[test]
    fn a_grant_that_nobody_came_for_goes_back() {
        let table = table();
        let [mut a, mut b, mut c] = owners(&table);
        assert!(granted(&table, &mut a, "k", Update));
        assert!(granted(&table, &mut b, "other", Update));
        assert!(!granted(&table, &mut b, "k", Share));
        table.release(&mut a);
        table.stop_waiting(&mut b);
        assert!(granted(&table, &mut c, "k", Update));
        for owner in [&mut b, &mut c] {
            table.release(owner);
        }
        assert!(is_empty(&table));
    }

    #[test]
    fn what_was_granted_in_a_wait_is_held_though_less_is_asked_for_then() {
        let table = table();
        let [mut a, mut b, mut c] = owners(&table);
        assert!(granted(&table, &mut a, "k", Update));
        assert!(!granted(&table, &mut b, "k", Update));
        table.release(&mut a);
        assert!(granted(&table, &mut b, "k", Share) && granted(&table, &mut b, "other", Update));
        assert!(!granted(&table, &mut c, "k", Update));
        for owner in [&mut b, &mut c] {
            table.release(owner);
        }
        assert!(is_empty(&table));
    }

    #[test]
    fn who_waits_for_writers_only_is_told_when_there_is_none() {
        let table = table();
        let [mut a, mut b, mut c, mut d] = owners(&table);
        let key = Bytes::from("k");
        let ask =
            |owner: &mut LockOwner, lock, policy| table.lock_row(owner, (Oid(9), &key), lock, true, policy).unwrap();
        assert!(granted(&table, &mut a, "k", KeyShare));
        assert!(matches!(ask(&mut b, NoKeyUpdate, LockPolicy::Wait), Locked::Granted));
        let Locked::Wait(wait) = ask(&mut c, Update, LockPolicy::AfterWriters) else { panic!("c must wait for b") };
        assert_eq!(table.blockers(103), [102]);
        table.release(&mut b);
        assert!(wait.is_done());
        assert!(matches!(ask(&mut c, Update, LockPolicy::AfterWriters), Locked::NotAvailable));
        table.release(&mut c);
        assert!(!granted(&table, &mut d, "k", Update), "a still holds it");
        for owner in [&mut a, &mut d] {
            table.release(owner);
        }
        assert!(is_empty(&table));
    }

    #[test]
    fn a_wait_for_a_row_shows_as_one_for_its_holders_transaction() {
        let table = table();
        let [mut a, mut b, mut c] = owners(&table);
        assert!(granted(&table, &mut a, "k", NoKeyUpdate));
        assert!(!granted(&table, &mut b, "k", Update) && !granted(&table, &mut c, "k", Share));
        let shown = table.snapshot_locks();
        let shown: Vec<_> = shown.iter().filter(|info| !matches!(info.thing, LockedThing::Virtual(_))).collect();
        let line = |at: usize| (shown[at].thing, shown[at].pid, shown[at].mode, shown[at].granted);
        assert_eq!(line(0), (LockedThing::Tuple(Oid(9)), 102, LockMode::AccessExclusive, true));
        assert_eq!(line(1), (LockedThing::Tuple(Oid(9)), 103, LockMode::RowShare, false));
        assert_eq!(line(2), (LockedThing::Transaction(1), 101, LockMode::Exclusive, true));
        assert_eq!(line(3), (LockedThing::Transaction(1), 102, LockMode::Share, false));
    }

    #[test]
    fn a_million_row_locks_cost_a_few_dozen_bytes_each() {
        const ROWS: u64 = 1_000_000;
        let table = table();
        let [mut a] = owners(&table);
        for row in 0..ROWS {
            let key = Bytes::copy_from_slice(&row.to_be_bytes());
            let locked = table.lock_row(&mut a, (Oid(9), &key), Update, true, LockPolicy::Wait).unwrap();
            assert!(matches!(locked, Locked::Granted));
        }
        let bytes = table.rows.iter().map(|shard| shard.lock().bytes()).sum::<usize>() + a.rows.bytes();
        assert!(bytes / ROWS as usize <= 80, "{} bytes a lock", bytes / ROWS as usize);
        let mut pieces = 1;
        while !table.release_some_to(&mut a, LockMark { objects: 0, rows: 0 }, 100_000) {
            pieces += 1;
        }
        assert_eq!(pieces, 10);
        table.release(&mut a);
        assert!(is_empty(&table));
    }

    #[test]
    fn a_full_part_of_the_objects_refuses_what_is_new_and_nothing_that_is_held() {
        let table = table();
        let [mut a, mut b] = owners(&table);
        let in_first = |key: &AdvisoryKey| {
            (table.secret.object(&Object::Advisory(*key)) as usize).is_multiple_of(OBJECT_LOCK_SHARDS)
        };
        let most = OBJECT_LOCKS_MAX / OBJECT_LOCK_SHARDS;
        let keys = (0..).map(AdvisoryKey::of_bigint).filter(in_first).map(LockKey::Advisory);
        let keys: Vec<LockKey> = keys.take(most + 1).collect();
        let ask = |owner: &mut LockOwner, key: usize| {
            let locked = table.lock(owner, &keys[key], LockMode::Exclusive, LockPolicy::Wait);
            locked.map(|locked| matches!(locked, Locked::Granted)).map_err(|error| error.code())
        };
        assert!((0..most).all(|key| ask(&mut a, key) == Ok(true)));
        assert_eq!(ask(&mut a, most), Err(SqlState::OUT_OF_MEMORY));
        assert_eq!((ask(&mut a, 0), ask(&mut b, 0)), (Ok(true), Ok(false)), "held, and waited for");
        table.release(&mut a);
        assert_eq!(ask(&mut b, most), Ok(true));
        table.release(&mut b);
        assert!(is_empty(&table));
    }
}
