//! What the database must hold: every row's versions, by the commits that were observed.

use crate::serial::{Read, Serial};
use crate::shape::{Definition, Shape};
use crate::simulated::Answer;
use bytes::Bytes;
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
    /// `x<number>`, made and dropped; the first is there from the beginning.
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

    /// Whether each user has rows of its own.
    pub fn is_scoped(self) -> bool {
        [Table::User, Table::Stream].contains(&self)
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
    /// NULL too where there is no such column.
    pub extra: Option<i64>,
}

impl Row {
    /// A row of an answer, with its id.
    pub fn of(answer: &Answer, at: usize) -> (i64, Row) {
        let place = |name: &str| answer.columns.iter().position(|column| column == name);
        let text = |name: &str| answer.rows[at][place(name)?].clone();
        let number = |name: &str| text(name).map(|text| text.parse().expect("a number"));
        let (id, n) = (number("id").expect("an id"), number("n").expect("a number"));
        (id, Row { n, body: text("body"), extra: number("extra") })
    }
}

/// What a write found, as far as its answer tells.
#[derive(Clone, Debug)]
pub enum Before {
    Absent,
    /// A row with this number, and with these columns where they were not changed.
    Was {
        n: i64,
        body: Option<Option<String>>,
        extra: Option<Option<i64>>,
    },
    /// A STREAM row may expire under a transaction.
    Unknown,
}

impl Before {
    /// This very row.
    pub fn row(row: &Row) -> Before {
        Before::Was { n: row.n, body: Some(row.body.clone()), extra: Some(row.extra) }
    }

    fn is_absent(&self) -> bool {
        matches!(self, Before::Absent)
    }

    fn fits(&self, found: Option<&Row>) -> bool {
        match (self, found) {
            (Before::Unknown, _) | (Before::Absent, None) => true,
            (Before::Was { n, body, extra }, Some(row)) => {
                row.n == *n
                    && body.as_ref().is_none_or(|body| *body == row.body)
                    && extra.is_none_or(|extra| extra == row.extra)
            }
            _ => false,
        }
    }
}

/// One row's write as the client was told of it.
#[derive(Clone, Debug)]
pub struct Effect {
    pub key: Key,
    pub before: Before,
    pub after: Option<Row>,
    /// The id that the row had before, where that was changed.
    pub from: Option<i64>,
}

/// Something that a transaction does.
#[derive(Clone, Debug)]
pub enum Deed {
    Write(Effect),
    Define(Table, Definition),
    /// It acknowledges a message of the group.
    Ack(u64),
}

impl Deed {
    /// The table that it changes.
    pub fn table(&self) -> Option<Table> {
        match self {
            Deed::Write(effect) => Some(effect.key.0),
            Deed::Define(table, _) => Some(*table),
            Deed::Ack(_) => None,
        }
    }
}

/// A transaction that a client wants to commit.
#[derive(Clone, Debug, Default)]
pub struct Tx {
    pub id: i64,
    pub deeds: Vec<Deed>,
    /// What a serializable one read, and the position that it read.
    pub reads: Vec<Read>,
    pub snapshot: Option<u64>,
    /// It was refused by a log that failed: it may be there after a restart, and not before.
    pub doubtful: bool,
}

impl Tx {
    /// Itself, if it is a serializable one.
    pub fn serial(&self) -> Option<Serial> {
        self.snapshot.map(|snapshot| Serial { tx: self.id, snapshot, reads: self.reads.clone() })
    }

    /// Whether a row was written.
    pub fn has_written(&self, key: &Key) -> bool {
        self.deeds.iter().any(|deed| matches!(deed, Deed::Write(effect) if effect.key == *key))
    }
}

/// What was written of rows: each as it was before and as it is after.
pub type Written = BTreeMap<Key, (Option<Row>, Option<Row>)>;

/// What a transaction writes while the rows stay in one storage.
#[derive(Clone)]
pub struct Era {
    /// The version that rows have at its end, in whose terms it tells of them.
    pub version: u16,
    pub written: Written,
    /// Where the row under a key was at its beginning: nowhere, if it was inserted. Keys that are absent hold their row.
    origins: BTreeMap<Key, Option<Key>>,
}

impl Era {
    fn new(version: u16) -> Era {
        Era { version, written: Written::new(), origins: BTreeMap::new() }
    }

