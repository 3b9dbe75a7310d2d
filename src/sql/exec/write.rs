//! What INSERT, UPDATE and DELETE share: constraints, RETURNING, and rows that were waited for.

use super::calls::{Settled, settle};
use super::filter::eval_into;
use super::operator::Run;
use crate::error::{Error, Result};
use crate::expr::{EvalContext, Expr};
use crate::table::{Model, check_violation};
use crate::txn::{LockPolicy, LockedRow, RowLock};
use crate::types::{Row, Value};
use crate::wait::Wait;
use bytes::Bytes;

/// 23502 and 23514: NOT NULL first, then CHECK, as PostgreSQL does.
pub(super) fn check(
    model: &Model,
    schema: &str,
    checks: &[(String, Expr)],
    row: &[Value],
    eval: &EvalContext,
) -> Result<()> {
    model.check_not_null(row, schema, eval.zone)?;
    for (name, condition) in checks {
        // Unknown satisfies a CHECK.
        if condition.eval_bool(row, eval)? == Some(false) {
            return Err(check_violation(model.relation(), schema, name, row, eval.zone));
        }
    }
    Ok(())
}

/// The RETURNING list over a row of the relation. The row gets its system columns for that; a version that is not
/// committed yet has no position.
pub(super) fn returning(
    exprs: &[Expr],
    model: &Model,
    row: &mut Row,
    run: &mut Run,
    out: &mut Row,
) -> Result<Settled<()>> {
    row.truncate(model.relation().columns.len());
    row.extend([Value::Null, Value::Null, Value::Int(i64::from(model.relation().oid.0))]);
    settle(run, |eval| eval_into(exprs, row, eval, out))
}

/// How a row is locked.
#[derive(Clone, Copy)]
pub(super) struct Claim {
    pub(super) lock: RowLock,
    /// Whether it is to be written.
    pub(super) writes: bool,
    pub(super) policy: LockPolicy,
}

impl Claim {
    /// To write the row, after whoever else has it.
    pub(super) fn to_write(lock: RowLock) -> Claim {
        Claim { lock, writes: true, policy: LockPolicy::Wait }
    }
}

/// A row that a statement has seen and is to lock: its key, and the version whose values it has.
pub(super) struct Seen {
    pub(super) key: Bytes,
    pub(super) version: Bytes,
    /// The key that it was seen under, where it has moved since.
    pub(super) origin: Option<Bytes>,
}

/// What came of an attempt to lock a row.
pub(super) enum Target {
    /// It is locked, and as it was seen.
    Same,
    /// It is locked. It was changed meanwhile, perhaps even its key: its newest values are in the caller's row, and it
    /// still is one of the statement's.
    Changed,
    /// It is gone, or is not one of the statement's any more; or the transaction itself has changed it since.
    Skip,
    /// Another transaction has it, and that was not to be waited for.
    Busy,
    /// Ask again after this wait.
    Wait(Wait),
}

/// Locks a row that the statement has seen, or where it went; what was changed meanwhile is read again, and the
/// condition judged again (PostgreSQL's EvalPlanQual).
pub(super) fn lock_target(
    model: &Model,
    claim: Claim,
    recheck: Option<&Expr>,
    seen: &mut Seen,
    run: &mut Run,
    row: &mut Row,
) -> Result<Target> {
    let newest = loop {
        let target = (model.relation().oid, &seen.key);
        match run.tx.lock_row(run.view, target, claim.lock, claim.writes, claim.policy)? {
            LockedRow::Wait(wait) => return Ok(Target::Wait(wait)),
            LockedRow::NotAvailable => return Ok(Target::Busy),
            LockedRow::Granted(Some(newest)) => break newest,
            LockedRow::Granted(None) => {
                let origin = seen.origin.get_or_insert_with(|| seen.key.clone());
                match run.tx.moved_to(run.view, model, origin)? {
                    Some(key) if key != seen.key => seen.key = key,
                    _ => return Ok(Target::Skip),
                }
            }
        }
    };
    if !model.is_live(&newest, run.now)? {
        return Ok(Target::Skip);
    }
    if newest == seen.version {
        return Ok(Target::Same);
    }
    if run.tx.has_rewritten(run.view, &seen.key)? {
        return Ok(Target::Skip);
    }
    decode(model, &newest, row)?;
    if let Some(condition) = recheck {
        match settle(run, |eval| condition.eval_bool(row, eval))? {
            Settled::Value(Some(true)) => {}
            Settled::Value(_) => return Ok(Target::Skip),
            Settled::Wait(wait) => return Ok(Target::Wait(wait)),
        }
    }
    seen.version = newest;
    Ok(Target::Changed)
}

/// A stored row as the relation's columns with its system columns.
pub(super) fn decode(model: &Model, stored: &Bytes, row: &mut Row) -> Result<()> {
    let view = model.view(stored.clone())?;
    row.clear();
    for column in 0..model.relation().columns.len() {
        row.push(model.column(&view, column)?);
    }
    let seq = view.seq().0;
    row.extend([
        Value::Int(seq as i64),
        Value::Int(i64::from(seq as u32)),
        Value::Int(i64::from(model.relation().oid.0)),
    ]);
    Ok(())
}

/// Key and stored form from the end of an input row.
pub(super) fn identity(row: &mut Row) -> Result<Seen> {
    match (row.pop(), row.pop()) {
        (Some(Value::Bytes(version)), Some(Value::Bytes(key))) => Ok(Seen { key, version, origin: None }),
        _ => Err(Error::internal("a row that is to be locked has no key")),
    }
}
