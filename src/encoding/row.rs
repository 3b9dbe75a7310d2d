//! Rows as bytes: one column is readable without the others, and adding a column rewrites nothing.
//!
//! ```text
//! format u8 | flags u8 | version u16 | seq u64 | columns u16 | [expires i64] | null bitmap | fixed columns |
//! end offsets of variable columns | variable data
//! ```
//!
//! All numbers are little-endian. A NULL keeps its place among the fixed columns, so that a place depends on the layout
//! alone. End offsets count from the start of the variable data; they take two bytes each, or four when the data is
//! longer than that. A row holds every column, the key's too: a row image needs nothing beside it.
//!
//! A row may have been stored with fewer columns than the layout has now (columns were added), never with more.

use crate::error::{Error, Result, SqlState};
use crate::limits::ROW_BYTES_MAX;
use crate::types::{CommitSeq, Interval, SqlType, Str, Value, numeric};
use bytes::Bytes;

const FORMAT: u8 = 1;
const FLAG_EXPIRES: u8 = 1;
const FLAG_WIDE_OFFSETS: u8 = 2;
const KNOWN_FLAGS: u8 = FLAG_EXPIRES | FLAG_WIDE_OFFSETS;
const SEQ_AT: usize = 4;
const COLUMNS_AT: usize = 12;
const HEADER_BYTES: usize = 14;
const EXPIRES_BYTES: usize = 8;

/// Where the columns of a row stand, prepared once for a row type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowLayout {
    types: Vec<SqlType>,
    slots: Vec<Slot>,
    fixed_bytes: usize,
    variable_columns: usize,
}

/// One column's place: how it is stored, and what stands before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    form: Form,
    fixed_before: usize,
    variable_before: usize,
}

/// How a type is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Bool,
    Int2,
    Int4,
    Int8,
    Oid,
    Float,
    Date,
    Timestamp,
    Interval,
    Uuid,
    Text,
    Bytes,
    Numeric,
}

impl Form {
    fn of(ty: SqlType) -> Form {
        match ty.base() {
            SqlType::BOOL => Form::Bool,
            SqlType::INT2 => Form::Int2,
            SqlType::INT4 => Form::Int4,
            SqlType::INT8 => Form::Int8,
            SqlType::OID | SqlType::REGTYPE => Form::Oid,
            SqlType::FLOAT8 => Form::Float,
            SqlType::DATE => Form::Date,
            SqlType::TIMESTAMP | SqlType::TIMESTAMPTZ => Form::Timestamp,
            SqlType::INTERVAL => Form::Interval,
            SqlType::UUID => Form::Uuid,
            SqlType::BYTEA => Form::Bytes,
            SqlType::NUMERIC => Form::Numeric,
            _ => Form::Text,
        }
    }

    /// Bytes among the fixed columns, none for a variable form.
    fn fixed_bytes(self) -> Option<usize> {
        match self {
            Form::Bool => Some(1),
            Form::Int2 => Some(2),
            Form::Int4 | Form::Oid | Form::Date => Some(4),
            Form::Int8 | Form::Float | Form::Timestamp => Some(8),
            Form::Interval | Form::Uuid => Some(16),
            Form::Text | Form::Bytes | Form::Numeric => None,
        }
    }
}

impl RowLayout {
    /// The layout of rows with these column types.
    pub fn new(types: &[SqlType]) -> RowLayout {
        let (mut fixed_bytes, mut variable_columns) = (0, 0);
        let slots = types
            .iter()
            .map(|&ty| {
                let form = Form::of(ty);
                let slot = Slot { form, fixed_before: fixed_bytes, variable_before: variable_columns };
                match form.fixed_bytes() {
                    Some(bytes) => fixed_bytes += bytes,
                    None => variable_columns += 1,
                }
                slot
            })
            .collect();
        RowLayout { types: types.to_vec(), slots, fixed_bytes, variable_columns }
    }

    /// The column types.
    pub fn types(&self) -> &[SqlType] {
        &self.types
    }

    /// Bytes of fixed columns and number of variable columns among the first `columns`.
    fn first(&self, columns: usize) -> (usize, usize) {
        match self.slots.get(columns) {
            Some(slot) => (slot.fixed_before, slot.variable_before),
            None => (self.fixed_bytes, self.variable_columns),
        }
    }
}

