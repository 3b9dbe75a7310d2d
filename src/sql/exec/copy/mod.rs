//! COPY FROM STDIN: lines that the client sends become rows of a table as they come.

mod feed;
mod fields;

pub use feed::{CopyFeed, CopyInput};

use super::calls::{Settled, settle, settled};
use super::operator::{Operator, Pull, Run};
use super::write::check;
use crate::error::{Error, Result, SqlState};
use crate::sql::plan::{Copy, CopyHeader};
use crate::txn::Written;
use crate::types::{Row, SqlType, Str, Value, text};
use feed::{End, Line, bad_format};
use fields::Fields;
use std::sync::Arc;

/// Bytes of a line or a value that an error's context shows (PostgreSQL's MAX_COPY_DATA_DISPLAY).
const SHOWN_BYTES_MAX: usize = 100;

/// Reads lines and writes their rows.
pub(super) struct CopyOp {
    node: Arc<Copy>,
    fields: Fields,
    /// The row that is being written, all columns of the relation.
    row: Row,
    stage: Stage,
}

/// How far the present line has come.
enum Stage {
    None,
    /// Its values are read; those of the other columns are wanted.
    Complete(Str),
    /// Its row is checked; its keys' locks are wanted.
    Write,
}

impl CopyOp {
    pub(super) fn new(node: Arc<Copy>) -> CopyOp {
        CopyOp { node, fields: Fields::default(), row: Row::new(), stage: Stage::None }
    }

    /// Takes a line: whether it is a row.
    fn take_line(&mut self, number: u64, line: Str, run: &Run) -> Result<bool> {
        if number == 1 && self.node.format.header != CopyHeader::None {
            return self.take_header(line).map(|()| false);
        }
        match self.node.columns.is_empty() && line.is_empty() {
            true => self.fields.clear(),
            false => self.fields.split(line, &self.node.format)?,
        }
        self.read_values(number, run)?;
        Ok(true)
    }

    /// Gives the other columns their defaults: whether the row is to be written.
    fn complete(&mut self, run: &mut Run) -> Result<Settled<bool>> {
        let Copy { defaults, filter, model, schema, checks, .. } = &*self.node;
        let row = &mut self.row;
        settle(run, |eval| {
            for (column, default) in defaults {
                row[*column] = default.eval(&[], eval)?;
            }
            if let Some(filter) = filter
                && filter.eval_bool(row, eval)? != Some(true)
            {
                return Ok(false);
            }
            check(model, schema, checks, row, eval)?;
            Ok(true)
        })
    }

    /// The values of a line as those of its columns.
    fn read_values(&mut self, number: u64, run: &Run) -> Result<()> {
        let Copy { columns, model, .. } = &*self.node;
        let relation = model.relation();
        if self.fields.count() > columns.len() {
            return Err(bad_format("extra data after last expected column"));
        }
        self.row.clear();
        self.row.resize(relation.columns.len(), Value::Null);
        for (index, &column) in columns.iter().enumerate() {
            let name = &relation.columns[column].name;
            if index >= self.fields.count() {
                return Err(bad_format(format!("missing data for column \"{name}\"")));
            }
            let ty = relation.columns[column].ty;
            self.row[column] = match self.fields.text(index) {
                None => Value::Null,
                Some(_) if ty == SqlType::TEXT || ty == SqlType::VARCHAR => {
                    self.fields.shared(index).map_or(Value::Null, Value::Text)
                }
                Some(value) => {
                    let read = text::parse_at(value, ty, run.cx.zone, Some(run.eval.transaction_time));
                    read.map_err(|error| {
                        let place = place(&self.node, number);
                        error.context(format!("{place}, column {name}: \"{}\"", shown(value)))
                    })?
                }
            };
        }
        Ok(())
    }