    fn write(&mut self, effect: &Effect, before: Option<Row>) {
        let Effect { key, after, .. } = effect;
        self.written.entry(key.clone()).or_insert((before, None)).1.clone_from(after);
        if after.is_some() {
            let from = effect.from.map(|id| (key.0, key.1.clone(), id));
            let origin = from.and_then(|from| self.origins.insert(from.clone(), None).unwrap_or(Some(from)));
            if origin.is_some() || effect.before.is_absent() {
                self.origins.insert(key.clone(), origin);
            }
        }
    }

    /// The rows that went from one key to another, by where they are at its end: what is told of both is one. Where a key
    /// that was left has a row again, or one that was taken had a row before, each is told for itself.
    pub fn moves(&self) -> BTreeMap<Key, Key> {
        let moves = self.origins.iter().filter_map(|(to, from)| Some((to, from.as_ref()?)));
        let was_there = |key: &Key| self.written[key].0.is_some();
        let is_there = |key: &Key| self.written[key].1.is_some();
        let is_one = |(to, from): &(&Key, &Key)| !was_there(to) && is_there(to) && was_there(from) && !is_there(from);
        moves.filter(is_one).map(|(to, from)| (to.clone(), from.clone())).collect()
    }
}

/// What a transaction makes of one table.
pub struct Outcome {
    /// None where it is dropped.
    pub shape: Option<Shape>,
    pub rows: BTreeMap<Key, Row>,
    /// What it wrote between the definitions that put the rows into another storage: each tells of its own.
    pub eras: Vec<Era>,
    /// All that the table looked like on the way.
    shapes: Vec<Shape>,
    definitions: Vec<Definition>,
}

impl Outcome {
    /// Whether it was made and dropped again, so that nobody else knows of it.
    pub fn is_nothing(&self) -> bool {
        self.shape.is_none() && self.definitions.first() == Some(&Definition::Create)
    }

    fn write(&mut self, effect: &Effect) {
        let before = self.rows.get(&effect.key).cloned();
        match &effect.after {
            Some(row) => self.rows.insert(effect.key.clone(), row.clone()),
            None => self.rows.remove(&effect.key),
        };
        self.eras.last_mut().expect("there is always one").write(effect, before);
    }

    fn define(&mut self, table: Table, definition: &Definition) {
        match (definition, &mut self.shape) {
            (Definition::Create, shape @ None) => *shape = Some(Shape::new()),
            (Definition::Drop, shape @ Some(_)) => *shape = None,
            (Definition::Create, _) | (_, None) => panic!("{definition:?} of {table:?}"),
            (_, Some(shape)) => {
                let replaced = shape.is_replaced_by(definition);
                shape.define(definition);
                self.next_era(definition, replaced);
            }
        }
        self.rows.retain(|_, row| match definition.of_row(row) {
            Some(after) => {
                *row = after;
                true
            }
            None => false,
        });
        self.shapes.extend(self.shape.clone());
        self.definitions.push(definition.clone());
    }

    fn next_era(&mut self, definition: &Definition, replaced: bool) {
        let version = self.shape.as_ref().map_or(0, |shape| shape.version);
        if replaced {
            self.eras.push(Era::new(version));
        }
        let era = self.eras.last_mut().expect("there is always one");
        era.version = version;
        for (before, after) in era.written.values_mut() {
            *before = before.as_ref().and_then(|row| definition.of_row(row));
            *after = after.as_ref().and_then(|row| definition.of_row(row));
        }
    }
}

/// A message that a topic must have: the commit, the change's kind, the row's id.
pub type Message = (u64, String, i64);

/// A row from a commit on; none where it is not there.
pub struct Version {
    pub seq: u64,
    pub row: Option<Row>,
    /// The transaction that wrote it, unless it is a definition's doing.
    pub author: Option<i64>,
}

#[derive(Default)]
pub struct Model {
    pub versions: BTreeMap<Key, Vec<Version>>,
    now: BTreeMap<Key, Row>,
    shapes: BTreeMap<Table, Shape>,
    /// What tables looked like under each version of their rows.
    layouts: BTreeMap<(Table, u16), Shape>,
    definitions: BTreeMap<Table, Vec<(u64, Definition)>>,
    /// The last commit that put a table's rows into another storage.
    replaced: BTreeMap<Table, u64>,
    /// When a STREAM row vanishes at the earliest.
    pub expires: BTreeMap<Key, i64>,
    /// Transactions whose COMMIT was sent and not answered, or answered with a failure of the log.
    pub pending: BTreeMap<i64, Tx>,
    /// Clients whose COMMIT was sent and not answered.
    pub committing: BTreeSet<usize>,
    pub committed: BTreeMap<i64, u64>,
    /// Serializable transactions that were committed.
    pub serials: Vec<Serial>,
    pub messages: Vec<Message>,
    /// Commits whose changes are known in the order of their keys, not in that of their messages.
    pub bulk: BTreeSet<u64>,
    pub acked: BTreeSet<u64>,
    /// The last commit that was observed, and the highest position that anybody has seen.
    pub last: u64,
    /// Up to which position the log may have been given up.
    pub released: u64,
    /// The SNOWFLAKE_IDs that clients have seen.
    pub ids: BTreeSet<i64>,
    /// The numbers of the sequence that clients have seen.
    pub numbers: BTreeSet<i64>,
    /// Definitions that were committed, by their kinds.
    pub defined: BTreeMap<&'static str, u64>,
}

