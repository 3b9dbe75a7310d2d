//! Scan of a system relation: its rows are computed when the scan starts.

use super::ExecContext;
use super::operator::{Operator, Pull, Run};
use crate::error::Result;
use crate::sql::plan::SystemScan;
use crate::sql::system::SystemContext;
use crate::types::Row;
use std::sync::Arc;

/// Gives the rows for which the filter is true.
pub(super) struct SystemOp {
    node: Arc<SystemScan>,
    rows: Option<std::vec::IntoIter<Row>>,
}

impl SystemOp {
    pub(super) fn new(node: Arc<SystemScan>) -> SystemOp {
        SystemOp { node, rows: None }
    }
}

impl Operator for SystemOp {
    fn next(&mut self, run: &mut Run, out: &mut Row) -> Result<Pull> {
        if self.rows.is_none() {
            let catalog = run.tx.catalog();
            let ExecContext { identity, hub, sessions, settings, .. } = *run.cx;
            let context = SystemContext { catalog: &catalog, identity, tx: run.tx, hub, sessions, settings };
            self.rows = Some((self.node.relation.rows)(&context)?.into_iter());
        }
        loop {
            if !run.spend() {
                return Ok(Pull::Yield);
            }
            let Some(row) = self.rows.as_mut().and_then(Iterator::next) else { return Ok(Pull::Done) };
            *out = row;
            match &self.node.filter {
                Some(filter) if filter.eval_bool(out, run.eval)? != Some(true) => {}
                _ => return Ok(Pull::Row),
            }
        }
    }
}
