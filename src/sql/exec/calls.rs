//! Calls within expressions that the executor carries out: what may have to wait, and what is done to other sessions.
//!
//! A call that cannot be answered yet ends its expressions' evaluation. The executor does what it wants, waiting as long
//! as it takes, and evaluates the expressions of the same row again, with what came of it and of all volatile calls
//! before it, in the order in which they came. Nothing is done twice, in whatever part of a statement it stands.

use super::operator::Run;
use super::signal::{cancel, terminate};
use crate::activity::Awaited;
use crate::error::{Error, Result, SqlState};
use crate::expr::{AdvisoryCall, AdvisoryNumber, AdvisoryVerb, Effect, EvalContext, Journal, Pending};
use crate::txn::{AdvisoryKey, AdvisoryLevel, LockKey, LockMode, LockPolicy, Locked};
use crate::types::{Oid, Value};
use crate::wait::Wait;
use std::cell::{Cell, RefCell};
use std::time::Duration;

/// What was called in the expressions of the current row.
#[derive(Default)]
pub(super) struct Calls {
    given: RefCell<Vec<(Oid, Value)>>,
    /// How many of them this evaluation has found.
    found: Cell<usize>,
    /// The function whose call comes now.
    asked: Cell<Oid>,
    /// What ended the evaluation.
    wanted: RefCell<Option<Effect>>,
    /// Until when the call that ended it is waited for, on the monotonic clock; none where its wait has not begun.
    until: Cell<Option<u64>>,
    /// What is waited for.
    awaited: Cell<Option<Awaited>>,
    /// What must be over, and well, before the expressions are evaluated again.
    pending: RefCell<Option<Box<dyn Pending>>>,
}

impl Journal for Calls {
    fn given(&self, function: Oid) -> Option<Value> {
        self.asked.set(function);
        let mut given = self.given.borrow_mut();
        let at = self.found.get();
        match given.get(at) {
            Some((of, value)) if *of == function => {
                self.found.set(at + 1);
                Some(value.clone())
            }
            _ => {
                given.truncate(at);
                None
            }
        }
    }

    fn note(&self, function: Oid, value: &Value) {
        self.given.borrow_mut().push((function, value.clone()));
        self.found.set(self.found.get() + 1);
    }

    fn want(&self, effect: Effect) {
        *self.wanted.borrow_mut() = Some(effect);
    }
}

impl Calls {
    /// The expressions of the row have their values: the next ones are others.
    fn clear(&self) {
        self.given.borrow_mut().clear();
        self.until.set(None);
        self.awaited.set(None);
    }

    /// The result of the call that ended the evaluation.
    fn give(&self, value: Value) {
        self.given.borrow_mut().push((self.asked.get(), value));
    }

    /// The wait for what is pending; none once that is over.
    ///
    /// # Errors
    /// What it failed with.
    fn poll_pending(&self) -> Result<Option<Wait>> {
        let Some(pending) = self.pending.take() else { return Ok(None) };
        let wait = pending.poll()?;
        if wait.is_some() {
            self.pending.replace(Some(pending));
        }
        Ok(wait)
    }

    /// What is waited for, where it is for a call.
    pub(super) fn awaited(&self) -> Option<Awaited> {
        self.awaited.get()
    }

    /// The end of a wait of so many microseconds that begins with the first question, and whether this is it.
    pub(super) fn until(&self, now: u64, micros: u64) -> (u64, bool) {
        match self.until.get() {
            Some(until) => (until, false),
            None => {
                let until = now.saturating_add(micros);
                self.until.set(Some(until));
                (until, true)
            }
        }
    }
}

/// The value of an expression, or what must be waited for first.
pub(super) enum Settled<T> {
    Value(T),
    Wait(Wait),
}

/// Passes on a wait.
macro_rules! settled {
    ($settled:expr) => {
        match $settled? {
            $crate::sql::exec::calls::Settled::Value(value) => value,
            $crate::sql::exec::calls::Settled::Wait(wait) => {
                return Ok($crate::sql::exec::operator::Pull::Wait(wait));
            }
        }
    };
}
pub(super) use settled;

