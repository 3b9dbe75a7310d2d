//! Statements about transactions, settings, prepared statements and channels.

use super::cursor::Cursor;
use super::lexer::whole_identifier;
use super::types::sql_type;
use super::{Channel, Discard, Explain, ExplainFormat, Isolation, Set, Statement, TransactionModes};
use crate::error::{Error, Result, SqlState};
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

/// Statements of PostgreSQL's that are known and refused by name.
const REFUSED: &[&str] = &[
    "analyse",
    "analyze",
    "call",
    "checkpoint",
    "cluster",
    "comment",
    "declare",
    "do",
    "fetch",
    "import",
    "load",
    "merge",
    "move",
    "reassign",
    "refresh",
    "reindex",
    "security",
    "vacuum",
    "storage",
    "export",
];

/// A statement by its first word.
pub fn statement(cursor: &mut Cursor, first: &str) -> Result<Statement> {
    if REFUSED.contains(&first) {
        return Err(cursor.unsupported(first.to_ascii_uppercase()));
    }
    let known = [
        "begin",
        "start",
        "commit",
        "end",
        "rollback",
        "abort",
        "savepoint",
        "release",
        "set",
        "reset",
        "show",
        "discard",
        "prepare",
        "execute",
        "deallocate",
        "close",
        "listen",
        "unlisten",
        "notify",
    ];
    if !known.contains(&first) {
        return Err(cursor.unexpected());
    }
    cursor.at += 1;
    match first {
        "begin" | "start" | "commit" | "end" | "rollback" | "abort" | "savepoint" | "release" => {
            transaction(cursor, first)
        }
        "set" => set(cursor),
        "reset" if cursor.accept(&["all"]) => Ok(Statement::Reset(None)),
        "reset" => Ok(Statement::Reset(Some(setting_name(cursor)?))),
        "show" if cursor.accept(&["all"]) => Ok(Statement::Show(None)),
        "show" => Ok(Statement::Show(Some(setting_name(cursor)?))),
        "discard" => discard(cursor),
        "prepare" => prepare(cursor),
        "execute" => execute(cursor),
        "deallocate" => {
            cursor.accept(&["prepare"]);
            let all = cursor.accept(&["all"]);
            Ok(Statement::Deallocate(if all { None } else { Some(cursor.name()?) }))
        }
        "close" if cursor.accept(&["all"]) => Ok(Statement::Close(None)),
        "close" => Ok(Statement::Close(Some(cursor.name()?))),
        "listen" => Ok(Statement::Listen(channel(cursor)?)),
        "unlisten" if cursor.accept_token(&Token::Mul) => Ok(Statement::Unlisten(None)),
        "unlisten" => Ok(Statement::Unlisten(Some(channel(cursor)?))),
        _ => {
            let channel = channel(cursor)?;
            let payload = if cursor.accept_token(&Token::Comma) { Some(cursor.string()?) } else { None };
            Ok(Statement::Notify { channel, payload })
        }
    }
}

/// A channel's name, whole.
pub fn channel(cursor: &mut Cursor) -> Result<Channel> {
    let (index, position) = (cursor.at, cursor.position());
    cursor.name()?;
    let raw = cursor.text_between(index, index + 1);
    let name = if raw.starts_with("U&") || raw.starts_with("u&") {
        cursor.word_at(index).unwrap_or_default()
    } else {
        whole_identifier(raw)
    };
    Ok(Channel { name, position })
}