/// A row's bytes; the commit sequence is zero until [`set_seq`]. `expires` is in microseconds since the Unix epoch.
/// 54000 above [`ROW_BYTES_MAX`].
pub fn encode(layout: &RowLayout, version: u16, expires: Option<i64>, values: &[Value]) -> Result<Vec<u8>> {
    assert_eq!(values.len(), layout.slots.len(), "a row has a value for each column of its layout");
    let data_bytes: usize = values.iter().map(variable_bytes).sum();
    let wide = data_bytes > usize::from(u16::MAX);
    let fixed_at = HEADER_BYTES + expires.map_or(0, |_| EXPIRES_BYTES) + values.len().div_ceil(8);
    let ends_at = fixed_at + layout.fixed_bytes;
    let data_at = ends_at + layout.variable_columns * if wide { 4 } else { 2 };
    if data_at + data_bytes > ROW_BYTES_MAX {
        let size = data_at + data_bytes;
        return Err(Error::new(
            SqlState::PROGRAM_LIMIT_EXCEEDED,
            format!("row is too big: size {size}, maximum size {ROW_BYTES_MAX}"),
        ));
    }
    let mut row = Vec::with_capacity(data_at + data_bytes);
    let flags = if expires.is_some() { FLAG_EXPIRES } else { 0 } | if wide { FLAG_WIDE_OFFSETS } else { 0 };
    row.extend_from_slice(&[FORMAT, flags]);
    row.extend_from_slice(&version.to_le_bytes());
    row.extend_from_slice(&[0; COLUMNS_AT - SEQ_AT]);
    row.extend_from_slice(&(values.len() as u16).to_le_bytes());
    if let Some(expires) = expires {
        row.extend_from_slice(&expires.to_le_bytes());
    }
    let nulls_at = row.len();
    row.resize(data_at, 0);
    for (column, (value, slot)) in values.iter().zip(&layout.slots).enumerate() {
        if value.is_null() {
            row[nulls_at + column / 8] |= 1 << (column % 8);
        } else if slot.form.fixed_bytes().is_some() {
            write_fixed(&mut row[fixed_at + slot.fixed_before..], value, slot.form)?;
        } else {
            write_variable(&mut row, value, slot.form)?;
        }
        if slot.form.fixed_bytes().is_none() {
            let end = row.len() - data_at;
            if wide {
                let at = ends_at + 4 * slot.variable_before;
                row[at..at + 4].copy_from_slice(&(end as u32).to_le_bytes());
            } else {
                let at = ends_at + 2 * slot.variable_before;
                row[at..at + 2].copy_from_slice(&(end as u16).to_le_bytes());
            }
        }
    }
    Ok(row)
}

/// Bytes that a value takes in the variable data at most.
fn variable_bytes(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Numeric(number) => numeric::stored_bytes(number),
        _ => 0,
    }
}

fn write_fixed(out: &mut [u8], value: &Value, form: Form) -> Result<()> {
    match (form, value) {
        (Form::Bool, Value::Bool(value)) => out[0] = u8::from(*value),
        (Form::Int2, Value::Int(value)) => out[..2].copy_from_slice(&(*value as i16).to_le_bytes()),
        (Form::Int4 | Form::Oid, Value::Int(value)) => out[..4].copy_from_slice(&(*value as u32).to_le_bytes()),
        (Form::Int8, Value::Int(value)) => out[..8].copy_from_slice(&value.to_le_bytes()),
        (Form::Float, Value::Float(value)) => out[..8].copy_from_slice(&value.to_le_bytes()),
        (Form::Date, Value::Date(value)) => out[..4].copy_from_slice(&value.to_le_bytes()),
        (Form::Timestamp, Value::Timestamp(value)) => out[..8].copy_from_slice(&value.to_le_bytes()),
        (Form::Uuid, Value::Uuid(value)) => out[..16].copy_from_slice(value),
        (Form::Interval, Value::Interval(value)) => {
            out[..8].copy_from_slice(&value.micros.to_le_bytes());
            out[8..12].copy_from_slice(&value.days.to_le_bytes());
            out[12..16].copy_from_slice(&value.months.to_le_bytes());
        }
        _ => return Err(mismatch(value, form)),
    }
    Ok(())
}

