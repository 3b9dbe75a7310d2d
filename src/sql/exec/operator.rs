//! What all operators share: how one row is asked for, and what a step has at hand.

use super::ExecContext;
use super::aggregate::AggregateOp;
use super::calls::Calls;
use super::consume::ConsumeOp;
use super::copy::{CopyFeed, CopyOp};
use super::delete::DeleteOp;
use super::distinct::DistinctOp;
use super::filter::{FilterOp, ProjectOp};
use super::function::{FunctionOp, ProjectSetOp};
use super::insert::InsertOp;
use super::limit::LimitOp;
use super::lock_rows::LockRowsOp;
use super::scan::ScanOp;
use super::settle::{ResetOp, SettleOp};
use super::sort::SortOp;
use super::system_scan::SystemOp;
use super::update::UpdateOp;
use super::values::ValuesOp;
use crate::env::UnixMicros;
use crate::error::{Error, Result};
use crate::expr::EvalContext;
use crate::sql::plan::Node;
use crate::txn::{StatementView, Transaction};
use crate::types::Row;
use crate::wait::Wait;

/// The answer to a request for a row.
pub(super) enum Pull {
    /// The row is in the buffer.
    Row,
    /// There are no more.
    Done,
    /// The step's budget is spent; ask again in the next one.
    Yield,
    /// Ask again after this wait.
    Wait(Wait),
    /// Ask again when the client has sent more.
    Input,
}

/// Passes on everything but a row.
macro_rules! pull {
    ($pulled:expr) => {
        match $pulled? {
            $crate::sql::exec::operator::Pull::Row => true,
            $crate::sql::exec::operator::Pull::Done => false,
            other => return Ok(other),
        }
    };
}
pub(super) use pull;

/// What a step has at hand.
pub(super) struct Run<'a> {
    pub(super) tx: &'a mut Transaction,
    pub(super) view: &'a StatementView,
    pub(super) cx: &'a ExecContext<'a>,
    pub(super) eval: &'a EvalContext<'a>,
    /// When this step began: STREAM rows whose time has come are gone.
    pub(super) now: UnixMicros,
    /// What may still be done in this step, in rows looked at.
    pub(super) budget: usize,
    /// Rows that a LIMIT above still wants, 0 where nothing is known: as much as a scan need read at first.
    pub(super) wanted: usize,
    /// Rows written so far by the statement.
    pub(super) affected: u64,
    /// What the client is to be told beside rows.
    pub(super) notices: Vec<Error>,
    /// What was called in expressions of the current row; none where the plan has no such calls.
    pub(super) calls: Option<&'a Calls>,
    /// What the client has sent to a COPY.
    pub(super) feed: Option<&'a mut CopyFeed>,
}

impl Run<'_> {
    /// Takes one from the budget; false when it is spent.
    pub(super) fn spend(&mut self) -> bool {
        let left = self.budget.checked_sub(1);
        self.budget = left.unwrap_or(0);
        left.is_some()
    }
}

/// One node of a plan at work.
pub(super) trait Operator: Send {
    /// Puts the next row into `out`, whose old content is lost.
    fn next(&mut self, run: &mut Run, out: &mut Row) -> Result<Pull>;
}

/// An operator for a node and its inputs, at its beginning.
pub(super) fn open(node: &Node) -> Box<dyn Operator> {
    match node {
        Node::Scan(node) => Box::new(ScanOp::new(node.clone())),
        Node::System(node) => Box::new(SystemOp::new(node.clone())),
        Node::Values(node) => Box::new(ValuesOp::new(node.clone())),
        Node::Function(node) => Box::new(FunctionOp::new(node.clone())),
        Node::ProjectSet(node) => Box::new(ProjectSetOp::new(node.clone())),
        Node::Filter(node) => Box::new(FilterOp::new(node.clone())),
        Node::Project(node) => Box::new(ProjectOp::new(node.clone())),
        Node::Sort(node) => Box::new(SortOp::new(node.clone())),
        Node::LockRows(node) => Box::new(LockRowsOp::new(node.clone())),
        Node::Limit(node) => Box::new(LimitOp::new(node.clone())),
        Node::Distinct(node) => Box::new(DistinctOp::new(node.clone())),
        Node::Aggregate(node) => Box::new(AggregateOp::new(node.clone())),
        Node::Insert(node) => Box::new(InsertOp::new(node.clone())),
        Node::Update(node) => Box::new(UpdateOp::new(node.clone())),
        Node::Delete(node) => Box::new(DeleteOp::new(node.clone())),
        Node::Copy(node) => Box::new(CopyOp::new(node.clone())),
        Node::Consume(node) => Box::new(ConsumeOp::new(node.clone())),
        Node::Settle(node) => Box::new(SettleOp::new(node.clone())),
        Node::ResetGroup(node) => Box::new(ResetOp::new(node.clone())),
    }
}