fn transaction(cursor: &mut Cursor, first: &str) -> Result<Statement> {
    match first {
        "savepoint" => return Ok(Statement::Savepoint(cursor.name()?)),
        "release" => {
            cursor.accept(&["savepoint"]);
            return Ok(Statement::ReleaseSavepoint(cursor.name()?));
        }
        "start" => {
            cursor.expect(&["transaction"])?;
            return Ok(Statement::Begin { modes: modes(cursor)?, start: true });
        }
        _ => {}
    }
    if matches!(first, "commit" | "rollback") && cursor.is_next(&["prepared"]) {
        return Err(cursor.unsupported("two-phase commit"));
    }
    let _ = cursor.accept(&["work"]) || cursor.accept(&["transaction"]);
    if first == "begin" {
        return Ok(Statement::Begin { modes: modes(cursor)?, start: false });
    }
    if first == "rollback" && cursor.accept(&["to"]) {
        cursor.accept(&["savepoint"]);
        return Ok(Statement::RollbackTo(cursor.name()?));
    }
    let mut chain = false;
    if cursor.accept(&["and"]) {
        chain = !cursor.accept(&["no"]);
        cursor.expect(&["chain"])?;
    }
    Ok(if matches!(first, "commit" | "end") { Statement::Commit { chain } } else { Statement::Rollback { chain } })
}

/// Transaction modes, with or without commas between.
fn modes(cursor: &mut Cursor) -> Result<TransactionModes> {
    let mut modes = TransactionModes::default();
    loop {
        if cursor.accept(&["isolation", "level"]) {
            modes.isolation = Some(isolation(cursor)?);
        } else if cursor.accept(&["read", "only"]) {
            modes.read_only = Some(true);
        } else if cursor.accept(&["read", "write"]) {
            modes.read_only = Some(false);
        } else if cursor.accept(&["deferrable"]) {
            modes.deferrable = Some(true);
        } else if cursor.accept(&["not", "deferrable"]) {
            modes.deferrable = Some(false);
        } else if ["isolation", "read", "not"].iter().any(|word| cursor.is_next(&[word])) {
            cursor.at += 1;
            return Err(cursor.unexpected());
        } else {
            return Ok(modes);
        }
        let comma = cursor.accept_token(&Token::Comma);
        if comma && cursor.is_done() {
            return Err(cursor.unexpected());
        }
    }
}

fn isolation(cursor: &mut Cursor) -> Result<Isolation> {
    if cursor.accept(&["serializable"]) {
        Ok(Isolation::Serializable)
    } else if cursor.accept(&["repeatable", "read"]) {
        Ok(Isolation::RepeatableRead)
    } else if cursor.accept(&["read", "committed"]) {
        Ok(Isolation::ReadCommitted)
    } else if cursor.accept(&["read", "uncommitted"]) {
        Ok(Isolation::ReadUncommitted)
    } else {
        Err(cursor.unexpected())
    }
}

/// A setting where RESET and SHOW name one.
fn setting_name(cursor: &mut Cursor) -> Result<String> {
    if cursor.accept(&["time", "zone"]) {
        return Ok("timezone".to_owned());
    }
    if cursor.accept(&["transaction", "isolation", "level"]) {
        return Ok("transaction_isolation".to_owned());
    }
    if cursor.accept(&["session", "authorization"]) {
        return Ok("session_authorization".to_owned());
    }
    dotted_name(cursor)
}

fn dotted_name(cursor: &mut Cursor) -> Result<String> {
    let mut name = cursor.loose_name()?;
    while cursor.accept_token(&Token::Period) {
        name.push('.');
        name.push_str(&cursor.loose_name()?);
    }
    Ok(name)
}

