//! COPY: its own grammar, in the present spelling of its options and in the two older ones.

use super::cursor::Cursor;
use super::{ColumnName, ObjectName, Statement};
use crate::error::{Error, Result};
use sqlparser::ast;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

/// COPY … FROM. What its options mean is looked at when it runs, as in PostgreSQL.
#[derive(Clone, Debug)]
pub struct Copy {
    /// The table.
    pub table: ObjectName,
    /// The columns; empty for all.
    pub columns: Vec<ColumnName>,
    /// Where the rows come from.
    pub source: CopySource,
    /// The options in order.
    pub options: Vec<CopyOption>,
    /// WHERE
    pub filter: Option<Box<ast::Expr>>,
}

/// Where the rows of a COPY come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopySource {
    /// STDIN: the client sends them.
    Client,
    /// A file of the server.
    File,
    /// PROGRAM
    Program,
}

/// One option of a COPY.
#[derive(Clone, Debug)]
pub struct CopyOption {
    /// Its name, folded.
    pub name: String,
    /// Its value, if it has one.
    pub value: Option<CopyValue>,
    /// Where it stands.
    pub position: Option<u32>,
}

/// An option's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyValue {
    /// A word or a string.
    Text(String),
    /// A number, as written.
    Number(String),
    /// `*`
    Star,
    /// A list in parentheses.
    List,
}

/// `COPY [BINARY] table [(columns)] FROM STDIN [DELIMITERS ','] [WITH] options [WHERE condition]`
pub fn statement(cursor: &mut Cursor) -> Result<Statement> {
    cursor.expect(&["copy"])?;
    if cursor.peek(0) == Some(&Token::LParen) {
        return Err(to_client(cursor));
    }
    let mut options = Vec::new();
    let position = cursor.position();
    if cursor.is_next(&["binary"]) && !matches!(cursor.peek(1), Some(Token::Period)) && !cursor.is_word_at(1, "from") {
        cursor.at += 1;
        options.push(named("format", CopyValue::Text("binary".to_owned()), position));
    }
    let table = cursor.object_name()?;
    let columns = if cursor.peek(0) == Some(&Token::LParen) { cursor.columns()? } else { Vec::new() };
    if cursor.is_next(&["to"]) {
        return Err(to_client(cursor));
    }
    cursor.expect(&["from"])?;
    let source = source(cursor)?;
    let position = cursor.position();
    let using = cursor.accept(&["using"]);
    if using || cursor.is_next(&["delimiters"]) {
        cursor.expect(&["delimiters"])?;
        options.push(named("delimiter", CopyValue::Text(cursor.string()?), position));
    }
    cursor.accept(&["with"]);
    if cursor.accept_token(&Token::LParen) {
        options.extend(cursor.list(option)?);
        cursor.expect_token(&Token::RParen)?;
    } else {
        while let Some(option) = old_option(cursor)? {
            options.push(option);
        }
    }
    let filter = match cursor.accept(&["where"]) {
        true => Some(Box::new(cursor.read(cursor.end, Parser::parse_expr)?)),
        false => None,
    };
    Ok(Statement::Copy(Box::new(Copy { table, columns, source, options, filter })))
}

fn to_client(cursor: &Cursor) -> Error {
    cursor.unsupported("COPY TO").hint("SELECT gives the rows; COPY … FROM STDIN takes rows.")
}

fn source(cursor: &mut Cursor) -> Result<CopySource> {
    if cursor.accept(&["stdin"]) || cursor.accept(&["stdout"]) {
        return Ok(CopySource::Client);
    }
    let program = cursor.accept(&["program"]);
    cursor.string()?;
    Ok(if program { CopySource::Program } else { CopySource::File })
}

fn named(name: &str, value: CopyValue, position: Option<u32>) -> CopyOption {
    CopyOption { name: name.to_owned(), value: Some(value), position }
}

/// An option within parentheses.
fn option(cursor: &mut Cursor) -> Result<CopyOption> {
    let position = cursor.position();
    let name = cursor.label()?;
    let value = match cursor.peek(0) {
        None | Some(Token::Comma | Token::RParen) => None,
        Some(Token::Mul) => {
            cursor.at += 1;
            Some(CopyValue::Star)
        }
        Some(Token::LParen) => {
            cursor.at += 1;
            cursor.at = cursor.find_end(|_, _| false);
            cursor.expect_token(&Token::RParen)?;
            Some(CopyValue::List)
        }
        Some(Token::SingleQuotedString(_)) => Some(CopyValue::Text(cursor.string()?)),
        _ => match cursor.accept_number() {
            Some(number) => Some(CopyValue::Number(number)),
            None => Some(CopyValue::Text(cursor.label()?)),
        },
    };
    Ok(CopyOption { name, value, position })
}

/// An option in the spelling from before PostgreSQL 9.0.
fn old_option(cursor: &mut Cursor) -> Result<Option<CopyOption>> {
    let position = cursor.position();
    for (word, name) in [("delimiter", "delimiter"), ("null", "null"), ("quote", "quote"), ("escape", "escape")] {
        if cursor.accept(&[word]) {
            cursor.accept(&["as"]);
            return Ok(Some(named(name, CopyValue::Text(cursor.string()?), position)));
        }
    }
    if cursor.accept(&["encoding"]) {
        return Ok(Some(named("encoding", CopyValue::Text(cursor.string()?), position)));
    }
    if cursor.accept(&["binary"]) {
        return Ok(Some(named("format", CopyValue::Text("binary".to_owned()), position)));
    }
    if cursor.accept(&["csv"]) {
        return Ok(Some(named("format", CopyValue::Text("csv".to_owned()), position)));
    }
    for word in ["header", "freeze"] {
        if cursor.accept(&[word]) {
            return Ok(Some(CopyOption { name: word.to_owned(), value: None, position }));
        }
    }
    let forces: [(&[&str], &str); 3] = [
        (&["force", "quote"], "force_quote"),
        (&["force", "not", "null"], "force_not_null"),
        (&["force", "null"], "force_null"),
    ];
    for (words, name) in forces {
        if cursor.accept(words) {
            if !(name == "force_quote" && cursor.accept_token(&Token::Mul)) {
                cursor.list(Cursor::column)?;
            }
            return Ok(Some(named(name, CopyValue::List, position)));
        }
    }
    Ok(None)
}
