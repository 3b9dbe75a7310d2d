//! The executor: a tree of operators that pull rows from one another, one step at a time.
//!
//! Nothing here blocks. A step ends when the rows asked for are out, when its budget is spent, when something must be
//! waited for (a lock, a message, a commit, what a client sends to a COPY), or when the statement is done; calling
//! [`Execution::step`] again goes on where it stopped. Each operator keeps the state for that; rows go through buffers that
//! are used again and again.

mod aggregate;
mod calls;
mod consume;
mod copy;
mod delete;
mod derive;
mod distinct;
mod execution;
mod filter;
mod function;
mod insert;
mod keys;
mod limit;
mod lock_rows;
mod messages;
mod operator;
mod payload;
mod scan;
mod settle;
mod signal;
mod sort;
mod spill;
mod subscribe;
mod system_scan;
mod tag;
mod update;
mod values;
mod write;

pub use copy::CopyInput;
pub use execution::{Execution, too_old};
pub use subscribe::{Opening, check_notify, open_live};
pub use tag::Tag;

use crate::activity::Sessions;
use crate::env::{Env, UnixMicros};
use crate::error::{Error, Result};
use crate::expr::{EvalContext, IdSource, Identity, Notifier, Settings};
use crate::live::Hub;
use crate::types::datetime::from_unix_micros;
use crate::types::{CommitSeq, ScopeId, Value, Zone};
use crate::wait::Wait;

/// What an execution needs of its session.
#[derive(Clone, Copy)]
pub struct ExecContext<'a> {
    /// Who runs it.
    pub identity: &'a Identity,
    /// Whose rows of USER and STREAM tables it sees: the scope of `identity.user_id`.
    pub scope: ScopeId,
    /// The session's time zone.
    pub zone: &'a Zone,
    /// Clock and random numbers.
    pub env: &'a dyn Env,
    /// Where SNOWFLAKE_ID() gets its numbers.
    pub ids: &'a dyn IdSource,
    /// The session's settings.
    pub settings: &'a dyn Settings,
    /// When the client's statement arrived, in Unix microseconds.
    pub statement_time: UnixMicros,
    /// Who listens, for `system.live`; none where there are no sessions.
    pub hub: Option<&'a Hub>,
    /// All sessions; none where there are none.
    pub sessions: Option<&'a Sessions>,
}

impl<'a> ExecContext<'a> {
    /// The world of an expression in a transaction.
    pub fn eval<'e>(
        &self,
        params: &'e [Value],
        transaction_time: UnixMicros,
        current_seq: CommitSeq,
        notifier: &'e dyn Notifier,
    ) -> EvalContext<'e>
    where
        'a: 'e,
    {
        EvalContext {
            params,
            transaction_time: from_unix_micros(transaction_time),
            statement_time: from_unix_micros(self.statement_time),
            zone: self.zone,
            identity: self.identity,
            env: self.env,
            ids: self.ids,
            current_seq,
            settings: self.settings,
            notifier,
            journal: None,
            operand: None,
        }
    }
}

/// How far a step came.
pub enum Step {
    /// The statement is done.
    Done(Tag),
    /// The rows asked for are out and there may be more.
    Suspended,
    /// The budget is spent, or the sink is full; call again.
    Yield,
    /// Something must be waited for; call again when it is over.
    Wait(Wait),
    /// The client must send more; call again when [`Execution::put`] has been given it.
    Input,
}

/// Whether the taker of rows can take more at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkFlow {
    /// Go on.
    More,
    /// This row is taken, but no more for now: the step ends with [`Step::Yield`].
    Full,
}

/// Where result rows go. The row's buffer is used again after the call.
pub trait RowSink {
    /// Takes a row.
    fn row(&mut self, row: &[Value]) -> Result<SinkFlow>;

    /// Takes a notice or a warning.
    fn notice(&mut self, notice: &Error);
}

/// Takes no notifications: for expressions that are evaluated outside of a statement.
pub struct NoNotifier;

impl Notifier for NoNotifier {
    fn notify(&self, _channel: &str, _payload: &str) -> Result<()> {
        Err(Error::unsupported("pg_notify outside of a statement"))
    }
}

impl RowSink for Vec<Vec<Value>> {
    fn row(&mut self, row: &[Value]) -> Result<SinkFlow> {
        self.push(row.to_vec());
        Ok(SinkFlow::More)
    }

    /// Only rows are collected here.
    fn notice(&mut self, _notice: &Error) {}
}
