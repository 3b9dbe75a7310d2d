//! The statements that writers choose: INSERT, UPDATE, DELETE of one row and of many, of keys and of what is filtered by.

use crate::ledger::{Deed, Ledger, Shift};
use crate::place::{Wall, wall};
use crate::support::random::Random;
use crate::table::{COLUMNS, Cells, Key, TTL, Table};
use std::sync::{Arc, Mutex};

/// Rows of a table and scope at which writers rather delete.
const ROWS_MANY: usize = 120;

/// Keys of rows that have been moved are greater.
const MOVED: i64 = 20_000_000_000;

/// One statement that says which rows it changed.
#[derive(Clone, Debug)]
pub struct Statement {
    pub sql: String,
    pub table: Table,
    pub scope: &'static str,
    pub deed: Deed,
    /// What it returns, where that is known beforehand.
    pub predicted: Option<Vec<Cells>>,
}

/// A writer's choices for one transaction.
pub struct Statements<'a> {
    pub writer: usize,
    pub users: &'a [&'static str],
    pub ledger: &'a Mutex<Ledger>,
    pub random: &'a mut Random,
    pub serial: &'a mut i64,
    pub tx: i64,
}

fn cell(text: impl Into<String>) -> Option<Arc<str>> {
    Some(text.into().into())
}

fn quoted(cell: Option<&str>, is_text: bool) -> String {
    match cell {
        None => "NULL".into(),
        Some(text) if is_text => format!("'{text}'"),
        Some(text) => text.into(),
    }
}

/// VALUES as SQL.
fn values(cells: &Cells) -> String {
    let is_text = |column: usize| !matches!(COLUMNS[column].1, "bigint" | "integer" | "numeric");
    let value = |(column, cell): (usize, &Option<Arc<str>>)| quoted(cell.as_deref(), is_text(column));
    let values: Vec<String> = cells.iter().enumerate().map(value).collect();
    format!("({})", values.join(", "))
}

fn returning() -> String {
    let names: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
    format!(" RETURNING {}", names.join(", "))
}