fn write_variable(out: &mut Vec<u8>, value: &Value, form: Form) -> Result<()> {
    match (form, value) {
        (Form::Text, Value::Text(text)) => out.extend_from_slice(text.as_bytes()),
        (Form::Bytes, Value::Bytes(bytes)) => out.extend_from_slice(bytes),
        (Form::Numeric, Value::Numeric(number)) => numeric::store(number, out),
        _ => return Err(mismatch(value, form)),
    }
    Ok(())
}

fn mismatch(value: &Value, form: Form) -> Error {
    Error::internal(format!("a {form:?} column was given {value:?}"))
}

/// The commit that wrote a row: zero where that is not committed yet.
pub fn seq(row: &[u8]) -> CommitSeq {
    let bytes = row.get(SEQ_AT..).and_then(|rest| rest.first_chunk());
    CommitSeq(bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes)))
}

/// Writes the commit sequence into an encoded row.
pub fn set_seq(row: &mut [u8], seq: CommitSeq) {
    row[SEQ_AT..COLUMNS_AT].copy_from_slice(&seq.0.to_le_bytes());
}

/// The row version that an encoded row was written under; 0 also for bytes that are no row.
pub fn version(row: &[u8]) -> u16 {
    row.get(2..4).map_or(0, |bytes| u16::from_le_bytes(array(bytes)))
}

/// Where a bigint or timestamp column stands in an encoded row: eight bytes, little-endian.
pub fn fixed_i64_place(row: &[u8], layout: &RowLayout, column: usize) -> usize {
    let slot = layout.slots[column];
    assert!(matches!(slot.form, Form::Int8 | Form::Timestamp), "column {column} is no bigint or timestamp");
    let columns = usize::from(u16::from_le_bytes([row[COLUMNS_AT], row[COLUMNS_AT + 1]]));
    let expires = if row[1] & FLAG_EXPIRES != 0 { EXPIRES_BYTES } else { 0 };
    HEADER_BYTES + expires + columns.div_ceil(8) + slot.fixed_before
}

/// When an encoded row expires, microseconds since the Unix epoch; none also for bytes that are no row.
pub fn expires(row: &[u8]) -> Option<i64> {
    let has = row.len() >= HEADER_BYTES + EXPIRES_BYTES && row[0] == FORMAT && row[1] & FLAG_EXPIRES != 0;
    has.then(|| i64::from_le_bytes(array(&row[HEADER_BYTES..])))
}

/// Moves the time at which an encoded row expires; a row that was encoded without one is left alone.
pub fn set_expires(row: &mut [u8], expires: i64) {
    if row[1] & FLAG_EXPIRES != 0 {
        row[HEADER_BYTES..HEADER_BYTES + EXPIRES_BYTES].copy_from_slice(&expires.to_le_bytes());
    }
}

/// A row that was read, decoded a column at a time.
#[derive(Clone, Debug)]
pub struct RowView<'a> {
    layout: &'a RowLayout,
    bytes: Bytes,
    columns: usize,
    nulls_at: usize,
    fixed_at: usize,
    ends_at: usize,
    data_at: usize,
}

