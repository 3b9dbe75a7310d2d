//! The binder: syntax to meaning. Names become relations and columns, operators and functions become those of the
//! library, literals and parameters get types as PostgreSQL gives them, privileges are checked. What comes out is a
//! plan, the parameters' types and the result's columns: nothing is guessed later.

mod ident;
mod types;

pub use ident::{fold, name_parts};
pub use types::sql_type;

use crate::catalog::Catalog;
use crate::sql::plan::{Plan, ResultColumn};
use crate::types::{Oid, SqlType, Zone};
use std::sync::Arc;

/// What a statement is bound against. A bound plan may be shared by all contexts that are equal in these.
#[derive(Clone, Copy)]
pub struct BindContext<'a> {
    /// The catalog: the transaction's own copy where it has one.
    pub catalog: &'a Arc<Catalog>,
    /// The current role, whose privileges count.
    pub role: Oid,
    /// Schemas to look in for unqualified names, in order, `$user` resolved. pg_catalog is looked in first unless named.
    pub search_path: &'a [String],
    /// The statement's text, for the positions in errors.
    pub text: &'a str,
    /// Types that the client declared for parameters; [`SqlType::UNKNOWN`] or missing ones are inferred.
    pub params: &'a [SqlType],
    /// The session's time zone: literals of type timestamptz are read in it.
    pub zone: &'a Zone,
}

/// A bound statement.
#[derive(Clone, Debug)]
pub struct Bound {
    /// The plan, to be cached.
    pub plan: Arc<Plan>,
}

impl Bound {
    /// Types of the parameters, in order.
    pub fn params(&self) -> &[SqlType] {
        &self.plan.params
    }

    /// Result columns; none where the statement returns no rows.
    pub fn columns(&self) -> Option<&[ResultColumn]> {
        self.plan.columns.as_deref()
    }
}
