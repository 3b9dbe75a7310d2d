//! Sort: all rows of the input in an order, or the first few of that order.

use super::calls::{settle, settled};
use super::limit::{limit_value, offset_value};
use super::operator::{Operator, Pull, Run, open, pull};
use crate::error::{Error, Result, SqlState};
use crate::limits::WORK_MEMORY_BYTES;
use crate::sql::plan::{Sort, SortKey};
use crate::types::{Row, Value, compare};
use std::cmp::Ordering;
use std::sync::Arc;

/// Takes all rows, then gives them in order. Where only the first n are wanted it keeps at most twice as many.
pub(super) struct SortOp {
    node: Arc<Sort>,
    input: Box<dyn Operator>,
    /// The rows with their keys; reversed once sorted, so that giving one takes it from the end.
    rows: Vec<(Row, Row)>,
    row: Row,
    /// Whether a key of the row in the buffer waits for a call.
    waiting: bool,
    bytes: usize,
    top: Option<usize>,
    started: bool,
    sorted: bool,
}

impl SortOp {
    pub(super) fn new(node: Arc<Sort>) -> SortOp {
        let input = open(&node.input);
        SortOp {
            input,
            node,
            rows: Vec::new(),
            row: Row::new(),
            waiting: false,
            bytes: 0,
            top: None,
            started: false,
            sorted: false,
        }
    }

    fn start(&mut self, run: &Run) -> Result<()> {
        self.started = true;
        let Some((limit, offset)) = &self.node.top else { return Ok(()) };
        if let Some(limit) = limit_value(Some(limit), run.eval)? {
            let offset = offset_value(offset.as_ref(), run.eval)?;
            self.top = usize::try_from(limit.saturating_add(offset)).ok();
        }
        Ok(())
    }

    fn take(&mut self, keys: Row) -> Result<()> {
        self.bytes += row_size(&self.row) + row_size(&keys);
        self.rows.push((keys, std::mem::take(&mut self.row)));
        if let Some(top) = self.top
            && self.rows.len() >= top.saturating_mul(2).max(64)
        {
            self.order();
            self.rows.truncate(top);
            self.bytes = self.rows.iter().map(|(keys, row)| row_size(row) + row_size(keys)).sum();
        }
        check_memory(self.bytes)
    }

    fn order(&mut self) {
        let keys = &self.node.keys;
        self.rows.sort_by(|(a, _), (b, _)| compare_rows(keys, a, b));
    }
}

impl Operator for SortOp {
    fn next(&mut self, run: &mut Run, out: &mut Row) -> Result<Pull> {
        if !self.started {
            self.start(run)?;
        }
        while !self.sorted {
            if self.waiting || pull!(self.input.next(run, &mut self.row)) {
                self.waiting = true;
                let keys = settled!(settle(run, |eval| {
                    self.node.keys.iter().map(|key| key.expr.eval(&self.row, eval)).collect::<Result<Row>>()
                }));
                self.waiting = false;
                self.take(keys)?;
                continue;
            }
            self.order();
            self.rows.reverse();
            self.sorted = true;
        }
        match self.rows.pop() {
            None => Ok(Pull::Done),
            Some((_, row)) => {
                *out = row;
                Ok(Pull::Row)
            }
        }
    }
}

/// The order of two rows of keys.
pub(super) fn compare_rows(keys: &[SortKey], a: &[Value], b: &[Value]) -> Ordering {
    let differ = |((key, a), b): ((&SortKey, &Value), &Value)| match (a.is_null(), b.is_null()) {
        (true, true) => Ordering::Equal,
        (true, false) if key.nulls_first => Ordering::Less,
        (true, false) => Ordering::Greater,
        (false, true) if key.nulls_first => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) if key.descending => compare(b, a, key.expr.ty()),
        (false, false) => compare(a, b, key.expr.ty()),
    };
    keys.iter().zip(a).zip(b).map(differ).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

/// Bytes that a row takes in memory.
pub(super) fn row_size(row: &[Value]) -> usize {
    std::mem::size_of::<Row>() + row.iter().map(|value| std::mem::size_of::<Value>() + value.heap_size()).sum::<usize>()
}

/// 53200 beyond what one node may hold.
pub(super) fn check_memory(bytes: usize) -> Result<()> {
    if bytes <= WORK_MEMORY_BYTES {
        return Ok(());
    }
    Err(Error::new(SqlState::OUT_OF_MEMORY, "out of memory")
        .detail(format!("What a statement holds between its steps is more than {WORK_MEMORY_BYTES} bytes."))
        .hint("Select fewer rows, or use an order that a key serves."))
}
