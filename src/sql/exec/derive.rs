//! Topic messages: before a statement writes a table that feeds topics, the transaction learns how its net changes
//! become messages.

use super::ExecContext;
use crate::error::{Error, Result};
use crate::sql::plan::{Node, Plan};
use crate::txn::Transaction;

/// Prepares the transaction for the table that a plan writes.
pub(super) fn prepare(plan: &Plan, tx: &mut Transaction, _cx: &ExecContext) -> Result<()> {
    let model = match &plan.root {
        Node::Insert(insert) => &insert.model,
        Node::Update(update) => &update.model,
        Node::Delete(delete) => &delete.model,
        _ => return Ok(()),
    };
    let table = model.relation().oid;
    if tx.has_derivers(table) || tx.catalog().topics_of(table).next().is_none() {
        return Ok(());
    }
    Err(Error::unsupported("writing a table that feeds a topic"))
}
