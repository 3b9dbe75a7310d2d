//! Definitions of indexes.

use super::cursor::Cursor;
use super::table::cascade;
use super::{CreateIndex, Definition, IndexedColumn};
use crate::error::{Error, Result, SqlState};
use sqlparser::tokenizer::Token;

/// Access methods that PostgreSQL has beside btree.
const OTHER_METHODS: [&str; 5] = ["hash", "gist", "spgist", "gin", "brin"];

/// What PostgreSQL's ALTER INDEX knows beside RENAME.
const OTHER_ACTIONS: [&str; 6] = ["set", "reset", "attach", "alter", "depends", "no"];

/// CREATE [UNIQUE] INDEX, ALTER INDEX and DROP INDEX.
pub fn statement(cursor: &mut Cursor) -> Result<Definition> {
    if cursor.accept(&["drop", "index"]) {
        if cursor.is_next(&["concurrently"]) {
            return Err(cursor.unsupported("DROP INDEX CONCURRENTLY").hint("DROP INDEX does it at once."));
        }
        let if_exists = cursor.accept(&["if", "exists"]);
        let names = cursor.list(Cursor::object_name)?;
        return Ok(Definition::DropIndex { names, if_exists, cascade: cascade(cursor) });
    }
    if cursor.accept(&["alter", "index"]) {
        let if_exists = cursor.accept(&["if", "exists"]);
        let name = cursor.object_name()?;
        if OTHER_ACTIONS.iter().any(|word| cursor.is_next(&[word])) {
            return Err(cursor.unsupported("this form of ALTER INDEX"));
        }
        cursor.expect(&["rename", "to"])?;
        return Ok(Definition::RenameIndex { name, if_exists, to: cursor.name()? });
    }
    cursor.expect(&["create"])?;
    let unique = cursor.accept(&["unique"]);
    cursor.expect(&["index"])?;
    create(cursor, unique).map(Definition::CreateIndex)
}

fn create(cursor: &mut Cursor, unique: bool) -> Result<CreateIndex> {
    if cursor.is_next(&["concurrently"]) {
        return Err(cursor
            .unsupported("CREATE INDEX CONCURRENTLY")
            .hint("CREATE INDEX lets others read the table while it is built."));
    }
    let if_not_exists = cursor.accept(&["if", "not", "exists"]);
    let name = if !if_not_exists && cursor.is_next(&["on"]) { None } else { Some(cursor.name()?) };
    cursor.expect(&["on"])?;
    cursor.accept(&["only"]);
    let table = cursor.object_name()?;
    if cursor.accept(&["using"]) {
        method(cursor)?;
    }
    cursor.expect_token(&Token::LParen)?;
    let columns = cursor.list(column)?;
    cursor.expect_token(&Token::RParen)?;
    let clauses = [
        ("include", "an index with INCLUDE"),
        ("nulls", "NULLS NOT DISTINCT"),
        ("with", "a storage parameter of an index"),
        ("tablespace", "TABLESPACE"),
        ("where", "a partial index"),
    ];
    match clauses.iter().find(|(word, _)| cursor.is_next(&[word])) {
        Some((_, what)) => Err(cursor.unsupported(what)),
        None => Ok(CreateIndex { name, if_not_exists, unique, table, columns }),
    }
}

/// After USING: btree, which all indexes are.
fn method(cursor: &mut Cursor) -> Result<()> {
    let position = cursor.position();
    let name = cursor.name()?;
    if name == "btree" {
        return Ok(());
    }
    if OTHER_METHODS.contains(&name.as_str()) {
        return Err(Error::unsupported(format!("access method \"{name}\"")).hint("Indexes are btree.").at(position));
    }
    Err(Error::new(SqlState::UNDEFINED_OBJECT, format!("access method \"{name}\" does not exist")))
}

fn column(cursor: &mut Cursor) -> Result<IndexedColumn> {
    let is_call = cursor.peek(1) == Some(&Token::LParen);
    if cursor.peek(0) == Some(&Token::LParen) || is_call {
        return Err(cursor.unsupported("an index on an expression"));
    }
    let name = cursor.column()?;
    if cursor.is_next(&["collate"]) {
        return Err(cursor.unsupported("COLLATE"));
    }
    let descending = cursor.accept(&["desc"]);
    if !descending {
        cursor.accept(&["asc"]);
    }
    let nulls_first = if cursor.accept(&["nulls", "first"]) {
        true
    } else if cursor.accept(&["nulls", "last"]) {
        false
    } else {
        descending
    };
    match cursor.peek(0) {
        Some(Token::Comma | Token::RParen) => Ok(IndexedColumn { name, descending, nulls_first }),
        Some(Token::Word(_)) => Err(cursor.unsupported("an operator class")),
        _ => Err(cursor.unexpected()),
    }
}
