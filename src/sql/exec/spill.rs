//! Rows of a query in a file: its client takes its time, and a snapshot must not.
//!
//! ```text
//! row    length u32 | column*
//! column length i32, -1 for NULL | value in its type's binary form
//! ```
//!
//! The file is read once, from its beginning, and goes with the portal. Numbers are big-endian.

use super::{RowSink, SinkFlow};
use crate::error::{Error, Result, SqlState};
use crate::limits::PORTAL_SPILL_BYTES_MAX;
use crate::sql::plan::ResultColumn;
use crate::storage::bulk::SpillFile;
use crate::types::{Row, SqlType, Value, binary};
use bytes::{Buf, Bytes};

/// Bytes that are written, and read, at once.
const CHUNK_BYTES: usize = 64 << 10;

/// The rows, first written and then read.
pub(super) struct Spill {
    file: SpillFile,
    types: Vec<SqlType>,
    /// Written and not in the file yet.
    pending: Vec<u8>,
    /// Where the file's content ends.
    end: u64,
    /// Rows that were given out before.
    given_before: u64,
    /// Read and not given out yet, and where the next byte of the file is.
    ahead: Bytes,
    at: u64,
}

impl Spill {
    /// For the rows after so many that were given out.
    pub(super) fn new(file: SpillFile, columns: &[ResultColumn], given_before: u64) -> Spill {
        let types = columns.iter().map(|column| column.ty).collect();
        Spill { file, types, pending: Vec::new(), end: 0, given_before, ahead: Bytes::new(), at: 0 }
    }

    /// How many rows were given out before.
    pub(super) fn given_before(&self) -> u64 {
        self.given_before
    }

    /// All rows are written.
    pub(super) fn complete(&mut self) -> Result<()> {
        self.write()?;
        self.pending = Vec::new();
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        if self.end + self.pending.len() as u64 > PORTAL_SPILL_BYTES_MAX {
            let message = format!("more than {PORTAL_SPILL_BYTES_MAX} bytes of rows wait for their client");
            return Err(Error::new(SqlState::CONFIGURATION_LIMIT_EXCEEDED, message)
                .hint("Fetch faster than snapshot_age_max, or fewer rows."));
        }
        self.file.file().write_at(self.end, &self.pending)?;
        self.end += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    /// The next row.
    pub(super) fn next(&mut self) -> Result<Option<Row>> {
        if self.ahead.is_empty() && self.at == self.end {
            return Ok(None);
        }
        let length = self.take(4)?.get_u32() as usize;
        let mut bytes = self.take(length)?;
        let mut row = Row::with_capacity(self.types.len());
        for ty in &self.types {
            row.push(match bytes.try_get_i32().map_err(|_| damaged())? {
                -1 => Value::Null,
                length if length as usize <= bytes.len() => binary::decode(&bytes.split_to(length as usize), *ty)?,
                _ => return Err(damaged()),
            });
        }
        Ok(Some(row))
    }

    /// The next bytes of the file.
    fn take(&mut self, length: usize) -> Result<Bytes> {
        if self.ahead.len() < length {
            let wanted = CHUNK_BYTES.max(length - self.ahead.len()) as u64;
            let mut chunk = self.ahead.to_vec();
            let from = chunk.len();
            chunk.resize(from + wanted.min(self.end - self.at) as usize, 0);
            let read = self.file.file().read_at(self.at, &mut chunk[from..])?;
            chunk.truncate(from + read);
            self.at += read as u64;
            self.ahead = chunk.into();
        }
        if self.ahead.len() < length { Err(damaged()) } else { Ok(self.ahead.split_to(length)) }
    }
}

impl RowSink for Spill {
    fn row(&mut self, row: &[Value]) -> Result<SinkFlow> {
        let start = self.pending.len();
        self.pending.extend_from_slice(&[0; 4]);
        for (value, ty) in row.iter().zip(&self.types) {
            let at = self.pending.len();
            if value.is_null() {
                self.pending.extend_from_slice(&(-1_i32).to_be_bytes());
                continue;
            }
            self.pending.extend_from_slice(&[0; 4]);
            binary::encode(value, *ty, &mut self.pending);
            let length = (self.pending.len() - at - 4) as i32;
            self.pending[at..at + 4].copy_from_slice(&length.to_be_bytes());
        }
        let length = (self.pending.len() - start - 4) as u32;
        self.pending[start..start + 4].copy_from_slice(&length.to_be_bytes());
        if self.pending.len() >= CHUNK_BYTES {
            self.write()?;
        }
        Ok(SinkFlow::More)
    }

    /// A notice about rows that nobody has asked for yet comes too early and is left out.
    fn notice(&mut self, _notice: &Error) {}
}

fn damaged() -> Error {
    Error::new(SqlState::DATA_CORRUPTED, "the file of rows that wait for their client is damaged")
}
