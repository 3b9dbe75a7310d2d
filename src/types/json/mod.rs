//! json and jsonb: documents, their canonical text, and JSON of values.

mod lex;

use super::{SqlType, Value, Zone, datetime, numeric, text};
use crate::error::Result;
use std::cmp::Ordering;

pub use lex::validate;

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
    pub fn parse(text: &str) -> Result<Json> {
        lex::parse(text)
    }

    /// Makes an object: sorts the keys; the last of equal keys wins.
    pub fn object(mut fields: Vec<(String, Json)>) -> Json {
        // The sort is stable and dedup keeps the first: so last first.
        fields.reverse();
        fields.sort_by(|(a, _), (b, _)| (a.len(), a.as_bytes()).cmp(&(b.len(), b.as_bytes())));
        fields.dedup_by(|(later, _), (first, _)| later == first);
        Json::Object(fields)
    }

    /// Appends PostgreSQL's canonical text.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.write_with(b", ", b": ", out);
    }

    /// Appends the text without spaces.
    pub fn write_compact(&self, out: &mut Vec<u8>) {
        self.write_with(b",", b":", out);
    }

    fn write_with(&self, comma: &[u8], colon: &[u8], out: &mut Vec<u8>) {
        match self {
            Json::Null => out.extend_from_slice(b"null"),
            Json::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
            Json::Number(digits) => out.extend_from_slice(digits.as_bytes()),
            Json::String(text) => write_string(text, out),
            Json::Array(elements) => {
                out.push(b'[');
                for (index, element) in elements.iter().enumerate() {
                    if index > 0 {
                        out.extend_from_slice(comma);
                    }
                    element.write_with(comma, colon, out);
                }
                out.push(b']');
            }
            Json::Object(fields) => {
                out.push(b'{');
                for (index, (key, value)) in fields.iter().enumerate() {
                    if index > 0 {
                        out.extend_from_slice(comma);
                    }
                    write_string(key, out);
                    out.extend_from_slice(colon);
                    value.write_with(comma, colon, out);
                }
                out.push(b'}');
            }
        }
    }

    /// PostgreSQL's canonical text.
    pub fn to_text(&self) -> String {
        let mut out = Vec::new();
        self.write(&mut out);
        String::from_utf8(out).expect("made of strings and ASCII")
    }

    /// `-> key`.
    pub fn field(&self, key: &str) -> Option<&Json> {
        let Json::Object(fields) = self else { return None };
        let found =
            fields.binary_search_by(|(name, _)| (name.len(), name.as_bytes()).cmp(&(key.len(), key.as_bytes())));
        found.ok().map(|index| &fields[index].1)
    }

    /// `-> index`; negative counts from the end.
    pub fn element(&self, index: i64) -> Option<&Json> {
        let Json::Array(elements) = self else { return None };
        let index = if index < 0 { index.checked_add(elements.len() as i64)? } else { index };
        elements.get(usize::try_from(index).ok()?)
    }

    /// `#> path`.
    pub fn path<S: AsRef<str>>(&self, path: &[S]) -> Option<&Json> {
        path.iter().try_fold(self, |at, step| match at {
            Json::Object(_) => at.field(step.as_ref()),
            Json::Array(_) => at.element(step.as_ref().trim_ascii_start().parse().ok()?),
            _ => None,
        })
    }

    /// What `->>` gives of the value found: none for null, a string without quotes, else the text.
    pub fn as_text(&self) -> Option<String> {
        match self {
            Json::Null => None,
            Json::String(text) => Some(text.clone()),
            other => Some(other.to_text()),
        }
    }

    /// jsonb_typeof.
    pub fn type_name(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "boolean",
            Json::Number(_) => "number",
            Json::String(_) => "string",
            Json::Array(_) => "array",
            Json::Object(_) => "object",
        }
    }

    /// `self @> other`; an array contains a bare scalar.
    pub fn contains(&self, other: &Json) -> bool {
        match (self, other) {
            (Json::Array(elements), Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_)) => {
                elements.iter().any(|element| element.equals(other))
            }
            _ => self.contains_nested(other),
        }
    }

    fn contains_nested(&self, other: &Json) -> bool {
        match (self, other) {
            (Json::Object(_), Json::Object(wanted)) => {
                wanted.iter().all(|(key, value)| self.field(key).is_some_and(|own| own.contains_nested(value)))
            }
            (Json::Array(own), Json::Array(wanted)) => {
                wanted.iter().all(|value| own.iter().any(|element| element.contains_nested(value)))
            }
            _ => self.equals(other),
        }
    }

    /// Equality in which 1 and 1.0 are one number.
    fn equals(&self, other: &Json) -> bool {
        self.compare(other) == Ordering::Equal
    }

    /// `self ? key`.
    pub fn has_key(&self, key: &str) -> bool {
        match self {
            Json::Object(_) => self.field(key).is_some(),
            Json::Array(elements) => {
                elements.iter().any(|element| matches!(element, Json::String(text) if text == key))
            }
            Json::String(text) => text == key,
            _ => false,
        }
    }

    /// The btree order of jsonb: null, strings, numbers, booleans, arrays, objects; containers first by their length.
    /// At the top, as in PostgreSQL, an empty array comes before everything.
    pub fn compare(&self, other: &Json) -> Ordering {
        let empty = |json: &Json| matches!(json, Json::Array(elements) if elements.is_empty());
        match (self, other) {
            (_, Json::Object(_)) | (Json::Object(_), _) => self.compare_nested(other),
            _ if empty(self) || empty(other) => empty(other).cmp(&empty(self)),
            _ => self.compare_nested(other),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Json::Null => 0,
            Json::String(_) => 1,
            Json::Number(_) => 2,
            Json::Bool(_) => 3,
            Json::Array(_) => 4,
            Json::Object(_) => 5,
        }
    }

    fn compare_nested(&self, other: &Json) -> Ordering {
        match (self, other) {
            (Json::Bool(a), Json::Bool(b)) => a.cmp(b),
            (Json::String(a), Json::String(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Json::Number(a), Json::Number(b)) => match (numeric::parse(a), numeric::parse(b)) {
                (Ok(a), Ok(b)) => numeric::compare(&a, &b),
                _ => a.cmp(b),
            },
            (Json::Array(a), Json::Array(b)) => a.len().cmp(&b.len()).then_with(|| {
                a.iter().zip(b).map(|(a, b)| a.compare_nested(b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
            }),
            (Json::Object(a), Json::Object(b)) => a.len().cmp(&b.len()).then_with(|| {
                let pairs = a.iter().zip(b);
                let mut orders = pairs.map(|((a_key, a), (b_key, b))| {
                    a_key.as_bytes().cmp(b_key.as_bytes()).then_with(|| a.compare_nested(b))
                });
                orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
            }),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

/// Appends a JSON string with its quotes.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut copied = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= b' ' && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[copied..at]);
        copied = at + 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            _ => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        }
    }
    out.extend_from_slice(&bytes[copied..]);
    out.push(b'"');
}

/// Appends to_jsonb of a value, in compact form. With `bigint_as_string`, bigint and numeric become strings, so that
/// JavaScript loses no digit.
pub fn write_json_value(value: &Value, ty: SqlType, zone: &Zone, bigint_as_string: bool, out: &mut Vec<u8>) {
    let quoted = |out: &mut Vec<u8>, write: &dyn Fn(&mut Vec<u8>)| {
        out.push(b'"');
        write(out);
        out.push(b'"');
    };
    let plain = |out: &mut Vec<u8>| text::write(value, ty, zone, out);
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Value::Int(_) if ty.same(SqlType::INT2) || ty.same(SqlType::INT4) => plain(out),
        Value::Int(_) if ty.same(SqlType::INT8) && !bigint_as_string => plain(out),
        Value::Float(value) if value.is_finite() => write_json_float(*value, out),
        Value::Numeric(super::Numeric::Finite(_)) if !bigint_as_string => plain(out),
        Value::Text(text) if ty.wire().same(SqlType::JSONB) => write_compacted(text, out),
        Value::Text(text) if ty.same(SqlType::JSON) => match Json::parse(text) {
            Ok(json) => json.write_compact(out),
            // Valid as json, but not as jsonb (an escape for a zero character).
            Err(_) => out.extend_from_slice(text.as_bytes()),
        },
        Value::Text(text) => write_string(text, out),
        Value::Bytes(_) => {
            // The hex form begins with a backslash.
            out.extend_from_slice(b"\"\\");
            plain(out);
            out.push(b'"');
        }
        Value::Timestamp(timestamp) if ty.same(SqlType::TIMESTAMP) => {
            quoted(out, &|out| datetime::write_timestamp(*timestamp, b'T', out));
        }
        Value::Timestamp(timestamp) => quoted(out, &|out| datetime::write_timestamptz(*timestamp, zone, true, out)),
        _ => quoted(out, &plain),
    }
}

/// A float as the numeric that jsonb makes of it.
fn write_json_float(value: f64, out: &mut Vec<u8>) {
    let start = out.len();
    text::write_float(value, out);
    if out[start..].contains(&b'e') {
        let number = std::str::from_utf8(&out[start..]).ok().and_then(|digits| numeric::parse(digits).ok());
        if let Some(number) = number {
            out.truncate(start);
            numeric::write(&number, out);
        }
    } else if &out[start..] == b"-0" {
        out.truncate(start);
        out.push(b'0');
    }
}

/// Canonical text without the spaces that stand outside of strings.
fn write_compacted(text: &str, out: &mut Vec<u8>) {
    let (mut in_string, mut escaped) = (false, false);
    for &byte in text.as_bytes() {
        if in_string {
            out.push(byte);
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if byte != b' ' {
            out.push(byte);
            in_string = byte == b'"';
        }
    }
}

/// to_jsonb of a value.
pub fn from_value(value: &Value, ty: SqlType, zone: &Zone) -> Json {
    let mut out = Vec::new();
    write_json_value(value, ty, zone, false, &mut out);
    let text = String::from_utf8(out).expect("JSON of a value is UTF-8");
    Json::parse(&text).unwrap_or(Json::String(text))
}
