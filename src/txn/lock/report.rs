//! What pg_locks shows. As in PostgreSQL that is not every row that is locked: who waits for a row holds or awaits the
//! row's `tuple` lock, the first of them, and awaits the transaction that holds the row.

use super::entry::{Asker, Entry};
use super::graph::awaited_transaction;
use super::key::{AdvisoryKey, Object};
use super::mode::LockMode;
use super::table::LockTable;
use crate::catalog::CatalogKey;
use crate::env::UnixMicros;
use crate::types::Oid;

/// A line of pg_locks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockInfo {
    /// What is locked.
    pub thing: LockedThing,
    /// How.
    pub mode: LockMode,
    /// The session's process id; 0 for the server's own transactions.
    pub pid: i32,
    /// The transaction that holds or wants it; none for a lock of the session.
    pub transaction: Option<u64>,
    /// Whether it is held; otherwise it is awaited.
    pub granted: bool,
    /// When the wait began.
    pub since: Option<UnixMicros>,
}

/// What a line of pg_locks is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockedThing {
    /// An entry of the catalog.
    Entry(CatalogKey),
    /// A relation.
    Relation(Oid),
    /// A row of a relation that is waited for.
    Tuple(Oid),
    /// A transaction that writes or locks rows, by its number.
    Transaction(u64),
    /// A transaction, whatever it does, by its number.
    Virtual(u64),
    /// An application's number.
    Advisory(AdvisoryKey),
}

impl LockedThing {
    pub(super) fn of(object: Object) -> LockedThing {
        match object {
            Object::Entry(key) => LockedThing::Entry(key),
            Object::Relation(oid) => LockedThing::Relation(oid),
            Object::Advisory(key) => LockedThing::Advisory(key),
        }
    }

    /// pg_locks.locktype, and the wait event of who waits for it.
    pub fn kind(&self) -> &'static str {
        match self {
            LockedThing::Entry(_) => "object",
            LockedThing::Relation(_) => "relation",
            LockedThing::Tuple(_) => "tuple",
            LockedThing::Transaction(_) => "transactionid",
            LockedThing::Virtual(_) => "virtualxid",
            LockedThing::Advisory(_) => "advisory",
        }
    }
}

impl LockTable {
    /// Everything that is held or awaited, in the order of what it is; each part of the table as of its own moment.
    pub fn snapshot_locks(&self) -> Vec<LockInfo> {
        let mut out = Vec::new();
        for (id, open) in self.open_transactions() {
            let mut own = |thing| {
                let mode = LockMode::Exclusive;
                out.push(LockInfo { thing, mode, pid: open.pid, transaction: Some(id), granted: true, since: None });
            };
            own(LockedThing::Virtual(id));
            if open.has_id {
                own(LockedThing::Transaction(id));
            }
        }
        for shard in &self.objects {
            for (object, entry) in &*shard.lock() {
                add_object(*object, entry, &mut out);
            }
        }
        for shard in &self.rows {
            shard.lock().entries().for_each(|entry| add_row(entry, &mut out));
        }
        out.sort_by_key(|info| (info.thing, info.pid, info.transaction, info.mode, info.granted));
        out
    }
}

fn info(thing: LockedThing, who: Asker, mode: LockMode) -> LockInfo {
    let transaction = (!who.owner.is_session()).then_some(who.owner.0);
    LockInfo { thing, mode, pid: who.party.pid(), transaction, granted: true, since: None }
}

fn add_object(object: Object, entry: &Entry, out: &mut Vec<LockInfo>) {
    let thing = LockedThing::of(object);
    for holder in &entry.holders {
        let held = |mode: &&LockMode| holder.modes & mode.bit() != 0;
        out.extend(LockMode::ALL.iter().filter(held).map(|mode| info(thing, holder.who, *mode)));
    }
    out.extend(entry.queue.iter().map(|waiter| LockInfo {
        granted: false,
        since: Some(waiter.since),
        ..info(thing, waiter.who, waiter.request.mode)
    }));
}

fn add_row(entry: &Entry, out: &mut Vec<LockInfo>) {
    for (at, waiter) in entry.queue.iter().enumerate() {
        let is_first = entry.blocking_waiters(at).next().is_none();
        let mut awaited = |thing, mode| {
            out.push(LockInfo { granted: false, since: Some(waiter.since), ..info(thing, waiter.who, mode) });
        };
        match (waiter.relation.map(LockedThing::Tuple), awaited_transaction(entry, waiter)) {
            (Some(tuple), _) if !is_first => awaited(tuple, waiter.request.mode),
            (tuple, Some(holder)) => {
                awaited(LockedThing::Transaction(holder.owner.0), LockMode::Share);
                let holds = entry.modes_of(waiter.who.owner) != 0;
                out.extend(tuple.filter(|_| !holds).map(|tuple| info(tuple, waiter.who, waiter.request.mode)));
            }
            (_, None) => {}
        }
    }
}
