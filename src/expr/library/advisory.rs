//! Advisory locks: functions that wait. An expression cannot: the executor locks, and what comes of it is the call's.

use super::{BOOL, INT4, INT8, VOID, row};
use crate::error::Result;
use crate::expr::function::{Args, Body, Function, Volatility::Volatile};
use crate::expr::{AdvisoryCall, AdvisoryNumber, AdvisoryVerb, Effect, EvalContext};
use crate::types::{SqlType, Value};

const LOCK: u8 = 0;
const TRY: u8 = 1;
const UNLOCK: u8 = 2;

const ONE: &[SqlType] = &[INT8];
const TWO: &[SqlType] = &[INT4, INT4];

/// Their rows.
pub(super) static FUNCTIONS: &[Function] = &[
    row(2880, "pg_advisory_lock", ONE, VOID, Volatile, Body::Effect(call::<LOCK, false, true>)),
    row(2886, "pg_advisory_lock", TWO, VOID, Volatile, Body::Effect(call::<LOCK, false, true>)),
    row(2881, "pg_advisory_lock_shared", ONE, VOID, Volatile, Body::Effect(call::<LOCK, true, true>)),
    row(2887, "pg_advisory_lock_shared", TWO, VOID, Volatile, Body::Effect(call::<LOCK, true, true>)),
    row(3089, "pg_advisory_xact_lock", ONE, VOID, Volatile, Body::Effect(call::<LOCK, false, false>)),
    row(3093, "pg_advisory_xact_lock", TWO, VOID, Volatile, Body::Effect(call::<LOCK, false, false>)),
    row(3090, "pg_advisory_xact_lock_shared", ONE, VOID, Volatile, Body::Effect(call::<LOCK, true, false>)),
    row(3094, "pg_advisory_xact_lock_shared", TWO, VOID, Volatile, Body::Effect(call::<LOCK, true, false>)),
    row(2882, "pg_try_advisory_lock", ONE, BOOL, Volatile, Body::Effect(call::<TRY, false, true>)),
    row(2888, "pg_try_advisory_lock", TWO, BOOL, Volatile, Body::Effect(call::<TRY, false, true>)),
    row(2883, "pg_try_advisory_lock_shared", ONE, BOOL, Volatile, Body::Effect(call::<TRY, true, true>)),
    row(2889, "pg_try_advisory_lock_shared", TWO, BOOL, Volatile, Body::Effect(call::<TRY, true, true>)),
    row(3091, "pg_try_advisory_xact_lock", ONE, BOOL, Volatile, Body::Effect(call::<TRY, false, false>)),
    row(3095, "pg_try_advisory_xact_lock", TWO, BOOL, Volatile, Body::Effect(call::<TRY, false, false>)),
    row(3092, "pg_try_advisory_xact_lock_shared", ONE, BOOL, Volatile, Body::Effect(call::<TRY, true, false>)),
    row(3096, "pg_try_advisory_xact_lock_shared", TWO, BOOL, Volatile, Body::Effect(call::<TRY, true, false>)),
    row(2884, "pg_advisory_unlock", ONE, BOOL, Volatile, Body::Effect(call::<UNLOCK, false, true>)),
    row(2890, "pg_advisory_unlock", TWO, BOOL, Volatile, Body::Effect(call::<UNLOCK, false, true>)),
    row(2885, "pg_advisory_unlock_shared", ONE, BOOL, Volatile, Body::Effect(call::<UNLOCK, true, true>)),
    row(2891, "pg_advisory_unlock_shared", TWO, BOOL, Volatile, Body::Effect(call::<UNLOCK, true, true>)),
    row(2892, "pg_advisory_unlock_all", &[], VOID, Volatile, Body::Effect(unlock_all)),
];

fn call<const VERB: u8, const SHARED: bool, const SESSION: bool>(args: &Args, cx: &EvalContext) -> Result<Value> {
    let number = match args.len() {
        1 => AdvisoryNumber::One(args.int(0)),
        _ => AdvisoryNumber::Two(args.int(0) as i32, args.int(1) as i32),
    };
    let verb = match VERB {
        LOCK => AdvisoryVerb::Lock,
        TRY => AdvisoryVerb::Try,
        _ => AdvisoryVerb::Unlock,
    };
    Err(cx.want(Effect::Advisory(AdvisoryCall { number, verb, shared: SHARED, session: SESSION })))
}

fn unlock_all(_: &Args, cx: &EvalContext) -> Result<Value> {
    let number = AdvisoryNumber::One(0);
    Err(cx.want(Effect::Advisory(AdvisoryCall { number, verb: AdvisoryVerb::UnlockAll, shared: false, session: true })))
}
