//! The logical tree: what a statement means, without how.
//!
//! Each node has a row of columns; expressions name the columns of their node's input by position.

use super::node::Conflict;
use super::{Consume, Copy, ResetGroup, Settle, Source};
use crate::expr::Expr;
use crate::table::Model;
use crate::txn::RowLock;
use crate::types::SqlType;
use std::sync::Arc;

/// A logical node.
#[derive(Clone, Debug)]
pub enum Logical {
    /// All rows of a relation; its columns are the relation's stored ones, then the system columns.
    Scan {
        /// The relation.
        source: Source,
        /// Its name in the statement, for EXPLAIN.
        alias: String,
        /// Its qualified name, which a topic shows in its column `topic`.
        qualified: String,
    },
    /// Rows of expressions without input; one row of no columns stands for a missing FROM.
    Values {
        /// The rows.
        rows: Vec<Vec<Expr>>,
        /// Types of the columns.
        types: Vec<SqlType>,
    },
    /// What a function in FROM gives: a set of rows, or one.
    Function {
        /// The call.
        call: Expr,
        /// The function's name, for EXPLAIN.
        name: String,
        /// Its name in the statement, for EXPLAIN.
        alias: String,
        /// The columns' names, for EXPLAIN.
        columns: Vec<String>,
        /// A second column counts the rows.
        ordinality: bool,
    },
    /// For each row, that row with the values of sets beside one another, as often as the longest of them is long.
    ProjectSet {
        /// The rows.
        input: Box<Logical>,
        /// Calls whose results are sets of rows: the columns after the input's.
        sets: Vec<Expr>,
    },
    /// The rows for which a condition holds.
    Filter {
        /// What is filtered.
        input: Box<Logical>,
        /// The condition.
        predicate: Expr,
    },
    /// Computed columns.
    Project {
        /// What they are computed from.
        input: Box<Logical>,
        /// The columns.
        exprs: Vec<Expr>,
    },
    /// The rows in an order.
    Sort {
        /// What is sorted.
        input: Box<Logical>,
        /// The order, most significant first.
        keys: Vec<SortKey>,
    },
    /// The rows, each locked before it is given out.
    LockRows {
        /// What is locked: a scan, filtered and in an order.
        input: Box<Logical>,
        /// How.
        locking: RowLocking,
    },
    /// Some of the rows.
    Limit {
        /// What is cut.
        input: Box<Logical>,
        /// Rows at most.
        limit: Option<Expr>,
        /// Rows to leave out first.
        offset: Option<Expr>,
    },
    /// Each different row once.
    Distinct {
        /// Where they come from.
        input: Box<Logical>,
    },
    /// Groups of rows: the group's expressions, then one column for each aggregate.
    Aggregate {
        /// What is grouped.
        input: Box<Logical>,
        /// What makes a group; empty for one group of all rows.
        groups: Vec<Expr>,
        /// What is computed of each.
        aggregates: Vec<AggregateCall>,
    },
    /// Writes new rows; its columns are the relation's, of the rows written.
    Insert {
        /// The rows, each with all columns of the relation.
        input: Box<Logical>,
        /// The relation.
        source: Source,
        /// Its name in the statement.
        alias: String,
        /// What to do where a key is taken.
        conflict: Conflict,
        /// CHECK constraints with their names, over the relation's columns.
        checks: Vec<(String, Expr)>,
        /// RETURNING, over the relation's columns and system columns.
        returning: Option<Vec<Expr>>,
    },
    /// Replaces rows; its columns are the relation's, of the rows as written.
    Update {
        /// The relation.
        source: Source,
        /// Its name in the statement.
        alias: String,
        /// Which rows, over the relation's columns and system columns.
        predicate: Option<Expr>,
        /// The columns to set and their new values, over the old row.
        set: Vec<(usize, Expr)>,
        /// CHECK constraints with their names, over the relation's columns.
        checks: Vec<(String, Expr)>,
        /// RETURNING, over the new row.
        returning: Option<Vec<Expr>>,
    },
    /// Removes rows; its columns are the relation's, of the rows removed.
    Delete {
        /// The relation.
        source: Source,
        /// Its name in the statement.
        alias: String,
        /// Which rows.
        predicate: Option<Expr>,
        /// RETURNING, over the old row.
        returning: Option<Vec<Expr>>,
    },
    /// COPY FROM STDIN.
    Copy(Box<Copy>),
    /// CONSUME.
    Consume(Arc<Consume>),
    /// ACK and its kin.
    Settle(Arc<Settle>),
    /// RESET CONSUMER GROUP.
    ResetGroup(Arc<ResetGroup>),
}

/// How the rows of a query are locked.
#[derive(Clone, Debug)]
pub struct RowLocking {
    /// The table.
    pub model: Arc<Model>,
    /// How strongly.
    pub lock: RowLock,
    /// What to do about a row that another transaction has locked.
    pub wait: LockWait,
}

/// What a query does about a row that another transaction has locked, the most patient first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockWait {
    /// Waits for it.
    Wait,
    /// Leaves it out: SKIP LOCKED.
    Skip,
    /// 55P03: NOWAIT.
    Fail,
}

/// One column of an order.
#[derive(Clone, Debug)]
pub struct SortKey {
    /// What is compared.
    pub expr: Expr,
    /// Largest first.
    pub descending: bool,
    /// NULLs before all values.
    pub nulls_first: bool,
}

/// One aggregate of a group.
#[derive(Clone, Debug)]
pub struct AggregateCall {
    /// Which function.
    pub function: crate::expr::Aggregate,
    /// Its arguments, over the rows that are grouped.
    pub args: Vec<Expr>,
    /// DISTINCT: of rows that have equal values of these, or where there are none of the arguments, one is taken.
    pub distinct: Option<Vec<Expr>>,
    /// The order in which it takes them, where that matters.
    pub order: Vec<SortKey>,
    /// FILTER (WHERE …).
    pub filter: Option<Expr>,
}