/// Evaluates expressions of one row. After a wait it is called again for the same row, before any other.
pub(super) fn settle<T>(run: &mut Run, mut evaluate: impl FnMut(&EvalContext) -> Result<T>) -> Result<Settled<T>> {
    let Some(calls) = run.calls else { return evaluate(run.eval).map(Settled::Value) };
    loop {
        if let Some(wait) = calls.poll_pending()? {
            calls.awaited.set(Some(Awaited::LogSync));
            return Ok(Settled::Wait(wait));
        }
        calls.found.set(0);
        match evaluate(&EvalContext { journal: Some(calls), ..*run.eval }) {
            Ok(value) => {
                calls.clear();
                return Ok(Settled::Value(value));
            }
            Err(error) => {
                let wanted = calls.wanted.borrow_mut().take();
                let Some(effect) = wanted else { return Err(error) };
                match carry_out(run, calls, effect)? {
                    None => calls.until.set(None),
                    Some((wait, awaited)) => {
                        calls.awaited.set(Some(awaited));
                        return Ok(Settled::Wait(wait));
                    }
                }
            }
        }
    }
}

/// Does what a call wants; a wait where that takes longer.
fn carry_out(run: &mut Run, calls: &Calls, effect: Effect) -> Result<Option<(Wait, Awaited)>> {
    match effect {
        Effect::Advisory(call) => match advisory(run, call)? {
            Settled::Value(value) => calls.give(value),
            Settled::Wait(wait) => return Ok(Some((wait, Awaited::Lock))),
        },
        Effect::Sleep(micros) => {
            let now = run.cx.env.monotonic();
            let left = calls.until(now, micros).0.saturating_sub(now);
            if left > 0 {
                return Ok(Some((Wait::for_time(Duration::from_micros(left)), Awaited::Sleep)));
            }
            calls.give(void());
        }
        Effect::Cancel(pid) => calls.give(cancel(run, pid)?),
        Effect::Terminate(pid, timeout) => match terminate(run, calls, pid, timeout)? {
            Settled::Value(value) => calls.give(value),
            Settled::Wait(wait) => return Ok(Some((wait, Awaited::Termination))),
        },
        Effect::LockSequence(sequence) => return lock_sequence(run, sequence),
        Effect::Await(pending, value) => {
            // what the call gives stands before the wait: it is not made again
            value.into_iter().for_each(|value| calls.give(value));
            calls.pending.replace(Some(pending));
        }
    }
    Ok(None)
}

/// void's text form is empty, but the value is not NULL.
fn void() -> Value {
    Value::text("")
}

/// Locks a sequence that is used, to the end of the transaction as PostgreSQL does it: also where what used it is rolled
/// back to a savepoint.
fn lock_sequence(run: &mut Run, sequence: Oid) -> Result<Option<(Wait, Awaited)>> {
    let before = run.tx.catalog().version;
    let locked = run.tx.lock(LockKey::Relation(sequence), LockMode::RowExclusive, LockPolicy::Wait)?;
    if let Some(wait) = locked.wait()? {
        return Ok(Some((wait, Awaited::Lock)));
    }
    run.tx.keep_to_end(sequence, LockMode::RowExclusive);
    run.cx.ids.sequence_locked(sequence);
    // what the sequence is now is looked up in the next step
    let is_current = run.tx.catalog().version == before;
    Ok((!is_current).then(|| (Wait::ready(), Awaited::Nothing)))
}

fn advisory(run: &mut Run, call: AdvisoryCall) -> Result<Settled<Value>> {
    let key = match call.number {
        AdvisoryNumber::One(key) => AdvisoryKey::of_bigint(key),
        AdvisoryNumber::Two(first, second) => AdvisoryKey::of_pair(first, second),
    };
    let mode = if call.shared { LockMode::Share } else { LockMode::Exclusive };
    let level = if call.session { AdvisoryLevel::Session } else { AdvisoryLevel::Transaction };
    let pid = run.tx.options().pid;
    Ok(Settled::Value(match call.verb {
        AdvisoryVerb::Lock => match run.tx.lock_advisory(key, mode, level, LockPolicy::Wait)?.wait()? {
            None => void(),
            Some(wait) => return Ok(Settled::Wait(wait)),
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
