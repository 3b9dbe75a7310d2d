//! A writer: one connection that commits one transaction after another and keeps its ledger.

use crate::ledger::{Attempt, Ledger, Message, Row, State};
use crate::support::client::{Client, Event};
use crate::support::random::Random;
use std::collections::BTreeSet;
use std::sync::mpsc::Sender;

/// Rows of one table at which a writer prefers to delete.
const ROWS_MANY: usize = 60;

/// How a transaction reaches the server.
#[derive(Clone, Copy, PartialEq)]
enum Shape {
    /// One statement by itself.
    Single,
    /// Several statements in one query: an implicit transaction.
    Script,
    /// BEGIN, statements, COMMIT, each a query of its own.
    Block,
    /// The same with ROLLBACK.
    RolledBack,
    /// A block that a statement's error has failed; its COMMIT rolls back.
    Failed,
}

/// A transaction in the making.
struct Draft<'a> {
    random: &'a mut Random,
    before: &'a State,
    keys: std::ops::Range<i64>,
    user: String,
    serial: i64,
    tx: u64,
    after: State,
    items: BTreeSet<i64>,
    notes: BTreeSet<i64>,
    increment: i64,
    /// Each statement with its command tag.
    statements: Vec<(String, String)>,
}

impl Draft<'_> {
    fn push(&mut self, sql: String, tag: String) {
        self.statements.push((sql, tag));
    }

    fn row(&mut self) -> Row {
        // now and then a large one, so that generations fill at different moments
        let most = if self.random.once_in(12) { 40_000 } else { 300 };
        Row { tx: self.tx, body: self.random.text(0, most) }
    }

    fn progress(&mut self) {
        let (tx, writer) = (self.tx, self.keys.start);
        self.after.progress = tx;
        self.push(format!("UPDATE crash.progress SET tx = {tx} WHERE writer = {writer}"), "UPDATE 1".into());
    }

    fn count(&mut self) {
        if self.increment == 0 {
            self.increment = 1 + self.random.below(9) as i64;
            let sql = format!("UPDATE crash.counter SET n = n + {} WHERE id = 1", self.increment);
            self.push(sql, "UPDATE 1".into());
        }
    }

    fn insert_items(&mut self) {
        let count = 1 + self.random.below(3);
        let mut values = Vec::new();
        for _ in 0..count {
            self.serial += 1;
            let (id, row) = (self.keys.start + self.serial, self.row());
            values.push(format!("({id}, {}, '{}')", row.tx, row.body));
            self.items.insert(id);
            self.after.items.insert(id, row);
        }
        self.push(format!("INSERT INTO crash.items VALUES {}", values.join(", ")), format!("INSERT 0 {count}"));
    }

    fn insert_notes(&mut self) {
        let count = 1 + self.random.below(2);
        let mut values = Vec::new();
        for _ in 0..count {
            self.serial += 1;
            let (n, row) = (self.serial, self.row());
            values.push(format!("({n}, {}, '{}')", row.tx, row.body));
            self.notes.insert(n);
            self.after.notes.insert(n, row);
        }
        let sql = format!("INSERT INTO crash.notes (n, tx, body) VALUES {} RETURNING id", values.join(", "));
        self.push(sql, format!("INSERT 0 {count}"));
    }

    fn some_item(&mut self) -> Option<i64> {
        let keys: Vec<i64> = self.after.items.keys().copied().collect();
        (!keys.is_empty()).then(|| self.random.pick(&keys))
    }

    fn some_note(&mut self) -> Option<i64> {
        let keys: Vec<i64> = self.after.notes.keys().copied().collect();
        (!keys.is_empty()).then(|| self.random.pick(&keys))
    }

    fn update_items(&mut self) {
        let Some(from) = self.some_item() else { return self.insert_items() };
        let to = from + self.random.below(8) as i64;
        let row = self.row();
        let keys: Vec<i64> = self.after.items.range(from..=to).map(|(&id, _)| id).collect();
        for &id in &keys {
            self.items.insert(id);
            self.after.items.insert(id, row.clone());
        }
        let sql =
            format!("UPDATE crash.items SET tx = {}, body = '{}' WHERE id BETWEEN {from} AND {to}", row.tx, row.body);
        self.push(sql, format!("UPDATE {}", keys.len()));
    }

    fn delete_items(&mut self) {
        let Some(from) = self.some_item() else { return self.insert_items() };
        let to = from + self.random.below(4) as i64;
        let keys: Vec<i64> = self.after.items.range(from..=to).map(|(&id, _)| id).collect();
        for id in &keys {
            self.items.insert(*id);
            self.after.items.remove(id);
        }
        let sql = format!("DELETE FROM crash.items WHERE id >= {from} AND id <= {to}");
        self.push(sql, format!("DELETE {}", keys.len()));
    }

    /// A row that is deleted and inserted again in one transaction: an update.
    fn replace_item(&mut self) {
        let Some(id) = self.some_item() else { return self.insert_items() };
        let row = self.row();
        self.push(format!("DELETE FROM crash.items WHERE id = {id}"), "DELETE 1".into());
        self.push(format!("INSERT INTO crash.items VALUES ({id}, {}, '{}')", row.tx, row.body), "INSERT 0 1".into());
        self.items.insert(id);
        self.after.items.insert(id, row);
    }

    fn update_note(&mut self) {
        let Some(n) = self.some_note() else { return self.insert_notes() };
        let row = self.row();
        self.push(
            format!("UPDATE crash.notes SET body = '{}', tx = {} WHERE n = {n}", row.body, row.tx),
            "UPDATE 1".into(),
        );
        self.notes.insert(n);
        self.after.notes.insert(n, row);
    }

    fn delete_note(&mut self) {
        let Some(n) = self.some_note() else { return self.insert_notes() };
        self.push(format!("DELETE FROM crash.notes WHERE n = {n}"), "DELETE 1".into());
        self.notes.insert(n);
        self.after.notes.remove(&n);
    }

    fn something(&mut self) {
        match self.random.below(8) {
            0 | 1 if self.after.items.len() < ROWS_MANY => self.insert_items(),
            2 if self.after.notes.len() < ROWS_MANY => self.insert_notes(),
            3 => self.update_items(),
            4 => self.replace_item(),
            5 => self.update_note(),
            6 => self.delete_note(),
            7 => self.count(),
            _ => self.delete_items(),
        }
    }

    /// What the transaction asks for as a whole: the messages are those of each row's net change.
    fn attempt(&self) -> Attempt {
        let mut messages = Vec::new();
        let mut compare = |user: Option<&str>, key: i64, before: Option<&Row>, after: Option<&Row>| {
            let (op, row) = match (before, after) {
                (None, None) => return,
                (None, Some(after)) => ("insert", after),
                (Some(before), None) => ("delete", before),
                (Some(_), Some(after)) => ("update", after),
            };
            let user = user.map(str::to_owned);
            messages.push(Message { op: op.to_owned(), user, key, tx: row.tx, body: row.body.clone() });
        };
        for &id in &self.items {
            compare(None, id, self.before.items.get(&id), self.after.items.get(&id));
        }
        for &n in &self.notes {
            compare(Some(&self.user), n, self.before.notes.get(&n), self.after.notes.get(&n));
        }
        messages.sort();
        Attempt { tx: self.tx, after: self.after.clone(), messages, increment: self.increment }
    }
}

