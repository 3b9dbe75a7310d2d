//! Bound scalar expressions and the function library: pure over a row and an environment.
//!
//! The binder makes an [`Expr`] with [`resolve_operator`], [`resolve_function`], [`coerce`] and [`common_type`], which
//! follow chapter 10 of PostgreSQL's manual; executors evaluate it against a row and an [`EvalContext`]. Functions and
//! operators are rows of tables ([`functions`], [`operators`]), one file a family in `library`, so that the system
//! catalogs can be generated from them. What a function needs beside its arguments (time, identity, settings, numbers,
//! notifications) it gets from the context.

mod aggregate;
mod cast;
mod coerce;
pub mod condition;
mod context;
mod display;
mod effect;
mod eval;
mod expression;
mod fold;
mod function;
mod library;
mod registry;
mod resolve;
mod series;

pub use aggregate::{Accumulator, Aggregate, ResolvedAggregate, resolve_aggregate};
pub use cast::{Cast, CastContext, CastMethod, find_cast};
pub use coerce::{CoerceContext, assign, cast_explicit, check_comparable, coerce, common_type, unify};
pub use context::{
    EvalContext, IdSource, Identity, Notifier, Number, SequenceCall, SequenceName, Settings, split_name,
};
pub use display::quote_identifier;
pub use effect::{AdvisoryCall, AdvisoryNumber, AdvisoryVerb, Effect, Journal, Pending};
pub use expression::{CallForm, Expr, Written};
pub use fold::fold;
pub use function::{Args, Body, CompareOp, Function, Operator, Volatility};
pub use registry::{functions, operators};
pub use resolve::{Resolved, resolve_function, resolve_operator};
pub use series::Series;
