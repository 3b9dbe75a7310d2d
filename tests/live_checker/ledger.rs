//! The outside ledger: what each transaction did to which rows, by what its own statements returned, and its position.
//!
//! Nothing here comes from a live query.

use crate::place::Wall;
use crate::table::{Cells, Key, TTL, Table};
use std::collections::BTreeMap;

/// Keys of a STREAM table at which those of rows that vanished long ago are forgotten.
const STREAM_KEYS: usize = 500;

/// A row's place over all users.
pub type Spot = (Table, &'static str, Key);

/// What a transaction did to one key.
#[derive(Clone, Debug, PartialEq)]
pub struct Touch {
    /// Whether its first statement there found a row.
    pub existed: bool,
    /// The row that it leaves, and under which key that row stood before the transaction, if it did.
    pub now: Option<(Cells, Option<Key>)>,
}

/// What a transaction did, or has done so far.
pub type Effects = BTreeMap<Spot, Touch>;

/// How an UPDATE changed keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shift {
    None,
    /// `id = id + n`
    Id(i64),
    /// `room` was this.
    Room(i64),
}

/// What a statement does with the rows that it returns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Deed {
    Insert,
    Update(Shift),
    Delete,
}

fn key_before(table: Table, cells: &Cells, shift: Shift) -> Key {
    let (room, id) = table.key(cells);
    match shift {
        Shift::Id(by) => (room, id - by),
        Shift::Room(from) if table.key_columns().contains(&1) => (from, id),
        Shift::None | Shift::Room(_) => (room, id),
    }
}

/// Adds what a statement returned to what its transaction has done. An error says what cannot be.
pub fn apply(
    effects: &mut Effects,
    table: Table,
    scope: &'static str,
    deed: Deed,
    rows: &[Cells],
) -> Result<(), String> {
    // an UPDATE takes all its rows from where they were before it puts any: it may move one to where another was
    let mut origins = Vec::new();
    for cells in rows {
        let key = match deed {
            Deed::Update(shift) => key_before(table, cells, shift),
            Deed::Insert | Deed::Delete => table.key(cells),
        };
        let untouched = Touch { existed: deed != Deed::Insert, now: None };
        let is_first = !effects.contains_key(&(table, scope, key));
        let touch = effects.entry((table, scope, key)).or_insert(untouched);
        if deed == Deed::Insert {
            // a row of its own, also where another of its key has gone before
            origins.push(None);
            continue;
        }
        let origin = match touch.now.take() {
            Some((_, origin)) => origin,
            None if is_first => Some(key),
            None => return Err(format!("a statement changed a row that its transaction had removed: {cells:?}")),
        };
        origins.push(origin);
    }
    if deed == Deed::Delete {
        return Ok(());
    }
    for (cells, origin) in rows.iter().zip(origins) {
        let fresh = Touch { existed: false, now: None };
        let touch = effects.entry((table, scope, table.key(cells))).or_insert(fresh);
        if touch.now.is_some() {
            return Err(format!("a statement put a row where its transaction had one: {cells:?}"));
        }
        touch.now = Some((cells.clone(), origin));
    }
    Ok(())
}

/// A transaction that was committed.
#[derive(Clone, Debug)]
pub struct Commit {
    pub writer: usize,
    /// The life of the server in which it was made.
    pub epoch: u64,
    pub effects: Effects,
    /// When COMMIT was sent and when its answer was there.
    pub sent: Wall,
    pub acked: Wall,
}

/// A transaction of STREAM rows alone that may have been committed before the server was killed, which took them all.
#[derive(Clone, Debug)]
pub struct Maybe {
    pub writer: usize,
    pub epoch: u64,
    pub effects: Effects,
    pub sent: Wall,
    /// When nothing could be found of it.
    pub lost: Wall,
}

/// A SELECT at a known position.
#[derive(Clone, Debug)]
pub struct Observation {
    pub seq: u64,
    pub epoch: u64,
    pub query: crate::query::Query,
    pub rows: Vec<Cells>,
    /// When it began and ended.
    pub asked: Wall,
    pub answered: Wall,
}

/// Everything that was written and read since the last quiet time.
#[derive(Default)]
pub struct Ledger {
    pub commits: BTreeMap<u64, Commit>,
    pub maybes: Vec<Maybe>,
    pub observations: Vec<Observation>,
    /// What went wrong already while it was written.
    pub violations: Vec<String>,
    /// What became of transactions that are not in it, for who looks into a failure.
    pub fates: Vec<String>,
    /// Keys that were there lately, with the time of their row: what writers choose from. Not the truth.
    pub keys: BTreeMap<(Table, &'static str), BTreeMap<Key, Wall>>,
}

impl Ledger {
    /// A transaction is committed.
    pub fn commit(&mut self, seq: u64, commit: Commit) {
        for ((table, scope, key), touch) in &commit.effects {
            let keys = self.keys.entry((*table, *scope)).or_default();
            if table.is_stream() && keys.len() > STREAM_KEYS {
                keys.retain(|_, time| commit.acked - *time < 3 * TTL);
            }
            match touch.now {
                Some(_) => keys.insert(*key, commit.acked),
                None => keys.remove(key),
            };
        }
        if let Some(other) = self.commits.get(&seq) {
            let writers = (other.writer, commit.writer);
            self.violations.push(format!("two transactions at position {seq}, of writers {writers:?}"));
        }
        self.commits.insert(seq, commit);
    }

    /// The server is gone, and with it all STREAM rows.
    pub fn forget_streams(&mut self) {
        self.keys.retain(|(table, _), _| !table.is_stream());
    }
}
