//! What definitions ask the binder about expressions: it comes in as a trait, since the binder stands above definitions.

use crate::catalog::{Catalog, Column, Relation};
use crate::error::Result;
use crate::sql::parse::Expression;
use crate::types::SqlType;
use std::sync::Arc;

/// What the binder knows of expressions in definitions.
pub trait Expressions {
    /// Validates a DEFAULT for a column (42804 where it does not fit, 0A000 for column references and sub-selects) and
    /// spells it as pg_get_expr does.
    fn default(&self, catalog: &Arc<Catalog>, default: &Expression, column: &Column) -> Result<String>;

    /// Validates a CHECK or a source's WHERE over a relation's columns (42804 unless boolean).
    fn condition(
        &self,
        catalog: &Arc<Catalog>,
        condition: &Expression,
        relation: &Relation,
        of: ConditionOf,
    ) -> Result<Condition>;

    /// The text form of a default's value where it is the same for every row; none where it is volatile or NULL.
    fn constant(&self, catalog: &Arc<Catalog>, default: &Expression, ty: SqlType) -> Result<Constant>;
}

/// What a condition is for; errors name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionOf {
    /// A CHECK.
    Check,
    /// A source's WHERE.
    Source,
}

/// A validated condition.
pub struct Condition {
    /// As pg_get_expr spells it.
    pub text: String,
    /// Positions of the columns that it uses.
    pub columns: Vec<usize>,
}

/// What a default is for rows that exist already.
pub enum Constant {
    /// NULL
    Null,
    /// A value's text form.
    Value(String),
    /// A value for each row.
    Volatile,
}
