//! pg_cancel_backend and pg_terminate_backend: one session stops another's statement, or the session.

use super::calls::{Calls, Settled};
use super::operator::Run;
use crate::activity::{Activity, Sessions};
use crate::error::{Error, Result, SqlState};
use crate::interrupt::Reason;
use crate::types::Value;
use std::sync::Arc;
use std::time::Duration;

/// What is done to a session, as the errors name it.
struct Deed {
    superuser: &'static str,
    member: &'static str,
}

const CANCEL: Deed = Deed {
    superuser: "must be a superuser to cancel superuser query",
    member: "must be a member of the role whose query is being canceled or member of pg_signal_backend",
};

const TERMINATE: Deed = Deed {
    superuser: "must be a superuser to terminate superuser process",
    member: "must be a member of the role whose process is being terminated or member of pg_signal_backend",
};

/// pg_cancel_backend(): false, with a warning, where there is no such session.
pub(super) fn cancel(run: &mut Run, pid: i32) -> Result<Value> {
    let found = find(run, pid, &CANCEL)?;
    if let Some(session) = &found {
        session.interrupt.set(Reason::Cancel);
    }
    Ok(Value::Bool(found.is_some()))
}

/// pg_terminate_backend(): where a time in milliseconds is given, waits so long for the session's end.
pub(super) fn terminate(run: &mut Run, calls: &Calls, pid: i32, timeout: i64) -> Result<Settled<Value>> {
    let now = run.cx.env.monotonic();
    let (until, is_first) = calls.until(now, (timeout as u64).saturating_mul(1_000));
    if is_first {
        let Some(session) = find(run, pid, &TERMINATE)? else { return Ok(Settled::Value(Value::Bool(false))) };
        session.interrupt.set(Reason::Shutdown);
        if timeout == 0 {
            return Ok(Settled::Value(Value::Bool(true)));
        }
    }
    let Some(mut wait) = run.cx.sessions.and_then(|sessions| sessions.wait_for_end(pid)) else {
        return Ok(Settled::Value(Value::Bool(true)));
    };
    let left = until.saturating_sub(now);
    if left == 0 {
        let message = format!("backend with PID {pid} did not terminate within {timeout} milliseconds");
        run.notices.push(Error::warning(SqlState::WARNING, message));
        return Ok(Settled::Value(Value::Bool(false)));
    }
    wait.limit = Some(Duration::from_micros(left));
    Ok(Settled::Wait(wait))
}

/// The session of a process id, which the current role may stop; none, with a warning, where there is none.
///
/// # Errors
/// 42501 for a role without the rights of the session's.
fn find(run: &mut Run, pid: i32, deed: &Deed) -> Result<Option<Arc<Activity>>> {
    let Some(session) = run.cx.sessions.and_then(|sessions: &Sessions| sessions.get(pid)) else {
        let message = format!("PID {pid} is not a PostgreSQL backend process");
        run.notices.push(Error::warning(SqlState::WARNING, message));
        return Ok(None);
    };
    let catalog = run.tx.catalog();
    let own = run.cx.identity.role;
    let is_superuser = |role| catalog.role(role).is_some_and(|role| role.superuser);
    let refuse = |message| Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message));
    match (is_superuser(own), is_superuser(session.role)) {
        (true, _) => Ok(Some(session)),
        (false, true) => refuse(deed.superuser),
        (false, false) if catalog.effective_roles(own).contains(&session.role) => Ok(Some(session)),
        (false, false) => refuse(deed.member),
    }
}
