//! The start of a live query: its expressions are frozen, its options have their values.

use super::{ExecContext, NoNotifier};
use crate::catalog::Catalog;
use crate::error::{Error, Result, SqlState};
use crate::expr::{EvalContext, Expr, Volatility};
use crate::limits::LIVE_BATCH_ROWS_DEFAULT;
use crate::live::{Selected, Shape, Subject, Subscription, World};
use crate::sql::parse::is_query;
use crate::sql::plan::LiveSpec;
use crate::txn::{Engine, Transaction};
use crate::types::{CommitSeq, Str, Value};
use std::sync::Arc;

/// A live query that begins with the transaction's commit.
#[derive(Clone)]
pub struct Opening {
    /// The live query; the session says whether it acts for another user.
    pub subscription: Subscription,
    /// The position of its snapshot, or the one that it resumes from.
    pub since: CommitSeq,
}

/// Begins a live query that reads what is committed at `seq`.
///
/// # Errors
/// 22023 for an option out of its range or a position that was never reached, 72000 for one whose changes are not kept
/// any more.
pub fn open_live(
    spec: &LiveSpec,
    tx: &Transaction,
    cx: &ExecContext,
    params: &[Value],
    seq: CommitSeq,
) -> Result<Opening> {
    let eval = cx.eval(params, tx.time(), seq, &NoNotifier);
    option(spec.last_rows.as_ref(), "last_rows", 0, &eval)?;
    let batch_size = option(spec.batch_size.as_ref(), "batch_size", 1, &eval)?;
    let since = match option(spec.from_seq.as_ref(), "from_seq", 0, &eval)? {
        None => seq,
        Some(from) => resume(spec, tx.engine(), CommitSeq(from))?,
    };
    let model = spec.model.clone();
    let world = World {
        identity: cx.identity.clone(),
        zone: cx.zone.clone(),
        transaction_time: eval.transaction_time,
        statement_time: eval.statement_time,
        current_seq: seq,
        engine: tx.engine().clone(),
    };
    let columns = spec.columns.iter();
    let columns =
        columns.map(|column| Selected { name: column.name.clone(), expr: freeze(column.expr.clone(), &eval) });
    let batch_size = batch_size.map_or(LIVE_BATCH_ROWS_DEFAULT, |size| size as usize);
    let filter = spec.filter.clone().map(|filter| freeze(filter, &eval));
    let subscription = Subscription {
        channel: Str::from(spec.channel.as_str()),
        scope: model.scope(cx.scope),
        subject: Subject::Rows(Arc::new(Shape::new(model, filter, columns.collect(), batch_size, world))),
        user_id: cx.identity.user_id.clone(),
        role: cx.identity.role,
        acts_for_other: false,
    };
    Ok(Opening { subscription, since })
}

fn option(expr: Option<&Expr>, name: &str, least: i64, eval: &EvalContext) -> Result<Option<u64>> {
    let value = match expr {
        Some(expr) => expr.eval(&[], eval)?,
        None => Value::Null,
    };
    match value {
        Value::Null => Ok(None),
        Value::Int(value) if value >= least => Ok(Some(value as u64)),
        _ => Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("{name} must be at least {least}"))),
    }
}

/// 42809 for a channel that takes no notifications: the name of a table or topic, or a query.
pub fn check_notify(channel: &str, catalog: &Catalog) -> Result<()> {
    let what = match catalog.relation_by_qualified_name(channel) {
        Some(relation) if relation.topic().is_some() => "a topic",
        Some(_) => "a table",
        None if is_query(channel) => "a query",
        None => return Ok(()),
    };
    Err(Error::new(SqlState::WRONG_OBJECT_TYPE, format!("cannot notify the live channel \"{channel}\""))
        .detail(format!("The channel's name means {what}."))
        .hint("Those who listen there are told of what is committed, and of nothing else."))
}

/// Checks that the changes since a position can be told.
fn resume(spec: &LiveSpec, engine: &Engine, from: CommitSeq) -> Result<CommitSeq> {
    let current = engine.current();
    if from > current {
        let message = format!("position {from} has not been reached");
        return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
            .detail(format!("The current position is {current}.")));
    }
    if spec.model.is_volatile() {
        if engine.recent_commits_after(from).is_none() {
            let message = format!("changes after position {from} are not kept any more");
            return Err(Error::new(SqlState::SNAPSHOT_TOO_OLD, message)
                .hint("Changes of a STREAM table are kept for a short time and not over a restart."));
        }
    } else {
        drop(engine.commits_after(from)?);
    }
    Ok(from)
}

/// Puts constants in place of parameters and of what stable functions give now. What fails stays as it is and fails
/// when a row needs it.
fn freeze(mut expr: Expr, eval: &EvalContext) -> Expr {
    expr.visit_mut(&mut |part| {
        if let Expr::Param { index, ty } = part
            && let Some(value) = eval.params.get(*index)
        {
            *part = Expr::literal(value.clone(), *ty);
        }
        if matches!(part, Expr::Literal { .. }) || !part.is_constant() || part.volatility() == Volatility::Volatile {
            return;
        }
        if let Ok(value) = part.eval(&[], eval) {
            *part = Expr::literal(value, part.ty());
        }
    });
    expr
}
