//! Definitions of schemas and tables.

use super::cursor::Cursor;
use super::types::sql_type;
use super::{
    ColumnDefinition, ColumnName, Constraint, ConstraintKind, CreateTable, Definition, ObjectName, Opt, RoleName, alter,
};
use crate::error::{Error, Result, SqlState};
use sqlparser::tokenizer::Token;

/// A role where one is named.
pub fn role_name(cursor: &mut Cursor) -> Result<RoleName> {
    let position = cursor.position();
    if cursor.accept(&["current_user"]) || cursor.accept(&["current_role"]) {
        return Ok(RoleName::Current);
    }
    if cursor.accept(&["session_user"]) {
        return Ok(RoleName::Session);
    }
    let is_plain = cursor.is_next(&["public"]) || cursor.is_next(&["none"]);
    let name = cursor.loose_name()?;
    match name.as_str() {
        "public" if is_plain => Ok(RoleName::Public),
        "none" => Err(Error::new(SqlState::RESERVED_NAME, "role name \"none\" is reserved").at(position)),
        _ => Ok(RoleName::Named(name, position)),
    }
}

/// `( name [= value], … )`
pub fn options(cursor: &mut Cursor) -> Result<Vec<Opt>> {
    cursor.expect_token(&Token::LParen)?;
    let options = cursor.list(|cursor| {
        let position = cursor.position();
        let mut name = cursor.label()?;
        while cursor.accept_token(&Token::Period) {
            name = format!("{name}.{}", cursor.label()?);
        }
        let value = if cursor.accept_token(&Token::Eq) { Some(option_value(cursor)?) } else { None };
        Ok(Opt { name, value, position })
    })?;
    cursor.expect_token(&Token::RParen)?;
    Ok(options)
}

fn option_value(cursor: &mut Cursor) -> Result<String> {
    if let Some(number) = cursor.accept_number() {
        return Ok(number);
    }
    match cursor.peek(0) {
        Some(Token::SingleQuotedString(_)) => cursor.string(),
        _ => {
            let mut value = cursor.label()?;
            while cursor.accept_token(&Token::Period) {
                value = format!("{value}.{}", cursor.label()?);
            }
            Ok(value)
        }
    }
}

/// CASCADE, or RESTRICT, which need not be said.
pub fn cascade(cursor: &mut Cursor) -> bool {
    let cascade = cursor.accept(&["cascade"]);
    if !cascade {
        cursor.accept(&["restrict"]);
    }
    cascade
}

/// CREATE, ALTER and DROP SCHEMA or NAMESPACE.
pub fn schema(cursor: &mut Cursor) -> Result<Definition> {
    let is_create = cursor.is_next(&["create"]);
    let is_alter = cursor.is_next(&["alter"]);
    cursor.at += 2;
    if is_create {
        let if_not_exists = cursor.accept(&["if", "not", "exists"]);
        let name = if cursor.is_next(&["authorization"]) { None } else { Some(cursor.name()?) };
        let authorization = if cursor.accept(&["authorization"]) { Some(role_name(cursor)?) } else { None };
        if !cursor.is_done() && (cursor.is_next(&["create"]) || cursor.is_next(&["grant"])) {
            return Err(cursor.unsupported("CREATE SCHEMA with elements"));
        }
        return Ok(Definition::CreateSchema { name, if_not_exists, authorization });
    }
    if is_alter {
        let name = cursor.name()?;
        if cursor.accept(&["owner", "to"]) {
            return Ok(Definition::SchemaOwner { name, owner: role_name(cursor)? });
        }
        cursor.expect(&["rename", "to"])?;
        return Ok(Definition::RenameSchema { name, to: cursor.name()? });
    }
    let if_exists = cursor.accept(&["if", "exists"]);
    let names = cursor.list(Cursor::name)?;
    Ok(Definition::DropSchema { names, if_exists, cascade: cascade(cursor) })
}

/// What DROP removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// DROP TABLE
    Table,
    /// DROP TOPIC
    Topic,
    /// DROP SEQUENCE
    Sequence,
}

