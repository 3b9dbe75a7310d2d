//! ALTER TABLE and TRUNCATE.

use super::cursor::Cursor;
use super::table::{cascade, column, role_name, table_constraint};
use super::types::sql_type;
use super::{AlterTable, ColumnName, Definition};
use crate::error::{Error, Result, SqlState};
use sqlparser::tokenizer::Token;

/// What follows ALTER TABLE.
pub fn table(cursor: &mut Cursor) -> Result<Definition> {
    let if_exists = cursor.accept(&["if", "exists"]);
    cursor.accept(&["only"]);
    let name = cursor.object_name()?;
    cursor.accept_token(&Token::Mul);
    // as in PostgreSQL a new name or schema stands alone
    let actions = match alone(cursor)? {
        Some(action) => vec![action],
        None => cursor.list(|cursor| action(cursor, &name.name))?,
    };
    Ok(Definition::AlterTable { name, if_exists, actions })
}

/// `TRUNCATE [TABLE] [ONLY] name [, …] [RESTART IDENTITY | CONTINUE IDENTITY] [CASCADE | RESTRICT]`
pub fn truncate(cursor: &mut Cursor) -> Result<Definition> {
    cursor.expect(&["truncate"])?;
    cursor.accept(&["table"]);
    let names = cursor.list(|cursor| {
        cursor.accept(&["only"]);
        let name = cursor.object_name()?;
        cursor.accept_token(&Token::Mul);
        Ok(name)
    })?;
    let restart = cursor.accept(&["restart", "identity"]);
    if !restart {
        cursor.accept(&["continue", "identity"]);
    }
    Ok(Definition::Truncate { names, restart, cascade: cascade(cursor) })
}

fn alone(cursor: &mut Cursor) -> Result<Option<AlterTable>> {
    if cursor.accept(&["rename"]) {
        return rename(cursor).map(Some);
    }
    if cursor.accept(&["set", "schema"]) {
        return cursor.name().map(|schema| Some(AlterTable::Schema(schema)));
    }
    Ok(None)
}

/// What PostgreSQL's ALTER TABLE also knows.
const OTHER_ACTIONS: [&str; 13] = [
    "set", "reset", "enable", "disable", "cluster", "inherit", "no", "attach", "detach", "validate", "replica",
    "force", "of",
];

fn action(cursor: &mut Cursor, table: &str) -> Result<AlterTable> {
    if cursor.accept(&["add"]) {
        return add(cursor, table);
    }
    if cursor.accept(&["drop", "constraint"]) {
        let if_exists = cursor.accept(&["if", "exists"]);
        let name = cursor.name()?;
        cascade(cursor);
        return Ok(AlterTable::DropConstraint { name, if_exists });
    }
    if cursor.accept(&["drop"]) {
        cursor.accept(&["column"]);
        let if_exists = cursor.accept(&["if", "exists"]);
        let name = cursor.column()?;
        return Ok(AlterTable::DropColumn { name, if_exists, cascade: cascade(cursor) });
    }
    if cursor.accept(&["owner", "to"]) {
        return role_name(cursor).map(AlterTable::Owner);
    }
    if !cursor.accept(&["alter"]) {
        return Err(match cursor.peek(0) {
            Some(Token::Word(word)) if OTHER_ACTIONS.contains(&word.value.as_str()) => {
                cursor.unsupported("this form of ALTER TABLE")
            }
            _ => cursor.unexpected(),
        });
    }
    cursor.accept(&["column"]);
    let name = cursor.column()?;
    alter_column(cursor, name)
}

fn alter_column(cursor: &mut Cursor, name: ColumnName) -> Result<AlterTable> {
    let at_comma = |cursor: &Cursor, ahead: usize| cursor.peek(ahead) == Some(&Token::Comma);
    if cursor.accept(&["set", "default"]) {
        let end = cursor.find_end(at_comma);
        return Ok(AlterTable::Default { name, default: Some(cursor.expression_until(end)?) });
    }
    if cursor.accept(&["drop", "default"]) {
        return Ok(AlterTable::Default { name, default: None });
    }
    if cursor.accept(&["set", "not", "null"]) {
        return Ok(AlterTable::NotNull { name, set: true });
    }
    if cursor.accept(&["drop", "not", "null"]) {
        return Ok(AlterTable::NotNull { name, set: false });
    }
    if cursor.accept(&["type"]) || cursor.accept(&["set", "data", "type"]) {
        let ty = sql_type(cursor).map_err(|error| match error.code() {
            // PostgreSQL looks at it later, without the text
            SqlState::UNDEFINED_OBJECT | SqlState::INVALID_PARAMETER_VALUE => error.nowhere(),
            _ => error,
        })?;
        if cursor.is_next(&["collate"]) {
            return Err(cursor.unsupported("COLLATE"));
        }
        let using = match cursor.accept(&["using"]) {
            true => Some(cursor.expression_until(cursor.find_end(at_comma))?),
            false => None,
        };
        return Ok(AlterTable::Type { name, ty, using });
    }
    Err(other_column_action(cursor))
}

/// What PostgreSQL's ALTER COLUMN also knows after its first word.
const OTHER_COLUMN_SETTINGS: [&str; 14] = [
    "statistics",
    "storage",
    "compression",
    "generated",
    "as",
    "cache",
    "cycle",
    "increment",
    "maxvalue",
    "minvalue",
    "no",
    "owned",
    "start",
    "restart",
];

/// 0A000 for a form of ALTER COLUMN that PostgreSQL has; otherwise it is a syntax error.
fn other_column_action(cursor: &mut Cursor) -> Error {
    const WHAT: &str = "this form of ALTER TABLE … ALTER COLUMN";
    if ["reset", "restart", "options"].iter().any(|word| cursor.is_next(&[word])) {
        return cursor.unsupported(WHAT);
    }
    let forms: [(&str, &[&str]); 3] =
        [("set", &OTHER_COLUMN_SETTINGS), ("drop", &["identity", "expression"]), ("add", &["generated"])];
    let Some((word, others)) = forms.into_iter().find(|(word, _)| cursor.is_next(&[word])) else {
        return cursor.unexpected();
    };
    let is_option_list = word == "set" && cursor.peek(1) == Some(&Token::LParen);
    if is_option_list || others.iter().any(|other| cursor.is_next(&[word, other])) {
        return cursor.unsupported(WHAT);
    }
    cursor.at += 1;
    cursor.unexpected()
}

fn add(cursor: &mut Cursor, table: &str) -> Result<AlterTable> {
    let explicit = cursor.accept(&["column"]);
    if !explicit && let Some(constraint) = table_constraint(cursor)? {
        return Ok(AlterTable::AddConstraint(constraint));
    }
    let if_not_exists = cursor.accept(&["if", "not", "exists"]);
    Ok(AlterTable::AddColumn { column: column(cursor, table)?, if_not_exists })
}

fn rename(cursor: &mut Cursor) -> Result<AlterTable> {
    if cursor.accept(&["to"]) {
        return cursor.name().map(AlterTable::Rename);
    }
    if cursor.accept(&["constraint"]) {
        let name = cursor.name()?;
        cursor.expect(&["to"])?;
        return Ok(AlterTable::RenameConstraint { name, to: cursor.name()? });
    }
    cursor.accept(&["column"]);
    let name = cursor.column()?;
    cursor.expect(&["to"])?;
    Ok(AlterTable::RenameColumn { name, to: cursor.name()? })
}
