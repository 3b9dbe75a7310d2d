//! What an expression may ask for beside its row.

use crate::env::Env;
use crate::error::Result;
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
    /// The operand of the innermost CASE with one; `None` everywhere else.
    pub operand: Option<&'a Value>,
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