impl<'a> RowView<'a> {
    /// Checks the header; XX001 when the bytes are no row. The layout may have more columns than the stored row.
    pub fn new(bytes: Bytes, layout: &'a RowLayout) -> Result<RowView<'a>> {
        let header = bytes.get(..HEADER_BYTES).ok_or_else(|| corrupted("it is too short"))?;
        if header[0] != FORMAT || header[1] & !KNOWN_FLAGS != 0 {
            return Err(corrupted("its format is unknown"));
        }
        let columns = usize::from(u16::from_le_bytes([header[COLUMNS_AT], header[COLUMNS_AT + 1]]));
        if columns > layout.slots.len() {
            return Err(corrupted("it has more columns than its relation"));
        }
        let (fixed_bytes, variable_columns) = layout.first(columns);
        let nulls_at = HEADER_BYTES + if header[1] & FLAG_EXPIRES != 0 { EXPIRES_BYTES } else { 0 };
        let fixed_at = nulls_at + columns.div_ceil(8);
        let ends_at = fixed_at + fixed_bytes;
        let data_at = ends_at + variable_columns * if header[1] & FLAG_WIDE_OFFSETS != 0 { 4 } else { 2 };
        if data_at > bytes.len() {
            return Err(corrupted("it is too short"));
        }
        Ok(RowView { layout, bytes, columns, nulls_at, fixed_at, ends_at, data_at })
    }

    /// A column's value; none when the row was stored before the column was added. Text and bytes share the buffer.
    pub fn column(&self, column: usize) -> Result<Option<Value>> {
        if column >= self.columns {
            return Ok(None);
        }
        if self.bytes[self.nulls_at + column / 8] & (1 << (column % 8)) != 0 {
            return Ok(Some(Value::Null));
        }
        let slot = self.layout.slots[column];
        if slot.form.fixed_bytes().is_some() {
            return Ok(Some(read_fixed(&self.bytes[self.fixed_at + slot.fixed_before..], slot.form)));
        }
        let start = if slot.variable_before == 0 { 0 } else { self.end(slot.variable_before - 1) };
        let (start, end) = (self.data_at + start, self.data_at + self.end(slot.variable_before));
        if start > end || end > self.bytes.len() {
            return Err(corrupted("a column's end lies outside of it"));
        }
        Ok(Some(match slot.form {
            Form::Text => {
                Value::Text(Str::from_utf8(self.bytes.slice(start..end)).map_err(|_| corrupted("text is not UTF-8"))?)
            }
            Form::Bytes => Value::Bytes(self.bytes.slice(start..end)),
            _ => Value::Numeric(
                numeric::load(&self.bytes[start..end]).ok_or_else(|| corrupted("a numeric is malformed"))?,
            ),
        }))
    }

    /// The end of the n-th variable column, from the start of the variable data.
    fn end(&self, index: usize) -> usize {
        if self.bytes[1] & FLAG_WIDE_OFFSETS != 0 {
            u32::from_le_bytes(array(&self.bytes[self.ends_at + 4 * index..])) as usize
        } else {
            usize::from(u16::from_le_bytes(array(&self.bytes[self.ends_at + 2 * index..])))
        }
    }

    /// The layout that the row is read with.
    pub fn layout(&self) -> &'a RowLayout {
        self.layout
    }

    /// The commit that wrote the row.
    pub fn seq(&self) -> CommitSeq {
        CommitSeq(u64::from_le_bytes(array(&self.bytes[SEQ_AT..])))
    }

    /// The version of the row type that the row was stored with.
    pub fn version(&self) -> u16 {
        u16::from_le_bytes([self.bytes[2], self.bytes[3]])
    }

    /// When the row expires, microseconds since the Unix epoch.
    pub fn expires(&self) -> Option<i64> {
        (self.bytes[1] & FLAG_EXPIRES != 0).then(|| i64::from_le_bytes(array(&self.bytes[HEADER_BYTES..])))
    }

    /// The bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

fn read_fixed(bytes: &[u8], form: Form) -> Value {
    match form {
        Form::Bool => Value::Bool(bytes[0] != 0),
        Form::Int2 => Value::Int(i16::from_le_bytes(array(bytes)).into()),
        Form::Int4 => Value::Int(i32::from_le_bytes(array(bytes)).into()),
        Form::Oid => Value::Int(u32::from_le_bytes(array(bytes)).into()),
        Form::Int8 => Value::Int(i64::from_le_bytes(array(bytes))),
        Form::Float => Value::Float(f64::from_le_bytes(array(bytes))),
        Form::Date => Value::Date(i32::from_le_bytes(array(bytes))),
        Form::Timestamp => Value::Timestamp(i64::from_le_bytes(array(bytes))),
        Form::Uuid => Value::Uuid(array(bytes)),
        Form::Interval => Value::Interval(Interval {
            micros: i64::from_le_bytes(array(bytes)),
            days: i32::from_le_bytes(array(&bytes[8..])),
            months: i32::from_le_bytes(array(&bytes[12..])),
        }),
        Form::Text | Form::Bytes | Form::Numeric => unreachable!("variable forms have no fixed place"),
    }
}

/// The first N bytes.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes[..N].try_into().expect("the slice has N bytes")
}

