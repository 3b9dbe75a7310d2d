//! What an expression may use where it stands: columns, aggregates, or neither.

use super::scope::Scope;
use crate::error::{Error, Result, SqlState};
use crate::sql::plan::AggregateCall;

/// The clause that an expression stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clause {
    Select,
    Where,
    GroupBy,
    Having,
    OrderBy,
    Limit,
    Offset,
    Values,
    /// An argument of a function in FROM.
    FunctionFrom,
    Set,
    Returning,
    CopyWhere,
    Filter,
    Default,
    Check,
    /// USING of ALTER COLUMN TYPE.
    Transform,
    /// A value beside the query: of EXECUTE, EXECUTE AS USER.
    Argument,
    /// A condition of our own: a topic source's or a subscription's WHERE.
    Condition,
}

impl Clause {
    /// The clause in messages about a condition's type: `argument of WHERE must be type boolean`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Clause::Select => "SELECT",
            Clause::Where | Clause::Condition | Clause::CopyWhere => "WHERE",
            Clause::GroupBy => "GROUP BY",
            Clause::Having => "HAVING",
            Clause::OrderBy => "ORDER BY",
            Clause::Limit => "LIMIT",
            Clause::Offset => "OFFSET",
            Clause::Values => "VALUES",
            Clause::FunctionFrom => "functions in FROM",
            Clause::Set => "UPDATE",
            Clause::Returning => "RETURNING",
            Clause::Filter => "FILTER",
            Clause::Default => "DEFAULT expressions",
            Clause::Check => "CHECK",
            Clause::Transform => "transform expressions",
            Clause::Argument => "EXECUTE parameters",
        }
    }

    /// The clause in messages about what may not stand in it.
    pub(crate) fn place(self) -> &'static str {
        match self {
            Clause::Check => "check constraints",
            Clause::CopyWhere => "COPY FROM WHERE conditions",
            clause => clause.name(),
        }
    }

    fn takes_aggregates(self) -> bool {
        matches!(self, Clause::Select | Clause::Having | Clause::OrderBy)
    }
}

/// The names that an expression may use, and the aggregates found in it.
pub(crate) struct Names<'s> {
    pub(crate) scope: &'s Scope,
    pub(crate) clause: Clause,
    /// Aggregates of the query so far; in expressions they are columns from [`AGGREGATE_BASE`] on, until the grouping
    /// is known.
    pub(crate) aggregates: Vec<AggregateCall>,
    /// Whether an aggregate's argument is being bound.
    pub(crate) in_aggregate: bool,
    /// Whether any column has been named: then the statement reads the table.
    pub(crate) reads: bool,
    pub(crate) depth: usize,
    /// Where calls stand whose results are sets of rows.
    pub(crate) sets: Vec<Option<u32>>,
}

/// Where aggregates' places begin among the columns; no row is as wide.
pub(crate) const AGGREGATE_BASE: usize = 1 << 24;

impl<'s> Names<'s> {
    pub(crate) fn new(scope: &'s Scope, clause: Clause) -> Names<'s> {
        Names { scope, clause, aggregates: Vec::new(), in_aggregate: false, reads: false, depth: 0, sets: Vec::new() }
    }

    /// 42803 where no aggregate may stand.
    pub(crate) fn check_aggregate(&self, at: Option<u32>) -> Result<()> {
        let message = if self.in_aggregate {
            "aggregate function calls cannot be nested".to_owned()
        } else if !self.clause.takes_aggregates() {
            format!("aggregate functions are not allowed in {}", self.clause.place())
        } else {
            return Ok(());
        };
        Err(Error::new(SqlState::GROUPING_ERROR, message).at(at))
    }
}