/// What follows DROP TABLE, DROP TOPIC or DROP SEQUENCE.
pub fn drop_relation(cursor: &mut Cursor, kind: Dropped) -> Result<Definition> {
    let if_exists = cursor.accept(&["if", "exists"]);
    let names = cursor.list(|cursor| {
        cursor.object_name().map_err(|error| match error.code() {
            // PostgreSQL makes such a name of a list of words, which has no place
            SqlState::FEATURE_NOT_SUPPORTED => error.nowhere(),
            _ => error,
        })
    })?;
    Ok(Definition::DropRelation { kind, names, if_exists, cascade: cascade(cursor) })
}

/// CREATE, ALTER and DROP TABLE.
pub fn statement(cursor: &mut Cursor) -> Result<Definition> {
    if cursor.accept(&["drop", "table"]) {
        return drop_relation(cursor, Dropped::Table);
    }
    if cursor.accept(&["alter", "table"]) {
        return alter::table(cursor);
    }
    cursor.expect(&["create", "table"])?;
    create(cursor).map(Definition::CreateTable)
}

fn create(cursor: &mut Cursor) -> Result<CreateTable> {
    let if_not_exists = cursor.accept(&["if", "not", "exists"]);
    let name = cursor.object_name()?;
    if cursor.is_next(&["as"]) {
        return Err(cursor.unsupported("CREATE TABLE AS"));
    }
    if cursor.is_next(&["partition", "of"]) || cursor.is_next(&["of"]) {
        return Err(cursor.unsupported("this form of CREATE TABLE"));
    }
    cursor.expect_token(&Token::LParen)?;
    let (mut columns, mut constraints) = (Vec::new(), Vec::new());
    if cursor.peek(0) != Some(&Token::RParen) {
        cursor.list(|cursor| {
            if cursor.is_next(&["like"]) {
                return Err(cursor.unsupported("CREATE TABLE with LIKE"));
            }
            match table_constraint(cursor)? {
                Some(constraint) => constraints.push(constraint),
                None => columns.push(column(cursor, &name.name)?),
            }
            Ok(())
        })?;
    }
    cursor.expect_token(&Token::RParen)?;
    for (words, what) in
        [(["inherits"], "INHERITS"), (["partition"], "PARTITION BY"), (["using"], "a table access method")]
    {
        if cursor.is_next(&words) {
            return Err(cursor.unsupported(what));
        }
    }
    let options = if cursor.accept(&["with"]) { options(cursor)? } else { Vec::new() };
    if cursor.is_next(&["on"]) || cursor.is_next(&["tablespace"]) || cursor.is_next(&["as"]) {
        return Err(cursor.unsupported("this form of CREATE TABLE"));
    }
    Ok(CreateTable { name, if_not_exists, columns, constraints, options })
}

fn constraint_name(cursor: &mut Cursor) -> Result<Option<String>> {
    if cursor.accept(&["constraint"]) { cursor.name().map(Some) } else { Ok(None) }
}

pub(super) fn table_constraint(cursor: &mut Cursor) -> Result<Option<Constraint>> {
    let position = cursor.position();
    let name = constraint_name(cursor)?;
    let kind = if cursor.accept(&["primary", "key"]) {
        refuse_using(cursor)?;
        ConstraintKind::PrimaryKey(cursor.columns()?)
    } else if cursor.accept(&["unique"]) {
        refuse_using(cursor)?;
        ConstraintKind::Unique(cursor.columns()?)
    } else if cursor.accept(&["check"]) {
        ConstraintKind::Check(cursor.expression_in_parentheses()?)
    } else if cursor.is_next(&["foreign", "key"]) {
        return Err(cursor.unsupported("a foreign key"));
    } else if cursor.is_next(&["exclude"]) {
        return Err(cursor.unsupported("an exclusion constraint"));
    } else if name.is_some() {
        return Err(cursor.unexpected());
    } else {
        return Ok(None);
    };
    refuse_attributes(cursor)?;
    Ok(Some(Constraint { name, position, kind }))
}

fn refuse_using(cursor: &Cursor) -> Result<()> {
    match cursor.is_next(&["using"]) || cursor.is_next(&["nulls"]) {
        true => Err(cursor.unsupported("this form of a key")),
        false => Ok(()),
    }
}

