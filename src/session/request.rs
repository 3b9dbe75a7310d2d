//! What a client asks for: the frontend messages that reach a session.

use crate::error::Error;
use crate::types::Oid;
use bytes::Bytes;

/// Text or binary (PostgreSQL manual, 55.2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// 0
    #[default]
    Text,
    /// 1
    Binary,
}

impl Format {
    /// The format of column or parameter `index` in a Bind's list: none means text, one means all.
    pub fn of(formats: &[Format], index: usize) -> Format {
        match formats {
            [] => Format::Text,
            [all] => *all,
            each => each.get(index).copied().unwrap_or_default(),
        }
    }
}

/// One frontend message (PostgreSQL manual, 55.7).
#[derive(Clone, Debug)]
pub enum Request {
    /// Simple query: one or several statements.
    Query(String),
    /// Parse.
    Parse {
        /// Statement name, empty for the unnamed one.
        name: String,
        /// The statement's text.
        sql: String,
        /// Declared parameter types; 0 leaves one to inference.
        types: Vec<Oid>,
    },
    /// Bind.
    Bind {
        /// Portal name, empty for the unnamed one.
        portal: String,
        /// Statement name.
        statement: String,
        /// None: all text; one: for all; else one each.
        parameter_formats: Vec<Format>,
        /// Values; none is NULL.
        parameters: Vec<Option<Bytes>>,
        /// None: all text; one: for all; else one each.
        result_formats: Vec<Format>,
    },
    /// Describe.
    Describe(Target),
    /// Execute.
    Execute {
        /// Portal name.
        portal: String,
        /// Rows at most, 0 for all.
        max_rows: u32,
    },
    /// Close.
    Close(Target),
    /// Flush.
    Flush,
    /// Sync.
    Sync,
    /// No message: the client has been silent for longer than it may.
    Overdue,
    /// A message whose body cannot be read: the error, then ReadyForQuery, or in the extended protocol nothing up to
    /// Sync.
    Malformed {
        /// What is wrong with it.
        error: Error,
        /// Whether it belongs to the extended protocol.
        extended: bool,
    },
    /// A message of the COPY sub-protocol or another that this state does not expect: 08P01.
    Unexpected(u8),
}

/// What Describe and Close are about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `S`
    Statement(String),
    /// `P`
    Portal(String),
}
