//! Text to syntax: the PostgreSQL dialect of sqlparser, and the statements of our own from the same tokens.
//!
//! Our own lexer follows PostgreSQL's to the letter and hands sqlparser only those words as keywords that PostgreSQL
//! has; expressions, queries and writes are sqlparser's to read, everything else is read here by hand, so that what is
//! not supported is refused by name and nothing is accepted and ignored.

mod alter;
mod copy;
mod cursor;
mod definition;
mod depth;
mod index;
mod keywords;
mod lexer;
mod literal;
mod lock;
mod locking;
mod role;
mod sequence;
mod session;
mod statement;
mod table;
mod topic;
mod types;

pub use copy::{Copy, CopyOption, CopySource, CopyValue};
pub use definition::*;
pub use locking::{is_weaker_lock, without_mark};
pub use statement::*;
pub use table::Dropped;

use crate::error::{Error, Result, SqlState};
use crate::sql::parse::cursor::Cursor;
use sqlparser::ast;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

/// Reads a query string: its statements in order, none for an empty one. As in PostgreSQL, a mistake in any of them
/// refuses them all.
pub fn parse(text: &str) -> Result<Vec<Parsed>> {
    let mut lexed = lexer::lex(text)?;
    let mut statements = Vec::new();
    let mut start = 0;
    while start < lexed.tokens.len() {
        let rest = lexed.tokens[start..].iter().position(|token| token.token == Token::SemiColon);
        let end = rest.map_or(lexed.tokens.len(), |length| start + length);
        if end > start {
            depth::check(&lexed.tokens[start..end])?;
            let range = lexed.ranges[start].start..lexed.ranges[end - 1].end;
            let mut cursor = Cursor { text, lexed: &mut lexed, at: start, end };
            let statement = statement(&mut cursor)?;
            cursor.expect_end()?;
            let has_whole_names = matches!(
                statement,
                Statement::Listen(_) | Statement::Unlisten(_) | Statement::Notify { .. } | Statement::Subscribe(_)
            );
            let notices = lexed.notices.iter().filter(|(token, _)| !has_whole_names && (start..end).contains(token));
            let notices = notices.map(|(_, notice)| notice.clone()).collect();
            statements.push(Parsed { statement, range, notices });
        }
        start = end + 1;
    }
    Ok(statements)
}

/// One statement, from the cursor to its end.
fn statement(cursor: &mut Cursor) -> Result<Statement> {
    let first = match cursor.peek(0) {
        Some(Token::Word(word)) if word.quote_style.is_none() => word.value.clone(),
        Some(Token::LParen) => return query(cursor),
        _ => return Err(cursor.unexpected()),
    };
    match first.as_str() {
        "select" | "with" | "values" | "table" => query(cursor),
        "insert" | "update" | "delete" => write(cursor),
        "explain" => session::explain(cursor),
        "copy" => copy::statement(cursor),
        "consume" | "ack" | "nack" | "extend" | "subscribe" | "kill" | "clear" => topic::statement(cursor, &first),
        "release" if !release_is_savepoint(cursor) => topic::statement(cursor, &first),
        "reset" if cursor.is_next(&["reset", "consumer", "group"]) => topic::statement(cursor, &first),
        "show" if cursor.accept(&["show", "topics"]) => Ok(Statement::ShowTopics),
        "execute" if cursor.is_next(&["execute", "as"]) => execute_as_user(cursor),
        "create" | "alter" | "drop" => define(cursor),
        "truncate" => alter::truncate(cursor).map(|truncate| Statement::Define(Box::new(truncate))),
        "grant" | "revoke" => role::grant(cursor),
        "lock" => lock::statement(cursor),
        _ => session::statement(cursor, &first),
    }
}

/// RELEASE SAVEPOINT x, or RELEASE x at the end; otherwise it is RELEASE of messages.
fn release_is_savepoint(cursor: &Cursor) -> bool {
    cursor.is_word_at(1, "savepoint") || cursor.peek(2).is_none()
}

fn query(cursor: &mut Cursor) -> Result<Statement> {
    cursor.read(cursor.end, Parser::parse_query).map(Statement::Query)
}

