//! Statements about topics, consumer groups and live queries.

use super::cursor::Cursor;
use super::session::channel;
use super::table::{options, role_name};
use super::{
    AlterTopic, Channel, Consume, Definition, From, LiveQueryNumber, ResetGroup, Settle, SettleTarget, SettleVerb,
    Statement, Subscribe, TopicSource,
};
use crate::catalog::{Payload, SourceOps};
use crate::error::{Error, Result, SqlState};
use crate::limits::CHANNEL_NAME_BYTES_MAX;
use sqlparser::ast::{Expr, Value};
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, TokenWithSpan};

/// A statement by its first word.
pub fn statement(cursor: &mut Cursor, first: &str) -> Result<Statement> {
    cursor.at += 1;
    match first {
        "consume" => consume(cursor),
        "subscribe" => subscribe(cursor),
        "kill" => {
            cursor.expect(&["live", "query"])?;
            let position = cursor.position();
            Ok(Statement::KillLiveQuery(LiveQueryNumber { text: cursor.string()?, position }))
        }
        "clear" => {
            cursor.expect(&["topic"])?;
            let name = cursor.object_name()?;
            Ok(Statement::Define(Box::new(Definition::ClearTopic(name))))
        }
        "reset" => reset_group(cursor),
        verb => settle(cursor, verb),
    }
}

/// A group: an identifier, a string or a parameter.
fn group(cursor: &mut Cursor) -> Result<Expr> {
    match cursor.peek(0) {
        Some(Token::Word(_)) => {
            let name = cursor.name()?;
            Ok(Expr::Value(Value::SingleQuotedString(name).into()))
        }
        _ => cursor.argument(),
    }
}

fn optional(cursor: &mut Cursor, words: &[&str]) -> Result<Option<Expr>> {
    if cursor.accept(words) { cursor.argument().map(Some) } else { Ok(None) }
}

fn consume(cursor: &mut Cursor) -> Result<Statement> {
    cursor.expect(&["from"])?;
    let topic = cursor.object_name()?;
    let group = if cursor.accept(&["group"]) { Some(group(cursor)?) } else { None };
    let partition = optional(cursor, &["partition"])?;
    let from = if cursor.accept(&["from"]) { Some(place(cursor)?) } else { None };
    let limit = optional(cursor, &["limit"])?;
    let wait = optional(cursor, &["wait"])?;
    let visibility = optional(cursor, &["visibility"])?;
    let position = cursor.position();
    let auto_ack = cursor.accept(&["auto", "ack"]);
    if auto_ack && group.is_none() {
        return Err(Error::new(SqlState::SYNTAX_ERROR, "AUTO ACK requires a GROUP").at(position));
    }
    Ok(Statement::Consume(Box::new(Consume { topic, group, partition, from, limit, wait, visibility, auto_ack })))
}

fn place(cursor: &mut Cursor) -> Result<From> {
    if cursor.accept(&["earliest"]) {
        Ok(From::Earliest)
    } else if cursor.accept(&["latest"]) {
        Ok(From::Latest)
    } else {
        cursor.argument().map(From::Offset)
    }
}

fn settle(cursor: &mut Cursor, verb: &str) -> Result<Statement> {
    let topic = cursor.object_name()?;
    cursor.expect(&["group"])?;
    let group = group(cursor)?;
    let partition = optional(cursor, &["partition"])?;
    let target = if cursor.accept(&["upto", "offset"]) {
        SettleTarget::UpTo(cursor.argument()?)
    } else if cursor.accept(&["offset"]) {
        SettleTarget::Offsets(cursor.list(Cursor::argument)?)
    } else {
        cursor.expect(&["lease"])?;
        SettleTarget::Leases(cursor.list(Cursor::argument)?)
    };
    let verb = match verb {
        "ack" => SettleVerb::Ack,
        "nack" => SettleVerb::Nack { delay: optional(cursor, &["delay"])?, reason: optional(cursor, &["reason"])? },
        "extend" => {
            cursor.expect(&["by"])?;
            SettleVerb::Extend { by: cursor.argument()? }
        }
        _ => SettleVerb::Release,
    };
    Ok(Statement::Settle(Box::new(Settle { verb, topic, group, partition, target })))
}

fn reset_group(cursor: &mut Cursor) -> Result<Statement> {
    cursor.expect(&["consumer", "group"])?;
    let group = group(cursor)?;
    cursor.expect(&["on"])?;
    let topic = cursor.object_name()?;
    cursor.expect(&["to"])?;
    let to = if cursor.accept(&["timestamp"]) { From::Timestamp(cursor.argument()?) } else { place(cursor)? };
    Ok(Statement::ResetGroup(Box::new(ResetGroup { group, topic, to })))
}

