//! Keys as bytes whose order is the order of the values.
//!
//! A key is a prefix (what kind of entry, of which storage, in whose scope) and then its columns. A column is a marker
//! byte, which orders NULL, and a form that sorts bytewise and ends itself; for a descending column the form's bits are
//! inverted, the marker's are not.

use crate::error::{Error, Result, SqlState};
use crate::limits::KEY_BYTES_MAX;
use crate::types::datetime::interval_span;
use crate::types::{Interval, Numeric, ScopeId, SqlType, StorageId, Str, Value, numeric};
use bytes::Bytes;
use std::ops::Bound;

/// The first byte of every key: what kind of entry it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Space {
    /// Catalog entries.
    Catalog = 1,
    /// The engine's own counters and marks.
    Meta = 2,
    /// Rows of tables.
    Row = 3,
    /// Entries of unique and secondary indexes.
    Index = 4,
    /// Messages of topics.
    Topic = 5,
    /// Positions and acknowledgements of consumer groups.
    Group = 6,
    /// Rows of STREAM tables.
    Stream = 7,
    /// User ids by their scope numbers and back.
    ScopeName = 8,
}

/// How one column of a key is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyColumn {
    /// The column's type.
    pub ty: SqlType,
    /// Whether greater values come first.
    pub descending: bool,
    /// Whether NULL comes before all values.
    pub nulls_first: bool,
    /// Whether it is a number that is neither NULL nor negative, kept without a marker: partition and offset of a topic.
    pub bare: bool,
}

impl KeyColumn {
    /// Ascending, NULL last: PostgreSQL's default.
    pub fn ascending(ty: SqlType) -> KeyColumn {
        KeyColumn { ty, descending: false, nulls_first: false, bare: false }
    }

    /// A column of a topic's key.
    pub fn bare(ty: SqlType) -> KeyColumn {
        KeyColumn { bare: true, ..KeyColumn::ascending(ty) }
    }
}

const NULL_FIRST: u8 = 0;
/// The marker of a value that is not NULL.
pub const PRESENT: u8 = 1;
const NULL_LAST: u8 = 2;

/// After a zero byte of bytes or text: the byte was data, or it began the end mark.
const ZERO_ESCAPE: u8 = 0xff;
const END_MARK: u8 = 0x01;

const NUMERIC_NEGATIVE_INFINITY: u8 = 0;
const NUMERIC_NEGATIVE: u8 = 1;
const NUMERIC_ZERO: u8 = 2;
const NUMERIC_POSITIVE: u8 = 3;
const NUMERIC_INFINITY: u8 = 4;
const NUMERIC_NAN: u8 = 5;

/// Bytes of [`prefix`].
pub const PREFIX_BYTES: usize = 13;

/// The scope in a key that begins with a [`prefix`]; the shared one for bytes that do not.
pub fn scope_of(key: &[u8]) -> ScopeId {
    place_of(key).map_or(ScopeId::SHARED, |(_, _, scope)| scope)
}

/// The space's number, the storage and the scope that a key's prefix names; none where the key is shorter than a prefix.
pub fn place_of(key: &[u8]) -> Option<(u8, StorageId, ScopeId)> {
    let (&space, rest) = key.split_first()?;
    let (storage, rest) = rest.split_first_chunk()?;
    let scope = rest.first_chunk()?;
    Some((space, StorageId(u32::from_be_bytes(*storage)), ScopeId(u64::from_be_bytes(*scope))))
}

/// `[space u8][storage u32 BE][scope u64 BE]`: what all keys of one scope of one storage begin with.
pub fn prefix(space: Space, storage: StorageId, scope: ScopeId) -> Vec<u8> {
    let mut key = Vec::with_capacity(64);
    key.push(space as u8);
    key.extend_from_slice(&storage.0.to_be_bytes());
    key.extend_from_slice(&scope.0.to_be_bytes());
    key
}

/// What the keys of the messages of a topic's partition begin with; eight bytes of offset follow, big-endian.
pub fn partition_prefix(topic: StorageId, partition: u32) -> Vec<u8> {
    let mut key = prefix(Space::Topic, topic, ScopeId::SHARED);
    key.extend_from_slice(&partition.to_be_bytes());
    key
}