fn write(cursor: &mut Cursor) -> Result<Statement> {
    // Other dialects leave these words out.
    let needed = [("insert", "into"), ("delete", "from")];
    if needed.iter().any(|(verb, word)| cursor.is_next(&[verb]) && !cursor.is_word_at(1, word)) {
        cursor.at += 1;
        return Err(cursor.unexpected());
    }
    let parsed = cursor.read(cursor.end, Parser::parse_statement)?;
    match parsed {
        ast::Statement::Insert(insert) => Ok(Statement::Insert(Box::new(insert))),
        ast::Statement::Update(update) => Ok(Statement::Update(Box::new(update))),
        ast::Statement::Delete(delete) => Ok(Statement::Delete(Box::new(delete))),
        _ => Err(cursor.unexpected()),
    }
}

/// `EXECUTE AS USER 'alice' ( statement )`
fn execute_as_user(cursor: &mut Cursor) -> Result<Statement> {
    cursor.expect(&["execute", "as", "user"])?;
    let user = match cursor.peek(0) {
        Some(Token::SingleQuotedString(_) | Token::Placeholder(_)) => cursor.argument()?,
        _ => return Err(cursor.unexpected()),
    };
    cursor.expect_token(&Token::LParen)?;
    let outer = cursor.end;
    let position = cursor.position();
    cursor.end = cursor.find_end(|_, _| false);
    let inner = statement(cursor)?;
    cursor.expect_end()?;
    cursor.end = outer;
    cursor.expect_token(&Token::RParen)?;
    match inner {
        Statement::Query(_)
        | Statement::Insert(_)
        | Statement::Update(_)
        | Statement::Delete(_)
        | Statement::Explain(_)
        | Statement::Consume(_)
        | Statement::Settle(_)
        | Statement::Subscribe(_) => Ok(Statement::ExecuteAsUser { user: Box::new(user), statement: Box::new(inner) }),
        _ => Err(Error::unsupported("this statement inside EXECUTE AS USER")
            .hint("EXECUTE AS USER takes queries, writes, CONSUME, ACK and SUBSCRIBE.")
            .at(position)),
    }
}

/// CREATE, ALTER and DROP, told apart by the words after them.
fn define(cursor: &mut Cursor) -> Result<Statement> {
    let kind = match cursor.peek(1) {
        Some(Token::Word(word)) if word.quote_style.is_none() => word.value.clone(),
        _ => {
            cursor.at += 1;
            return Err(cursor.unexpected());
        }
    };
    let definition = match kind.as_str() {
        "schema" | "namespace" => table::schema(cursor)?,
        "table" => table::statement(cursor)?,
        "index" | "unique" => index::statement(cursor)?,
        "sequence" => sequence::statement(cursor)?,
        "topic" => topic::definition(cursor)?,
        "role" | "user" => role::statement(cursor)?,
        _ if FOREIGN_KINDS.contains(&kind.as_str()) => return Err(refused_kind(cursor)),
        _ => {
            cursor.at += 1;
            return Err(cursor.unexpected());
        }
    };
    Ok(Statement::Define(Box::new(definition)))
}

/// What PostgreSQL's CREATE, ALTER and DROP also know.
const FOREIGN_KINDS: &[&str] = &[
    "access",
    "aggregate",
    "cast",
    "collation",
    "constraint",
    "conversion",
    "database",
    "default",
    "domain",
    "event",
    "extension",
    "foreign",
    "function",
    "global",
    "group",
    "language",
    "large",
    "local",
    "materialized",
    "operator",
    "or",
    "owned",
    "policy",
    "procedural",
    "procedure",
    "publication",
    "recursive",
    "routine",
    "rule",
    "server",
    "statistics",
    "subscription",
    "system",
    "tablespace",
    "temp",
    "temporary",
    "text",
    "transform",
    "trigger",
    "trusted",
    "type",
    "unlogged",
    "view",
];

fn refused_kind(cursor: &Cursor) -> Error {
    let words = (0..2).filter_map(|ahead| match cursor.peek(ahead) {
        Some(Token::Word(word)) => Some(word.value.to_ascii_uppercase()),
        _ => None,
    });
    let name = words.collect::<Vec<_>>().join(" ");
    Error::new(SqlState::FEATURE_NOT_SUPPORTED, format!("{name} is not supported"))
        .hint("Schemas, tables, sequences, topics and roles can be defined.")
        .at(cursor.position())
}

#[cfg(test)]
mod tests;