fn refuse_attributes(cursor: &Cursor) -> Result<()> {
    let refused: [&[&str]; 8] = [
        &["deferrable"],
        &["not", "deferrable"],
        &["initially"],
        &["not", "valid"],
        &["no", "inherit"],
        &["include"],
        &["using"],
        &["with"],
    ];
    match refused.iter().find(|words| cursor.is_next(words)) {
        Some(words) => Err(cursor.unsupported(format!("{} on a constraint", words.join(" ").to_ascii_uppercase()))),
        None => Ok(()),
    }
}

pub(super) fn column(cursor: &mut Cursor, table: &str) -> Result<ColumnDefinition> {
    let ColumnName { name, position } = cursor.column()?;
    let ty = sql_type(cursor)?;
    let mut column = ColumnDefinition { name, position, ty, not_null: None, default: None, constraints: Vec::new() };
    while column_constraint(cursor, &mut column, table)? {}
    Ok(column)
}

fn column_constraint(cursor: &mut Cursor, column: &mut ColumnDefinition, table: &str) -> Result<bool> {
    let position = cursor.position();
    let name = constraint_name(cursor)?;
    let own = || vec![ColumnName { name: column.name.clone(), position: column.position }];
    let kind = if cursor.accept(&["not", "null"]) {
        return not_null(column, true, table, position);
    } else if cursor.accept(&["null"]) {
        return not_null(column, false, table, position);
    } else if cursor.accept(&["default"]) {
        if column.default.is_some() {
            let message =
                format!("multiple default values specified for column \"{}\" of table \"{table}\"", column.name);
            return Err(Error::new(SqlState::SYNTAX_ERROR, message).at(position));
        }
        let end = cursor.find_end(ends_default);
        column.default = Some(cursor.expression_until(end)?);
        return Ok(true);
    } else if cursor.accept(&["primary", "key"]) {
        ConstraintKind::PrimaryKey(own())
    } else if cursor.accept(&["unique"]) {
        ConstraintKind::Unique(own())
    } else if cursor.accept(&["check"]) {
        ConstraintKind::Check(cursor.expression_in_parentheses()?)
    } else if cursor.is_next(&["references"]) {
        return Err(cursor.unsupported("a foreign key"));
    } else if cursor.is_next(&["generated"]) {
        return Err(cursor.unsupported("a generated column"));
    } else if cursor.is_next(&["collate"]) {
        return Err(cursor.unsupported("COLLATE"));
    } else if name.is_some() {
        return Err(cursor.unexpected());
    } else {
        return Ok(false);
    };
    refuse_attributes(cursor)?;
    column.constraints.push(Constraint { name, position, kind });
    Ok(true)
}

fn not_null(column: &mut ColumnDefinition, set: bool, table: &str, position: Option<u32>) -> Result<bool> {
    if column.not_null.is_some_and(|before| before != set) {
        let message =
            format!("conflicting NULL/NOT NULL declarations for column \"{}\" of table \"{table}\"", column.name);
        return Err(Error::new(SqlState::SYNTAX_ERROR, message).at(position));
    }
    column.not_null = Some(set);
    Ok(true)
}

/// Where a DEFAULT's expression ends: at a comma or at the next constraint.
fn ends_default(cursor: &Cursor, ahead: usize) -> bool {
    const WORDS: [&str; 9] =
        ["constraint", "primary", "unique", "check", "references", "generated", "default", "collate", "null"];
    let after_operand = ahead > 0 && !matches!(cursor.peek(ahead - 1), Some(Token::Eq | Token::Neq));
    match cursor.peek(ahead) {
        Some(Token::Comma) => true,
        Some(Token::Word(word)) if ahead > 0 && word.quote_style.is_none() => {
            (WORDS.contains(&word.value.as_str()) && after_operand)
                || (word.value == "not" && cursor.is_word_at(ahead + 1, "null"))
        }
        _ => false,
    }
}

/// Names of relations in a GRANT.
pub fn relation_names(cursor: &mut Cursor) -> Result<Vec<ObjectName>> {
    cursor.list(Cursor::object_name)
}
