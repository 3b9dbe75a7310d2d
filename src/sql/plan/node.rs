//! The physical nodes: one struct each, shared by all executions of a plan.

use super::{AggregateCall, Consume, Copy, LockWait, ResetGroup, Settle, SortKey};
use crate::expr::Expr;
use crate::sql::system::SystemRelation;
use crate::table::Model;
use crate::txn::RowLock;
use crate::types::{SqlType, Str};
use std::sync::Arc;

/// A physical node. Each is shared, so that an execution's operator can hold its own node.
#[derive(Clone, Debug)]
pub enum Node {
    /// Rows of a stored relation, along a key.
    Scan(Arc<Scan>),
    /// Rows of a system relation.
    System(Arc<SystemScan>),
    /// Rows of expressions.
    Values(Arc<Values>),
    /// Rows of a function in FROM.
    Function(Arc<FunctionScan>),
    /// Rows with the values of sets.
    ProjectSet(Arc<ProjectSet>),
    /// Some rows.
    Filter(Arc<Filter>),
    /// Computed columns.
    Project(Arc<Project>),
    /// Rows in an order.
    Sort(Arc<Sort>),
    /// Rows that are locked.
    LockRows(Arc<LockRows>),
    /// A stretch of the rows.
    Limit(Arc<Limit>),
    /// Different rows.
    Distinct(Arc<Distinct>),
    /// Groups.
    Aggregate(Arc<Aggregate>),
    /// New rows.
    Insert(Arc<Insert>),
    /// Replaced rows.
    Update(Arc<Update>),
    /// Removed rows.
    Delete(Arc<Delete>),
    /// Rows that the client sends.
    Copy(Arc<Copy>),
    /// Messages.
    Consume(Arc<Consume>),
    /// Settled messages.
    Settle(Arc<Settle>),
    /// A consumer group's new position.
    ResetGroup(Arc<ResetGroup>),
}

/// A relation that a plan reads or writes.
#[derive(Clone, Debug)]
pub enum Source {
    /// A stored relation: a table or a topic.
    Stored(Arc<Model>),
    /// A system relation.
    System(&'static SystemRelation),
}

/// Rows of a stored relation along its key.
#[derive(Debug)]
pub struct Scan {
    /// The relation.
    pub model: Arc<Model>,
    /// Its name in the statement, for EXPLAIN.
    pub alias: String,
    /// Its qualified name, for a topic's messages.
    pub qualified: Str,
    /// The output columns.
    pub columns: Vec<ScanColumn>,
    /// Which stretch of which key.
    pub access: Access,
    /// Against the key's order.
    pub backward: bool,
    /// What else must hold, over the output columns.
    pub filter: Option<Expr>,
    /// The conditions that became key ranges, for EXPLAIN, over the relation's columns.
    pub condition: Option<Expr>,
}

/// A column of a scan's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanColumn {
    /// A stored column by position.
    Stored(usize),
    /// Nobody looks at it: NULL.
    Unused,
    /// `_seq`.
    Seq,
    /// `xmin`.
    Xmin,
    /// `tableoid`.
    TableOid,
    /// A topic's qualified name.
    Topic,
    /// The row's key in the store as bytes, for the nodes that write.
    Key,
    /// The row as stored as bytes, for the nodes that write.
    Row,
}

/// How a scan finds its rows.
#[derive(Clone, Debug)]
pub enum Access {
    /// All rows of the scope.
    Full,
    /// Stretches of the primary key.
    Key(KeyRange),
    /// Stretches of an index: its position in [`Model::indexes`].
    Index(usize, KeyRange),
}

/// Stretches of a key: equal values for its first columns, then bounds for the next one.
#[derive(Clone, Debug, Default)]
pub struct KeyRange {
    /// Equal values, a part for each leading key column.
    pub equal: Vec<KeyPart>,
    /// The bounds at the low end of the next key column.
    pub lower: Vec<Bound>,
    /// The bounds at the high end.
    pub upper: Vec<Bound>,
}

/// What a key column is equal to.
#[derive(Clone, Debug)]
pub enum KeyPart {
    /// One value.
    One(Expr),
    /// Any of several: IN.
    Any(Vec<Expr>),
}

/// One end of a stretch.
#[derive(Clone, Debug)]
pub struct Bound {
    /// The value.
    pub value: Expr,
    /// Whether the value itself belongs to the stretch.
    pub inclusive: bool,
}

/// Rows of a system relation, computed when the scan starts.
#[derive(Debug)]
pub struct SystemScan {
    /// The relation.
    pub relation: &'static SystemRelation,
    /// Its name in the statement.
    pub alias: String,
    /// What must hold.
    pub filter: Option<Expr>,
}

/// Rows of expressions.
#[derive(Debug)]
pub struct Values {
    /// The rows.
    pub rows: Vec<Vec<Expr>>,
    /// Types of the columns.
    pub types: Vec<SqlType>,
}