/// The keys of a storage in one space, of all scopes: the first, and the one after the last.
pub fn storage_range(space: Space, storage: StorageId) -> (Vec<u8>, Vec<u8>) {
    let mut from = vec![space as u8];
    from.extend_from_slice(&storage.0.to_be_bytes());
    let to = prefix_successor(&from).expect("a space is less than the greatest byte");
    (from, to)
}

/// Appends one column. 0A000 for a type that has no key form.
pub fn encode_column(out: &mut Vec<u8>, value: &Value, column: &KeyColumn) -> Result<()> {
    if column.bare {
        return encode_bare(out, value, column.ty);
    }
    if value.is_null() {
        out.push(if column.nulls_first { NULL_FIRST } else { NULL_LAST });
        return Ok(());
    }
    out.push(PRESENT);
    let start = out.len();
    match (column.ty.base(), value) {
        (SqlType::BOOL, Value::Bool(value)) => out.push(u8::from(*value)),
        (SqlType::INT2, Value::Int(value)) => out.extend_from_slice(&(*value as u16 ^ 1 << 15).to_be_bytes()),
        (SqlType::INT4, Value::Int(value)) => out.extend_from_slice(&(*value as u32 ^ 1 << 31).to_be_bytes()),
        (SqlType::INT8, Value::Int(value)) => out.extend_from_slice(&ordered_i64(*value)),
        (SqlType::OID | SqlType::REGTYPE, Value::Int(value)) => out.extend_from_slice(&(*value as u32).to_be_bytes()),
        (SqlType::FLOAT8, Value::Float(value)) => out.extend_from_slice(&ordered_f64(*value)),
        (SqlType::DATE, Value::Date(value)) => out.extend_from_slice(&(*value as u32 ^ 1 << 31).to_be_bytes()),
        (SqlType::TIMESTAMP | SqlType::TIMESTAMPTZ, Value::Timestamp(value)) => {
            out.extend_from_slice(&ordered_i64(*value));
        }
        (SqlType::INTERVAL, Value::Interval(value)) => {
            out.extend_from_slice(&(interval_span(*value) as u128 ^ 1 << 127).to_be_bytes());
        }
        (SqlType::UUID, Value::Uuid(value)) => out.extend_from_slice(value),
        (SqlType::NUMERIC, Value::Numeric(value)) => encode_numeric(out, value),
        (SqlType::BYTEA, Value::Bytes(value)) => encode_bytes(out, value),
        (SqlType::JSON | SqlType::JSONB | SqlType::FILE | SqlType::VOID, _) => return Err(no_key_form(column.ty)),
        (_, Value::Text(value)) => encode_bytes(out, value.as_bytes()),
        (ty, value) => return Err(Error::internal(format!("a {} key column was given {value:?}", ty.base_name()))),
    }
    if column.descending {
        out[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }
    Ok(())
}

fn encode_bare(out: &mut Vec<u8>, value: &Value, ty: SqlType) -> Result<()> {
    match (ty.base(), value) {
        (SqlType::INT4, Value::Int(value)) => out.extend_from_slice(&(*value as u32).to_be_bytes()),
        (SqlType::INT8, Value::Int(value)) => out.extend_from_slice(&(*value as u64).to_be_bytes()),
        (ty, value) => {
            return Err(Error::internal(format!("a bare {} key column was given {value:?}", ty.base_name())));
        }
    }
    Ok(())
}

fn no_key_form(ty: SqlType) -> Error {
    Error::unsupported(format!("a key column of type {}", ty.base_name()))
        .hint("Use a column of another type, for example a text column computed from it.")
}

fn ordered_i64(value: i64) -> [u8; 8] {
    (value as u64 ^ 1 << 63).to_be_bytes()
}

/// IEEE 754 bits in an unsigned order: zeros are equal, NaN is one value above infinity.
fn ordered_f64(value: f64) -> [u8; 8] {
    let value = if value.is_nan() {
        f64::from_bits(0x7ff8_0000_0000_0000)
    } else if value == 0.0 {
        0.0
    } else {
        value
    };
    let bits = value.to_bits();
    (if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }).to_be_bytes()
}

fn encode_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut pieces = bytes.split(|&byte| byte == 0);
    out.extend_from_slice(pieces.next().unwrap_or_default());
    for piece in pieces {
        out.extend_from_slice(&[0, ZERO_ESCAPE]);
        out.extend_from_slice(piece);
    }
    out.extend_from_slice(&[0, END_MARK]);
}

