//! Calls that do something, and perhaps wait for it.
//!
//! An expression is evaluated as if nothing in it waited. A call that cannot be answered yet ends the evaluation with
//! what it wants done ([`EvalContext::want`](super::EvalContext::want)); the executor does it, waiting as long as it takes, and evaluates the expressions of
//! the same row again. What volatile functions gave is written down in the order in which they were called, and found
//! there the second time: nothing is done twice.

use crate::error::Result;
use crate::types::{Oid, Value};
use crate::wait::Wait;

/// What the volatile functions of one row's expressions have given, where they may have to be evaluated again.
pub trait Journal {
    /// What the call that comes now gave before; none where it is made for the first time.
    fn given(&self, function: Oid) -> Option<Value>;

    /// Writes down what a call has given.
    fn note(&self, function: Oid, value: &Value);

    /// Takes what the call that comes now wants done before the evaluation begins again.
    fn want(&self, effect: Effect);
}

/// What a call wants done.
pub enum Effect {
    /// An advisory lock is got or given back; what comes of it is the call's result.
    Advisory(AdvisoryCall),
    /// pg_sleep() for so many microseconds.
    Sleep(u64),
    /// pg_cancel_backend() of a process id.
    Cancel(i32),
    /// pg_terminate_backend(): the process id, and how long its end is waited for, in milliseconds.
    Terminate(i32, i64),
    /// A sequence is locked, to be used; then the call is made again.
    LockSequence(Oid),
    /// Something is waited for. Then the call is made again, unless this is what it gives.
    Await(Box<dyn Pending>, Option<Value>),
}

/// Something that is under way elsewhere.
pub trait Pending: Send {
    /// What to wait for before asking again; none once it is over.
    ///
    /// # Errors
    /// What it failed with.
    fn poll(&self) -> Result<Option<Wait>>;
}

impl Effect {
    /// What it is, for the error where nobody does it.
    pub fn name(&self) -> &'static str {
        match self {
            Effect::Advisory(_) => "an advisory lock",
            Effect::Sleep(_) => "pg_sleep",
            Effect::Cancel(_) => "pg_cancel_backend",
            Effect::Terminate(..) => "pg_terminate_backend",
            Effect::LockSequence(_) | Effect::Await(..) => "a sequence",
        }
    }
}

/// A call of an advisory lock's function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdvisoryCall {
    /// Of which lock.
    pub number: AdvisoryNumber,
    /// What to do.
    pub verb: AdvisoryVerb,
    /// In mode Share instead of Exclusive.
    pub shared: bool,
    /// For the session instead of the transaction.
    pub session: bool,
}

/// The number of an advisory lock: the two kinds do not meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdvisoryNumber {
    /// A bigint.
    One(i64),
    /// Two integers.
    Two(i32, i32),
}

/// What is done with an advisory lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdvisoryVerb {
    /// Got, after a wait where another has it.
    Lock,
    /// Got if it is free.
    Try,
    /// Given back once.
    Unlock,
    /// All of the session's are given back.
    UnlockAll,
}
