//! Calls within expressions that the executor carries out: advisory locks, which may have to wait.
//!
//! An expression is evaluated as if nothing in it waited. A call whose result is not known yet ends it; the executor
//! carries the call out, waiting as long as it takes, writes down what came of it, and evaluates the expression of the
//! same row again, which finds the results in the order in which they came. Nothing is done twice.

use super::operator::Run;
use crate::error::{Error, Result, SqlState};
use crate::expr::{AdvisoryCall, AdvisoryNumber, AdvisoryVerb, EvalContext, Expr};
use crate::txn::{AdvisoryKey, AdvisoryLevel, LockMode, LockPolicy, Locked};
use crate::types::Value;
use crate::wait::Wait;
use parking_lot::Mutex;

/// What was called in the expressions of the current row.
#[derive(Default)]
pub(super) struct Calls(Mutex<Journal>);

#[derive(Default)]
struct Journal {
    done: Vec<(AdvisoryCall, Value)>,
    /// How many of them this evaluation has found.
    found: usize,
    /// The call that ended it.
    wanted: Option<AdvisoryCall>,
}

impl Calls {
    /// The result of a call; the error that ends the evaluation where it is not known yet. Where nobody carries it out
    /// that error is the statement's.
    pub(super) fn result(&self, call: AdvisoryCall) -> Result<Value> {
        let mut journal = self.0.lock();
        let at = journal.found;
        if let Some((done, value)) = journal.done.get(at)
            && *done == call
        {
            let value = value.clone();
            journal.found += 1;
            return Ok(value);
        }
        journal.done.truncate(at);
        journal.wanted = Some(call);
        Err(Error::unsupported("an advisory lock in this part of a statement")
            .hint("Lock in the select list or in the WHERE clause of a SELECT."))
    }

    fn begin(&self) {
        self.0.lock().found = 0;
    }
}

/// The value of an expression, or what must be waited for first.
pub(super) enum Settled<T> {
    Value(T),
    Wait(Wait),
}

/// Whether expressions have calls that the executor carries out.
pub(super) fn has_calls<'e>(exprs: impl IntoIterator<Item = &'e Expr>) -> bool {
    exprs.into_iter().any(Expr::has_effects)
}

/// Evaluates expressions of one row. After a wait it is called again for the same row.
pub(super) fn settle<T>(run: &mut Run, evaluate: impl Fn(&EvalContext) -> Result<T>) -> Result<Settled<T>> {
    loop {
        run.calls.begin();
        match evaluate(run.eval) {
            Ok(value) => {
                *run.calls.0.lock() = Journal::default();
                return Ok(Settled::Value(value));
            }
            Err(error) => {
                let wanted = run.calls.0.lock().wanted.take();
                let Some(call) = wanted else { return Err(error) };
                match carry_out(run, call)? {
                    Settled::Value(value) => run.calls.0.lock().done.push((call, value)),
                    Settled::Wait(wait) => return Ok(Settled::Wait(wait)),
                }
            }
        }
    }
}

fn carry_out(run: &mut Run, call: AdvisoryCall) -> Result<Settled<Value>> {
    let key = match call.number {
        AdvisoryNumber::One(key) => AdvisoryKey::of_bigint(key),
        AdvisoryNumber::Two(first, second) => AdvisoryKey::of_pair(first, second),
    };
    let mode = if call.shared { LockMode::Share } else { LockMode::Exclusive };
    let level = if call.session { AdvisoryLevel::Session } else { AdvisoryLevel::Transaction };
    let pid = run.tx.options().pid;
    // void's text form is empty, but the value is not NULL
    let void = || Value::text("");
    Ok(Settled::Value(match call.verb {
        AdvisoryVerb::Lock => match run.tx.lock_advisory(key, mode, level, LockPolicy::Wait)? {
            Locked::Granted => void(),
            Locked::Wait(wait) => return Ok(Settled::Wait(wait)),
            Locked::NotAvailable => return Err(Error::internal("a lock that was to be waited for")),
        },
        AdvisoryVerb::Try => {
            let locked = run.tx.lock_advisory(key, mode, level, LockPolicy::NoWait)?;
            Value::Bool(matches!(locked, Locked::Granted))
        }
        AdvisoryVerb::Unlock => {
            let held = run.tx.engine().unlock_advisory(pid, key, mode);
            if !held {
                let message = format!("you don't own a lock of type {}", mode.name());
                run.notices.push(Error::warning(SqlState::WARNING, message));
            }
            Value::Bool(held)
        }
        AdvisoryVerb::UnlockAll => {
            run.tx.engine().unlock_session(pid);
            void()
        }
    }))
}
