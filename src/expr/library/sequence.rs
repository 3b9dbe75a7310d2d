//! Sequences: nextval and its kin. The binder replaces a name that it knows by its OID, so that a default keeps meaning
//! the same sequence; a name that is computed is looked for when the call is.

use super::{BOOL, INT8, OID, TEXT, row};
use crate::error::Result;
use crate::expr::function::{Args, Body, Function, Volatility::Volatile};
use crate::expr::{Effect, EvalContext, Number, SequenceCall, SequenceName};
use crate::types::{Oid, SqlType, Value};

/// Their rows.
pub(super) static FUNCTIONS: &[Function] = &[
    row(1574, "nextval", &[OID], INT8, Volatile, Body::Effect(nextval)),
    row(9139, "nextval", &[TEXT], INT8, Volatile, Body::Effect(nextval)),
    row(1575, "currval", &[OID], INT8, Volatile, Body::Effect(currval)),
    row(9131, "currval", &[TEXT], INT8, Volatile, Body::Effect(currval)),
    row(2559, "lastval", &[], INT8, Volatile, Body::Effect(lastval)),
    row(1576, "setval", &[OID, INT8], INT8, Volatile, Body::Effect(setval)),
    row(9132, "setval", &[TEXT, INT8], INT8, Volatile, Body::Effect(setval)),
    row(1765, "setval", &[OID, INT8, BOOL], INT8, Volatile, Body::Effect(setval)),
    row(9133, "setval", &[TEXT, INT8, BOOL], INT8, Volatile, Body::Effect(setval)),
    row(9134, "pg_sequence_last_value_shown", &[OID], INT8, Volatile, Body::Plain(last_shown)),
    row(9135, "pg_sequence_reserved", &[OID], INT8, Volatile, Body::Plain(reserved)),
    row(9136, "pg_sequence_is_called", &[OID], BOOL, Volatile, Body::Plain(is_called)),
];

fn name<'a>(args: &'a Args) -> SequenceName<'a> {
    match args.ty(0).same(SqlType::OID) {
        true => SequenceName::Oid(Oid(args.int(0) as u32)),
        false => SequenceName::Text(args.text(0)),
    }
}

/// The number, or what must come first.
fn number(cx: &EvalContext, call: SequenceCall) -> Result<Value> {
    match cx.ids.sequence(call, cx.journal.is_some())? {
        Number::Is(number) => Ok(Value::Int(number)),
        Number::Unlocked(sequence) => Err(cx.want(Effect::LockSequence(sequence))),
        Number::Later(pending) => Err(cx.want(Effect::Await(pending, None))),
        Number::After(number, pending) => Err(cx.want(Effect::Await(pending, Some(Value::Int(number))))),
    }
}

fn nextval(args: &Args, cx: &EvalContext) -> Result<Value> {
    number(cx, SequenceCall::Next(name(args)))
}

fn currval(args: &Args, cx: &EvalContext) -> Result<Value> {
    number(cx, SequenceCall::Current(name(args)))
}

fn lastval(_: &Args, cx: &EvalContext) -> Result<Value> {
    number(cx, SequenceCall::Last)
}

fn setval(args: &Args, cx: &EvalContext) -> Result<Value> {
    let is_called = args.len() < 3 || args.bool(2);
    number(cx, SequenceCall::Set { name: name(args), value: args.int(1), is_called })
}

// the columns of a sequence's one row

fn last_shown(args: &Args, cx: &EvalContext) -> Result<Value> {
    cx.ids.sequence_state(Oid(args.int(0) as u32)).map(|(last, ..)| Value::Int(last))
}

fn reserved(args: &Args, cx: &EvalContext) -> Result<Value> {
    cx.ids.sequence_state(Oid(args.int(0) as u32)).map(|(_, reserved, _)| Value::Int(reserved))
}

fn is_called(args: &Args, cx: &EvalContext) -> Result<Value> {
    cx.ids.sequence_state(Oid(args.int(0) as u32)).map(|(.., is_called)| Value::Bool(is_called))
}
