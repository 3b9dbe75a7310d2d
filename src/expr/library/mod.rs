//! The function library, one file a family. A row says what the system catalogs say of a function, and what it does.

mod advisory;
mod arithmetic;
mod datetime;
mod digest;
mod ids;
mod json;
mod math;
mod operator_functions;
mod operators;
mod pattern;
mod sequence;
mod sets;
mod string;
mod system;

use super::function::{Body, Function, Operator, Volatility};
use crate::types::{Oid, SqlType};

/// The families' operators.
pub(super) static OPERATORS: &[&[Operator]] = &[operators::OPERATORS, string::OPERATORS, json::OPERATORS];

const BOOL: SqlType = SqlType::BOOL;
const BYTEA: SqlType = SqlType::BYTEA;
const NAME: SqlType = SqlType::NAME;
const INT8: SqlType = SqlType::INT8;
const INT2: SqlType = SqlType::INT2;
const INT4: SqlType = SqlType::INT4;
const TEXT: SqlType = SqlType::TEXT;
const OID: SqlType = SqlType::OID;
const JSON: SqlType = SqlType::JSON;
const FLOAT8: SqlType = SqlType::FLOAT8;
const DATE: SqlType = SqlType::DATE;
const TIMESTAMP: SqlType = SqlType::TIMESTAMP;
const TIMESTAMPTZ: SqlType = SqlType::TIMESTAMPTZ;
const INTERVAL: SqlType = SqlType::INTERVAL;
const NUMERIC: SqlType = SqlType::NUMERIC;
const REGTYPE: SqlType = SqlType::REGTYPE;
const VOID: SqlType = SqlType::VOID;
const UUID: SqlType = SqlType::UUID;
const JSONB: SqlType = SqlType::JSONB;

/// The families' tables.
pub(super) static FUNCTIONS: &[&[Function]] = &[
    operator_functions::FUNCTIONS,
    math::FUNCTIONS,
    string::FUNCTIONS,
    pattern::FUNCTIONS,
    datetime::FUNCTIONS,
    json::FUNCTIONS,
    digest::FUNCTIONS,
    ids::FUNCTIONS,
    advisory::FUNCTIONS,
    sequence::FUNCTIONS,
    sets::FUNCTIONS,
    system::FUNCTIONS,
];

/// A row of a strict function.
const fn row(
    oid: u32,
    name: &'static str,
    args: &'static [SqlType],
    result: SqlType,
    volatility: Volatility,
    body: Body,
) -> Function {
    Function { oid: Oid(oid), name, args, variadic: false, result, volatility, strict: true, body }
}

/// The same, called for NULL arguments too.
const fn lax(function: Function) -> Function {
    Function { strict: false, ..function }
}

/// The same with its last argument any number of times.
const fn variadic(function: Function) -> Function {
    Function { variadic: true, strict: false, ..function }
}

/// 22003 for a sum beyond double precision.
pub(super) fn float_sum_overflow() -> crate::error::Error {
    arithmetic::overflow()
}