/// Class; for finite numbers other than zero the decimal exponent and pairs of digits, ended by a zero byte, all
/// inverted for negative ones.
fn encode_numeric(out: &mut Vec<u8>, value: &Numeric) {
    let Some((negative, digits, exponent)) = numeric::significand(value) else {
        out.push(match value {
            Numeric::NegativeInfinity => NUMERIC_NEGATIVE_INFINITY,
            Numeric::Infinity => NUMERIC_INFINITY,
            Numeric::NaN => NUMERIC_NAN,
            Numeric::Finite(_) => NUMERIC_ZERO,
        });
        return;
    };
    out.push(if negative { NUMERIC_NEGATIVE } else { NUMERIC_POSITIVE });
    let start = out.len();
    out.extend_from_slice(&(exponent as u32 ^ 1 << 31).to_be_bytes());
    for pair in digits.as_bytes().chunks(2) {
        let (tens, ones) = (pair[0] - b'0', pair.get(1).map_or(0, |digit| digit - b'0'));
        out.push(tens * 10 + ones + 1);
    }
    out.push(0);
    if negative {
        out[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }
}

/// Takes one column off the front of a key. A numeric loses its display scale and an interval its split into months,
/// days and microseconds; everything else is exact (a float's negative zero becomes zero).
pub fn decode_column(key: &mut &[u8], column: &KeyColumn) -> Result<Value> {
    match take::<1>(key)?[0] {
        NULL_FIRST | NULL_LAST => return Ok(Value::Null),
        PRESENT => {}
        _ => return Err(corrupted()),
    }
    let flip = if column.descending { 0xff } else { 0 };
    let ty = column.ty.base();
    Ok(match ty {
        SqlType::BOOL => Value::Bool(take_flipped::<1>(key, flip)?[0] != 0),
        SqlType::INT2 => Value::Int(((u16::from_be_bytes(take_flipped(key, flip)?) ^ 1 << 15) as i16).into()),
        SqlType::INT4 => Value::Int(((u32::from_be_bytes(take_flipped(key, flip)?) ^ 1 << 31) as i32).into()),
        SqlType::INT8 => Value::Int((u64::from_be_bytes(take_flipped(key, flip)?) ^ 1 << 63) as i64),
        SqlType::OID | SqlType::REGTYPE => Value::Int(u32::from_be_bytes(take_flipped(key, flip)?).into()),
        SqlType::FLOAT8 => {
            let bits = u64::from_be_bytes(take_flipped(key, flip)?);
            Value::Float(f64::from_bits(if bits >> 63 == 1 { bits ^ 1 << 63 } else { !bits }))
        }
        SqlType::DATE => Value::Date((u32::from_be_bytes(take_flipped(key, flip)?) ^ 1 << 31) as i32),
        SqlType::TIMESTAMP | SqlType::TIMESTAMPTZ => {
            Value::Timestamp((u64::from_be_bytes(take_flipped(key, flip)?) ^ 1 << 63) as i64)
        }
        SqlType::INTERVAL => {
            Value::Interval(split_span((u128::from_be_bytes(take_flipped(key, flip)?) ^ 1 << 127) as i128))
        }
        SqlType::UUID => Value::Uuid(take_flipped(key, flip)?),
        SqlType::NUMERIC => Value::Numeric(decode_numeric(key, flip)?),
        SqlType::BYTEA => Value::Bytes(decode_bytes(key, flip)?),
        SqlType::JSON | SqlType::JSONB | SqlType::FILE | SqlType::VOID => return Err(no_key_form(ty)),
        _ => Value::Text(Str::from_utf8(decode_bytes(key, flip)?).map_err(|_| corrupted())?),
    })
}

fn take<const N: usize>(key: &mut &[u8]) -> Result<[u8; N]> {
    let (first, rest) = key.split_first_chunk::<N>().ok_or_else(corrupted)?;
    *key = rest;
    Ok(*first)
}

fn take_flipped<const N: usize>(key: &mut &[u8], flip: u8) -> Result<[u8; N]> {
    Ok(take(key)?.map(|byte| byte ^ flip))
}

fn decode_bytes(key: &mut &[u8], flip: u8) -> Result<Bytes> {
    let mut data = Vec::new();
    loop {
        let zero = key.iter().position(|&byte| byte ^ flip == 0).ok_or_else(corrupted)?;
        data.extend(key[..zero].iter().map(|byte| byte ^ flip));
        let mark = *key.get(zero + 1).ok_or_else(corrupted)? ^ flip;
        *key = &key[zero + 2..];
        match mark {
            END_MARK => return Ok(Bytes::from(data)),
            ZERO_ESCAPE => data.push(0),
            _ => return Err(corrupted()),
        }
    }
}

fn decode_numeric(key: &mut &[u8], flip: u8) -> Result<Numeric> {
    let class = take_flipped::<1>(key, flip)?[0];
    let flip = match class {
        NUMERIC_NEGATIVE_INFINITY => return Ok(Numeric::NegativeInfinity),
        NUMERIC_ZERO => return Ok(numeric::from_i64(0)),
        NUMERIC_INFINITY => return Ok(Numeric::Infinity),
        NUMERIC_NAN => return Ok(Numeric::NaN),
        NUMERIC_POSITIVE => flip,
        NUMERIC_NEGATIVE => !flip,
        _ => return Err(corrupted()),
    };
    let exponent = (u32::from_be_bytes(take_flipped(key, flip)?) ^ 1 << 31) as i32;
    let mut digits = String::new();
    loop {
        match take_flipped::<1>(key, flip)?[0] {
            0 => break,
            pair @ 1..=100 => digits.extend([char::from(b'0' + (pair - 1) / 10), char::from(b'0' + (pair - 1) % 10)]),
            _ => return Err(corrupted()),
        }
    }
    numeric::from_significand(class == NUMERIC_NEGATIVE, digits.trim_end_matches('0'), exponent).ok_or_else(corrupted)
}

/// An interval that is as long as `span` microseconds.
fn split_span(span: i128) -> Interval {
    const DAY: i128 = 86_400_000_000;
    let months = (span / (30 * DAY)).clamp(i32::MIN.into(), i32::MAX.into());
    let rest = span - months * 30 * DAY;
    let days = (rest / DAY).clamp(i32::MIN.into(), i32::MAX.into());
    Interval { months: months as i32, days: days as i32, micros: (rest - days * DAY) as i64 }
}

fn corrupted() -> Error {
    Error::new(SqlState::DATA_CORRUPTED, "a stored key cannot be read")
}

/// 54000, as PostgreSQL words it, for a key above [`KEY_BYTES_MAX`].
pub fn check_size(key: &[u8], index: &str) -> Result<()> {
    if key.len() <= KEY_BYTES_MAX {
        return Ok(());
    }
    let size = key.len();
    Err(Error::new(
        SqlState::PROGRAM_LIMIT_EXCEEDED,
        format!("index row size {size} exceeds maximum {KEY_BYTES_MAX} for index \"{index}\""),
    )
    .hint("Consider an index on a hash of the value."))
}

/// The first key after all keys that begin with `prefix`; none when there is no such key.
pub fn prefix_successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != 0xff)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(next)
}