fn set(cursor: &mut Cursor) -> Result<Statement> {
    if cursor.accept(&["session", "characteristics", "as", "transaction"]) {
        return Ok(Statement::SetCharacteristics(modes(cursor)?));
    }
    if cursor.accept(&["transaction"]) {
        if cursor.is_next(&["snapshot"]) {
            let hint = "Read all that must fit together in one REPEATABLE READ transaction.";
            return Err(cursor.unsupported("SET TRANSACTION SNAPSHOT").hint(hint));
        }
        return Ok(Statement::SetTransaction(modes(cursor)?));
    }
    let local = cursor.accept(&["local"]);
    if !local && !cursor.is_next(&["session", "authorization"]) {
        cursor.accept(&["session"]);
    }
    let set = |name: &str, values| Statement::Set(Set { local, name: name.to_owned(), values });
    if cursor.accept(&["time", "zone"]) {
        let default = cursor.accept(&["default"]) || cursor.accept(&["local"]);
        return Ok(set("timezone", if default { None } else { Some(vec![value(cursor)?]) }));
    }
    if cursor.accept(&["session", "authorization"]) {
        let default = cursor.accept(&["default"]);
        return Ok(set("session_authorization", if default { None } else { Some(vec![value(cursor)?]) }));
    }
    if cursor.is_next(&["role"]) && !matches!(cursor.peek(1), Some(Token::Eq)) && !cursor.is_word_at(1, "to") {
        cursor.at += 1;
        return Ok(set("role", Some(vec![value(cursor)?])));
    }
    if cursor.is_next(&["names"]) && !matches!(cursor.peek(1), Some(Token::Eq)) && !cursor.is_word_at(1, "to") {
        cursor.at += 1;
        let default = cursor.is_done() || cursor.accept(&["default"]);
        return Ok(set("client_encoding", if default { None } else { Some(vec![cursor.string()?]) }));
    }
    if cursor.is_next(&["schema"]) {
        cursor.at += 1;
        return Ok(set("search_path", Some(vec![cursor.string()?])));
    }
    if cursor.is_next(&["constraints"]) || cursor.is_next(&["xml"]) {
        return Err(cursor.unsupported("this form of SET"));
    }
    let name = dotted_name(cursor)?;
    if !cursor.accept(&["to"]) {
        cursor.expect_token(&Token::Eq)?;
    }
    let values = if cursor.accept(&["default"]) { None } else { Some(cursor.list(value)?) };
    Ok(Statement::Set(Set { local, name, values }))
}

/// One value of SET.
fn value(cursor: &mut Cursor) -> Result<String> {
    if let Some(number) = cursor.accept_number() {
        return Ok(number);
    }
    for word in ["true", "false", "on"] {
        if cursor.accept(&[word]) {
            return Ok(word.to_owned());
        }
    }
    match cursor.peek(0) {
        Some(Token::SingleQuotedString(_)) => cursor.string(),
        _ => cursor.loose_name(),
    }
}

fn discard(cursor: &mut Cursor) -> Result<Statement> {
    let kinds = [
        ("all", Discard::All),
        ("plans", Discard::Plans),
        ("sequences", Discard::Sequences),
        ("temp", Discard::Temp),
        ("temporary", Discard::Temp),
    ];
    match kinds.into_iter().find(|(word, _)| cursor.accept(&[word])) {
        Some((_, kind)) => Ok(Statement::Discard(kind)),
        None => Err(cursor.unexpected()),
    }
}

fn prepare(cursor: &mut Cursor) -> Result<Statement> {
    if cursor.is_next(&["transaction"]) {
        return Err(cursor.unsupported("two-phase commit"));
    }
    let name = cursor.name()?;
    let mut types = Vec::new();
    if cursor.accept_token(&Token::LParen) {
        types = cursor.list(sql_type)?;
        cursor.expect_token(&Token::RParen)?;
    }
    cursor.expect(&["as"])?;
    let statement = Box::new(inner(cursor)?);
    Ok(Statement::Prepare { name, types, statement })
}

/// A statement inside PREPARE or EXPLAIN, neither of which takes the other or itself: that is seen before anything
/// recurses into them.
fn inner(cursor: &mut Cursor) -> Result<Statement> {
    let start = cursor.at;
    if cursor.is_next(&["explain"]) || cursor.is_next(&["prepare"]) {
        return Err(cursor.unexpected());
    }
    match super::statement(cursor)? {
        statement @ (Statement::Query(_)
        | Statement::Insert(_)
        | Statement::Update(_)
        | Statement::Delete(_)
        | Statement::Consume(_)
        | Statement::Settle(_)
        | Statement::ExecuteAsUser { .. }) => Ok(statement),
        _ => {
            cursor.at = start;
            Err(cursor.unexpected())
        }
    }
}

