//! Expressions that the catalog keeps as text: defaults, checks, conditions of topic sources.

use super::names::{Clause, Names};
use super::scope::{Scope, ScopeTable};
use super::write::null;
use super::{BindContext, Binder};
use crate::catalog::{Catalog, Relation};
use crate::error::{Error, Result, SqlState};
use crate::expr::{Expr, quote_identifier};
use crate::sql::parse::{Statement, parse};
use crate::sql::plan::Source;
use crate::table::Model;
use crate::types::{Oid, SqlType, Zone};
use sqlparser::ast::{self, Spanned};
use std::sync::Arc;

/// What a stored expression is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredKind {
    /// A column's default: no columns may stand in it; it is converted to the column's type.
    Default(usize),
    /// A CHECK: a condition over the relation's columns.
    Check,
    /// Any other condition over the relation's columns: a topic source's WHERE.
    Condition,
}

/// Binds an expression's tree over a relation's columns and system columns, outside of a statement: what a definition
/// checks before it keeps the text.
pub fn bind_expression(cx: &BindContext, relation: &Arc<Relation>, expr: &ast::Expr, kind: StoredKind) -> Result<Expr> {
    let mut binder = Binder::new(cx);
    binder.stored(relation, expr, kind)
}

/// Binds an expression's text, as the catalog keeps it, over a relation's columns and system columns.
pub fn bind_text(catalog: &Arc<Catalog>, relation: &Arc<Relation>, text: &str, kind: StoredKind) -> Result<Expr> {
    let zone = Zone::utc();
    let cx = BindContext {
        catalog,
        role: Oid::INVALID,
        search_path: &[],
        database: "",
        text,
        params: &[],
        open_params: false,
        zone: &zone,
    };
    bind_expression(&cx, relation, &parse_expression(text)?, kind)
}

/// Binds a column's default outside of a relation.
pub(crate) fn bind_column_default(cx: &BindContext, expr: &ast::Expr, column: &str, ty: SqlType) -> Result<Expr> {
    let scope = Scope::default();
    Binder::new(cx).default(expr, column, ty, &mut Names::new(&scope, Clause::Default))
}

/// Binds what ALTER COLUMN TYPE makes of a row's old values: USING's expression, or the column itself, cast as in an
/// assignment.
pub(crate) fn bind_transform(
    cx: &BindContext,
    relation: &Arc<Relation>,
    column: usize,
    ty: SqlType,
    using: Option<&ast::Expr>,
) -> Result<Expr> {
    let mut binder = Binder::new(cx);
    let definition = &relation.columns[column];
    let own = ast::Expr::Identifier(ast::Ident::with_quote('"', definition.name.clone()));
    let source = Source::Stored(Model::new(relation)?);
    let scope = Scope::of(ScopeTable::of(&source, relation.name.clone(), None, 0));
    let bound = binder.expr(using.unwrap_or(&own), &mut Names::new(&scope, Clause::Transform))?;
    binder.coerce_to(bound, ty, None)?.ok_or_else(|| {
        let (name, to) = (&definition.name, ty.base_name());
        match using {
            Some(_) => {
                let message =
                    format!("result of USING clause for column \"{name}\" cannot be cast automatically to type {to}");
                Error::new(SqlState::DATATYPE_MISMATCH, message).hint("You might need to add an explicit cast.")
            }
            None => {
                let message = format!("column \"{name}\" cannot be cast automatically to type {to}");
                let cast = format!("{}::{}", quote_identifier(name), ty.display_name());
                Error::new(SqlState::DATATYPE_MISMATCH, message)
                    .hint(format!("You might need to specify \"USING {cast}\"."))
            }
        }
    })
}

impl Binder<'_> {
    fn stored(&mut self, relation: &Arc<Relation>, expr: &ast::Expr, kind: StoredKind) -> Result<Expr> {
        let source = Source::Stored(Model::new(relation)?);
        let scope = Scope::of(ScopeTable::of(&source, relation.name.clone(), None, 0));
        let clause = match kind {
            StoredKind::Default(_) => Clause::Default,
            StoredKind::Check => Clause::Check,
            StoredKind::Condition => Clause::Condition,
        };
        let mut names = Names::new(&scope, clause);
        match kind {
            StoredKind::Default(column) => {
                let column = relation.columns.get(column).ok_or_else(|| Error::internal("a default of no column"))?;
                self.default(expr, &column.name, column.ty, &mut names)
            }
            _ => self.condition(expr, &mut names),
        }
    }

    fn default(&mut self, expr: &ast::Expr, column: &str, ty: SqlType, names: &mut Names) -> Result<Expr> {
        let at = self.at(expr.span());
        let bound = self.expr(expr, names)?;
        let from = bound.ty();
        let found = self.coerce_to(bound, ty, at)?;
        found.ok_or_else(|| {
            let message = format!(
                "column \"{column}\" is of type {} but default expression is of type {}",
                ty.base_name(),
                from.base_name()
            );
            Error::new(SqlState::DATATYPE_MISMATCH, message).hint("You will need to rewrite or cast the expression.")
        })
    }
}

/// A column's default, or NULL.
pub(crate) fn default_of(binder: &Binder, relation: &Arc<Relation>, column: usize) -> Result<Expr> {
    let definition = &relation.columns[column];
    match &definition.default {
        Some(text) if !definition.dropped => bind_text(binder.cx.catalog, relation, text, StoredKind::Default(column)),
        _ => Ok(null(definition.ty)),
    }
}

/// A relation's CHECK constraints with their names, in PostgreSQL's order: by name.
pub(crate) fn checks(binder: &Binder, relation: &Arc<Relation>) -> Result<Vec<(String, Expr)>> {
    let mut checks = Vec::with_capacity(relation.checks.len());
    for check in &relation.checks {
        let condition = bind_text(binder.cx.catalog, relation, &check.condition, StoredKind::Check)?;
        checks.push((check.name.clone(), condition));
    }
    checks.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(checks)
}

/// The tree of an expression's text.
pub(super) fn parse_expression(text: &str) -> Result<ast::Expr> {
    let foreign = || Error::internal(format!("the catalog keeps no expression: {text}"));
    let mut statements = parse(&format!("SELECT {text}"))?;
    let Some(Statement::Query(query)) = statements.pop().map(|parsed| parsed.statement) else { return Err(foreign()) };
    match *query.body {
        ast::SetExpr::Select(mut select) => match select.projection.pop() {
            Some(ast::SelectItem::UnnamedExpr(expr)) => Ok(expr),
            _ => Err(foreign()),
        },
        _ => Err(foreign()),
    }
}