fn subscribe(cursor: &mut Cursor) -> Result<Statement> {
    let named = if cursor.accept(&["to"]) {
        None
    } else {
        let channel = channel(cursor)?;
        cursor.expect(&["to"])?;
        Some(channel)
    };
    let (start, position) = (cursor.at, cursor.position());
    let end = cursor.find_end(|cursor, ahead| {
        cursor.is_word_at(ahead, "options") && cursor.peek(ahead + 1) == Some(&Token::LParen)
    });
    if end == start {
        return Err(cursor.unexpected());
    }
    let text = cursor.text_between(start, end).to_owned();
    let channel = named.unwrap_or(Channel { name: text, position });
    if channel.name.len() > CHANNEL_NAME_BYTES_MAX {
        let message = format!("channel name is longer than {CHANNEL_NAME_BYTES_MAX} bytes");
        return Err(Error::new(SqlState::NAME_TOO_LONG, message).at(position));
    }
    let is_query = ["select", "with", "values", "table"].iter().any(|word| cursor.is_next(&[word]));
    let before = if is_query || cursor.peek(0) == Some(&Token::LParen) {
        Vec::new()
    } else {
        let tokens = [Token::make_keyword("SELECT"), Token::Mul, Token::make_keyword("FROM")];
        tokens.into_iter().map(TokenWithSpan::wrap).collect()
    };
    let query = cursor.read_with(before, end, Parser::parse_query)?;
    if cursor.at < end {
        return Err(cursor.unexpected());
    }
    let mut subscribe = Subscribe { channel, query, last_rows: None, batch_size: None, from_seq: None };
    if cursor.accept(&["options"]) {
        cursor.expect_token(&Token::LParen)?;
        cursor.list(|cursor| subscribe_option(cursor, &mut subscribe))?;
        cursor.expect_token(&Token::RParen)?;
    }
    Ok(Statement::Subscribe(Box::new(subscribe)))
}

fn subscribe_option(cursor: &mut Cursor, into: &mut Subscribe) -> Result<()> {
    let position = cursor.position();
    let name = cursor.label()?;
    cursor.expect_token(&Token::Eq)?;
    let value = cursor.argument()?;
    let slot = match name.as_str() {
        "last_rows" => &mut into.last_rows,
        "batch_size" => &mut into.batch_size,
        "from_seq" => &mut into.from_seq,
        _ => {
            let message = format!("unrecognized SUBSCRIBE option \"{name}\"");
            return Err(Error::new(SqlState::SYNTAX_ERROR, message)
                .hint("Options are last_rows, batch_size and from_seq.")
                .at(position));
        }
    };
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::new(SqlState::SYNTAX_ERROR, "conflicting or redundant options").at(position)),
    }
}

/// CREATE, ALTER and DROP TOPIC.
pub fn definition(cursor: &mut Cursor) -> Result<Definition> {
    if cursor.accept(&["drop", "topic"]) {
        return super::table::drop_relation(cursor, super::Dropped::Topic);
    }
    if cursor.accept(&["alter", "topic"]) {
        let name = cursor.object_name()?;
        return Ok(Definition::AlterTopic { name, action: alter(cursor)? });
    }
    cursor.expect(&["create", "topic"])?;
    let if_not_exists = cursor.accept(&["if", "not", "exists"]);
    let name = cursor.object_name()?;
    let partitions = if cursor.accept(&["partitions"]) { Some(cursor.integer()?) } else { None };
    let options = if cursor.accept(&["with"]) { options(cursor)? } else { Vec::new() };
    Ok(Definition::CreateTopic { name, if_not_exists, partitions, options })
}

fn alter(cursor: &mut Cursor) -> Result<AlterTopic> {
    if cursor.accept(&["add", "source"]) {
        return add_source(cursor).map(AlterTopic::AddSource);
    }
    if cursor.accept(&["drop", "source"]) {
        return cursor.object_name().map(AlterTopic::DropSource);
    }
    if cursor.accept(&["set"]) {
        return options(cursor).map(AlterTopic::Set);
    }
    if cursor.accept(&["owner", "to"]) {
        return role_name(cursor).map(AlterTopic::Owner);
    }
    cursor.expect(&["rename", "to"])?;
    cursor.name().map(AlterTopic::Rename)
}

fn add_source(cursor: &mut Cursor) -> Result<TopicSource> {
    let table = cursor.object_name()?;
    cursor.expect(&["on"])?;
    let mut ops = SourceOps::default();
    cursor.list(|cursor| {
        if cursor.accept(&["insert"]) {
            ops.insert = true;
        } else if cursor.accept(&["update"]) {
            ops.update = true;
        } else {
            cursor.expect(&["delete"])?;
            ops.delete = true;
        }
        Ok(())
    })?;
    let mut filter = None;
    if cursor.accept(&["where"]) {
        let end = cursor.find_end(|cursor, ahead| {
            cursor.is_word_at(ahead, "with")
                || (cursor.is_word_at(ahead, "partition") && cursor.is_word_at(ahead + 1, "by"))
        });
        filter = Some(cursor.expression_until(end)?);
    }
    let partition_by = if cursor.accept(&["partition", "by"]) { cursor.columns()? } else { Vec::new() };
    let mut payload = None;
    if cursor.accept(&["with"]) {
        for option in options(cursor)? {
            payload = Some(match (option.name.as_str(), option.value.as_deref()) {
                ("payload", Some("full")) => Payload::Full,
                ("payload", Some("key")) => Payload::Key,
                ("payload", Some("diff")) => Payload::Diff,
                ("payload", _) => {
                    return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, "invalid value for option \"payload\"")
                        .hint("Payloads are full, key and diff.")
                        .at(option.position));
                }
                (name, _) => {
                    let message = format!("unrecognized source option \"{name}\"");
                    return Err(Error::new(SqlState::SYNTAX_ERROR, message).at(option.position));
                }
            });
        }
    }
    Ok(TopicSource { table, ops, filter, partition_by, payload })
}
