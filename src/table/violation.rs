//! Constraint violations, worded as PostgreSQL words them.

use crate::catalog::{Column, Relation};
use crate::error::{Error, ObjectFields, SqlState};
use crate::expr::quote_identifier;
use crate::types::{Value, Zone, text};

/// Bytes of a value that a failing row's description shows (PostgreSQL's maxfieldlen).
const SHOWN_BYTES_MAX: usize = 64;

/// 23502.
pub(super) fn not_null_violation(
    relation: &Relation,
    schema: &str,
    column: &Column,
    values: &[Value],
    zone: &Zone,
) -> Error {
    let message = format!(
        "null value in column \"{}\" of relation \"{}\" violates not-null constraint",
        column.name, relation.name
    );
    Error::new(SqlState::NOT_NULL_VIOLATION, message).detail(failing_row(relation, values, zone)).object(ObjectFields {
        schema: Some(schema.to_owned()),
        table: Some(relation.name.clone()),
        column: Some(column.name.clone()),
        constraint: None,
    })
}

/// 0A000 for a row of older column types.
pub(super) fn other_types(relation: &Relation) -> Error {
    let message = format!("the types of columns of {} have changed since then", relation.name);
    Error::new(SqlState::FEATURE_NOT_SUPPORTED, message)
}

/// XX002 for an index that names a row which is not there.
pub fn entry_without_row(index: &str) -> Error {
    Error::new(SqlState::INDEX_CORRUPTED, format!("index \"{index}\" has an entry without a row"))
}

/// 23514.
pub fn check_violation(relation: &Relation, schema: &str, constraint: &str, values: &[Value], zone: &Zone) -> Error {
    let message = format!("new row for relation \"{}\" violates check constraint \"{constraint}\"", relation.name);
    Error::new(SqlState::CHECK_VIOLATION, message)
        .detail(failing_row(relation, values, zone))
        .object(constraint_of(relation, schema, constraint))
}

/// 23505. The key is the row's own scope's, so the detail tells nothing of anybody else.
pub fn unique_violation(
    relation: &Relation,
    schema: &str,
    constraint: &str,
    columns: &[usize],
    values: &[Value],
    zone: &Zone,
) -> Error {
    let (names, shown) = key_of(relation, columns, values, zone);
    Error::new(SqlState::UNIQUE_VIOLATION, format!("duplicate key value violates unique constraint \"{constraint}\""))
        .detail(format!("Key ({names})=({shown}) already exists."))
        .object(constraint_of(relation, schema, constraint))
}

/// 23502 for rows that are there already. It names no row: on a USER table it may be anybody's.
pub fn contains_nulls(relation: &Relation, schema: &str, column: usize) -> Error {
    let name = &relation.columns[column].name;
    let message = format!("column \"{name}\" of relation \"{}\" contains null values", relation.name);
    Error::new(SqlState::NOT_NULL_VIOLATION, message).object(ObjectFields {
        schema: Some(schema.to_owned()),
        table: Some(relation.name.clone()),
        column: Some(name.clone()),
        constraint: None,
    })
}

/// 23514 for rows that are there already, likewise.
pub fn violated_by_some_row(relation: &Relation, schema: &str, constraint: &str) -> Error {
    let message =
        format!("check constraint \"{constraint}\" of relation \"{}\" is violated by some row", relation.name);
    Error::new(SqlState::CHECK_VIOLATION, message).object(constraint_of(relation, schema, constraint))
}

/// 23505 for rows that are there already. Which key it is, is told only where the rows are everybody's.
pub fn duplicate_violation(
    relation: &Relation,
    schema: &str,
    constraint: &str,
    columns: &[usize],
    values: &[Value],
) -> Error {
    let error = Error::new(SqlState::UNIQUE_VIOLATION, format!("could not create unique index \"{constraint}\""))
        .object(constraint_of(relation, schema, constraint));
    if relation.is_scoped() {
        return error;
    }
    let (names, shown) = key_of(relation, columns, values, &Zone::utc());
    error.detail(format!("Key ({names})=({shown}) is duplicated."))
}

/// A key's columns and its values, as a detail shows them.
fn key_of(relation: &Relation, columns: &[usize], values: &[Value], zone: &Zone) -> (String, String) {
    let names: Vec<String> = columns.iter().map(|&column| quote_identifier(&relation.columns[column].name)).collect();
    let shown: Vec<String> =
        columns.iter().map(|&column| show(&values[column], &relation.columns[column], zone)).collect();
    (names.join(", "), shown.join(", "))
}

/// `Failing row contains (1, null, …).`
pub fn failing_row(relation: &Relation, values: &[Value], zone: &Zone) -> String {
    let shown: Vec<String> =
        relation.live_columns().map(|(at, column)| clip(show(&values[at], column, zone))).collect();
    format!("Failing row contains ({}).", shown.join(", "))
}

fn constraint_of(relation: &Relation, schema: &str, constraint: &str) -> ObjectFields {
    ObjectFields {
        schema: Some(schema.to_owned()),
        table: Some(relation.name.clone()),
        column: None,
        constraint: Some(constraint.to_owned()),
    }
}

fn show(value: &Value, column: &Column, zone: &Zone) -> String {
    if value.is_null() {
        return "null".to_owned();
    }
    let mut out = Vec::new();
    text::write(value, column.ty, zone, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn clip(mut text: String) -> String {
    if text.len() <= SHOWN_BYTES_MAX {
        return text;
    }
    let mut end = SHOWN_BYTES_MAX;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.push_str("...");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_clipped_at_a_character() {
        assert_eq!(clip("x".repeat(64)).len(), 64);
        let clipped = clip("é".repeat(40) + "x");
        assert_eq!(clipped, "é".repeat(32) + "...");
        assert_eq!(clip("x".to_owned() + &"é".repeat(40)), "x".to_owned() + &"é".repeat(31) + "...");
    }
}
