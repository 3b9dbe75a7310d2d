//! What definitions ask the binder about expressions: it comes in as a trait, since the binder stands above definitions.

use crate::catalog::{Catalog, Column, Relation};
use crate::error::Result;
use crate::expr::{EvalContext, Expr};
use crate::sql::parse::Expression;
use crate::types::SqlType;
use std::sync::Arc;

/// What the binder knows of expressions in definitions.
pub trait Expressions {
    /// Validates a DEFAULT for a column (42804 where it does not fit, 0A000 for column references and sub-selects) and
    /// spells it as pg_get_expr does.
    fn default(&self, catalog: &Arc<Catalog>, default: &Expression, column: &Column) -> Result<String>;

    /// Validates a CHECK or a source's WHERE over a relation's columns (42804 unless boolean, 0A000 for a source with a
    /// volatile function).
    fn condition(
        &self,
        catalog: &Arc<Catalog>,
        condition: &Expression,
        relation: &Relation,
        of: ConditionOf,
    ) -> Result<Condition>;

    /// What a default is for rows that are there already.
    fn constant(&self, catalog: &Arc<Catalog>, default: &Expression, ty: SqlType) -> Result<Constant>;

    /// A condition that the catalog keeps, bound over a relation and spelled with the names of another version of it.
    fn kept(
        &self,
        catalog: &Arc<Catalog>,
        text: &str,
        over: (&Relation, &Relation),
        of: ConditionOf,
    ) -> Result<Condition>;

    /// ALTER COLUMN TYPE: the new value of a column, by USING or by a cast. 42804 where none is taken by itself.
    fn converted(
        &self,
        catalog: &Arc<Catalog>,
        relation: &Relation,
        column: usize,
        ty: SqlType,
        using: Option<&Expression>,
    ) -> Result<Expr>;

    /// The default of a column, as the catalog keeps it, for the column's new type. 42804 where it cannot be cast.
    fn default_as(&self, catalog: &Arc<Catalog>, default: &str, column: &str, ty: SqlType) -> Result<String>;

    /// What expressions are evaluated in.
    fn world(&self) -> &EvalContext<'_>;
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
    /// To be evaluated over a row.
    pub expr: Expr,
}

/// What a default is for rows that exist already.
pub enum Constant {
    /// NULL
    Null,
    /// A value's text form.
    Value(String),
    /// Another value for each row.
    Each(Expr),
}
