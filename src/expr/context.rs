//! What an expression may ask for beside its row.

use super::effect::{Effect, Journal, Pending};
use crate::env::Env;
use crate::error::{Error, Result, SqlState};
use crate::types::{CommitSeq, Oid, Str, Value, Zone};

/// The world of one statement's expressions. Cheap to copy.
#[derive(Clone, Copy)]
pub struct EvalContext<'a> {
    /// Values of `$1`, `$2`, …
    pub params: &'a [Value],
    /// When the transaction began: microseconds since 2000-01-01 (UTC). now() is this.
    pub transaction_time: i64,
    /// When the statement arrived, likewise.
    pub statement_time: i64,
    /// The session's time zone.
    pub zone: &'a Zone,
    /// Who asks.
    pub identity: &'a Identity,
    /// Clock and randomness.
    pub env: &'a dyn Env,
    /// Where SNOWFLAKE_ID() gets its numbers.
    pub ids: &'a dyn IdSource,
    /// The commit position that the statement reads.
    pub current_seq: CommitSeq,
    /// The session's settings.
    pub settings: &'a dyn Settings,
    /// Where pg_notify() goes.
    pub notifier: &'a dyn Notifier,
    /// What volatile functions have given, where the executor does what calls want and evaluates again.
    pub journal: Option<&'a dyn Journal>,
    /// The operand of the innermost CASE with one; `None` everywhere else.
    pub operand: Option<&'a Value>,
}

impl EvalContext<'_> {
    /// Has something done for a call: the error that ends the evaluation.
    pub fn want(&self, effect: Effect) -> Error {
        let name = effect.name();
        match self.journal {
            Some(journal) => {
                journal.want(effect);
                Error::internal(format!("{name} was called and nobody did it"))
            }
            None => Error::unsupported(format!("{name} in this part of a statement"))
                .hint("Call it in a SELECT or in an INSERT, UPDATE or DELETE."),
        }
    }
}

/// Who a session is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// OID of the current role.
    pub role: Oid,
    /// current_user.
    pub role_name: Str,
    /// session_user.
    pub session_role_name: Str,
    /// Whose rows are seen: current_user_id().
    pub user_id: Str,
    /// current_database().
    pub database: Str,
    /// The first schema of the search path: current_schema(); none when no schema of it exists.
    pub schema: Option<Str>,
    /// pg_backend_pid().
    pub pid: i32,
}

/// Gives numbers that never come again.
pub trait IdSource {
    /// The next SNOWFLAKE_ID().
    fn snowflake(&self) -> i64;

    /// nextval() and its kin, where there is a session. Where the caller `waits` it is told what to wait for; otherwise
    /// this thread waits, and the sequence is not locked.
    fn sequence(&self, _call: SequenceCall<'_>, _waits: bool) -> Result<Number> {
        Err(Error::unsupported("a sequence in this expression"))
    }

    /// The transaction has locked a sequence.
    fn sequence_locked(&self, _sequence: Oid) {}

    /// Who keeps a session from the lock that it waits for.
    fn blockers(&self, _pid: i32) -> Vec<i32> {
        Vec::new()
    }

    /// What selecting from a sequence shows: the last number, how many are reserved beyond it, whether it was given out.
    fn sequence_state(&self, _sequence: Oid) -> Result<(i64, i64, bool)> {
        Err(Error::unsupported("a sequence in this expression"))
    }
}

/// A sequence as a call names it.
#[derive(Clone, Copy, Debug)]
pub enum SequenceName<'a> {
    /// By its OID.
    Oid(Oid),
    /// By its name as regclass reads it.
    Text(&'a str),
}

/// What is asked of sequences.
#[derive(Clone, Copy, Debug)]
pub enum SequenceCall<'a> {
    /// nextval()
    Next(SequenceName<'a>),
    /// currval()
    Current(SequenceName<'a>),
    /// lastval()
    Last,
    /// setval()
    Set {
        /// The sequence.
        name: SequenceName<'a>,
        /// Where it is to go on.
        value: i64,
        /// Whether the next number is the one after it.
        is_called: bool,
    },
}

/// What nextval() and its kin give.
pub enum Number {
    /// The number.
    Is(i64),
    /// The transaction must lock this sequence first.
    Unlocked(Oid),
    /// Ask again when this is over.
    Later(Box<dyn Pending>),
    /// The number, once this is over.
    After(i64, Box<dyn Pending>),
}

/// The parts of a name with dots as regclass and its kin read it: folded unless quoted.
///
/// # Errors
/// 42602 where it is no name.
pub fn split_name(text: &str) -> Result<Vec<String>> {
    let invalid = || Error::new(SqlState::INVALID_NAME, "invalid name syntax");
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        let part;
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut name = String::new();
            let mut pieces = quoted.split('"');
            let mut length = 0;
            loop {
                let piece = pieces.next().ok_or_else(invalid)?;
                name.push_str(piece);
                length += piece.len() + 1;
                // a doubled quote is one of the name's
                match quoted[length.min(quoted.len())..].starts_with('"') {
                    true => {
                        name.push('"');
                        pieces.next();
                        length += 1;
                    }
                    false => break,
                }
            }
            part = name;
            rest = quoted.get(length..).ok_or_else(invalid)?;
        } else {
            let end = rest.find('.').unwrap_or(rest.len());
            part = rest[..end].trim().to_lowercase();
            if part.contains(|c: char| c.is_whitespace() || c == '"') {
                return Err(invalid());
            }
            rest = &rest[end..];
        }
        if part.is_empty() {
            return Err(invalid());
        }
        parts.push(part);
        rest = rest.trim_start();
        if rest.is_empty() {
            return Ok(parts);
        }
        rest = rest.strip_prefix('.').ok_or_else(invalid)?.trim_start();
    }
}

/// The session's settings, as current_setting() and set_config() need them.
pub trait Settings {
    /// The value that SHOW shows; none for an unknown name.
    fn get(&self, name: &str) -> Option<String>;
    /// Sets a setting, until the transaction ends when `local`; gives the value that it then has.
    fn set(&self, name: &str, value: &str, local: bool) -> Result<String>;
}

/// Takes notifications, to be sent when the transaction commits.
pub trait Notifier {
    /// Queues one.
    fn notify(&self, channel: &str, payload: &str) -> Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_as_regclass_does() {
        let parts = |text| split_name(text).map(|parts| parts.join("|")).ok();
        assert_eq!(parts("S"), Some("s".to_owned()));
        assert_eq!(parts(" Public . \"A.b\" "), Some("public|A.b".to_owned()));
        assert_eq!(parts("\"a\"\"b\".c"), Some("a\"b|c".to_owned()));
        for wrong in ["", "a.", ".a", "a b", "\"a", "\"a\"b", "a..b"] {
            assert_eq!(parts(wrong), None, "{wrong}");
        }
    }
}