fn corrupted(why: &str) -> Error {
    Error::new(SqlState::DATA_CORRUPTED, format!("a stored row cannot be read: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Numeric;
    use proptest::prelude::*;

    fn column() -> impl Strategy<Value = (SqlType, Value)> {
        let typed = prop_oneof![
            any::<bool>().prop_map(|v| (SqlType::BOOL, Value::Bool(v))),
            any::<i16>().prop_map(|v| (SqlType::INT2, Value::Int(v.into()))),
            any::<i32>().prop_map(|v| (SqlType::INT4, Value::Int(v.into()))),
            any::<i64>().prop_map(|v| (SqlType::INT8, Value::Int(v))),
            any::<u32>().prop_map(|v| (SqlType::OID, Value::Int(v.into()))),
            any::<i64>().prop_map(|v| (SqlType::TIMESTAMP, Value::Timestamp(v))),
            any::<i32>().prop_map(|v| (SqlType::DATE, Value::Date(v))),
            any::<[u8; 16]>().prop_map(|v| (SqlType::UUID, Value::Uuid(v))),
            (-1e300..1e300).prop_map(|v| (SqlType::FLOAT8, Value::Float(v))),
            ".{0,20}".prop_map(|v| (SqlType::TEXT, Value::text(v))),
            (60_000_usize..70_000).prop_map(|n| (SqlType::TEXT, Value::text("x".repeat(n)))),
            prop::collection::vec(any::<u8>(), 0..20).prop_map(|v| (SqlType::BYTEA, Value::Bytes(v.into()))),
            (any::<i128>(), 0_i64..40).prop_map(|(digits, scale)| {
                let number = Numeric::Finite(bigdecimal::BigDecimal::new(digits.into(), scale));
                (SqlType::NUMERIC, Value::Numeric(number))
            }),
            (any::<i32>(), any::<i32>(), any::<i64>()).prop_map(|(months, days, micros)| {
                (SqlType::INTERVAL, Value::Interval(Interval { months, days, micros }))
            }),
        ];
        (typed, prop::bool::weighted(0.2)).prop_map(|((ty, value), null)| (ty, if null { Value::Null } else { value }))
    }

    proptest! {
        #[test]
        fn rows_round_trip_and_take_new_columns(
            columns in prop::collection::vec(column(), 0..20),
            added in prop::collection::vec(column(), 0..4),
            version: u16, seq: u64, expires: Option<i64>,
        ) {
            let (types, values): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
            let mut row = encode(&RowLayout::new(&types), version, expires, &values).expect("fits");
            set_seq(&mut row, CommitSeq(seq));
            let wider: Vec<_> = types.iter().copied().chain(added.iter().map(|(ty, _)| *ty)).collect();
            let layout = RowLayout::new(&wider);
            let view = RowView::new(row.into(), &layout).expect("a row");
            prop_assert_eq!((view.version(), view.seq(), view.expires()), (version, CommitSeq(seq), expires));
            for (index, value) in values.iter().enumerate() {
                prop_assert_eq!(view.column(index).expect("readable"), Some(value.clone()));
            }
            for index in values.len()..wider.len() {
                prop_assert_eq!(view.column(index).expect("readable"), None);
            }
        }

        #[test]
        fn damaged_rows_do_not_panic(
            columns in prop::collection::vec(column(), 1..6), at: prop::sample::Index, byte: u8, cut: prop::sample::Index,
        ) {
            let (types, values): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
            let layout = RowLayout::new(&types);
            let mut row = encode(&layout, 1, None, &values).expect("fits");
            let place = at.index(row.len());
            row[place] = byte;
            row.truncate(cut.index(row.len()) + 1);
            if let Ok(view) = RowView::new(row.into(), &layout) {
                (0..types.len()).for_each(|index| drop(view.column(index)));
            }
        }
    }

    #[test]
    fn a_fixed_column_can_be_overwritten() {
        let layout = RowLayout::new(&[SqlType::TEXT, SqlType::INT4, SqlType::INT8]);
        let values = [Value::text("a"), Value::Int(1), Value::Int(2)];
        let mut row = encode(&layout, 1, Some(5), &values).expect("fits");
        let at = fixed_i64_place(&row, &layout, 2);
        row[at..at + 8].copy_from_slice(&(-7_i64).to_le_bytes());
        let view = RowView::new(row.into(), &layout).expect("a row");
        assert_eq!(view.column(2).expect("readable"), Some(Value::Int(-7)));
        assert_eq!(view.column(0).expect("readable"), Some(Value::text("a")));
    }
}