impl Statements<'_> {
    fn user(&mut self) -> &'static str {
        self.random.pick(self.users)
    }

    /// A statement for one of the users.
    fn statement(&self, table: Table, user: &'static str, deed: Deed, sql: String) -> Statement {
        let sql = sql + &returning();
        let acts = self.users.len() > 1 && table.is_scoped();
        let sql = if acts { format!("EXECUTE AS USER '{user}' ( {sql} )") } else { sql };
        Statement { sql, table, scope: table.scope(user), deed, predicted: None }
    }

    fn fresh_id(&mut self) -> i64 {
        *self.serial += 1;
        (self.writer as i64 + 1) * 1_000_000_000 + *self.serial
    }

    fn cells(&mut self, table: Table, id: i64) -> Cells {
        let is_there = [6, 5, 4, 4, 3].map(|once_in| !self.random.once_in(once_in));
        let given = |at: usize, text: String| if is_there[at] { cell(text) } else { None };
        let room = cell((1 + self.random.below(5)).to_string());
        let price = format!("{}.{}", self.random.below(20), 10 + self.random.below(90));
        vec![
            cell(id.to_string()),
            room.filter(|_| is_there[0] || table == Table::Rooms),
            cell(self.random.below(100).to_string()),
            given(1, self.tag().into()),
            given(2, price),
            given(3, self.moment()),
            given(4, self.random.pick(&["t", "f"]).into()),
            cell(self.random.text(0, 80)),
            cell(self.tx.to_string()),
        ]
    }

    fn tag(&mut self) -> &'static str {
        self.random.pick(&["aa", "ab", "ba", "\u{e9}t\u{e9}", "b b"])
    }

    fn moment(&mut self) -> String {
        let random = &mut *self.random;
        let (month, day) = (1 + random.below(12), 1 + random.below(28));
        format!("2024-{month:02}-{day:02} {:02}:{:02}:00", random.below(24), random.below(60))
    }

    /// INSERT of rows that were never there.
    pub fn insert(&mut self, table: Table, count: u64) -> Statement {
        let user = self.user();
        let rows: Vec<Cells> = (0..count)
            .map(|_| {
                let id = self.fresh_id();
                self.cells(table, id)
            })
            .collect();
        let list: Vec<String> = rows.iter().map(values).collect();
        let sql = format!("INSERT INTO {} VALUES {}", table.name(), list.join(", "));
        let mut statement = self.statement(table, user, Deed::Insert, sql);
        statement.predicted = Some(rows);
        statement
    }

    /// Rows that come, change, move and go in one transaction, all known beforehand.
    pub fn episode(&mut self, table: Table) -> Vec<Statement> {
        let count = 1 + self.random.below(3);
        let first = self.insert(table, count);
        let (user, mut rows) = (first.scope, first.predicted.clone().expect("fresh rows are known"));
        let user = if table.is_scoped() { user } else { self.users[0] };
        let mut statements = vec![first];
        for _ in 0..self.random.below(3) {
            if rows.is_empty() {
                break;
            }
            let at = self.random.below(rows.len() as u64) as usize;
            let id = rows[at][0].clone().expect("an id");
            let what = if table.is_stream() { 0 } else { self.random.below(3) };
            let (deed, sql) = match what {
                0 => (Deed::Delete, format!("DELETE FROM {} WHERE id = {id}", table.name())),
                1 => {
                    rows[at][2] = cell(self.random.below(100).to_string());
                    let n = rows[at][2].as_deref().expect("a number");
                    (Deed::Update(Shift::None), format!("UPDATE {} SET n = {n} WHERE id = {id}", table.name()))
                }
                _ => {
                    let fresh = self.fresh_id();
                    let by = fresh - id.parse::<i64>().expect("an id");
                    rows[at][0] = cell(fresh.to_string());
                    let sql = format!("UPDATE {} SET id = id + {by} WHERE id = {id}", table.name());
                    (Deed::Update(Shift::Id(by)), sql)
                }
            };
            let row = if deed == Deed::Delete { rows.remove(at) } else { rows[at].clone() };
            let mut statement = self.statement(table, user, deed, sql);
            statement.predicted = Some(vec![row]);
            statements.push(statement);
        }
        statements
    }

    /// Keys that may be there, of STREAM rows only those that will be for long enough.
    fn keys(&self, table: Table, user: &'static str) -> Vec<Key> {
        let ledger = self.ledger.lock().unwrap();
        let young = |time: &Wall| !table.is_stream() || wall() - time < TTL / 3;
        let keys = ledger.keys.get(&(table, table.scope(user)));
        keys.into_iter().flatten().filter(|(_, time)| young(time)).map(|(key, _)| *key).collect()
    }

    /// A STREAM key whose row has certainly vanished.
    fn vanished(&self, user: &'static str) -> Option<Key> {
        let ledger = self.ledger.lock().unwrap();
        let keys = ledger.keys.get(&(Table::Typing, user))?;
        keys.iter().find(|(_, time)| wall() - **time > TTL + 1_000_000).map(|(key, _)| *key)
    }

    /// Any statement on a table.
    pub fn something(&mut self, table: Table) -> Vec<Statement> {
        let user = self.user();
        let keys = self.keys(table, user);
        if table.is_stream() {
            return self.something_of_stream(user, &keys);
        }
        if keys.is_empty() {
            return vec![self.insert(table, 3)];
        }
        let (_, id) = self.random.pick(&keys);
        let mut choice = self.random.below(if keys.len() > ROWS_MANY { 16 } else { 12 });
        if table == Table::Log && [4, 9, 10].contains(&choice) {
            // without a key nothing would keep two rows from being one to the ledger
            choice = 5;
        }
        match choice {
            0..3 => {
                let count = 1 + self.random.below(4);
                vec![self.insert(table, count)]
            }
            3 => self.episode(table),
            4 => vec![self.insert_some(table, user, id)],
            5..9 => vec![self.update(table, user, id)],
            9 => vec![self.shift(table, user, id)],
            10 => self.replace(table, user, id),
            _ => vec![self.delete(table, user, id)],
        }
    }

    fn something_of_stream(&mut self, user: &'static str, keys: &[Key]) -> Vec<Statement> {
        let table = Table::Typing;
        if keys.is_empty() || self.random.once_in(2) {
            if let Some((_, id)) = self.vanished(user).filter(|_| self.random.once_in(3)) {
                return vec![self.insert_at(table, user, id, "")];
            }
            let count = 1 + self.random.below(2);
            return vec![self.insert(table, count)];
        }
        let (_, id) = self.random.pick(keys);
        match self.random.below(3) {
            0 => self.episode(table),
            1 => self.replace(table, user, id),
            _ => {
                let (_, other) = self.random.pick(keys);
                let sql = format!("DELETE FROM {} WHERE id IN ({id}, {other})", table.name());
                vec![self.statement(table, user, Deed::Delete, sql)]
            }
        }
    }

    fn insert_at(&mut self, table: Table, user: &'static str, id: i64, end: &str) -> Statement {
        let row = values(&self.cells(table, id));
        self.statement(table, user, Deed::Insert, format!("INSERT INTO {} VALUES {row}{end}", table.name()))
    }

    /// A key that may be taken: refused, or passed over.
    fn insert_some(&mut self, table: Table, user: &'static str, id: i64) -> Statement {
        let end = if self.random.once_in(3) { "" } else { " ON CONFLICT DO NOTHING" };
        self.insert_at(table, user, id, end)
    }

    /// Which rows: one, two, or all that meet a condition.
    fn which(&mut self, id: i64) -> String {
        let random = &mut *self.random;
        match random.below(6) {
            0..3 => format!("id = {id}"),
            3 => format!("id IN ({id}, {})", id + 1 + random.below(5) as i64),
            4 => format!("id % 9 = {} AND n < {}", random.below(9), random.below(100)),
            _ => format!("room = {} AND id >= {id} AND id < {}", 1 + random.below(5), id + 12),
        }
    }

    fn update(&mut self, table: Table, user: &'static str, id: i64) -> Statement {
        let which = self.which(id);
        let (room, tag) = (1 + self.random.below(5), self.tag());
        let mut deed = Deed::Update(Shift::None);
        let tx = self.tx;
        let change = match self.random.below(8) {
            // nothing changes, and still it is an update
            0 => return self.statement(table, user, deed, format!("UPDATE {} SET n = n WHERE {which}", table.name())),
            1 => format!("n = n + {}, tx = {tx}", self.random.below(9)),
            2 => format!("tag = '{tag}', tx = {tx}"),
            3 => format!("tag = NULL, flag = NOT flag, tx = {tx}"),
            4 => format!("body = '{}', price = price + 0.25", self.random.text(0, 90)),
            5 => format!("at = '{}', n = 100 - n", self.moment()),
            6 => format!("price = {}.5, flag = n > 50", self.random.below(20)),
            _ => {
                let from = 1 + self.random.below(5) as i64;
                deed = Deed::Update(Shift::Room(from));
                let sql = format!("UPDATE {} SET room = {room} WHERE room = {from} AND {which}", table.name());
                return self.statement(table, user, deed, sql);
            }
        };
        self.statement(table, user, deed, format!("UPDATE {} SET {change} WHERE {which}", table.name()))
    }

    /// Other keys for one row or some.
    fn shift(&mut self, table: Table, user: &'static str, id: i64) -> Statement {
        let which = if self.random.once_in(3) { self.which(id) } else { format!("id = {id}") };
        // never to where fresh keys will be
        let (by, which) = if id < MOVED {
            (MOVED + self.random.below(3) as i64, format!("{which} AND id < {MOVED}"))
        } else {
            (self.random.pick(&[1, 2, 5, 1_000_000]), format!("{which} AND id >= {MOVED}"))
        };
        let sql = format!("UPDATE {} SET id = id + {by} WHERE {which}", table.name());
        self.statement(table, user, Deed::Update(Shift::Id(by)), sql)
    }

    /// A row that goes and comes again under its key.
    fn replace(&mut self, table: Table, user: &'static str, id: i64) -> Vec<Statement> {
        let delete = format!("DELETE FROM {} WHERE id = {id}", table.name());
        let delete = self.statement(table, user, Deed::Delete, delete);
        vec![delete, self.insert_at(table, user, id, " ON CONFLICT DO NOTHING")]
    }

    fn delete(&mut self, table: Table, user: &'static str, id: i64) -> Statement {
        let which = self.which(id);
        self.statement(table, user, Deed::Delete, format!("DELETE FROM {} WHERE {which}", table.name()))
    }

    /// INSERT of large rows.
    pub fn large(&mut self, count: u64, bytes: usize) -> Statement {
        let (letter, table) = (self.random.text(1, 1), Table::Bulk);
        let mut rows: Vec<Cells> = Vec::new();
        let mut list = Vec::new();
        for _ in 0..count {
            let id = self.fresh_id();
            let mut cells = self.cells(table, id);
            cells[7] = cell("large");
            list.push(values(&cells).replace("'large'", &format!("repeat('{letter}', {bytes})")));
            cells[7] = cell(letter.repeat(bytes));
            rows.push(cells);
        }
        let sql = format!("INSERT INTO live.bulk VALUES {} RETURNING id", list.join(", "));
        Statement { sql, table, scope: "", deed: Deed::Insert, predicted: Some(rows) }
    }

    /// The large rows that are there.
    pub fn large_ids(&self) -> Vec<i64> {
        let ledger = self.ledger.lock().unwrap();
        ledger.keys.get(&(Table::Bulk, "")).into_iter().flatten().map(|((_, id), _)| *id).collect()
    }

    /// DELETE of large rows.
    pub fn drain(&mut self, ids: &[i64]) -> Statement {
        let list: Vec<String> = ids.iter().map(i64::to_string).collect();
        let sql = format!("DELETE FROM live.bulk WHERE id IN ({}) RETURNING id", list.join(", "));
        let predicted = Some(list.into_iter().map(|id| vec![cell(id)]).collect());
        Statement { sql, table: Table::Bulk, scope: "", deed: Deed::Delete, predicted }
    }
}
