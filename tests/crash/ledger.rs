//! The outside ledger: what one writer was told is committed, and what it last asked for.

use std::collections::BTreeMap;

/// A row of the SHARED or the USER table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The writer's transaction that wrote it last.
    pub tx: u64,
    pub body: String,
}

/// What a writer's rows are after one of its transactions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Its row in the table without a source.
    pub progress: u64,
    /// Rows of the SHARED table by key.
    pub items: BTreeMap<i64, Row>,
    /// Rows of the USER table by `n`: their keys are the server's to choose.
    pub notes: BTreeMap<i64, Row>,
}

/// One topic message, or the one that is expected.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Message {
    pub op: String,
    /// The user of a USER table's row.
    pub user: Option<String>,
    /// The item's key or the note's `n`.
    pub key: i64,
    pub tx: u64,
    pub body: String,
}

/// A transaction that asks to be committed.
#[derive(Clone, Debug, Default)]
pub struct Attempt {
    pub tx: u64,
    pub after: State,
    /// Sorted.
    pub messages: Vec<Message>,
    /// What it adds to the counter that all writers share.
    pub increment: i64,
}

/// Everything about one writer.
#[derive(Default)]
pub struct Ledger {
    pub writer: usize,
    pub committed: State,
    /// The messages of each committed transaction that made some, in order; each group sorted.
    pub messages: Vec<(u64, Vec<Message>)>,
    /// The sum of the committed increments.
    pub counted: i64,
    /// The transaction whose outcome is not known.
    pub attempted: Option<Attempt>,
    /// The next transaction's number; those of transactions that were rolled back are not used again.
    pub next_tx: u64,
    pub next_serial: i64,
    /// Keys that SNOWFLAKE_ID() gave, kept or not, since the last check.
    pub new_ids: Vec<i64>,
    /// What has been acknowledged, for the report.
    pub acknowledged: u64,
}

impl Ledger {
    pub fn new(writer: usize) -> Ledger {
        Ledger { writer, next_tx: 1, ..Ledger::default() }
    }

    /// The writer's name and password.
    pub fn user(&self) -> String {
        format!("writer{}", self.writer)
    }

    /// The keys of the writer's items.
    pub fn keys(&self) -> std::ops::Range<i64> {
        let first = (self.writer as i64 + 1) * 1_000_000_000;
        first..first + 1_000_000_000
    }

    /// The attempt has been committed: the server said so, or its rows are there.
    pub fn settle(&mut self) {
        let attempt = self.attempted.take().expect("a commit was attempted");
        self.committed = attempt.after;
        self.counted += attempt.increment;
        if !attempt.messages.is_empty() {
            self.messages.push((attempt.tx, attempt.messages));
        }
    }
}
