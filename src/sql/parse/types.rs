//! Type names where a definition or PREPARE has them.

use super::cursor::Cursor;
use crate::error::{Error, Result, SqlState};
use crate::sql::bind;
use crate::types::SqlType;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

/// A type with its modifier.
pub fn sql_type(cursor: &mut Cursor) -> Result<SqlType> {
    let position = cursor.position();
    if !matches!(cursor.peek(0), Some(Token::Word(_))) {
        return Err(cursor.unexpected());
    }
    // Only what can belong to a type's name is shown to sqlparser.
    let end = cursor.find_end(|cursor, ahead| match cursor.peek(ahead) {
        Some(Token::Word(word)) if ahead > 0 => {
            !TYPE_WORDS.contains(&word.value.as_str()) && !after_period(cursor, ahead)
        }
        Some(Token::Word(_) | Token::Period) => false,
        _ => true,
    });
    let ty = cursor.read(end, Parser::parse_data_type)?;
    if let Some(Token::LBracket) = cursor.peek(0) {
        return Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, "array types are not supported").at(position));
    }
    bind::sql_type(&ty).map_err(|error| error.at(position))
}

/// Words that follow the first of a type's name.
const TYPE_WORDS: &[&str] = &["precision", "varying", "with", "without", "time", "zone"];

fn after_period(cursor: &Cursor, ahead: usize) -> bool {
    cursor.peek(ahead - 1) == Some(&Token::Period)
}
