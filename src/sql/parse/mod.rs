//! Text to syntax: the PostgreSQL dialect of sqlparser, and the statements of our own from the same tokens.
//!
//! Our own lexer follows PostgreSQL's to the letter and hands sqlparser only those words as keywords that PostgreSQL
//! has; expressions, queries and writes are sqlparser's to read, everything else is read here by hand, so that what is
//! not supported is refused by name and nothing is accepted and ignored.

mod lexer;
mod statement;

pub use statement::*;

use crate::error::{Error, Result};

/// Reads a query string: its statements in order, none for an empty one.
pub fn parse(_text: &str) -> Result<Vec<Parsed>> {
    Err(Error::unsupported("SQL"))
}
