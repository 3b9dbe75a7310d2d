//! Command tags: what CommandComplete says.

use crate::sql::plan::Command;
use std::fmt;

/// The tag of a statement that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// `SELECT n`
    Select(u64),
    /// `INSERT 0 n`
    Insert(u64),
    /// `UPDATE n`
    Update(u64),
    /// `DELETE n`
    Delete(u64),
    /// A tag without a count, for example `EXPLAIN`.
    Plain(&'static str),
    /// Any other tag with a count, for example `ACK 3`.
    Counted(&'static str, u64),
}

impl Tag {
    /// The tag of a plan's statement that returned or wrote `count` rows.
    pub fn of(command: Command, count: u64) -> Tag {
        match command {
            Command::Select => Tag::Select(count),
            Command::Insert => Tag::Insert(count),
            Command::Update => Tag::Update(count),
            Command::Delete => Tag::Delete(count),
            Command::Copy => Tag::Counted("COPY", count),
            Command::Consume => Tag::Select(count),
            Command::Settle(name) => Tag::Counted(name, count),
            Command::ResetGroup => Tag::Plain("RESET"),
            Command::ShowTopics => Tag::Plain("SHOW"),
            Command::Explain => Tag::Plain("EXPLAIN"),
        }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tag::Select(count) => write!(f, "SELECT {count}"),
            Tag::Insert(count) => write!(f, "INSERT 0 {count}"),
            Tag::Update(count) => write!(f, "UPDATE {count}"),
            Tag::Delete(count) => write!(f, "DELETE {count}"),
            Tag::Plain(name) => f.write_str(name),
            Tag::Counted(name, count) => write!(f, "{name} {count}"),
        }
    }
}
