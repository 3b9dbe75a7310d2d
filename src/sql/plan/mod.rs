//! Plans: what a statement does, first as a logical tree (what the binder means), then as a tree of physical nodes
//! (how the executor goes about it).
//!
//! A plan is generic in its parameters and in whose rows it touches: key ranges are expressions that the executor
//! evaluates when it starts, and the scope is handed in with the execution. So a plan is made once and shared by all
//! sessions that see the same catalog under the same role and search path.

mod access;
mod copy;
mod explain;
mod fold;
mod live;
mod logical;
mod node;
mod physical;
mod topic;

pub use copy::{Copy, CopyFormat, CopyHeader};
pub use explain::explain;
pub use live::LiveSpec;
pub use logical::{AggregateCall, LockWait, Logical, RowLocking, SortKey};
pub use node::{
    Access, Aggregate, Bound, Conflict, Delete, Distinct, Filter, FunctionScan, Insert, KeyPart, KeyRange, Limit,
    LockRows, Node, Project, ProjectSet, Scan, ScanColumn, Sort, Source, SystemScan, Update, Values,
};
pub use physical::{plan, width};
pub use topic::{Consume, Place, ResetGroup, Settle, SettleTarget, SettleVerb, TopicRef};

use crate::error::Result;
use crate::expr::Expr;
use crate::txn::{LockMode, RowLock, Transaction};
use crate::types::{Oid, SqlType};
use std::sync::Arc;

/// A planned statement, shared by all its executions.
#[derive(Debug)]
pub struct Plan {
    /// The root of the physical tree.
    pub root: Node,
    /// Which statement it is: decides the command tag.
    pub command: Command,
    /// Types of the parameters, in order.
    pub params: Vec<SqlType>,
    /// Result columns; none where the statement returns no rows.
    pub columns: Option<Vec<ResultColumn>>,
    /// Whose rows it touches, where the statement says so: EXECUTE AS USER. A text over the parameters.
    pub user: Option<Expr>,
    /// Version of the catalog it was made against.
    pub catalog_version: u64,
    /// The relations it uses, first the one that it writes: it is stale once one of them, or a name that led to one, has
    /// changed.
    pub relations: Vec<Oid>,
    /// The lock that it takes on the rows that it returns.
    pub locks: Option<RowLock>,
    /// Whether expressions have calls that the executor carries out.
    pub effects: bool,
    /// The live query that follows the rows of a SUBSCRIBE.
    pub live: Option<Arc<LiveSpec>>,
}

impl Plan {
    /// Whether it may write: refused in a READ ONLY transaction, and run to its end before its rows are given out.
    pub fn writes(&self) -> bool {
        self.command.writes()
    }

    /// How the relation at a place of [`relations`](Self::relations) is locked while it runs.
    pub fn lock_mode(&self, place: usize) -> LockMode {
        match self.locks {
            _ if place == 0 && self.writes() => LockMode::RowExclusive,
            Some(_) => LockMode::RowShare,
            None => LockMode::AccessShare,
        }
    }

    /// 25006 where the transaction is READ ONLY and the statement writes or locks rows.
    pub fn check_writable(&self, tx: &Transaction) -> Result<()> {
        match self.locks {
            Some(lock) if self.command == Command::Select => tx.check_writable(&format!("SELECT {}", lock.name())),
            _ if self.writes() => tx.check_writable(self.command.name()),
            _ => Ok(()),
        }
    }
}

/// Which statement a plan is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// SELECT, VALUES, TABLE.
    Select,
    /// INSERT.
    Insert,
    /// UPDATE.
    Update,
    /// DELETE.
    Delete,
    /// COPY FROM.
    Copy,
    /// CONSUME with a group; without one it is a SELECT.
    Consume,
    /// ACK, NACK, EXTEND or RELEASE, by name.
    Settle(&'static str),
    /// RESET CONSUMER GROUP.
    ResetGroup,
    /// SHOW TOPICS.
    ShowTopics,
    /// EXPLAIN of any of them, which does not run it.
    Explain,
}

impl Command {
    /// Whether the statement writes.
    pub fn writes(self) -> bool {
        !matches!(self, Command::Select | Command::ShowTopics | Command::Explain)
    }

    /// The statement's name as PostgreSQL's messages have it.
    pub fn name(self) -> &'static str {
        match self {
            Command::Select => "SELECT",
            Command::Insert => "INSERT",
            Command::Update => "UPDATE",
            Command::Delete => "DELETE",
            Command::Copy => "COPY FROM",
            Command::Consume => "CONSUME",
            Command::Settle(name) => name,
            Command::ResetGroup => "RESET CONSUMER GROUP",
            Command::ShowTopics => "SHOW TOPICS",
            Command::Explain => "EXPLAIN",
        }
    }
}

/// A column of a result, as RowDescription says it.
#[derive(Clone, Debug, PartialEq)]
pub struct ResultColumn {
    /// Name.
    pub name: String,
    /// Type.
    pub ty: SqlType,
    /// The table that the column comes from, or [`Oid::INVALID`].
    pub table: Oid,
    /// The column's number in that table, from 1; 0 for none, negative for system columns.
    pub attnum: i16,
}