/// The keys that a statement returned.
fn ids(events: &[Event]) -> impl Iterator<Item = i64> {
    events.iter().filter_map(|event| match event {
        Event::Row(cells) => Some(std::str::from_utf8(cells[0].as_ref().unwrap()).unwrap().parse().unwrap()),
        _ => None,
    })
}

fn tags(events: &[Event]) -> Vec<&str> {
    let mut tags = Vec::new();
    for event in events {
        match event {
            Event::Tag(tag) => tags.push(tag.as_str()),
            Event::Error(report) => panic!("a statement of the load failed: {report:?}"),
            _ => {}
        }
    }
    tags
}

/// One writer's work until its server is gone.
pub struct Writer<'a> {
    pub client: Client,
    pub ledger: &'a mut Ledger,
    pub random: Random,
    /// Told of each commit that was acknowledged.
    pub commits: Sender<()>,
}

impl Writer<'_> {
    pub fn run(mut self) {
        while self.transaction() {}
    }

    /// One transaction; false once the server is gone.
    fn transaction(&mut self) -> bool {
        let shapes = [Shape::Single, Shape::Script, Shape::Block, Shape::Block, Shape::RolledBack, Shape::Failed];
        let shape = self.random.pick(&shapes);
        let (statements, attempt, serial) = self.draft(shape);
        self.ledger.next_tx += 1;
        self.ledger.next_serial = serial;
        match shape {
            Shape::Single | Shape::Script => self.at_once(&statements, attempt),
            Shape::Block => self.block(&statements, Some(attempt), "COMMIT", "COMMIT"),
            Shape::RolledBack => self.block(&statements, None, "ROLLBACK", "ROLLBACK"),
            Shape::Failed => self.block(&statements, None, "COMMIT", "ROLLBACK"),
        }
    }

    fn draft(&mut self, shape: Shape) -> (Vec<(String, String)>, Attempt, i64) {
        let ledger = &*self.ledger;
        let mut draft = Draft {
            random: &mut self.random,
            before: &ledger.committed,
            keys: ledger.keys(),
            user: ledger.user(),
            serial: ledger.next_serial,
            tx: ledger.next_tx,
            after: ledger.committed.clone(),
            items: BTreeSet::new(),
            notes: BTreeSet::new(),
            increment: 0,
            statements: Vec::new(),
        };
        if shape == Shape::Single {
            match draft.random.below(3) {
                0 => draft.insert_items(),
                1 => draft.insert_notes(),
                _ => draft.update_items(),
            }
        } else {
            draft.progress();
            for _ in 0..=draft.random.below(5) {
                draft.something();
            }
        }
        if shape == Shape::Failed {
            draft.push("SELECT 1 / 0".into(), String::new());
        }
        let attempt = draft.attempt();
        (draft.statements, attempt, draft.serial)
    }

    fn at_once(&mut self, statements: &[(String, String)], attempt: Attempt) -> bool {
        self.ledger.attempted = Some(attempt);
        let sql: Vec<&str> = statements.iter().map(|(sql, _)| sql.as_str()).collect();
        let (events, lives) = self.client.try_simple(&sql.join("; "));
        self.ledger.new_ids.extend(ids(&events));
        let expected: Vec<&str> = statements.iter().map(|(_, tag)| tag.as_str()).collect();
        let tags = tags(&events);
        assert!(expected.starts_with(&tags), "{sql:?}: {tags:?}");
        // the last tag is the acknowledgement, whether or not ReadyForQuery came
        if tags.len() == expected.len() {
            self.acknowledged();
        }
        lives
    }

    fn block(&mut self, statements: &[(String, String)], attempt: Option<Attempt>, end: &str, tag: &str) -> bool {
        if !self.client.try_simple("BEGIN").1 {
            return false;
        }
        for (sql, tag) in statements {
            let (events, lives) = self.client.try_simple(sql);
            if tag.is_empty() {
                let failed = events.iter().any(|event| matches!(event, Event::Error(_)));
                assert!(!lives || failed, "{sql}: {events:?}");
            } else {
                self.ledger.new_ids.extend(ids(&events));
                assert!(!lives || tags(&events) == [tag.as_str()], "{sql}: {events:?}, not {tag}");
            }
            if !lives {
                return false;
            }
        }
        let commits = attempt.is_some();
        self.ledger.attempted = attempt;
        let (events, lives) = self.client.try_simple(end);
        let tags = tags(&events);
        assert!(tags.is_empty() || tags == [tag], "{end}: {tags:?}");
        if commits && !tags.is_empty() {
            self.acknowledged();
        }
        lives
    }

    fn acknowledged(&mut self) {
        self.ledger.settle();
        self.ledger.acknowledged += 1;
        // the test has stopped counting once it has decided to kill
        let _ = self.commits.send(());
    }
}
