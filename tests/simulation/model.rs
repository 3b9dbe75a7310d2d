//! What the database must hold: every row's versions, by the commits that were observed.

use std::collections::{BTreeMap, BTreeSet};

/// A table of the simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// `t`, SHARED.
    Shared,
    /// `u`, USER.
    User,
    /// `s`, STREAM: each user's own, in memory, for a time.
    Stream,
    /// `ledger`: one row for each transaction that wrote durably.
    Ledger,
    /// `x<number>`, made and dropped.
    Extra(u32),
}

impl Table {
    pub fn name(self) -> String {
        match self {
            Table::Shared => "t".to_owned(),
            Table::User => "u".to_owned(),
            Table::Stream => "s".to_owned(),
            Table::Ledger => "ledger".to_owned(),
            Table::Extra(number) => format!("x{number}"),
        }
    }

    pub fn of_name(name: &str) -> Option<Table> {
        Some(match name {
            "t" => Table::Shared,
            "u" => Table::User,
            "s" => Table::Stream,
            "ledger" => Table::Ledger,
            other => Table::Extra(other.strip_prefix('x')?.parse().ok()?),
        })
    }
}

/// A row's place: its table, whose it is (nobody's in a shared table), its id.
pub type Key = (Table, String, i64);

/// What a row holds beside its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub n: i64,
    pub body: Option<String>,
}

/// What a write found, as far as its answer tells.
#[derive(Clone, Debug)]
pub enum Before {
    Absent,
    /// A row with this number, and with this body where that was not changed.
    Was(i64, Option<Option<String>>),
    /// A STREAM row may expire under a transaction.
    Unknown,
}

/// One row's write as the client was told of it.
#[derive(Clone, Debug)]
pub struct Effect {
    pub key: Key,
    pub before: Before,
    pub after: Option<Row>,
}

/// Something else that a transaction does.
#[derive(Clone, Debug, PartialEq)]
pub enum Deed {
    Write(Effect),
    Create(u32),
    Drop(u32),
    /// It acknowledges a message of the group.
    Ack(u64),
}

impl PartialEq for Effect {
    fn eq(&self, other: &Effect) -> bool {
        self.key == other.key && self.after == other.after
    }
}

/// A transaction that a client wants to commit.
#[derive(Clone, Debug, Default)]
pub struct Tx {
    pub id: i64,
    pub deeds: Vec<Deed>,
    /// It was refused by a log that failed: it may be there after a restart, and not before.
    pub doubtful: bool,
}

impl Tx {
    /// The rows that it has written, newest last.
    pub fn overlay(&self) -> BTreeMap<Key, Option<Row>> {
        let mut rows = BTreeMap::new();
        for deed in &self.deeds {
            if let Deed::Write(effect) = deed {
                rows.insert(effect.key.clone(), effect.after.clone());
            }
        }
        rows
    }
}

/// A message that a topic must have: the commit, the change's kind, the row's id.
pub type Message = (u64, String, i64);

#[derive(Default)]
pub struct Model {
    versions: BTreeMap<Key, Vec<(u64, Option<Row>)>>,
    now: BTreeMap<Key, Row>,
    bodies: BTreeMap<(Table, String, String), i64>,
    /// When a STREAM row vanishes at the earliest.
    pub expires: BTreeMap<Key, i64>,
    pub extras: BTreeSet<u32>,
    /// Transactions whose COMMIT was sent and not answered, or answered with a failure of the log.
    pub pending: BTreeMap<i64, Tx>,
    /// Clients whose COMMIT was sent and not answered.
    pub committing: BTreeSet<usize>,
    pub committed: BTreeMap<i64, u64>,
    pub messages: Vec<Message>,
    /// Commits whose changes are known in the order of their keys, not in that of their messages.
    pub bulk: BTreeSet<u64>,
    pub acked: BTreeSet<u64>,
    /// The last commit that was observed, and the highest position that anybody has seen.
    pub last: u64,
    /// The SNOWFLAKE_IDs that clients have seen.
    pub ids: BTreeSet<i64>,
    /// The numbers of the sequence that clients have seen.
    pub numbers: BTreeSet<i64>,
}

impl Model {
    pub fn row(&self, key: &Key) -> Option<&Row> {
        self.now.get(key)
    }