    /// The first line, where it is no row.
    fn take_header(&mut self, line: Str) -> Result<()> {
        if self.node.format.header == CopyHeader::Skipped {
            return Ok(());
        }
        self.fields.split(line, &self.node.format)?;
        let (has, wanted) = (self.fields.count(), self.node.columns.len());
        if has != wanted {
            let message = format!("wrong number of fields in header line: got {has}, expected {wanted}");
            return Err(bad_format(message));
        }
        for (index, &column) in self.node.columns.iter().enumerate() {
            let name = &self.node.model.relation().columns[column].name;
            let found = match self.fields.text(index) {
                Some(found) if found == name => continue,
                Some(found) => format!("got \"{found}\""),
                None => format!("got null value (\"{}\")", String::from_utf8_lossy(&self.node.format.null)),
            };
            let number = index + 1;
            let message = format!("column name mismatch in header line field {number}: {found}, expected \"{name}\"");
            return Err(bad_format(message));
        }
        Ok(())
    }

    /// Writes the row in the buffer.
    fn write(&mut self, run: &mut Run) -> Result<Option<Pull>> {
        let Copy { model, schema, .. } = &*self.node;
        let scope = model.scope(run.cx.scope);
        match run.tx.insert_row(run.view, model, scope, &self.row)? {
            Written::Wait(wait) => return Ok(Some(Pull::Wait(wait))),
            Written::Conflict(conflict) => return Err(conflict.error(model, schema, &self.row, run.cx.zone)),
            Written::Done(_) => {
                self.stage = Stage::None;
                run.affected += 1;
            }
        }
        Ok(None)
    }
}

impl Operator for CopyOp {
    fn next(&mut self, run: &mut Run, _out: &mut Row) -> Result<Pull> {
        let node = self.node.clone();
        loop {
            let number = feed(run)?.line();
            let at_line = |error: Error| error.context(place(&node, number));
            let of_line = |line: &Str, error: Error| match error.fields().context {
                Some(_) => error,
                None => error.context(format!("{}: \"{}\"", place(&node, number), shown(line))),
            };
            match &self.stage {
                Stage::None => {}
                Stage::Complete(line) => {
                    let line = line.clone();
                    let taken = settled!(self.complete(run).map_err(|error| of_line(&line, error)));
                    self.stage = if taken { Stage::Write } else { Stage::None };
                    if !taken {
                        feed(run)?.end_line();
                    }
                    continue;
                }
                Stage::Write => {
                    if let Some(pull) = self.write(run).map_err(at_line)? {
                        return Ok(pull);
                    }
                    feed(run)?.end_line();
                    continue;
                }
            }
            if !run.spend() {
                return Ok(Pull::Yield);
            }
            let line = match feed(run)?.next_line().map_err(at_line)? {
                Line::Text(line) => line,
                Line::More => return Ok(Pull::Input),
                // a header that must match is missed too
                Line::End(End::Done) if number == 1 && node.format.header == CopyHeader::Match => Str::default(),
                Line::End(End::Done) => return Ok(Pull::Done),
                Line::End(end) => return Err(at_line(ended(&end))),
            };
            match self.take_line(number, line.clone(), run).map_err(|error| of_line(&line, error))? {
                true => self.stage = Stage::Complete(line),
                false => feed(run)?.end_line(),
            }
        }
    }
}

fn feed<'r>(run: &'r mut Run) -> Result<&'r mut CopyFeed> {
    run.feed.as_deref_mut().ok_or_else(|| Error::internal("a COPY without data to come"))
}

/// Where a COPY is, for errors.
pub(super) fn place(node: &Copy, line: u64) -> String {
    format!("COPY {}, line {line}", node.model.relation().name)
}

/// The error of data that did not end as it should.
fn ended(end: &End) -> Error {
    match end {
        End::Done => Error::internal("a COPY that is done has failed"),
        End::Fail(message) => Error::new(SqlState::QUERY_CANCELED, format!("COPY from stdin failed: {message}")),
        End::Unexpected(kind) => {
            let message = format!("unexpected message type 0x{kind:02X} during COPY from stdin");
            Error::new(SqlState::PROTOCOL_VIOLATION, message)
        }
    }
}

fn shown(text: &str) -> String {
    if text.len() <= SHOWN_BYTES_MAX {
        return text.to_owned();
    }
    let mut end = SHOWN_BYTES_MAX;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}...", &text[..end])
}
