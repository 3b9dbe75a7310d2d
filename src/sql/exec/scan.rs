//! Scan: rows of a stored relation along its key.

use super::keys::{Along, Stretch, stretches};
use super::operator::{Operator, Pull, Run};
use crate::error::Result;
use crate::expr::Expr;
use crate::limits::SCAN_BATCH;
use crate::sql::plan::{Access, KeyRange, Scan, ScanColumn};
use crate::storage::Direction;
use crate::table::entry_without_row;
use crate::txn::TxCursor;
use crate::types::{Row, Value};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

/// Entries of the first batch: most scans of a chat want few rows.
const FIRST_BATCH: usize = 16;

/// Reads stretch after stretch in batches and decodes only the columns that are wanted.
pub(super) struct ScanOp {
    node: Arc<Scan>,
    /// What is still to be read; not known before the first request.
    stretches: Option<VecDeque<Stretch>>,
    cursor: Option<TxCursor>,
    batch: Vec<(Bytes, Bytes)>,
    /// The next entry of the batch.
    at: usize,
    batch_size: usize,
}

impl ScanOp {
    pub(super) fn new(node: Arc<Scan>) -> ScanOp {
        ScanOp { node, stretches: None, cursor: None, batch: Vec::new(), at: 0, batch_size: FIRST_BATCH }
    }

    /// The next entry of the relation's key. Rows come as stored, not yet judged.
    fn entry(&mut self, run: &mut Run) -> Result<Option<(Bytes, Bytes)>> {
        loop {
            if let Some(entry) = self.batch.get_mut(self.at) {
                self.at += 1;
                let entry = std::mem::take(entry);
                let Access::Index(index, _) = self.node.access else { return Ok(Some(entry)) };
                match self.row_of(run, entry.1, index)? {
                    None => continue,
                    found => return Ok(found),
                }
            }
            self.batch.clear();
            self.at = 0;
            if let Some(cursor) = &mut self.cursor {
                if !cursor.next_batch(run.tx, run.view, &mut self.batch, self.batch_size)? {
                    self.cursor = None;
                }
                self.batch_size = (self.batch_size * 4).min(SCAN_BATCH);
                continue;
            }
            let Some(stretch) = self.next_stretch(run)? else { return Ok(None) };
            match stretch {
                Stretch::Point(key) => {
                    let Some(found) = run.tx.get(run.view, &key)? else { continue };
                    let Access::Index(index, _) = self.node.access else { return Ok(Some((key, found))) };
                    if let Some(entry) = self.row_of(run, found, index)? {
                        return Ok(Some(entry));
                    }
                }
                Stretch::Range(from, to) => {
                    let direction = if self.node.backward { Direction::Backward } else { Direction::Forward };
                    if run.wanted > 0 {
                        self.batch_size = run.wanted.min(SCAN_BATCH);
                    }
                    self.cursor = Some(run.tx.cursor(run.view, from, to, direction));
                }
            }
        }
    }

    fn next_stretch(&mut self, run: &mut Run) -> Result<Option<Stretch>> {
        if self.stretches.is_none() {
            self.stretches = Some(self.start(run)?);
        }
        let left = self.stretches.as_mut().expect("set above");
        Ok(if self.node.backward { left.pop_back() } else { left.pop_front() })
    }

    fn start(&self, run: &mut Run) -> Result<VecDeque<Stretch>> {
        let model = &self.node.model;
        let scope = model.scope(run.cx.scope);
        let all = KeyRange::default();
        let (along, range) = match &self.node.access {
            Access::Index(at, range) => {
                let index = &model.indexes()[*at];
                let (prefix, columns) = (index.key_prefix(scope), index.key_columns());
                (Along { prefix, columns, whole: index.unique }, range)
            }
            access => {
                let (prefix, columns) = (model.key_prefix(scope), model.key_columns());
                let range = if let Access::Key(range) = access { range } else { &all };
                (Along { prefix, columns, whole: !columns.is_empty() }, range)
            }
        };
        stretches(along, range, run.eval)
    }

    /// What an index's entry says that the row must be asked again: under a snapshot older than the statement, an entry
    /// of a row that others have deleted since may lead to a new row that the transaction itself has put in its place.
    fn rechecked(&self, run: &Run) -> Option<&Expr> {
        let is_old = !run.tx.options().isolation.reads_anew();
        let by_index = matches!(self.node.access, Access::Index(..));
        self.node.condition.as_ref().filter(|_| is_old && by_index)
    }

    /// The row that an index entry leads to; none for a STREAM row that is gone.
    fn row_of(&self, run: &Run, key: Bytes, index: usize) -> Result<Option<(Bytes, Bytes)>> {
        match run.tx.get(run.view, &key)? {
            Some(row) => Ok(Some((key, row))),
            None if self.node.model.is_volatile() => Ok(None),
            None => Err(entry_without_row(&self.node.model.indexes()[index].name)),
        }
    }

    /// Decodes the wanted columns; false for a row whose time has come.
    fn decode(&self, run: &Run, key: Bytes, row: Bytes, out: &mut Row) -> Result<bool> {
        let model = &self.node.model;
        let view = model.view(row)?;
        if model.is_volatile() && view.expires().is_some_and(|expires| expires <= run.now) {
            return Ok(false);
        }
        out.clear();
        for column in &self.node.columns {
            out.push(match column {
                ScanColumn::Stored(at) => model.column(&view, *at)?,
                ScanColumn::Unused => Value::Null,
                ScanColumn::Seq => Value::Int(view.seq().0 as i64),
                ScanColumn::Xmin => Value::Int(i64::from(view.seq().0 as u32)),
                ScanColumn::TableOid => Value::Int(i64::from(model.relation().oid.0)),
                ScanColumn::Topic => Value::Text(self.node.qualified.clone()),
                ScanColumn::Key => Value::Bytes(key.clone()),
                ScanColumn::Row => Value::Bytes(view.bytes().clone()),
            });
        }
        Ok(true)
    }
}

impl Operator for ScanOp {
    fn next(&mut self, run: &mut Run, out: &mut Row) -> Result<Pull> {
        loop {
            if !run.spend() {
                return Ok(Pull::Yield);
            }
            let Some((key, row)) = self.entry(run)? else { return Ok(Pull::Done) };
            if !self.decode(run, key, row, out)? {
                continue;
            }
            if let Some(condition) = self.rechecked(run)
                && condition.eval_bool(out, run.eval)? != Some(true)
            {
                continue;
            }
            match &self.node.filter {
                Some(filter) if filter.eval_bool(out, run.eval)? != Some(true) => {}
                _ => return Ok(Pull::Row),
            }
        }
    }
}