    fn set(&mut self, seq: u64, key: &Key, row: Option<Row>) {
        let (table, user, id) = key;
        if let Some(Row { body: Some(body), .. }) = self.now.get(key) {
            self.bodies.remove(&(*table, user.clone(), body.clone()));
        }
        match &row {
            Some(row) => {
                if let Some(body) = &row.body
                    && *table != Table::Stream
                {
                    let taken = self.bodies.insert((*table, user.clone(), body.clone()), *id);
                    assert!(taken.is_none(), "{key:?} and {taken:?} both have the unique body {body}");
                }
                self.now.insert(key.clone(), row.clone());
            }
            None => {
                self.now.remove(key);
            }
        }
        let versions = self.versions.entry(key.clone()).or_default();
        match versions.last_mut() {
            Some((at, version)) if *at == seq => *version = row,
            _ => versions.push((seq, row)),
        }
    }

    /// What a transaction does, at its position.
    pub fn apply(&mut self, seq: u64, tx: &Tx, recovered: bool) {
        // a unique body may move between rows of one transaction: only its end counts
        let mut net: BTreeMap<Key, Option<Row>> = BTreeMap::new();
        for deed in &tx.deeds {
            match deed {
                Deed::Write(effect) if effect.key.0 == Table::Stream && recovered => {}
                Deed::Write(effect) => {
                    let found = net.get(&effect.key).cloned().unwrap_or_else(|| self.row(&effect.key).cloned());
                    check_before(seq, tx.id, effect, found.as_ref());
                    net.insert(effect.key.clone(), effect.after.clone());
                }
                Deed::Create(number) => assert!(self.extras.insert(*number), "x{number} is made twice"),
                Deed::Drop(number) => {
                    assert!(self.extras.remove(number), "x{number} is dropped twice");
                    let rows = self.keys(Table::Extra(*number), "");
                    net.extend(rows.into_iter().map(|key| (key, None)));
                }
                Deed::Ack(offset) => assert!(self.acked.insert(*offset), "message {offset} is acknowledged twice"),
            }
        }
        net.iter().filter(|(_, row)| row.is_none()).for_each(|(key, _)| self.set(seq, key, None));
        // those that keep their id but give up their body make room for it first
        let changed: Vec<_> = net.iter().filter(|(_, row)| row.is_some()).collect();
        for (key, _) in &changed {
            if let Some(Row { body: Some(body), .. }) = self.now.get(*key) {
                self.bodies.remove(&(key.0, key.1.clone(), body.clone()));
            }
        }
        for (key, row) in changed {
            let kept = self.now.remove(key);
            self.set(seq, key, row.clone());
            drop(kept);
        }
        self.committed.insert(tx.id, seq);
    }

    /// A table's keys of one user.
    pub fn keys(&self, table: Table, user: &str) -> Vec<Key> {
        let range = (table, user.to_owned(), i64::MIN)..=(table, user.to_owned(), i64::MAX);
        self.now.range(range).map(|(key, _)| key.clone()).collect()
    }

    /// A table's rows of one user as of a commit.
    pub fn rows_at(&self, table: Table, user: &str, seq: u64) -> BTreeMap<i64, Row> {
        let range = (table, user.to_owned(), i64::MIN)..=(table, user.to_owned(), i64::MAX);
        let mut rows = BTreeMap::new();
        for (key, versions) in self.versions.range(range) {
            let count = versions.partition_point(|(at, _)| *at <= seq);
            if let Some((_, Some(row))) = versions[..count].last() {
                rows.insert(key.2, row.clone());
            }
        }
        rows
    }

    /// The STREAM rows are gone.
    pub fn forget_streams(&mut self) {
        let keys: Vec<Key> = self.now.keys().filter(|key| key.0 == Table::Stream).cloned().collect();
        for key in keys {
            self.set(self.last, &key, None);
        }
        self.expires.clear();
    }
}

fn check_before(seq: u64, tx: i64, effect: &Effect, found: Option<&Row>) {
    let fits = match (&effect.before, found) {
        (Before::Unknown, _) | (Before::Absent, None) => true,
        (Before::Was(n, body), Some(row)) => row.n == *n && body.as_ref().is_none_or(|body| *body == row.body),
        _ => false,
    };
    assert!(fits, "commit {seq} of transaction {tx} was made over another row: {effect:?} over {found:?}");
}
