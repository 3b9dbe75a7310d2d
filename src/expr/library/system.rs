//! Functions of the session and the server.

use super::{BOOL, FLOAT8, INT4, INT8, NAME, OID, REGTYPE, TEXT, VOID, lax, row, variadic};
use crate::error::{Error, Result, SqlState};
use crate::expr::function::{
    ANY, Args, Body, Function, Volatility::Immutable, Volatility::Stable, Volatility::Volatile,
};
use crate::expr::{Effect, EvalContext};
use crate::types::{Oid, SqlType, Value};

/// Their rows.
pub(super) static FUNCTIONS: &[Function] = &[
    row(745, "current_user", &[], NAME, Stable, Body::Plain(current_user)),
    row(9120, "current_role", &[], NAME, Stable, Body::Plain(current_user)),
    row(9121, "user", &[], NAME, Stable, Body::Plain(current_user)),
    row(746, "session_user", &[], NAME, Stable, Body::Plain(session_user)),
    row(9122, "current_user_id", &[], TEXT, Stable, Body::Plain(current_user_id)),
    row(861, "current_database", &[], NAME, Stable, Body::Plain(current_database)),
    row(9123, "current_catalog", &[], NAME, Stable, Body::Plain(current_database)),
    row(1402, "current_schema", &[], NAME, Stable, Body::Plain(current_schema)),
    row(9124, "current_seq", &[], INT8, Stable, Body::Plain(current_seq)),
    row(89, "version", &[], TEXT, Stable, Body::Plain(version)),
    row(2026, "pg_backend_pid", &[], INT4, Stable, Body::Plain(backend_pid)),
    row(2561, "pg_blocking_pids", &[INT4], TEXT, Volatile, Body::Plain(blocking_pids)),
    row(2077, "current_setting", &[TEXT], TEXT, Stable, Body::Plain(current_setting)),
    row(3294, "current_setting", &[TEXT, BOOL], TEXT, Stable, Body::Plain(current_setting)),
    lax(row(2078, "set_config", &[TEXT, TEXT, BOOL], TEXT, Volatile, Body::Plain(set_config))),
    lax(row(3036, "pg_notify", &[TEXT, TEXT], VOID, Volatile, Body::Plain(notify))),
    row(2626, "pg_sleep", &[FLOAT8], VOID, Volatile, Body::Effect(sleep)),
    row(2171, "pg_cancel_backend", &[INT4], BOOL, Volatile, Body::Effect(cancel)),
    row(9125, "pg_terminate_backend", &[INT4], BOOL, Volatile, Body::Effect(terminate)),
    row(2096, "pg_terminate_backend", &[INT4, INT8], BOOL, Volatile, Body::Effect(terminate)),
    row(810, "pg_client_encoding", &[], NAME, Stable, Body::Plain(encoding)),
    row(1039, "getdatabaseencoding", &[], NAME, Stable, Body::Plain(encoding)),
    row(3810, "pg_is_in_recovery", &[], BOOL, Volatile, Body::Plain(is_in_recovery)),
    lax(row(1081, "format_type", &[OID, INT4], TEXT, Stable, Body::Plain(format_type))),
    lax(row(1619, "pg_typeof", &[ANY], REGTYPE, Stable, Body::Plain(type_of))),
    variadic(row(438, "num_nulls", &[ANY], INT4, Immutable, Body::Plain(num_nulls))),
    variadic(row(440, "num_nonnulls", &[ANY], INT4, Immutable, Body::Plain(num_nonnulls))),
];

fn current_user(_: &Args, cx: &EvalContext) -> Result<Value> {
    Ok(Value::Text(cx.identity.role_name.clone()))
}

fn session_user(_: &Args, cx: &EvalContext) -> Result<Value> {
    Ok(Value::Text(cx.identity.session_role_name.clone()))
}

fn current_user_id(_: &Args, cx: &EvalContext) -> Result<Value> {
    Ok(Value::Text(cx.identity.user_id.clone()))
}

fn current_database(_: &Args, cx: &EvalContext) -> Result<Value> {
    Ok(Value::Text(cx.identity.database.clone()))
}

fn current_schema(_: &Args, cx: &EvalContext) -> Result<Value> {
    Ok(cx.identity.schema.clone().map_or(Value::Null, Value::Text))
}