/// What a function in FROM gives.
#[derive(Debug)]
pub struct FunctionScan {
    /// The call.
    pub call: Expr,
    /// The function's name, for EXPLAIN.
    pub name: String,
    /// Its name in the statement, for EXPLAIN.
    pub alias: String,
    /// The columns' names, for EXPLAIN.
    pub columns: Vec<String>,
    /// A second column counts the rows.
    pub ordinality: bool,
}

/// Each row of its input with the values of sets beside one another.
#[derive(Debug)]
pub struct ProjectSet {
    /// The input.
    pub input: Node,
    /// How many columns the input has as the expressions above count them.
    pub width: usize,
    /// Calls whose results are sets of rows.
    pub sets: Vec<Expr>,
}

/// The rows of its input for which a condition holds.
#[derive(Debug)]
pub struct Filter {
    /// The input.
    pub input: Node,
    /// The condition.
    pub predicate: Expr,
}

/// Columns computed from its input's.
#[derive(Debug)]
pub struct Project {
    /// The input.
    pub input: Node,
    /// The columns.
    pub exprs: Vec<Expr>,
}

/// Its input in an order.
#[derive(Debug)]
pub struct Sort {
    /// The input.
    pub input: Node,
    /// The order.
    pub keys: Vec<SortKey>,
    /// Only so many of the first rows are wanted: the LIMIT above, and its OFFSET.
    pub top: Option<(Expr, Option<Expr>)>,
}

/// Its input's rows, each locked before it is given out.
#[derive(Debug)]
pub struct LockRows {
    /// The rows, all columns of the relation with its system columns, then key and stored form of each.
    pub input: Node,
    /// The relation.
    pub model: Arc<Model>,
    /// How strongly.
    pub lock: RowLock,
    /// What to do about a row that another transaction has locked.
    pub wait: LockWait,
    /// What a row must satisfy, to be judged again where it was changed meanwhile.
    pub recheck: Option<Expr>,
}

/// A stretch of its input's rows.
#[derive(Debug)]
pub struct Limit {
    /// The input.
    pub input: Node,
    /// Rows at most; NULL is no limit.
    pub limit: Option<Expr>,
    /// Rows left out before them.
    pub offset: Option<Expr>,
}

/// Each different row of its input once, in the order of first appearance.
#[derive(Debug)]
pub struct Distinct {
    /// The input.
    pub input: Node,
    /// Types of the columns.
    pub types: Vec<SqlType>,
}

/// Groups of its input's rows.
#[derive(Debug)]
pub struct Aggregate {
    /// The input.
    pub input: Node,
    /// What makes a group.
    pub groups: Vec<Expr>,
    /// What is computed of each.
    pub aggregates: Vec<AggregateCall>,
}

/// New rows of a relation.
#[derive(Debug)]
pub struct Insert {
    /// The rows, with all columns of the relation.
    pub input: Node,
    /// The relation.
    pub model: Arc<Model>,
    /// The name of its schema, for errors.
    pub schema: String,
    /// Its name in the statement.
    pub alias: String,
    /// What to do where a key is taken.
    pub conflict: Conflict,
    /// CHECK constraints with their names.
    pub checks: Vec<(String, Expr)>,
    /// RETURNING.
    pub returning: Option<Vec<Expr>>,
}

/// What an INSERT does where a key is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// 23505.
    Fail,
    /// Leaves the row out, whichever key it is.
    SkipAny,
    /// Leaves the row out if it is the primary key.
    SkipPrimary,
    /// Leaves the row out if it is this UNIQUE constraint, by position.
    SkipUnique(usize),
}

/// Replaced rows of a relation.
#[derive(Debug)]
pub struct Update {
    /// Key and stored form of each row to replace.
    pub input: Node,
    /// The relation.
    pub model: Arc<Model>,
    /// The name of its schema, for errors.
    pub schema: String,
    /// Its name in the statement.
    pub alias: String,
    /// What a row must satisfy, to be judged again after it was waited for; over the relation's row.
    pub recheck: Option<Expr>,
    /// The new values, over the old row.
    pub set: Vec<(usize, Expr)>,
    /// CHECK constraints with their names.
    pub checks: Vec<(String, Expr)>,
    /// RETURNING.
    pub returning: Option<Vec<Expr>>,
}

/// Removed rows of a relation.
#[derive(Debug)]
pub struct Delete {
    /// Key and stored form of each row to remove.
    pub input: Node,
    /// The relation.
    pub model: Arc<Model>,
    /// Its name in the statement.
    pub alias: String,
    /// What a row must satisfy, to be judged again after it was waited for.
    pub recheck: Option<Expr>,
    /// RETURNING.
    pub returning: Option<Vec<Expr>>,
}
