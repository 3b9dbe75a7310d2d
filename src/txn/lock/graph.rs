//! Who waits for whom: deadlocks, and what pg_blocking_pids says.

use super::entry::{Asker, Entry, OwnerId, Party, Waiter, Woken};
use super::key::{Object, Place};
use super::mode::LockMode;
use super::report::LockedThing;
use super::table::LockTable;
use crate::catalog::CatalogKey;
use crate::error::{Error, SqlState};
use crate::limits::{REORDERED_WAITS_MAX, REORDERINGS_MAX};
use crate::types::Oid;
use std::collections::{HashMap, HashSet};

/// What each waiting session waits for, and as whom.
#[derive(Default)]
pub(super) struct Graph(HashMap<Party, (Asker, Place)>);

impl Graph {
    pub(super) fn insert(&mut self, who: Asker, place: Place) {
        self.0.insert(who.party, (who, place));
    }

    pub(super) fn remove(&mut self, party: Party) {
        self.0.remove(&party);
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Who a waiter waits for, for the deadlock's description.
pub(super) struct Edge {
    waiter: Asker,
    mode: LockMode,
    place: Place,
    blocker: Asker,
    /// The blocker holds nothing that is in the way: it only came before.
    queued: bool,
}

impl LockTable {
    /// Whether a process waits for a lock that somebody else holds.
    pub fn is_waiting(&self, pid: i32) -> bool {
        !self.blockers(pid).is_empty()
    }

    /// The process ids of the sessions that keep a session from the lock that it waits for, as pg_blocking_pids says:
    /// those before it in the queue whom it may not pass; where there are none, those who hold the object. Of a row's
    /// holders it is the one whose transaction it waits for first.
    pub fn blockers(&self, pid: i32) -> Vec<i32> {
        let graph = self.graph.lock();
        let Some((who, place)) = graph.0.get(&Party::of(pid, 0)) else { return Vec::new() };
        let mut blockers: Vec<i32> = Vec::new();
        self.with_waiter(*who, *place, |entry, at| {
            let waiter = &entry.queue[at];
            let before = entry.blocking_waiters(at);
            blockers = match place {
                Place::Object(_) => entry.blocking_holders(waiter).chain(before).map(|who| who.party.pid()).collect(),
                Place::Row(..) => {
                    let before: Vec<i32> = before.map(|who| who.party.pid()).collect();
                    let awaited = awaited_transaction(entry, waiter).map(|who| who.party.pid());
                    if before.is_empty() { awaited.into_iter().collect() } else { before }
                }
            };
        });
        let mut seen = HashSet::new();
        blockers.retain(|blocker| seen.insert(*blocker));
        blockers
    }

    /// What a session waits for, by the name that pg_locks has for it; none where it waits for no lock.
    pub fn awaited(&self, pid: i32) -> Option<LockedThing> {
        let graph = self.graph.lock();
        let (who, place) = graph.0.get(&Party::of(pid, 0))?;
        let mut thing = None;
        self.with_waiter(*who, *place, |entry, at| {
            let waiter = &entry.queue[at];
            let is_first = entry.blocking_waiters(at).next().is_none();
            thing = match (place, waiter.relation) {
                (Place::Object(object), _) => Some(LockedThing::of(*object)),
                (Place::Row(..), Some(relation)) if !is_first => Some(LockedThing::Tuple(relation)),
                (Place::Row(..), _) => {
                    awaited_transaction(entry, waiter).map(|holder| LockedThing::Transaction(holder.owner.0))
                }
            };
        });
        thing
    }

    /// A cycle of waits through `start`, depth first. Other waits cannot begin meanwhile: the graph is locked.
    pub(super) fn find_cycle(&self, graph: &Graph, start: Party) -> Option<Vec<Edge>> {
        let mut path: Vec<Edge> = Vec::new();
        let mut visited = HashSet::from([start]);
        let mut open: Vec<(usize, Edge)> = self.edges(graph, start).into_iter().map(|edge| (0, edge)).collect();
        while let Some((depth, edge)) = open.pop() {
            path.truncate(depth);
            let blocker = edge.blocker.party;
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

    /// Whom a session waits for: holders, and those before it in the queue, of conflicting modes. Not itself: a
    /// transaction of its own that is being flushed ends without waiting.
    fn edges(&self, graph: &Graph, party: Party) -> Vec<Edge> {
        let Some((who, place)) = graph.0.get(&party) else { return Vec::new() };
        let mut edges = Vec::new();
        self.with_waiter(*who, *place, |entry, at| {
            let waiter = &entry.queue[at];
            let holders = entry.blocking_holders(waiter).map(|blocker| (blocker, false));
            let blockers = holders.chain(entry.blocking_waiters(at).map(|blocker| (blocker, true)));
            let edge =
                |(blocker, queued)| Edge { waiter: *who, mode: waiter.request.mode, place: *place, blocker, queued };
            edges = blockers.filter(|(blocker, _)| blocker.party != party).map(edge).collect();
        });
        edges
    }

    /// Opens a cycle of waits by letting somebody in it go before one whom he only waits behind, as PostgreSQL does, where
    /// that makes no other cycle. Who can go on then is granted what he waits for; the cycle where nothing helps.
    pub(super) fn open_cycle(
        &self,
        graph: &Graph,
        start: Party,
        cycle: Vec<Edge>,
    ) -> std::result::Result<Woken, Vec<Edge>> {
        let mut reordered = Vec::new();
        if !self.reorder(graph, &mut vec![start], &cycle, REORDERINGS_MAX, &mut reordered) {
            return Err(cycle);
        }
        let mut woken = Woken::new();
        for object in reordered {
            if let Some(entry) = self.object_shard(&object).get_mut(&object) {
                entry.grant_queue(&mut woken);
            }
        }
        Ok(woken)
    }

    /// Tries one order after another. `changed` are those whose waits have changed; every cycle goes through one of them.
    fn reorder(
        &self,
        graph: &Graph,
        changed: &mut Vec<Party>,
        cycle: &[Edge],
        depth: usize,
        reordered: &mut Vec<Object>,
    ) -> bool {
        let queued = cycle.iter().rev().filter(|edge| edge.queued).take(REORDERED_WAITS_MAX);
        for Edge { waiter, blocker, place, .. } in queued {
            let Place::Object(object) = *place else { continue };
            let moved =
                self.object_shard(&object).get_mut(&object).and_then(|entry| entry.move_before(*waiter, *blocker));
            let Some((from, to)) = moved else { continue };
            changed.push(waiter.party);
            let opened = match changed.iter().find_map(|party| self.find_cycle(graph, *party)) {
                None => true,
                Some(other) => depth > 1 && self.reorder(graph, changed, &other, depth - 1, reordered),
            };
            if opened {
                reordered.push(object);
                return true;
            }
            changed.pop();
            if let Some(entry) = self.object_shard(&object).get_mut(&object) {
                entry.move_to(to, from);
            }
        }
        false
    }

    /// Looks at somebody in the queue where he waits.
    fn with_waiter(&self, who: Asker, place: Place, mut look: impl FnMut(&Entry, usize)) {
        let mut at = |entry: Option<&Entry>| {
            let Some(entry) = entry else { return };
            if let Some(at) = entry.queue.iter().position(|waiter| waiter.who == who) {
                look(entry, at);
            }
        };
        match place {
            Place::Object(object) => at(self.object_shard(&object).get(&object)),
            Place::Row(row, _) => at(self.row_shard(row).entry(row)),
        }
    }
}

/// Of the holders of a row that are in a waiter's way, the one whose end it awaits first.
pub(super) fn awaited_transaction(entry: &Entry, waiter: &Waiter) -> Option<Asker> {
    entry.blocking_holders(waiter).min_by_key(|who| who.owner.0)
}

/// 40P01 with PostgreSQL's detail, one line for each process of the cycle. A row is waited for as PostgreSQL does it:
/// by waiting for the transaction that holds it.
pub(super) fn deadlock(cycle: &[Edge]) -> Error {
    let lines: Vec<String> = cycle
        .iter()
        .map(|edge| {
            let Edge { waiter, mode, place, blocker, .. } = edge;
            let pid = waiter.party.pid();
            let database = Oid::DATABASE;
            let wanted = match place {
                Place::Object(Object::Relation(oid)) => {
                    format!("{} on relation {oid} of database {database}", mode.name())
                }
                Place::Object(Object::Entry(key)) => {
                    let (class, oid) = class_and_oid(key);
                    format!("{} on object {oid} of class {class} of database {database}", mode.name())
                }
                Place::Object(Object::Advisory(key)) => {
                    let (class, object, sub) = (key.class, key.object, key.sub);
                    format!("{} on advisory lock [{database},{class},{object},{sub}]", mode.name())
                }
                Place::Row(..) => format!("{} on transaction {}", LockMode::Share.name(), number(blocker.owner)),
            };
            format!("Process {pid} waits for {wanted}; blocked by process {}.", blocker.party.pid())
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

fn number(owner: OwnerId) -> u32 {
    owner.0 as u32
}