impl Model {
    /// The tables that are there from the beginning.
    pub fn new() -> Model {
        let mut model = Model::default();
        for table in [Table::Shared, Table::User, Table::Stream, Table::Ledger, Table::Extra(1)] {
            model.shapes.insert(table, Shape::new());
            model.layouts.insert((table, 0), Shape::new());
        }
        model
    }

    /// What a table looks like; none where it is not there.
    pub fn shape(&self, table: Table) -> Option<&Shape> {
        self.shapes.get(&table)
    }

    /// The tables that are there.
    pub fn tables(&self) -> impl Iterator<Item = (Table, &Shape)> {
        self.shapes.iter().map(|(table, shape)| (*table, shape))
    }

    /// The numbers of the extra tables.
    pub fn extras(&self) -> Vec<u32> {
        let number = |table: &Table| if let Table::Extra(number) = table { Some(*number) } else { None };
        self.shapes.keys().filter_map(number).collect()
    }

    /// A stored row with its id.
    pub fn decode(&self, table: Table, row: &Bytes) -> (i64, Row) {
        let version = tertulia::encoding::row::version(row);
        let layout = self.layouts.get(&(table, version));
        layout.unwrap_or_else(|| panic!("{table:?} never had rows of version {version}")).decode(row)
    }

    /// The same in the terms of a version that the row has come to by definitions, in the same storage.
    pub fn decode_as(&self, table: Table, row: &Bytes, version: u16) -> Option<(i64, Row)> {
        let (id, mut decoded) = self.decode(table, row);
        let stored = tertulia::encoding::row::version(row);
        if stored > version {
            return None;
        }
        for next in stored + 1..=version {
            let made = self.layouts[&(table, next)].made.as_ref().expect("a later version is made by a definition");
            if self.layouts[&(table, next - 1)].is_replaced_by(made) {
                return None;
            }
            decoded = made.of_row(&decoded)?;
        }
        Some((id, decoded))
    }

    /// What a table is after some deeds over what is committed. `check` is given what each write found.
    pub fn outcome(&self, table: Table, deeds: &[Deed], mut check: impl FnMut(&Effect, Option<&Row>)) -> Outcome {
        let shape = self.shapes.get(&table).cloned();
        let version = shape.as_ref().map_or(0, |shape| shape.version);
        let mut outcome = Outcome {
            shape,
            rows: self.now_of(table).map(|(key, row)| (key.clone(), row.clone())).collect(),
            eras: vec![Era::new(version)],
            shapes: Vec::new(),
            definitions: Vec::new(),
        };
        for deed in deeds.iter().filter(|deed| deed.table() == Some(table)) {
            match deed {
                Deed::Write(effect) => {
                    check(effect, outcome.rows.get(&effect.key));
                    outcome.write(effect);
                }
                Deed::Define(_, definition) => outcome.define(table, definition),
                Deed::Ack(_) => {}
            }
        }
        outcome
    }

    fn now_of(&self, table: Table) -> impl Iterator<Item = (&Key, &Row)> {
        self.now.range((table, String::new(), i64::MIN)..).take_while(move |(key, _)| key.0 == table)
    }

    /// What a transaction does, at its position.
    pub fn apply(&mut self, seq: u64, tx: &Tx, recovered: bool) -> BTreeMap<Table, Outcome> {
        let tables: BTreeSet<Table> = tx.deeds.iter().filter_map(Deed::table).collect();
        let mut outcomes = BTreeMap::new();
        for table in tables.into_iter().filter(|table| !(recovered && *table == Table::Stream)) {
            let outcome = self.outcome(table, &tx.deeds, |effect, found| {
                let id = tx.id;
                assert!(
                    effect.before.fits(found),
                    "commit {seq} of transaction {id} was made over another row: {effect:?} over {found:?}"
                );
            });
            self.settle(seq, tx.id, table, &outcome);
            outcomes.insert(table, outcome);
        }
        for deed in &tx.deeds {
            if let Deed::Ack(offset) = deed {
                assert!(self.acked.insert(*offset), "message {offset} is acknowledged twice");
            }
        }
        self.committed.insert(tx.id, seq);
        self.serials.extend(tx.serial());
        outcomes
    }

