//! Rows of the function and operator tables, and how a function sees its arguments.

use super::{EvalContext, Expr};
use crate::error::Result;
use crate::types::{Interval, Numeric, Oid, SqlType, Str, Value};
use bytes::Bytes;
use std::borrow::Cow;
use std::cmp::Ordering;

/// When an expression may give another result for the same arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Volatility {
    /// Never.
    Immutable,
    /// Not within one statement.
    Stable,
    /// At any time, or it has an effect.
    Volatile,
}

/// One row of the function table, as pg_proc has it.
#[derive(Debug)]
pub struct Function {
    /// OID in pg_proc: PostgreSQL's where it has the function, else one above 9100.
    pub oid: Oid,
    /// Name.
    pub name: &'static str,
    /// Types of the arguments; `ANY` and `ANYELEMENT` take every type.
    pub args: &'static [SqlType],
    /// The last argument may be given any number of times from one on.
    pub variadic: bool,
    /// Type of the result; `ANYELEMENT` is that of the argument so declared.
    pub result: SqlType,
    /// See [`Volatility`].
    pub volatility: Volatility,
    /// NULL for a NULL argument, without being called.
    pub strict: bool,
    /// What it does.
    pub body: Body,
}

/// PostgreSQL's pseudo-type `"any"`.
pub const ANY: SqlType = SqlType { oid: Oid(2276), modifier: -1 };
/// PostgreSQL's pseudo-type `anyelement`.
pub const ANYELEMENT: SqlType = SqlType { oid: Oid(2283), modifier: -1 };
/// PostgreSQL's pseudo-type `anynonarray`.
pub const ANYNONARRAY: SqlType = SqlType { oid: Oid(2776), modifier: -1 };

/// What a function does.
#[derive(Clone, Copy, Debug)]
pub enum Body {
    /// Computes a value.
    Plain(fn(&Args<'_>, &EvalContext<'_>) -> Result<Value>),
    /// The same with the executor's help: it may end an evaluation that is to be done again.
    Effect(fn(&Args<'_>, &EvalContext<'_>) -> Result<Value>),
    /// Compares two values of one type.
    Compare(CompareOp),
    /// generate_series: a set of rows, which [`Series`](super::Series) makes. The binder allows it in FROM and in select
    /// lists; no expression has it as a value.
    Series,
}

/// A comparison operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareOp {
    /// `=`
    Equal,
    /// `<>`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
}

impl CompareOp {
    /// Whether the operator holds for values in this order.
    pub fn holds(self, ordering: Ordering) -> bool {
        match self {
            CompareOp::Equal => ordering.is_eq(),
            CompareOp::NotEqual => ordering.is_ne(),
            CompareOp::Less => ordering.is_lt(),
            CompareOp::LessEqual => ordering.is_le(),
            CompareOp::Greater => ordering.is_gt(),
            CompareOp::GreaterEqual => ordering.is_ge(),
        }
    }

    /// The operator with its sides exchanged.
    pub fn commuted(self) -> CompareOp {
        match self {
            CompareOp::Less => CompareOp::Greater,
            CompareOp::LessEqual => CompareOp::GreaterEqual,
            CompareOp::Greater => CompareOp::Less,
            CompareOp::GreaterEqual => CompareOp::LessEqual,
            other => other,
        }
    }
}

/// One row of the operator table, as pg_operator has it.
#[derive(Debug)]
pub struct Operator {
    /// OID in pg_operator.
    pub oid: Oid,
    /// Name.
    pub name: &'static str,
    /// Type on the left; none for a prefix operator.
    pub left: Option<SqlType>,
    /// Type on the right.
    pub right: SqlType,
    /// OID of the function behind it.
    pub function: Oid,
}

/// The evaluated arguments of a call with their types.
pub struct Args<'a> {
    pub(super) values: &'a [Cow<'a, Value>],
    pub(super) exprs: &'a [Expr],
}

impl<'a> Args<'a> {
    /// How many there are.
    #[expect(clippy::len_without_is_empty, reason = "nobody asks whether a call has no arguments")]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// An argument's type.
    pub fn ty(&self, index: usize) -> SqlType {
        self.exprs[index].ty()
    }

    /// An argument.
    pub fn value(&self, index: usize) -> &'a Value {
        let values: &'a [Cow<'a, Value>] = self.values;
        &values[index]
    }

    /// Whether an argument is NULL.
    pub fn is_null(&self, index: usize) -> bool {
        self.value(index).is_null()
    }

    /// An integer argument.
    pub fn int(&self, index: usize) -> i64 {
        match self.value(index) {
            Value::Int(value) => *value,
            other => mismatch("an integer", other),
        }
    }

    /// A boolean argument.
    pub fn bool(&self, index: usize) -> bool {
        match self.value(index) {
            Value::Bool(value) => *value,
            other => mismatch("a boolean", other),
        }
    }

    /// A double precision argument.
    pub fn float(&self, index: usize) -> f64 {
        match self.value(index) {
            Value::Float(value) => *value,
            other => mismatch("a double precision", other),
        }
    }

    /// A numeric argument.
    pub fn numeric(&self, index: usize) -> &'a Numeric {
        match self.value(index) {
            Value::Numeric(value) => value,
            other => mismatch("a numeric", other),
        }
    }

    /// A text argument, or any other type that is kept as text.
    pub fn text(&self, index: usize) -> &'a Str {
        match self.value(index) {
            Value::Text(value) => value,
            other => mismatch("a text", other),
        }
    }

    /// A bytea argument.
    pub fn bytes(&self, index: usize) -> &'a Bytes {
        match self.value(index) {
            Value::Bytes(value) => value,
            other => mismatch("a bytea", other),
        }
    }

    /// A date argument.
    pub fn date(&self, index: usize) -> i32 {
        match self.value(index) {
            Value::Date(value) => *value,
            other => mismatch("a date", other),
        }
    }

    /// A timestamp or timestamptz argument.
    pub fn timestamp(&self, index: usize) -> i64 {
        match self.value(index) {
            Value::Timestamp(value) => *value,
            other => mismatch("a timestamp", other),
        }
    }

    /// An interval argument.
    pub fn interval(&self, index: usize) -> Interval {
        match self.value(index) {
            Value::Interval(value) => *value,
            other => mismatch("an interval", other),
        }
    }
}

/// The binder gives every function the types that its row declares, so this is a defect of ours, not of a query.
#[cold]
fn mismatch(wanted: &str, found: &Value) -> ! {
    unreachable!("a function bound to {wanted} was called with {found:?}")
}
