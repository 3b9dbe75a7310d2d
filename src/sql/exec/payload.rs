//! What a message says of a changed row.

use crate::catalog::Payload;
use crate::table::Model;
use crate::types::json::{self, Json};
use crate::types::{SqlType, Value, Zone, text};

/// A row's primary key as text: of one column its text, of several as a row's, `(a,b)`. None without a primary key.
pub(super) fn key_text(model: &Model, row: &[Value], zone: &Zone) -> Option<String> {
    let columns = &model.relation().primary_key.as_ref()?.columns;
    let shown: Vec<String> = columns
        .iter()
        .map(|&column| text::to_string(&row[column], model.relation().columns[column].ty, zone))
        .collect();
    match shown.as_slice() {
        [one] => Some(one.clone()),
        several => {
            let fields: Vec<String> = several.iter().map(|field| record_field(field)).collect();
            Some(format!("({})", fields.join(",")))
        }
    }
}

/// A field in a row's text form (PostgreSQL's record_out).
fn record_field(field: &str) -> String {
    let special = |byte: u8| matches!(byte, b'"' | b'\\' | b'(' | b')' | b',') || byte.is_ascii_whitespace();
    if !field.is_empty() && !field.bytes().any(special) {
        return field.to_owned();
    }
    format!("\"{}\"", field.replace('\\', "\\\\").replace('"', "\"\""))
}

/// The payload of a change in jsonb's text form.
pub(super) fn payload(
    kind: Payload,
    model: &Model,
    old: Option<&[Value]>,
    new: Option<&[Value]>,
    zone: &Zone,
) -> String {
    let row = new.or(old).unwrap_or_default();
    let all: Vec<usize> = model.relation().live_columns().map(|(at, _)| at).collect();
    let key = model.relation().primary_key.as_ref().map_or(&[][..], |key| &key.columns);
    match kind {
        Payload::Full => object(model, &all, row, zone),
        Payload::Key => object(model, key, row, zone),
        Payload::Diff => {
            let changed: Vec<usize> = match (old, new) {
                (Some(old), Some(new)) => all.into_iter().filter(|&at| old[at] != new[at]).collect(),
                _ => all,
            };
            let side = |row: Option<&[Value]>| row.map_or(Json::Null, |row| object(model, &changed, row, zone));
            Json::object(vec![
                ("key".to_owned(), object(model, key, row, zone)),
                ("old".to_owned(), side(old)),
                ("new".to_owned(), side(new)),
            ])
        }
    }
    .to_text()
}

fn object(model: &Model, columns: &[usize], row: &[Value], zone: &Zone) -> Json {
    let fields = columns.iter().map(|&at| {
        let column = &model.relation().columns[at];
        (column.name.clone(), value(&row[at], column.ty, zone))
    });
    Json::object(fields.collect())
}

/// A value as to_jsonb has it, but bigint and numeric as strings, so that JavaScript loses no digit.
fn value(value: &Value, ty: SqlType, zone: &Zone) -> Json {
    let exact = ty.same(SqlType::INT8) || ty.same(SqlType::NUMERIC);
    if exact && !value.is_null() {
        return Json::String(text::to_string(value, ty, zone));
    }
    json::from_value(value, ty, zone)
}

#[cfg(test)]
mod tests {
    use super::record_field;

    #[test]
    fn fields_of_a_key_are_quoted_as_in_a_record() {
        assert_eq!(record_field("a"), "a");
        assert_eq!(record_field(""), "\"\"");
        assert_eq!(record_field("a,\"b"), "\"a,\"\"b\"");
    }
}