/// The bounds of the keys that begin with `prefix`.
pub fn prefixed(prefix: Vec<u8>) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let end = prefix_successor(&prefix).map_or(Bound::Unbounded, Bound::Excluded);
    (Bound::Included(prefix), end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{compare, numeric};
    use proptest::prelude::*;
    use std::cmp::Ordering;

    fn values() -> impl Strategy<Value = (Value, Value, SqlType)> {
        let pair = |strategy: BoxedStrategy<Value>, ty: SqlType| {
            (strategy.clone(), strategy).prop_map(move |(a, b)| (a, b, ty))
        };
        let decimal = (any::<i64>(), 0_i64..30)
            .prop_map(|(digits, scale)| Numeric::Finite(bigdecimal::BigDecimal::new(digits.into(), scale)));
        let small = (-1_000_i64..1_000, 0_i64..4)
            .prop_map(|(digits, scale)| Numeric::Finite(bigdecimal::BigDecimal::new(digits.into(), scale)));
        let special = prop_oneof![Just(Numeric::NaN), Just(Numeric::Infinity), Just(Numeric::NegativeInfinity)];
        let number = prop_oneof![decimal, small, special].prop_map(Value::Numeric).boxed();
        let interval = (any::<i32>(), any::<i32>(), any::<i64>())
            .prop_map(|(months, days, micros)| Value::Interval(Interval { months, days, micros }));
        let bytes = prop::collection::vec(prop_oneof![Just(0_u8), Just(255), any::<u8>()], 0..6)
            .prop_map(|bytes| Value::Bytes(bytes.into()));
        prop_oneof![
            pair(any::<bool>().prop_map(Value::Bool).boxed(), SqlType::BOOL),
            pair(any::<i16>().prop_map(|v| Value::Int(v.into())).boxed(), SqlType::INT2),
            pair(any::<i32>().prop_map(|v| Value::Int(v.into())).boxed(), SqlType::INT4),
            pair(any::<i64>().prop_map(Value::Int).boxed(), SqlType::INT8),
            pair(any::<u32>().prop_map(|v| Value::Int(v.into())).boxed(), SqlType::OID),
            pair(any::<f64>().prop_map(Value::Float).boxed(), SqlType::FLOAT8),
            pair(any::<i32>().prop_map(Value::Date).boxed(), SqlType::DATE),
            pair(any::<i64>().prop_map(Value::Timestamp).boxed(), SqlType::TIMESTAMPTZ),
            pair(any::<[u8; 16]>().prop_map(Value::Uuid).boxed(), SqlType::UUID),
            pair("[\0a-cé]{0,5}".prop_map(Value::text).boxed(), SqlType::TEXT),
            pair(bytes.boxed(), SqlType::BYTEA),
            pair(interval.boxed(), SqlType::INTERVAL),
            pair(number, SqlType::NUMERIC),
        ]
    }

    fn encoded(value: &Value, column: &KeyColumn) -> Vec<u8> {
        let mut key = Vec::new();
        encode_column(&mut key, value, column).expect("the type has a key form");
        key
    }

    proptest! {
        #[test]
        fn keys_sort_as_values_do((a, b, ty) in values(), descending: bool, rest_a: u8, rest_b: u8) {
            let column = KeyColumn { ty, descending, nulls_first: descending, bare: false };
            let expected = if descending { compare(&b, &a, ty) } else { compare(&a, &b, ty) };
            let (mut a_key, mut b_key) = (encoded(&a, &column), encoded(&b, &column));
            prop_assert_eq!(a_key.cmp(&b_key), expected);
            // A following column decides only between equal values.
            a_key.push(rest_a);
            b_key.push(rest_b);
            prop_assert_eq!(a_key.cmp(&b_key), expected.then(rest_a.cmp(&rest_b)));
        }

        #[test]
        fn keys_decode_to_equal_values((a, _, ty) in values(), descending: bool) {
            let column = KeyColumn { ty, descending, nulls_first: false, bare: false };
            let mut key = encoded(&a, &column);
            key.extend_from_slice(b"rest");
            let mut left = key.as_slice();
            let back = decode_column(&mut left, &column).expect("decodes");
            prop_assert_eq!(compare(&a, &back, ty), Ordering::Equal);
            prop_assert_eq!(left, b"rest");
        }

        #[test]
        fn null_stands_where_it_is_told((a, _, ty) in values(), descending: bool, nulls_first: bool) {
            let column = KeyColumn { ty, descending, nulls_first, bare: false };
            let expected = if nulls_first { Ordering::Less } else { Ordering::Greater };
            prop_assert_eq!(encoded(&Value::Null, &column).cmp(&encoded(&a, &column)), expected);
        }

        #[test]
        fn garbage_is_refused_or_decoded_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..24), at in 0..SqlType::ALL.len()) {
            let _ = decode_column(&mut bytes.as_slice(), &KeyColumn::ascending(SqlType::ALL[at]));
        }

        #[test]
        fn numeric_text_round_trips(digits: i128, scale in 0_i64..40) {
            let number = Numeric::Finite(bigdecimal::BigDecimal::new(digits.into(), scale));
            prop_assert_eq!(numeric::parse(&numeric::to_text(&number)).expect("parses"), number);
        }
    }

    #[test]
    fn successor_of_a_prefix_carries() {
        assert_eq!(prefix_successor(&[1, 0xff, 0xff]), Some(vec![2]));
        assert_eq!(prefix_successor(&[1, 2]), Some(vec![1, 3]));
        assert_eq!(prefix_successor(&[0xff]), None);
    }
}