fn current_seq(_: &Args, cx: &EvalContext) -> Result<Value> {
    Ok(Value::Int(cx.current_seq.0 as i64))
}

/// The form that drivers and tools take apart: PostgreSQL's version first.
fn version(_: &Args, cx: &EvalContext) -> Result<Value> {
    let version = cx.settings.get("server_version").unwrap_or_else(|| "15.0".to_owned());
    Ok(Value::text(format!("PostgreSQL {version} on {}-{}", std::env::consts::ARCH, std::env::consts::OS)))
}

fn backend_pid(_: &Args, cx: &EvalContext) -> Result<Value> {
    Ok(Value::Int(cx.identity.pid.into()))
}

/// As text in the form of an array, for there are no arrays yet.
fn blocking_pids(args: &Args, cx: &EvalContext) -> Result<Value> {
    let pids: Vec<String> = cx.ids.blockers(args.int(0) as i32).iter().map(i32::to_string).collect();
    Ok(Value::text(format!("{{{}}}", pids.join(","))))
}

fn current_setting(args: &Args, cx: &EvalContext) -> Result<Value> {
    let name = args.text(0);
    match cx.settings.get(name) {
        Some(value) => Ok(Value::text(value)),
        None if args.len() > 1 && args.bool(1) => Ok(Value::Null),
        None => {
            let message = format!("unrecognized configuration parameter \"{name}\"");
            Err(Error::new(SqlState::UNDEFINED_OBJECT, message))
        }
    }
}

fn set_config(args: &Args, cx: &EvalContext) -> Result<Value> {
    if args.is_null(0) {
        return Err(Error::new(SqlState::NULL_VALUE_NOT_ALLOWED, "SET requires parameter name"));
    }
    if args.is_null(1) {
        return Err(Error::unsupported("set_config() with a null value").hint("Use RESET."));
    }
    let local = !args.is_null(2) && args.bool(2);
    cx.settings.set(args.text(0), args.text(1), local).map(Value::text)
}

fn notify(args: &Args, cx: &EvalContext) -> Result<Value> {
    let given = |index: usize| if args.is_null(index) { "" } else { args.text(index).as_str() };
    if given(0).is_empty() {
        return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, "channel name cannot be empty"));
    }
    cx.notifier.notify(given(0), given(1))?;
    // void's text form is empty, but the value is not NULL.
    Ok(Value::text(""))
}

fn sleep(args: &Args, cx: &EvalContext) -> Result<Value> {
    Err(cx.want(Effect::Sleep((args.float(0).max(0.0) * 1e6) as u64)))
}

fn cancel(args: &Args, cx: &EvalContext) -> Result<Value> {
    Err(cx.want(Effect::Cancel(args.int(0) as i32)))
}

fn terminate(args: &Args, cx: &EvalContext) -> Result<Value> {
    let timeout = if args.len() > 1 { args.int(1) } else { 0 };
    if timeout < 0 {
        return Err(Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "\"timeout\" must not be negative"));
    }
    Err(cx.want(Effect::Terminate(args.int(0) as i32, timeout)))
}

fn encoding(_: &Args, _: &EvalContext) -> Result<Value> {
    Ok(Value::text("UTF8"))
}

fn is_in_recovery(_: &Args, _: &EvalContext) -> Result<Value> {
    Ok(Value::Bool(false))
}

fn format_type(args: &Args, _: &EvalContext) -> Result<Value> {
    if args.is_null(0) {
        return Ok(Value::Null);
    }
    let modifier = if args.is_null(1) { -1 } else { args.int(1) as i32 };
    let ty = SqlType { oid: Oid(args.int(0) as u32), modifier };
    Ok(Value::text(ty.display_name()))
}

fn type_of(args: &Args, _: &EvalContext) -> Result<Value> {
    Ok(Value::Int(args.ty(0).oid.0.into()))
}

fn nulls(args: &Args) -> i64 {
    (0..args.len()).filter(|&index| args.is_null(index)).count() as i64
}

fn num_nulls(args: &Args, _: &EvalContext) -> Result<Value> {
    Ok(Value::Int(nulls(args)))
}

fn num_nonnulls(args: &Args, _: &EvalContext) -> Result<Value> {
    Ok(Value::Int(args.len() as i64 - nulls(args)))
}
