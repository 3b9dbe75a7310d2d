//! CREATE, ALTER and DROP SEQUENCE.

use super::cursor::Cursor;
use super::table::{Dropped, drop_relation, role_name};
use super::types::sql_type;
use super::{AlterSequence, Definition, SequenceOption, SequenceSetting};
use crate::error::{Error, Result, SqlState};
use sqlparser::tokenizer::Token;

/// CREATE, ALTER and DROP SEQUENCE.
pub fn statement(cursor: &mut Cursor) -> Result<Definition> {
    if cursor.accept(&["drop", "sequence"]) {
        return drop_relation(cursor, Dropped::Sequence);
    }
    if cursor.accept(&["alter", "sequence"]) {
        let if_exists = cursor.accept(&["if", "exists"]);
        let name = cursor.object_name()?;
        return Ok(Definition::AlterSequence { name, if_exists, action: action(cursor)? });
    }
    cursor.expect(&["create", "sequence"])?;
    let if_not_exists = cursor.accept(&["if", "not", "exists"]);
    let name = cursor.object_name()?;
    Ok(Definition::CreateSequence { name, if_not_exists, options: options(cursor)? })
}

fn action(cursor: &mut Cursor) -> Result<AlterSequence> {
    if cursor.accept(&["rename", "to"]) {
        return cursor.name().map(AlterSequence::Rename);
    }
    if cursor.accept(&["owner", "to"]) {
        return role_name(cursor).map(AlterSequence::Owner);
    }
    if cursor.accept(&["set", "schema"]) {
        return cursor.name().map(AlterSequence::Schema);
    }
    if cursor.is_next(&["set", "logged"]) || cursor.is_next(&["set", "unlogged"]) {
        return Err(cursor.unsupported("SET LOGGED of a sequence"));
    }
    if cursor.accept(&["set"]) {
        return Err(cursor.unexpected());
    }
    match cursor.is_done() {
        true => Err(cursor.unexpected()),
        false => options(cursor).map(AlterSequence::Options),
    }
}

fn options(cursor: &mut Cursor) -> Result<Vec<SequenceOption>> {
    let mut options: Vec<SequenceOption> = Vec::new();
    while !cursor.is_done() {
        let position = cursor.position();
        let setting = setting(cursor)?;
        let kind = std::mem::discriminant(&setting);
        if options.iter().any(|before| std::mem::discriminant(&before.setting) == kind) {
            return Err(Error::new(SqlState::SYNTAX_ERROR, "conflicting or redundant options").at(position));
        }
        options.push(SequenceOption { setting, position });
    }
    Ok(options)
}

fn setting(cursor: &mut Cursor) -> Result<SequenceSetting> {
    if cursor.accept(&["no"]) {
        return match cursor.label()?.as_str() {
            "minvalue" => Ok(SequenceSetting::Min(None)),
            "maxvalue" => Ok(SequenceSetting::Max(None)),
            "cycle" => Ok(SequenceSetting::Cycle(false)),
            _ => {
                cursor.at -= 1;
                Err(cursor.unexpected())
            }
        };
    }
    let start = cursor.at;
    match cursor.label()?.as_str() {
        "as" => sql_type(cursor).map(SequenceSetting::As),
        "increment" => {
            cursor.accept(&["by"]);
            number(cursor).map(SequenceSetting::Increment)
        }
        "minvalue" => number(cursor).map(|value| SequenceSetting::Min(Some(value))),
        "maxvalue" => number(cursor).map(|value| SequenceSetting::Max(Some(value))),
        "start" => {
            cursor.accept(&["with"]);
            number(cursor).map(SequenceSetting::Start)
        }
        "restart" => {
            let with = cursor.accept(&["with"]);
            let is_number = matches!(cursor.peek(0), Some(Token::Number(..) | Token::Minus | Token::Plus));
            let value = if with || is_number { Some(number(cursor)?) } else { None };
            Ok(SequenceSetting::Restart(value))
        }
        "cache" => number(cursor).map(SequenceSetting::Cache),
        "cycle" => Ok(SequenceSetting::Cycle(true)),
        "owned" => {
            cursor.expect(&["by"])?;
            match cursor.accept(&["none"]) {
                true => Ok(SequenceSetting::OwnedByNone),
                false => Err(cursor.unsupported("a sequence owned by a column")),
            }
        }
        _ => {
            cursor.at = start;
            Err(cursor.unexpected())
        }
    }
}

/// A number with its sign. One that is no bigint is refused as PostgreSQL does.
fn number(cursor: &mut Cursor) -> Result<i64> {
    let text = cursor.accept_number().ok_or_else(|| cursor.unexpected())?;
    text.parse().map_err(|_| {
        let message = match text.contains(['.', 'e', 'E']) {
            true => format!("invalid input syntax for type bigint: \"{text}\""),
            false => format!("value \"{text}\" is out of range for type bigint"),
        };
        let code = match text.contains(['.', 'e', 'E']) {
            true => SqlState::INVALID_TEXT_REPRESENTATION,
            false => SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
        };
        Error::new(code, message)
    })
}
