//! json and jsonb.

use super::{SqlType, Value, Zone};
use crate::error::{Error, Result};
use std::cmp::Ordering;

/// A jsonb document in PostgreSQL's canonical form.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// null
    Null,
    /// true, false
    Bool(bool),
    /// A number in the text form of a numeric.
    Number(String),
    /// A string.
    String(String),
    /// An array.
    Array(Vec<Json>),
    /// An object: keys by length, then bytes; unique.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads JSON; 22P02 with PostgreSQL's detail on a wrong form, 54001 when nested too deep.
    pub fn parse(_text: &str) -> Result<Json> {
        Err(Error::unsupported("json"))
    }

    /// Makes an object: sorts the keys; the last of equal keys wins.
    pub fn object(fields: Vec<(String, Json)>) -> Json {
        Json::Object(fields)
    }

    /// Appends PostgreSQL's canonical text.
    pub fn write(&self, _out: &mut Vec<u8>) {}

    /// Appends the text without spaces.
    pub fn write_compact(&self, _out: &mut Vec<u8>) {}

    /// PostgreSQL's canonical text.
    pub fn to_text(&self) -> String {
        String::new()
    }

    /// `-> key`.
    pub fn field(&self, _key: &str) -> Option<&Json> {
        None
    }

    /// `-> index`; negative counts from the end.
    pub fn element(&self, _index: i64) -> Option<&Json> {
        None
    }

    /// `#> path`.
    pub fn path<S: AsRef<str>>(&self, _path: &[S]) -> Option<&Json> {
        None
    }

    /// What `->>` gives of the value found: none for null, a string without quotes, else the text.
    pub fn as_text(&self) -> Option<String> {
        None
    }

    /// jsonb_typeof.
    pub fn type_name(&self) -> &'static str {
        "null"
    }

    /// `self @> other`.
    pub fn contains(&self, _other: &Json) -> bool {
        false
    }

    /// `self ? key`.
    pub fn has_key(&self, _key: &str) -> bool {
        false
    }

    /// The btree order of jsonb.
    pub fn compare(&self, _other: &Json) -> Ordering {
        Ordering::Equal
    }
}

/// Checks json as the input function of json does and leaves it as it is.
pub fn validate(_text: &str) -> Result<()> {
    Err(Error::unsupported("json"))
}

/// Appends a JSON string with its quotes.
pub fn write_string(_text: &str, _out: &mut Vec<u8>) {}

/// Appends to_jsonb of a value, in compact form. With `bigint_as_string`, bigint and numeric become strings, so that
/// JavaScript loses no digit.
pub fn write_json_value(_value: &Value, _ty: SqlType, _zone: &Zone, _bigint_as_string: bool, _out: &mut Vec<u8>) {}

/// to_jsonb of a value.
pub fn from_value(_value: &Value, _ty: SqlType, _zone: &Zone) -> Json {
    Json::Null
}
