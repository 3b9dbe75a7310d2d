//! Rows as bytes.

use crate::error::{Error, Result};
use crate::types::{CommitSeq, SqlType, Value};
use bytes::Bytes;

/// Where the columns of a row stand, prepared once for a row type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowLayout {
    types: Vec<SqlType>,
}

impl RowLayout {
    /// The layout of rows with these column types.
    pub fn new(types: &[SqlType]) -> RowLayout {
        RowLayout { types: types.to_vec() }
    }

    /// The column types.
    pub fn types(&self) -> &[SqlType] {
        &self.types
    }
}

/// A row's bytes; the commit sequence is zero until [`set_seq`]. `expires` is in microseconds since the Unix epoch.
/// 54000 above [`ROW_BYTES_MAX`](crate::limits::ROW_BYTES_MAX).
pub fn encode(_layout: &RowLayout, _version: u16, _expires: Option<i64>, _values: &[Value]) -> Result<Vec<u8>> {
    Err(Error::unsupported("row encoding"))
}

/// Writes the commit sequence into an encoded row.
pub fn set_seq(row: &mut [u8], seq: CommitSeq) {
    row[4..12].copy_from_slice(&seq.0.to_le_bytes());
}

/// Overwrites a non-null bigint or timestamp column of an encoded row.
pub fn set_fixed_i64(_row: &mut [u8], _layout: &RowLayout, _column: usize, _value: i64) {}

/// A row that was read, decoded a column at a time.
#[derive(Clone, Debug)]
pub struct RowView<'a> {
    layout: &'a RowLayout,
    bytes: Bytes,
    columns: usize,
}

impl<'a> RowView<'a> {
    /// Checks the header; XX001 when the bytes are no row. The layout may have more columns than the stored row.
    pub fn new(_bytes: Bytes, _layout: &'a RowLayout) -> Result<RowView<'a>> {
        Err(Error::unsupported("row decoding"))
    }

    /// A column's value; none when the row was stored before the column was added. Text and bytes share the buffer.
    pub fn column(&self, _column: usize) -> Result<Option<Value>> {
        Err(Error::unsupported("row decoding"))
    }

    /// The layout that the row is read with.
    pub fn layout(&self) -> &'a RowLayout {
        self.layout
    }

    /// How many columns the row was stored with.
    pub fn stored_columns(&self) -> usize {
        self.columns
    }

    /// The commit that wrote the row.
    pub fn seq(&self) -> CommitSeq {
        CommitSeq::ZERO
    }

    /// The version of the row type that the row was stored with.
    pub fn version(&self) -> u16 {
        0
    }

    /// When the row expires, microseconds since the Unix epoch.
    pub fn expires(&self) -> Option<i64> {
        None
    }

    /// The bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}
