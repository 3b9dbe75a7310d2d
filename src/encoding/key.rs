//! Keys as bytes whose order is the order of the values.

use crate::error::{Error, Result};
use crate::types::{ScopeId, SqlType, StorageId, Value};

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
}

impl KeyColumn {
    /// Ascending, NULL last: PostgreSQL's default.
    pub fn ascending(ty: SqlType) -> KeyColumn {
        KeyColumn { ty, descending: false, nulls_first: false }
    }
}

/// `[space u8][storage u32 BE][scope u64 BE]`: what all keys of one scope of one storage begin with.
pub fn prefix(space: Space, storage: StorageId, scope: ScopeId) -> Vec<u8> {
    let mut key = Vec::with_capacity(64);
    key.push(space as u8);
    key.extend_from_slice(&storage.0.to_be_bytes());
    key.extend_from_slice(&scope.0.to_be_bytes());
    key
}

/// Appends one column. 0A000 for a type that has no key form.
pub fn encode_column(_out: &mut Vec<u8>, _value: &Value, _column: &KeyColumn) -> Result<()> {
    Err(Error::unsupported("key encoding"))
}

/// Takes one column off the front of a key. A numeric loses its display scale and an interval its split into months,
/// days and microseconds; everything else is exact.
pub fn decode_column(_key: &mut &[u8], _column: &KeyColumn) -> Result<Value> {
    Err(Error::unsupported("key decoding"))
}

/// 54000, as PostgreSQL words it, for a key above [`KEY_BYTES_MAX`](crate::limits::KEY_BYTES_MAX).
pub fn check_size(_key: &[u8], _index: &str) -> Result<()> {
    Ok(())
}

/// The first key after all keys that begin with `prefix`; none when there is no such key.
pub fn prefix_successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != 0xff)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(next)
}
