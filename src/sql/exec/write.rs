//! What INSERT, UPDATE and DELETE share: constraints, RETURNING, and rows that were waited for.

use super::operator::Run;
use crate::error::Result;
use crate::expr::Expr;
use crate::table::{Model, check_violation};
use crate::txn::{LockPolicy, LockedRow, RowLock};
use crate::types::{Row, Value};
use crate::wait::Wait;
use bytes::Bytes;

/// 23502 and 23514: NOT NULL first, then CHECK, as PostgreSQL does.
pub(super) fn check(model: &Model, schema: &str, checks: &[(String, Expr)], row: &[Value], run: &Run) -> Result<()> {
    model.check_not_null(row, schema, run.cx.zone)?;
    for (name, condition) in checks {
        // Unknown satisfies a CHECK.
        if condition.eval_bool(row, run.eval)? == Some(false) {
            return Err(check_violation(model.relation(), schema, name, row, run.cx.zone));
        }
    }
    Ok(())
}

/// The RETURNING list over a row of the relation. The row gets its system columns for that; a version that is not
/// committed yet has no position.
pub(super) fn returning(exprs: &[Expr], model: &Model, row: &mut Row, run: &Run, out: &mut Row) -> Result<()> {
    row.truncate(model.relation().columns.len());
    row.extend([Value::Null, Value::Null, Value::Int(i64::from(model.relation().oid.0))]);
    out.clear();
    for expr in exprs {
        out.push(expr.eval(row, run.eval)?);
    }
    Ok(())
}

/// A row to be replaced or removed, under its lock.
pub(super) enum Target {
    /// Its newest version in stored form, with its values in the caller's row.
    Found(Bytes),
    /// It is gone, or is not one of the statement's any more.
    Skip,
    /// Ask again after this wait.
    Wait(Wait),
}

/// Locks a row that the statement has seen and brings its newest values into `row`; where they differ from what was
/// seen the condition is judged again (PostgreSQL's EvalPlanQual).
pub(super) fn lock_target(
    model: &Model,
    recheck: Option<&Expr>,
    seen: (&Bytes, &Bytes),
    run: &mut Run,
    row: &mut Row,
) -> Result<Target> {
    let (key, version) = seen;
    let newest =
        match run.tx.lock_row(run.view, (model.relation().oid, key), RowLock::Update, true, LockPolicy::Wait)? {
            LockedRow::Wait(wait) => return Ok(Target::Wait(wait)),
            LockedRow::NotAvailable | LockedRow::Granted(None) => return Ok(Target::Skip),
            LockedRow::Granted(Some(newest)) => newest,
        };
    if !model.is_live(&newest, run.now)? {
        return Ok(Target::Skip);
    }
    let view = model.view(newest.clone())?;
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
    if newest != *version
        && let Some(condition) = recheck
        && condition.eval_bool(row, run.eval)? != Some(true)
    {
        return Ok(Target::Skip);
    }
    Ok(Target::Found(newest))
}

/// Key and stored form from the end of an input row.
pub(super) fn identity(row: &mut Row) -> Option<(Bytes, Bytes)> {
    match (row.pop(), row.pop()) {
        (Some(Value::Bytes(stored)), Some(Value::Bytes(key))) => Some((key, stored)),
        _ => None,
    }
}
