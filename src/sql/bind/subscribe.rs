//! SUBSCRIBE: a snapshot as a query has it, and what the live query that follows is judged by.

use super::Binder;
use super::names::{Clause, Names};
use super::scope::Scope;
use super::select::{BoundQuery, Stretch, cut, refuse_clauses, refuse_select_clauses, sorted};
use crate::error::{Error, Result, SqlState};
use crate::expr::{Expr, Volatility};
use crate::live::Selected;
use crate::sql::parse::Subscribe;
use crate::sql::plan::{LiveSpec, Logical, ResultColumn, SortKey, Source};
use crate::table::Model;
use crate::types::{SqlType, Value};
use sqlparser::ast::{self, GroupByExpr, LimitClause, OrderByKind, Query, Select, SetExpr, Spanned};
use std::sync::Arc;

/// A bound SUBSCRIBE.
pub(crate) struct BoundSubscribe {
    /// The snapshot.
    pub(crate) query: BoundQuery,
    /// What follows it.
    pub(crate) live: LiveSpec,
}

impl Binder<'_> {
    pub(crate) fn subscribe(&mut self, subscribe: &Subscribe) -> Result<BoundSubscribe> {
        let select = self.plain_select(&subscribe.query)?;
        let (scan, scope) = self.from(&select.from)?;
        let model = self.live_table(&scan, select)?;
        let filter = match &select.selection {
            Some(selection) => {
                let filter = self.condition(selection, &mut Names::new(&scope, Clause::Where))?;
                self.refuse_volatile(&filter, selection)?;
                Some(filter)
            }
            None => None,
        };
        let (selected, columns) = self.selected(select, &scope)?;
        let keys = self.order(&subscribe.query, &scope)?;
        let stretch = self.stretch(&subscribe.query)?;
        self.refuse_volatile_stretch(&subscribe.query, &stretch)?;
        let last_rows = self.live_option(subscribe.last_rows.as_ref(), "last_rows")?;
        let batch_size = self.live_option(subscribe.batch_size.as_ref(), "batch_size")?;
        let from_seq = self.live_option(subscribe.from_seq.as_ref(), "from_seq")?;
        let mut tree = scan;
        if let Some(predicate) = filter.clone() {
            tree = Logical::Filter { input: Box::new(tree), predicate };
        }
        tree = match &last_rows {
            None => cut(sorted(tree, keys), stretch),
            Some(last) => {
                let at = subscribe.last_rows.as_ref().and_then(|expr| self.at(expr.span()));
                last_of(tree, keys, stretch, last, &model).map_err(|error| error.at(at))?
            }
        };
        let exprs = selected.iter().map(|column| column.expr.clone()).collect();
        tree = Logical::Project { input: Box::new(tree), exprs };
        if let Some(from) = &from_seq {
            tree = nothing_from(tree, from);
        }
        let channel = subscribe.channel.name.clone();
        let live = LiveSpec { channel, model, filter, columns: selected, last_rows, batch_size, from_seq };
        Ok(BoundSubscribe { query: BoundQuery { tree, columns, places: Vec::new() }, live })
    }

    /// The SELECT of a query that reads rows one by one; 0A000 for any other.
    fn plain_select<'q>(&self, query: &'q Query) -> Result<&'q Select> {
        refuse_clauses(query)?;
        if !query.locks.is_empty() {
            return Err(Error::unsupported("a locking clause in a live query"));
        }
        let SetExpr::Select(select) = query.body.as_ref() else {
            return Err(refused("a live query of this form", self.at(query.body.span())));
        };
        refuse_select_clauses(select)?;
        if select.distinct.is_some() {
            return Err(refused("DISTINCT in a live query", self.at(select.select_token.0.span)));
        }
        if let GroupByExpr::Expressions(exprs, _) = &select.group_by
            && let Some(first) = exprs.first()
        {
            return Err(refused("GROUP BY in a live query", self.at(first.span())));
        }
        if let Some(having) = &select.having {
            return Err(refused("HAVING in a live query", self.at(having.span())));
        }
        let join = select.from.iter().flat_map(|from| &from.joins).map(|join| join.relation.span()).next();
        if let Some(span) = join.or_else(|| select.from.get(1).map(|from| from.relation.span())) {
            return Err(refused("a join in a live query", self.at(span)));
        }
        Ok(select)
    }

    /// The table that is read.
    fn live_table(&self, scan: &Logical, select: &Select) -> Result<Arc<Model>> {
        let at = || select.from.first().and_then(|from| self.at(from.relation.span()));
        match scan {
            Logical::Scan { source: Source::Stored(model), .. } if model.relation().topic().is_none() => {
                Ok(model.clone())
            }
            Logical::Scan { source: Source::Stored(_), qualified, .. } => {
                let hint = format!("LISTEN \"{qualified}\" tells when it has messages, CONSUME reads them.");
                Err(Error::unsupported("a live query over a topic").hint(hint).at(at()))
            }
            Logical::Scan { .. } => Err(refused("a live query over a system relation", at())),
            _ => Err(refused("a live query without a table", None)),
        }
    }

    fn selected(&mut self, select: &Select, scope: &Scope) -> Result<(Vec<Selected>, Vec<ResultColumn>)> {
        let mut names = Names::new(scope, Clause::Select);
        let mut all = Vec::new();
        for item in &select.projection {
            let mut items = self.items(std::slice::from_ref(item), &mut names)?;
            let at = self.at(item.span());
            if !names.aggregates.is_empty() {
                return Err(refused("an aggregate in a live query", at));
            }
            if !names.sets.is_empty() {
                return Err(refused("a set-returning function in a live query", at));
            }
            if items.iter().any(|item| item.expr.volatility() == Volatility::Volatile) {
                return Err(refused("a volatile function in a live query", at));
            }
            self.settle_unknown(&mut items)?;
            all.extend(items);
        }
        let name = |item: &super::select::Item| item.column.name.clone();
        let selected = all.iter().map(|item| Selected { name: name(item), expr: item.expr.clone() }).collect();
        Ok((selected, all.into_iter().map(|item| item.column).collect()))
    }

    fn refuse_volatile(&self, expr: &Expr, ast: &ast::Expr) -> Result<()> {
        match expr.volatility() {
            Volatility::Volatile => Err(refused("a volatile function in a live query", self.at(ast.span()))),
            _ => Ok(()),
        }
    }

    fn refuse_volatile_stretch(&self, query: &Query, stretch: &Stretch) -> Result<()> {
        let (limit, offset) = match &query.limit_clause {
            Some(LimitClause::LimitOffset { limit, offset, .. }) => {
                (limit.as_ref(), offset.as_ref().map(|skip| &skip.value))
            }
            _ => (None, None),
        };
        let limit = query.fetch.as_ref().and_then(|fetch| fetch.quantity.as_ref()).or(limit);
        for (bound, ast) in [(&stretch.limit, limit), (&stretch.offset, offset)] {
            if let (Some(bound), Some(ast)) = (bound, ast) {
                self.refuse_volatile(bound, ast)?;
            }
        }
        Ok(())
    }

    /// ORDER BY, over the table's columns and the select list.
    fn order(&mut self, query: &Query, scope: &Scope) -> Result<Vec<SortKey>> {
        let order = match query.order_by.as_ref().map(|order| &order.kind) {
            None => return Ok(Vec::new()),
            Some(OrderByKind::Expressions(exprs)) => exprs,
            Some(OrderByKind::All(_)) => return Err(Error::unsupported("ORDER BY ALL")),
        };
        let SetExpr::Select(select) = query.body.as_ref() else { return Ok(Vec::new()) };
        let mut names = Names::new(scope, Clause::Select);
        let items = self.items(&select.projection, &mut names)?;
        names.clause = Clause::OrderBy;
        let keys = self.sort_keys(order, &items, &mut names)?;
        for (key, by) in keys.iter().zip(order) {
            self.refuse_volatile(&key.expr, &by.expr)?;
        }
        match order.first() {
            Some(first) if !names.sets.is_empty() => {
                Err(refused("a set-returning function in a live query", self.at(first.expr.span())))
            }
            Some(first) if !names.aggregates.is_empty() => {
                Err(refused("an aggregate in a live query", self.at(first.expr.span())))
            }
            _ => Ok(keys),
        }
    }

    /// An option's value, a bigint.
    fn live_option(&mut self, ast: Option<&ast::Expr>, name: &str) -> Result<Option<Expr>> {
        let Some(ast) = ast else { return Ok(None) };
        let at = self.at(ast.span());
        let scope = Scope::default();
        let bound = self.expr(ast, &mut Names::new(&scope, Clause::Limit))?;
        let ty = bound.ty();
        let message = || format!("argument of {name} must be type bigint, not type {}", ty.base_name());
        self.assign(bound, SqlType::INT8, at, message).map(Some)
    }
}

