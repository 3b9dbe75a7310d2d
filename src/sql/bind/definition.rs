//! Expressions of definitions: validated, and spelled as the catalog keeps them.

use super::BindContext;
use super::position::position;
use super::stored::{StoredKind, bind_column_default, bind_expression, bind_transform, parse_expression};
use crate::catalog::{Catalog, Column, Relation};
use crate::error::{Error, Result, SqlState};
use crate::expr::{EvalContext, Expr, Volatility, quote_identifier};
use crate::sql::ddl::{Condition, ConditionOf, Constant, Expressions};
use crate::sql::parse::Expression;
use crate::types::{Oid, SqlType, text};
use sqlparser::ast::{self, Spanned};
use std::sync::Arc;

/// The binder as definitions need it.
pub struct Definitions<'a> {
    /// The whole query string, for positions.
    pub text: &'a str,
    /// The world of the statement: a default's value for existing rows is computed in it.
    pub eval: EvalContext<'a>,
    /// Who defines: whose schemas are looked into for sequences.
    pub role: Oid,
    /// Where sequences are looked for.
    pub search_path: &'a [String],
}

impl Definitions<'_> {
    fn condition_over(
        &self,
        catalog: &Arc<Catalog>,
        condition: &ast::Expr,
        (relation, named): (&Relation, &Relation),
        of: ConditionOf,
    ) -> Result<Condition> {
        let relation = Arc::new(relation.clone());
        let kind = match of {
            ConditionOf::Check => StoredKind::Check,
            ConditionOf::Source => StoredKind::Condition,
        };
        let bound = bind_expression(&self.context(catalog), &relation, condition, kind)?;
        let columns: Vec<usize> = bound.columns_used().into_iter().collect();
        if columns.iter().any(|column| *column >= relation.columns.len()) {
            let message = "system columns cannot be used in a stored condition";
            return Err(Error::new(SqlState::INVALID_COLUMN_REFERENCE, message));
        }
        let names: Vec<String> = named.columns.iter().map(|column| column.name.clone()).collect();
        Ok(Condition { text: spell(&bound, &names)?, columns, expr: bound })
    }

    fn context<'c>(&'c self, catalog: &'c Arc<Catalog>) -> BindContext<'c> {
        BindContext {
            catalog,
            role: self.role,
            search_path: self.search_path,
            database: &self.eval.identity.database,
            text: self.text,
            params: &[],
            open_params: false,
            zone: self.eval.zone,
        }
    }
}

impl Expressions for Definitions<'_> {
    fn default(&self, catalog: &Arc<Catalog>, default: &Expression, column: &Column) -> Result<String> {
        let bound = bind_column_default(&self.context(catalog), &default.expr, &column.name, column.ty)?;
        spell(&bound, &[])
    }

    fn condition(
        &self,
        catalog: &Arc<Catalog>,
        condition: &Expression,
        relation: &Relation,
        of: ConditionOf,
    ) -> Result<Condition> {
        let bound = self.condition_over(catalog, &condition.expr, (relation, relation), of)?;
        if of == ConditionOf::Source && bound.expr.volatility() == Volatility::Volatile {
            return Err(Error::unsupported("a volatile function in the WHERE of a source")
                .hint("A row alone decides whether it becomes a message; a column of it can hold such a value.")
                .at(position(self.text, condition.expr.span())));
        }
        Ok(bound)
    }

    fn kept(
        &self,
        catalog: &Arc<Catalog>,
        text: &str,
        over: (&Relation, &Relation),
        of: ConditionOf,
    ) -> Result<Condition> {
        self.condition_over(catalog, &parse_expression(text)?, over, of).map_err(|error| error.at(None))
    }

    fn converted(
        &self,
        catalog: &Arc<Catalog>,
        relation: &Relation,
        column: usize,
        ty: SqlType,
        using: Option<&Expression>,
    ) -> Result<Expr> {
        let relation = Arc::new(relation.clone());
        bind_transform(&self.context(catalog), &relation, column, ty, using.map(|using| &using.expr))
    }

    fn default_as(&self, catalog: &Arc<Catalog>, default: &str, column: &str, ty: SqlType) -> Result<String> {
        let bound = bind_column_default(&self.context(catalog), &parse_expression(default)?, column, ty);
        let bound = bound.map_err(|error| match error.code() {
            SqlState::DATATYPE_MISMATCH => {
                let message =
                    format!("default for column \"{column}\" cannot be cast automatically to type {}", ty.base_name());
                Error::new(SqlState::DATATYPE_MISMATCH, message)
            }
            _ => error.at(None),
        })?;
        spell(&bound, &[])
    }

    fn world(&self) -> &EvalContext<'_> {
        &self.eval
    }

    fn constant(&self, catalog: &Arc<Catalog>, default: &Expression, ty: SqlType) -> Result<Constant> {
        let bound = bind_column_default(&self.context(catalog), &default.expr, "", ty)?;
        if bound.volatility() == Volatility::Volatile {
            return Ok(Constant::Each(bound));
        }
        let value = bound.eval(&[], &self.eval)?;
        Ok(match value.is_null() {
            true => Constant::Null,
            false => Constant::Value(text::to_string(&value, ty, self.eval.zone)),
        })
    }
}

/// The text that the catalog keeps. It is read again before it is kept: parentheses that stand for a chain of operators
/// can nest deeper than a statement may, and the table could never be used.
fn spell(expr: &Expr, names: &[String]) -> Result<String> {
    let text = expr.display(&|index| quote_identifier(names.get(index).map_or("", String::as_str)));
    parse_expression(&text)?;
    Ok(text)
}