fn execute(cursor: &mut Cursor) -> Result<Statement> {
    let name = cursor.name()?;
    let mut arguments = Vec::new();
    if cursor.accept_token(&Token::LParen) {
        let end = cursor.find_end(|_, _| false);
        arguments = cursor.read(end, |parser| parser.parse_comma_separated(Parser::parse_expr))?;
        cursor.expect_token(&Token::RParen)?;
    }
    Ok(Statement::Execute { name, arguments })
}

/// EXPLAIN
pub fn explain(cursor: &mut Cursor) -> Result<Statement> {
    cursor.expect(&["explain"])?;
    let mut options = ExplainOptions::default();
    if cursor.peek(0) == Some(&Token::LParen) && !cursor.is_word_at(1, "select") && !cursor.is_word_at(1, "values") {
        cursor.at += 1;
        cursor.list(|cursor| options.take(cursor))?;
        cursor.expect_token(&Token::RParen)?;
        options.check()?;
    } else {
        options.analyze = cursor.accept(&["analyze"]) || cursor.accept(&["analyse"]);
        if cursor.is_next(&["verbose"]) {
            return Err(cursor.unsupported("EXPLAIN option verbose"));
        }
    }
    let statement = inner(cursor)?;
    Ok(Statement::Explain(Box::new(Explain { analyze: options.analyze, format: options.format, statement })))
}

/// EXPLAIN's options as they are read.
#[derive(Default)]
struct ExplainOptions {
    analyze: bool,
    timing: bool,
    wal: bool,
    format: ExplainFormat,
    /// The first one that is not supported, refused unless something is wrong with them.
    refused: Option<Error>,
}

impl ExplainOptions {
    fn take(&mut self, cursor: &mut Cursor) -> Result<()> {
        let position = cursor.position();
        let name = cursor.label()?;
        let word = match cursor.peek(0) {
            Some(Token::Comma | Token::RParen) => None,
            _ => Some(value(cursor)?.to_ascii_lowercase()),
        };
        match name.as_str() {
            "format" => return self.take_format(word.as_deref(), position),
            "analyze" | "verbose" | "costs" | "timing" | "summary" | "buffers" | "wal" | "settings" => {}
            _ => {
                let message = format!("unrecognized EXPLAIN option \"{name}\"");
                return Err(Error::new(SqlState::SYNTAX_ERROR, message).at(position));
            }
        }
        let on = match word.as_deref() {
            None | Some("true" | "on" | "1") => true,
            Some("false" | "off" | "0") => false,
            Some(_) => {
                let message = format!("{name} requires a Boolean value");
                return Err(Error::new(SqlState::SYNTAX_ERROR, message));
            }
        };
        match name.as_str() {
            "analyze" => self.analyze = on,
            "timing" => self.timing = on,
            "wal" => self.wal = on,
            _ if on => self.refuse(format!("EXPLAIN option {name}"), position),
            _ => {}
        }
        Ok(())
    }

    fn take_format(&mut self, word: Option<&str>, position: Option<u32>) -> Result<()> {
        match word {
            Some("text") => self.format = ExplainFormat::Text,
            Some("json") => self.format = ExplainFormat::Json,
            Some(known @ ("xml" | "yaml")) => self.refuse(format!("EXPLAIN format {known}"), position),
            Some(other) => {
                let message = format!("unrecognized value for EXPLAIN option \"format\": \"{other}\"");
                return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message).at(position));
            }
            None => return Err(Error::new(SqlState::SYNTAX_ERROR, "format requires a parameter")),
        }
        Ok(())
    }

    fn refuse(&mut self, what: String, position: Option<u32>) {
        self.refused.get_or_insert_with(|| Error::unsupported(what).at(position));
    }

    /// What only makes sense together, in PostgreSQL's order.
    fn check(&mut self) -> Result<()> {
        for (on, name) in [(self.wal, "WAL"), (self.timing, "TIMING")] {
            if on && !self.analyze {
                let message = format!("EXPLAIN option {name} requires ANALYZE");
                return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
            }
        }
        self.refused.take().map_or(Ok(()), Err)
    }
}
