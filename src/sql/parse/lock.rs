//! LOCK TABLE.

use super::cursor::Cursor;
use super::{LockTables, Statement};
use crate::error::Result;
use crate::txn::LockMode;
use sqlparser::tokenizer::Token;

/// `LOCK [TABLE] [ONLY] name [*], … [IN mode MODE] [NOWAIT]`
pub fn statement(cursor: &mut Cursor) -> Result<Statement> {
    cursor.expect(&["lock"])?;
    cursor.accept(&["table"]);
    let names = cursor.list(|cursor| {
        let only = cursor.accept(&["only"]);
        let in_parentheses = only && cursor.accept_token(&Token::LParen);
        let name = cursor.object_name()?;
        if in_parentheses {
            cursor.expect_token(&Token::RParen)?;
        }
        if !only {
            cursor.accept_token(&Token::Mul);
        }
        Ok(name)
    })?;
    let mode = if cursor.accept(&["in"]) { mode(cursor)? } else { LockMode::AccessExclusive };
    let nowait = cursor.accept(&["nowait"]);
    Ok(Statement::LockTables(LockTables { names, mode, nowait }))
}

/// The modes as LOCK TABLE spells them; of two that begin alike the longer first.
const MODES: [(&[&str], LockMode); 8] = [
    (&["access", "share"], LockMode::AccessShare),
    (&["access", "exclusive"], LockMode::AccessExclusive),
    (&["row", "share"], LockMode::RowShare),
    (&["row", "exclusive"], LockMode::RowExclusive),
    (&["share", "update", "exclusive"], LockMode::ShareUpdateExclusive),
    (&["share", "row", "exclusive"], LockMode::ShareRowExclusive),
    (&["share"], LockMode::Share),
    (&["exclusive"], LockMode::Exclusive),
];

fn mode(cursor: &mut Cursor) -> Result<LockMode> {
    for (words, mode) in MODES {
        let whole = [words, &["mode"]].concat();
        if cursor.accept(&whole) {
            return Ok(mode);
        }
    }
    // the error is at the first word that leads to none of them
    while MODES.iter().any(|(words, _)| words.iter().any(|word| cursor.is_next(&[word]))) {
        cursor.at += 1;
    }
    Err(cursor.unexpected())
}