/// The last rows in the query's order, or in that of the primary key, in that order.
fn last_of(tree: Logical, keys: Vec<SortKey>, stretch: Stretch, last: &Expr, model: &Model) -> Result<Logical> {
    let is_whole = stretch.is_whole();
    let order = if keys.is_empty() { primary_key(model) } else { keys.clone() };
    if order.is_empty() {
        return Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, "last_rows needs an order of the rows")
            .hint("Add ORDER BY, or a primary key to the table."));
    }
    let tree = if is_whole { tree } else { cut(sorted(tree, keys), stretch) };
    let backward = order.iter().map(|key| SortKey {
        expr: key.expr.clone(),
        descending: !key.descending,
        nulls_first: !key.nulls_first,
    });
    let tree = sorted(tree, backward.collect());
    let tree = Logical::Limit { input: Box::new(tree), limit: Some(last.clone()), offset: None };
    Ok(sorted(tree, order))
}

fn primary_key(model: &Model) -> Vec<SortKey> {
    let column = |&(index, _): &(usize, _)| SortKey {
        expr: Expr::column(index, model.relation().columns[index].ty),
        descending: false,
        nulls_first: false,
    };
    model.key_columns().iter().map(column).collect()
}

/// No rows, unless the position to resume from is NULL.
fn nothing_from(tree: Logical, from: &Expr) -> Logical {
    let number = |value| Expr::literal(value, SqlType::INT8);
    let limit = Expr::Case {
        operand: None,
        whens: vec![(Expr::is_null(from.clone(), false), number(Value::Null))],
        otherwise: Some(Box::new(number(Value::Int(0)))),
        ty: SqlType::INT8,
    };
    Logical::Limit { input: Box::new(tree), limit: Some(limit), offset: None }
}

fn refused(what: &str, at: Option<u32>) -> Error {
    Error::unsupported(what).hint("A live query reads one table, row by row, and its rows alone decide.").at(at)
}
