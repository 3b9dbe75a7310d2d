//! Sets of rows that functions give: a function in FROM, and those of a select list. Their rows are made one by one.

use super::calls::{settle, settled};
use super::operator::{Operator, Pull, Run, open, pull};
use crate::error::Result;
use crate::expr::Series;
use crate::sql::plan::{FunctionScan, ProjectSet};
use crate::types::{Row, Value};
use std::sync::Arc;

/// Gives what a function in FROM gives: the values of a set, or one value.
pub(super) struct FunctionOp {
    node: Arc<FunctionScan>,
    series: Option<Series>,
    given: i64,
}

impl FunctionOp {
    pub(super) fn new(node: Arc<FunctionScan>) -> FunctionOp {
        FunctionOp { node, series: None, given: 0 }
    }
}

impl Operator for FunctionOp {
    fn next(&mut self, run: &mut Run, out: &mut Row) -> Result<Pull> {
        if !run.spend() {
            return Ok(Pull::Yield);
        }
        let call = &self.node.call;
        let value = match &mut self.series {
            Some(series) => series.advance(run.eval)?,
            None if call.is_set() => {
                self.series = Some(settled!(settle(run, |eval| Series::begin(call, &[], eval))));
                return self.next(run, out);
            }
            None if self.given > 0 => None,
            None => Some(settled!(settle(run, |eval| call.eval(&[], eval)))),
        };
        let Some(value) = value else { return Ok(Pull::Done) };
        self.given += 1;
        out.clear();
        out.push(value);
        if self.node.ordinality {
            out.push(Value::Int(self.given));
        }
        Ok(Pull::Row)
    }
}

/// For each row of its input, that row with the values of the sets beside one another, as many rows as the longest of
/// them has; the others are NULL after their end.
pub(super) struct ProjectSetOp {
    node: Arc<ProjectSet>,
    input: Box<dyn Operator>,
    row: Row,
    /// The sets over the row in the buffer; none before it is read.
    sets: Option<Vec<Series>>,
    /// Whether an argument of theirs waits for a call.
    waiting: bool,
}

impl ProjectSetOp {
    pub(super) fn new(node: Arc<ProjectSet>) -> ProjectSetOp {
        ProjectSetOp { input: open(&node.input), node, row: Row::new(), sets: None, waiting: false }
    }
}

impl Operator for ProjectSetOp {
    fn next(&mut self, run: &mut Run, out: &mut Row) -> Result<Pull> {
        loop {
            let Some(sets) = &mut self.sets else {
                if !self.waiting && !pull!(self.input.next(run, &mut self.row)) {
                    return Ok(Pull::Done);
                }
                self.waiting = true;
                let sets = settled!(settle(run, |eval| {
                    self.node.sets.iter().map(|call| Series::begin(call, &self.row, eval)).collect::<Result<Vec<_>>>()
                }));
                self.waiting = false;
                self.sets = Some(sets);
                continue;
            };
            if !run.spend() {
                return Ok(Pull::Yield);
            }
            out.clear();
            out.extend_from_slice(&self.row);
            // a scan's rows are no wider than what is looked at
            out.resize(self.node.width, Value::Null);
            let mut any = false;
            for set in sets {
                let value = set.advance(run.eval)?;
                any |= value.is_some();
                out.push(value.unwrap_or(Value::Null));
            }
            if any {
                return Ok(Pull::Row);
            }
            self.sets = None;
        }
    }
}