    fn settle(&mut self, seq: u64, tx: i64, table: Table, outcome: &Outcome) {
        let before: BTreeMap<Key, Row> = self.now_of(table).map(|(key, row)| (key.clone(), row.clone())).collect();
        let written = outcome.eras.iter().flat_map(|era| era.written.keys());
        let keys: BTreeSet<&Key> = written.chain(before.keys()).collect();
        for key in keys {
            let (row, written) = (outcome.rows.get(key), outcome.eras.iter().any(|era| era.written.contains_key(key)));
            if row == before.get(key) && !written {
                continue;
            }
            match row {
                Some(row) => self.now.insert(key.clone(), row.clone()),
                None => self.now.remove(key),
            };
            let is_own = outcome.eras.len() == 1 && outcome.shape.is_some() && table != Table::Stream;
            let author = (written && is_own).then_some(tx);
            self.versions.entry(key.clone()).or_default().push(Version { seq, row: row.cloned(), author });
        }
        for definition in &outcome.definitions {
            *self.defined.entry(definition.kind()).or_default() += 1;
            self.definitions.entry(table).or_default().push((seq, definition.clone()));
        }
        self.layouts.extend(outcome.shapes.iter().map(|shape| ((table, shape.version), shape.clone())));
        if outcome.eras.len() > 1 {
            self.replaced.insert(table, seq);
        }
        match &outcome.shape {
            Some(shape) => self.shapes.insert(table, shape.clone()),
            None => self.shapes.remove(&table),
        };
        if let (Some(shape), false) = (&outcome.shape, table == Table::Stream) {
            let users: BTreeSet<&String> = outcome.rows.keys().map(|(_, user, _)| user).collect();
            for user in users {
                let rows = outcome.rows.iter().filter(|(key, _)| key.1 == *user).map(|(key, row)| (key.2, row));
                let duplicate = shape.duplicate(rows);
                assert_eq!(duplicate, None, "rows of {table:?} have the same unique values after commit {seq}");
            }
        }
    }

    /// A table's rows of one user as of a commit.
    pub fn rows_at(&self, table: Table, user: &str, seq: u64) -> BTreeMap<i64, Row> {
        let range = (table, user.to_owned(), i64::MIN)..=(table, user.to_owned(), i64::MAX);
        let mut rows = BTreeMap::new();
        for (key, versions) in self.versions.range(range) {
            let count = versions.partition_point(|version| version.seq <= seq);
            if let Some(Version { row: Some(row), .. }) = versions[..count].last() {
                rows.insert(key.2, row.clone());
            }
        }
        rows
    }

    /// Whether a table was defined otherwise after a commit.
    pub fn is_defined_since(&self, table: Table, seq: u64) -> bool {
        self.definitions.get(&table).is_some_and(|definitions| definitions.iter().any(|(at, _)| *at > seq))
    }

    /// Whether a table's rows were put into another storage after a commit.
    pub fn is_replaced_since(&self, table: Table, seq: u64) -> bool {
        self.replaced.get(&table).is_some_and(|replaced| *replaced > seq)
    }

    /// The same as who reads by an older snapshot sees them now: definitions hold for everybody, and what was put into
    /// another storage since then is not seen, as in PostgreSQL.
    pub fn rows_of_snapshot(&self, table: Table, user: &str, seq: u64) -> BTreeMap<i64, Row> {
        if self.is_replaced_since(table, seq) {
            return BTreeMap::new();
        }
        let mut rows = self.rows_at(table, user, seq);
        let definitions = self.definitions.get(&table).into_iter().flatten().filter(|(at, _)| *at > seq);
        for (_, definition) in definitions {
            rows = rows.into_iter().filter_map(|(id, row)| Some((id, definition.of_row(&row)?))).collect();
        }
        rows
    }

    /// The STREAM rows are gone.
    pub fn forget_streams(&mut self) {
        let keys: Vec<Key> = self.now.keys().filter(|key| key.0 == Table::Stream).cloned().collect();
        for key in keys {
            self.now.remove(&key);
            self.versions.entry(key).or_default().push(Version { seq: self.last, row: None, author: None });
        }
        self.expires.clear();
    }
}
