//! Values: one cell of a row, cheap to clone.
//!
//! Text and bytes are reference-counted slices, so a decoded row shares the buffer it was read from and a row costs one
//! allocation at most.

use bigdecimal::BigDecimal;
use bytes::Bytes;
use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

/// One cell. Which SQL types use which variant is said at each.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// NULL of any type.
    Null,
    /// boolean
    Bool(bool),
    /// smallint, integer, bigint, oid
    Int(i64),
    /// double precision
    Float(f64),
    /// numeric
    Numeric(Numeric),
    /// text, varchar, name, unknown, json (as typed), jsonb and FILE (in PostgreSQL's canonical jsonb text)
    Text(Str),
    /// bytea
    Bytes(Bytes),
    /// date: days since 2000-01-01; i32::MIN and i32::MAX are -infinity and infinity
    Date(i32),
    /// timestamp and timestamptz: microseconds since 2000-01-01 00:00 (UTC); i64::MIN and i64::MAX are the infinities
    Timestamp(i64),
    /// interval
    Interval(Interval),
    /// uuid
    Uuid([u8; 16]),
}

/// A row of values: a plain vector that executors reuse.
pub type Row = Vec<Value>;

impl Value {
    /// A text value from anything that becomes a string.
    pub fn text(text: impl Into<Str>) -> Value {
        Value::Text(text.into())
    }

    /// Whether this is NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// Bytes of heap that the value holds, for memory bounds.
    pub fn heap_size(&self) -> usize {
        match self {
            Value::Text(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            Value::Numeric(_) => 32,
            _ => 0,
        }
    }
}

/// numeric: PostgreSQL's arbitrary precision decimal with its special values (ordered -Infinity < finite < Infinity <
/// NaN). A finite value keeps its display scale.
#[derive(Clone, Debug, PartialEq)]
pub enum Numeric {
    /// A number with a display scale of 0 or more.
    Finite(BigDecimal),
    /// Not a number; equal to itself and above everything.
    NaN,
    /// Above every finite value.
    Infinity,
    /// Below every finite value.
    NegativeInfinity,
}

/// interval: three fields that do not convert into one another (PostgreSQL manual, 8.5.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Interval {
    /// Months.
    pub months: i32,
    /// Days.
    pub days: i32,
    /// Microseconds.
    pub micros: i64,
}

/// Immutable UTF-8 text that shares its buffer.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Str(Bytes);

impl Str {
    /// Takes bytes that must be UTF-8.
    pub fn from_utf8(bytes: Bytes) -> Result<Str, std::str::Utf8Error> {
        std::str::from_utf8(&bytes)?;
        Ok(Str(bytes))
    }

    /// Text known at compile time.
    pub const fn from_static(text: &'static str) -> Str {
        Str(Bytes::from_static(text.as_bytes()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // SAFETY: every constructor takes or checks UTF-8, and the bytes are immutable.
        unsafe { std::str::from_utf8_unchecked(&self.0) }
    }

    /// A part of it, which shares its buffer. Panics within a character, as slicing a `str` does.
    pub fn slice(&self, range: std::ops::Range<usize>) -> Str {
        assert!(self.get(range.clone()).is_some(), "a part of a text begins and ends between characters");
        Str(self.0.slice(range))
    }

    /// The buffer itself.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl Deref for Str {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

/// Hashing and order are those of the bytes, so maps keyed by text can be asked with bytes.
impl Borrow<[u8]> for Str {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl From<String> for Str {
    fn from(text: String) -> Str {
        Str(Bytes::from(text.into_bytes()))
    }
}

impl From<&str> for Str {
    fn from(text: &str) -> Str {
        Str(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl fmt::Debug for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Display for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}
