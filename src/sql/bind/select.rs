//! SELECT, VALUES and what goes around them: ORDER BY, LIMIT, DISTINCT, grouping.

use super::Binder;
use super::ident::name_parts;
use super::lock::Unlockable;
use super::names::{AGGREGATE_BASE, Clause, Names};
use super::scope::{ColumnKind, Scope};
use crate::error::{Error, Result, SqlState};
use crate::expr::{Expr, Volatility};
use crate::sql::plan::{AggregateCall, Logical, ResultColumn, RowLocking, SortKey};
use crate::types::{Oid, SqlType};
use sqlparser::ast::{
    self, Distinct, Fetch, GroupByExpr, LimitClause, OrderByKind, OrderBySort, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, Spanned,
};

/// A bound query: its tree and its columns.
pub(crate) struct BoundQuery {
    pub(crate) tree: Logical,
    pub(crate) columns: Vec<ResultColumn>,
    /// Where each column was written.
    pub(crate) places: Vec<Option<u32>>,
}

/// A select item as bound: its value and how it is shown.
pub(crate) struct Item {
    pub(crate) expr: Expr,
    pub(crate) column: ResultColumn,
    /// Where it was written.
    pub(crate) at: Option<u32>,
}

/// LIMIT and OFFSET.
pub(crate) struct Stretch {
    pub(super) limit: Option<Expr>,
    pub(super) offset: Option<Expr>,
}

impl Stretch {
    /// Whether it is all rows.
    pub(crate) fn is_whole(&self) -> bool {
        self.limit.is_none() && self.offset.is_none()
    }
}

impl Binder<'_> {
    /// Binds a query. Columns that are still of type unknown become text unless `keep_unknown`.
    pub(crate) fn query(&mut self, query: &Query, keep_unknown: bool) -> Result<BoundQuery> {
        refuse_clauses(query)?;
        let order = match &query.order_by {
            None => &[][..],
            Some(order) => match &order.kind {
                OrderByKind::Expressions(exprs) if order.interpolate.is_none() => exprs.as_slice(),
                _ => return Err(Error::unsupported("ORDER BY ALL")),
            },
        };
        match query.body.as_ref() {
            SetExpr::Select(select) => self.select(query, select, order, keep_unknown),
            SetExpr::Values(values) => {
                super::lock::refuse_over_values(query)?;
                let stretch = self.stretch(query)?;
                let rows: Vec<&[ast::Expr]> = values.rows.iter().map(|row| row.content.as_slice()).collect();
                let bound = self.values(&rows)?;
                self.order_outputs(bound, order, stretch)
            }
            SetExpr::Query(inner)
                if order.is_empty()
                    && query.limit_clause.is_none()
                    && query.fetch.is_none()
                    && query.locks.is_empty() =>
            {
                self.query(inner, keep_unknown)
            }
            SetExpr::SetOperation { op, .. } => Err(Error::unsupported(op)),
            SetExpr::Table(_) => Err(Error::unsupported("TABLE").hint("Write SELECT * FROM the table.")),
            _ => Err(Error::unsupported("a query of this form")),
        }
    }

    /// Clauses are bound in PostgreSQL's order, which decides which error is found first and which place gives a
    /// parameter its type.
    fn select(
        &mut self,
        query: &Query,
        select: &Select,
        order: &[ast::OrderByExpr],
        keep_unknown: bool,
    ) -> Result<BoundQuery> {
        refuse_select_clauses(select)?;
        let (from, scope) = self.from(&select.from)?;
        let mut tree = from.clone();
        let mut names = Names::new(&scope, Clause::Select);
        let mut items = self.items(&select.projection, &mut names)?;
        if let Some(selection) = &select.selection {
            let mut names = Names::new(&scope, Clause::Where);
            let predicate = self.condition(selection, &mut names)?;
            tree = Logical::Filter { input: Box::new(tree), predicate };
        }
        names.clause = Clause::Having;
        let having = select.having.as_ref().map(|having| self.condition(having, &mut names)).transpose()?;
        names.clause = Clause::OrderBy;
        let mut keys = self.sort_keys(order, &items, &mut names)?;
        let groups = self.groups(&select.group_by, &items, &mut names)?;
        let distinct = match &select.distinct {
            None | Some(Distinct::All) => false,
            Some(Distinct::Distinct) => true,
            Some(Distinct::On(_)) => return Err(Error::unsupported("DISTINCT ON")),
        };
        let stretch = self.stretch_over(query, &scope)?;
        let unlockable = Unlockable {
            distinct,
            groups: !groups.is_empty(),
            having: having.is_some(),
            aggregates: !names.aggregates.is_empty(),
            sets: !names.sets.is_empty(),
        };
        let locking = self.row_locking(query, &from, &scope, unlockable)?;
        if !keep_unknown || distinct {
            self.settle_unknown(&mut items)?;
        }
        if distinct {
            self.check_distinct_rows(&items, &keys, order)?;
        }
        let places = items.iter().map(|item| item.at).collect();
        let aggregates = std::mem::take(&mut names.aggregates);
        if !aggregates.is_empty() || !groups.is_empty() || having.is_some() {
            tree = group(tree, &scope, groups, aggregates, having, &mut items, &mut keys)?;
        }
        let (exprs, columns): (Vec<Expr>, Vec<ResultColumn>) =
            items.into_iter().map(|item| (item.expr, item.column)).unzip();
        let tree = arrange(tree, exprs, keys, distinct, locking, stretch)?;
        Ok(BoundQuery { tree, columns, places })
    }

    /// What DISTINCT asks of the select list and of ORDER BY.
    fn check_distinct_rows(&self, items: &[Item], keys: &[SortKey], order: &[ast::OrderByExpr]) -> Result<()> {
        let forms: Vec<String> = items.iter().map(|item| super::group::form(&item.expr)).collect();
        for (key, by) in keys.iter().zip(order) {
            if !forms.contains(&super::group::form(&key.expr)) {
                let message = "for SELECT DISTINCT, ORDER BY expressions must appear in select list";
                return Err(Error::new(SqlState::INVALID_COLUMN_REFERENCE, message).at(self.at(by.expr.span())));
            }
        }
        items.iter().try_for_each(|item| check_equality(item.expr.ty(), item.at))
    }

    /// The select list.
    pub(crate) fn items(&mut self, projection: &[SelectItem], names: &mut Names) -> Result<Vec<Item>> {
        let mut items = Vec::with_capacity(projection.len());
        for item in projection {
            match item {
                SelectItem::UnnamedExpr(expr) => {
                    let name = super::title::title(expr);
                    items.push(self.item(expr, name, names)?);
                }
                SelectItem::ExprWithAlias { expr, alias } => {
                    items.push(self.item(expr, super::ident::fold(alias), names)?);
                }
                SelectItem::Wildcard(options) => {
                    if let Some(alias) = &options.opt_alias {
                        return Err(Error::syntax_near(&alias.value).at(self.at(alias.span)));
                    }
                    let at = self.at(options.wildcard_token.0.span);
                    if names.scope.tables.is_empty() {
                        let message = "SELECT * with no tables specified is not valid";
                        return Err(Error::new(SqlState::SYNTAX_ERROR, message).at(at));
                    }
                    expand(None, at, names, &mut items);
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                    let parts = name_parts(name)?;
                    let at = self.at(name.span());
                    let (schema, table) = match parts.as_slice() {
                        [table] => (None, table),
                        [.., schema, table] => (Some(schema.as_str()), table),
                        [] => return Err(Error::syntax_near("*")),
                    };
                    names.scope.table(schema, table, at)?;
                    expand(Some(table), at, names, &mut items);
                }
                _ => return Err(Error::unsupported("this kind of select item")),
            }
        }
        Ok(items)
    }

    fn item(&mut self, ast: &ast::Expr, name: String, names: &mut Names) -> Result<Item> {
        let expr = self.expr(ast, names)?;
        let mut column = ResultColumn { name, ty: expr.ty(), table: Oid::INVALID, attnum: 0 };
        if let Expr::Column { index, .. } = expr
            && let Some((_, source)) = names.scope.column(index)
        {
            column.table = source.table;
            column.attnum = source.attnum;
        }
        Ok(Item { expr, column, at: self.at(ast.span()) })
    }

    /// Output columns of type unknown become text, as in PostgreSQL.
    pub(crate) fn settle_unknown(&mut self, items: &mut [Item]) -> Result<()> {
        for item in items {
            if item.expr.ty().same(SqlType::UNKNOWN) {
                item.expr = self.coerce(item.expr.clone(), SqlType::TEXT, None)?;
                item.column.ty = SqlType::TEXT;
            }
        }
        Ok(())
    }

    fn groups(&mut self, group_by: &GroupByExpr, items: &[Item], names: &mut Names) -> Result<Vec<Expr>> {
        let GroupByExpr::Expressions(exprs, modifiers) = group_by else {
            return Err(Error::unsupported("GROUP BY ALL"));
        };
        if !modifiers.is_empty() {
            return Err(Error::unsupported("GROUP BY with modifiers"));
        }
        names.clause = Clause::GroupBy;
        let mut groups = Vec::with_capacity(exprs.len());
        for ast in exprs {
            let at = self.at(ast.span());
            let group = match self.output_of(ast, items, names, false)? {
                Some(index) => items[index].expr.clone(),
                None => self.expr(ast, names)?,
            };
            let group = if group.ty().same(SqlType::UNKNOWN) { self.coerce(group, SqlType::TEXT, at)? } else { group };
            check_equality(group.ty(), at)?;
            let mut aggregated = false;
            group.visit(&mut |part| {
                aggregated |= matches!(part, Expr::Column { index, .. } if *index >= AGGREGATE_BASE)
            });
            if aggregated {
                let message = "aggregate functions are not allowed in GROUP BY";
                return Err(Error::new(SqlState::GROUPING_ERROR, message).at(at));
            }
            groups.push(group);
        }
        Ok(groups)
    }

    /// ORDER BY over the select list: positions, output names, expressions over the input.
    pub(crate) fn sort_keys(
        &mut self,
        order: &[ast::OrderByExpr],
        items: &[Item],
        names: &mut Names,
    ) -> Result<Vec<SortKey>> {
        let mut keys = Vec::with_capacity(order.len());
        for by in order {
            let expr = match self.output_of(&by.expr, items, names, true)? {
                Some(index) => items[index].expr.clone(),
                None => self.expr(&by.expr, names)?,
            };
            let expr = if expr.ty().same(SqlType::UNKNOWN) { self.coerce(expr, SqlType::TEXT, None)? } else { expr };
            keys.push(self.sort_key(by, expr)?);
        }
        Ok(keys)
    }

    pub(crate) fn sort_key(&self, by: &ast::OrderByExpr, expr: Expr) -> Result<SortKey> {
        let at = self.at(by.expr.span());
        let descending = match &by.options.sort {
            None | Some(OrderBySort::Asc) => false,
            Some(OrderBySort::Desc) => true,
            Some(OrderBySort::Using(_)) => return Err(Error::unsupported("ORDER BY USING").at(at)),
        };
        if expr.ty().same(SqlType::JSON) {
            let message = "could not identify an ordering operator for type json";
            return Err(Error::new(SqlState::UNDEFINED_FUNCTION, message)
                .hint("Use an explicit ordering operator or modify the query.")
                .at(at));
        }
        Ok(SortKey { expr, descending, nulls_first: by.options.nulls_first.unwrap_or(descending) })
    }

    /// The select item that a GROUP BY or ORDER BY entry names by position or by name. In GROUP BY a column of the
    /// input goes before an output name.
    fn output_of(
        &mut self,
        ast: &ast::Expr,
        items: &[Item],
        names: &Names,
        outputs_first: bool,
    ) -> Result<Option<usize>> {
        let mut ast = ast;
        while let ast::Expr::Nested(inner) = ast {
            ast = inner;
        }
        let at = self.at(ast.span());
        let clause = names.clause.name();
        match ast {
            ast::Expr::Value(value) => match &value.value {
                ast::Value::Number(digits, _) => place(digits, items.len(), clause, at).map(Some),
                ast::Value::Placeholder(_) => Ok(None),
                _ => Err(no_place(clause, at)),
            },
            // PostgreSQL's grammar makes a constant of it
            ast::Expr::UnaryOp { op: ast::UnaryOperator::Minus, expr } => match super::expr::negated_number(expr) {
                Some(digits) => {
                    let at = super::position::word_before(self.cx.text, at, "-");
                    place(&digits, items.len(), clause, at).map(Some)
                }
                None => Ok(None),
            },
            ast::Expr::Identifier(ident) => {
                let name = super::ident::fold(ident);
                if !outputs_first && names.scope.resolve(&name, at).is_ok() {
                    return Ok(None);
                }
                let mut matches = (0..items.len()).filter(|&index| items[index].column.name == name);
                let Some(first) = matches.next() else { return Ok(None) };
                let text = super::group::form(&items[first].expr);
                if matches.any(|other| super::group::form(&items[other].expr) != text) {
                    let message = format!("{clause} \"{name}\" is ambiguous");
                    return Err(Error::new(SqlState::AMBIGUOUS_COLUMN, message).at(at));
                }
                Ok(Some(first))
            }
            _ => Ok(None),
        }
    }

    /// VALUES: each column has the common type of its entries.
    pub(crate) fn values(&mut self, rows: &[&[ast::Expr]]) -> Result<BoundQuery> {
        let scope = Scope::default();
        let mut names = Names::new(&scope, Clause::Values);
        let width = rows.first().map_or(0, |row| row.len());
        let mut columns = vec![Vec::with_capacity(rows.len()); width];
        for row in rows {
            if row.len() != width {
                let at = row.first().and_then(|expr| self.at(expr.span()));
                let message = "VALUES lists must all be the same length";
                return Err(Error::new(SqlState::SYNTAX_ERROR, message).at(at));
            }
            for (column, ast) in columns.iter_mut().zip(*row) {
                let at = self.at(ast.span());
                column.push((self.expr(ast, &mut names)?, at));
            }
        }
        let mut out = vec![Vec::with_capacity(width); rows.len()];
        let mut results = Vec::with_capacity(width);
        for (number, column) in columns.into_iter().enumerate() {
            let unified = self.unify(column, "VALUES")?;
            let ty = unified.first().map_or(SqlType::TEXT, Expr::ty);
            results.push(ResultColumn { name: format!("column{}", number + 1), ty, table: Oid::INVALID, attnum: 0 });
            for (row, expr) in out.iter_mut().zip(unified) {
                row.push(expr);
            }
        }
        let types = results.iter().map(|column| column.ty).collect();
        let places = rows.first().map_or_else(Vec::new, |row| row.iter().map(|ast| self.at(ast.span())).collect());
        Ok(BoundQuery { tree: Logical::Values { rows: out, types }, columns: results, places })
    }

    /// ORDER BY and LIMIT of what has no select list: positions and output names only.
    fn order_outputs(&mut self, bound: BoundQuery, order: &[ast::OrderByExpr], stretch: Stretch) -> Result<BoundQuery> {
        let outputs = bound.columns.iter().enumerate();
        let items: Vec<Item> = outputs
            .map(|(index, column)| Item { expr: Expr::column(index, column.ty), column: column.clone(), at: None })
            .collect();
        let scope = Scope::default();
        let mut names = Names::new(&scope, Clause::OrderBy);
        let keys = self.sort_keys(order, &items, &mut names)?;
        let BoundQuery { tree, columns, places } = bound;
        Ok(BoundQuery { tree: cut(sorted(tree, keys), stretch), columns, places })
    }

    /// LIMIT and OFFSET where there are no names.
    pub(crate) fn stretch(&mut self, query: &Query) -> Result<Stretch> {
        self.stretch_over(query, &Scope::default())
    }

    fn stretch_over(&mut self, query: &Query, scope: &Scope) -> Result<Stretch> {
        let (mut limit, mut offset) = (None, None);
        match &query.limit_clause {
            None => {}
            Some(LimitClause::LimitOffset { limit: rows, offset: skip, limit_by }) if limit_by.is_empty() => {
                limit = rows.as_ref();
                offset = skip.as_ref().map(|skip| &skip.value);
            }
            Some(_) => {
                return Err(Error::unsupported("LIMIT #,# syntax").hint("Use separate LIMIT and OFFSET clauses."));
            }
        }
        let mut one = None;
        match &query.fetch {
            None => {}
            Some(Fetch { with_ties: false, percent: false, quantity }) => match quantity {
                Some(quantity) => limit = Some(quantity),
                None => one = Some(self.number("1", None)?),
            },
            Some(_) => return Err(Error::unsupported("FETCH with PERCENT or WITH TIES")),
        }
        let limit = match one {
            Some(one) => Some(self.coerce(one, SqlType::INT8, None)?),
            None => limit.map(|limit| self.row_count(limit, Clause::Limit, scope)).transpose()?.flatten(),
        };
        let offset = offset.map(|offset| self.row_count(offset, Clause::Offset, scope)).transpose()?.flatten();
        Ok(Stretch { limit, offset })
    }

    /// The number of LIMIT or OFFSET, a bigint; none for ALL.
    fn row_count(&mut self, ast: &ast::Expr, clause: Clause, scope: &Scope) -> Result<Option<Expr>> {
        let at = self.at(ast.span());
        let mut names = Names::new(scope, clause);
        let bound = self.expr(ast, &mut names)?;
        if matches!(&bound, Expr::Literal { value, .. } if value.is_null()) {
            return Ok(None);
        }
        let ty = bound.ty();
        let message = || format!("argument of {} must be type bigint, not type {}", clause.name(), ty.base_name());
        self.assign(bound, SqlType::INT8, at, message).map(Some)
    }
}

/// 42883 for a type without equality.
fn check_equality(ty: SqlType, at: Option<u32>) -> Result<()> {
    if !ty.same(SqlType::JSON) {
        return Ok(());
    }
    let message = "could not identify an equality operator for type json";
    Err(Error::new(SqlState::UNDEFINED_FUNCTION, message).at(at))
}

/// The columns that `*` stands for, of one table or of all.
fn expand(table: Option<&str>, at: Option<u32>, names: &mut Names, items: &mut Vec<Item>) {
    names.reads = true;
    for from in names.scope.tables.iter().filter(|from| table.is_none_or(|table| from.alias == table)) {
        let of = |kind| from.columns.iter().enumerate().filter(move |(_, column)| column.kind == kind);
        for (position, column) in of(ColumnKind::First).chain(of(ColumnKind::Plain)) {
            let expr = Expr::column(from.offset + position, column.ty);
            items.push(Item { expr, column: column.result(), at });
        }
    }
}

/// Aggregation below the select list: all expressions now name groups and aggregates.
fn group(
    tree: Logical,
    scope: &Scope,
    mut groups: Vec<Expr>,
    aggregates: Vec<AggregateCall>,
    having: Option<Expr>,
    items: &mut [Item],
    keys: &mut [SortKey],
) -> Result<Logical> {
    let named = items.iter().map(|item| &item.expr).chain(keys.iter().map(|key| &key.expr)).chain(&having);
    super::group::add_dependent(&mut groups, scope, named);
    let place = |expr: &mut Expr| super::group::place(expr, &groups, scope);
    for item in items {
        place(&mut item.expr)?;
    }
    for key in keys {
        place(&mut key.expr)?;
    }
    let having = having
        .map(|mut having| {
            place(&mut having)?;
            Ok::<_, Error>(having)
        })
        .transpose()?;
    let tree = Logical::Aggregate { input: Box::new(tree), groups, aggregates };
    Ok(match having {
        Some(predicate) => Logical::Filter { input: Box::new(tree), predicate },
        None => tree,
    })
}

/// Puts ORDER BY, LIMIT, DISTINCT and the select list in an order in which each expression is evaluated once, and the
/// select list only for rows that are returned where that is the same.
fn arrange(
    tree: Logical,
    mut exprs: Vec<Expr>,
    keys: Vec<SortKey>,
    distinct: bool,
    locking: Option<RowLocking>,
    stretch: Stretch,
) -> Result<Logical> {
    let (tree, keys) = super::sets::expand_sets(tree, &mut exprs, keys, distinct)?;
    let volatile = keys.iter().any(|key| key.expr.volatility() == Volatility::Volatile);
    let computed_once =
        |key: &SortKey| exprs.iter().any(|expr| super::group::form(expr) == super::group::form(&key.expr));
    if volatile && locking.is_some() && keys.iter().any(computed_once) {
        return Err(Error::unsupported("a locking clause with ORDER BY of a volatile expression that is selected"));
    }
    if !distinct && (!volatile || locking.is_some()) {
        let mut tree = sorted(tree, keys);
        if let Some(locking) = locking {
            tree = Logical::LockRows { input: Box::new(tree), locking };
        }
        let tree = cut(tree, stretch);
        return Ok(Logical::Project { input: Box::new(tree), exprs });
    }
    // Sorting happens on the select list's results: entries that are not in it are computed beside it and cut off.
    let width = exprs.len();
    let forms: Vec<String> = exprs.iter().map(super::group::form).collect();
    let mut computed = exprs;
    let mut placed = Vec::with_capacity(keys.len());
    for key in keys {
        let form = super::group::form(&key.expr);
        let index = match forms.iter().position(|other| *other == form) {
            Some(index) => index,
            None if distinct => return Err(Error::internal("DISTINCT is ordered by what is not selected")),
            None => {
                computed.push(key.expr.clone());
                computed.len() - 1
            }
        };
        placed.push(SortKey { expr: Expr::column(index, key.expr.ty()), ..key });
    }
    let outputs: Vec<Expr> =
        computed[..width].iter().enumerate().map(|(index, expr)| Expr::column(index, expr.ty())).collect();
    let wider = computed.len() > width;
    let mut tree = Logical::Project { input: Box::new(tree), exprs: computed };
    if distinct {
        tree = Logical::Distinct { input: Box::new(tree) };
    }
    let tree = cut(sorted(tree, placed), stretch);
    Ok(if wider { Logical::Project { input: Box::new(tree), exprs: outputs } } else { tree })
}

pub(crate) fn sorted(tree: Logical, keys: Vec<SortKey>) -> Logical {
    if keys.is_empty() { tree } else { Logical::Sort { input: Box::new(tree), keys } }
}

pub(crate) fn cut(tree: Logical, stretch: Stretch) -> Logical {
    match (stretch.limit, stretch.offset) {
        (None, None) => tree,
        (limit, offset) => Logical::Limit { input: Box::new(tree), limit, offset },
    }
}

pub(crate) fn refuse_clauses(query: &Query) -> Result<()> {
    if query.with.is_some() {
        return Err(Error::unsupported("WITH"));
    }
    if query.for_clause.is_some()
        || query.settings.is_some()
        || query.format_clause.is_some()
        || !query.pipe_operators.is_empty()
    {
        return Err(Error::unsupported("this clause of a query"));
    }
    Ok(())
}

pub(crate) fn refuse_select_clauses(select: &Select) -> Result<()> {
    if select.into.is_some() {
        return Err(Error::unsupported("SELECT INTO"));
    }
    if !select.named_window.is_empty() {
        return Err(Error::unsupported("WINDOW"));
    }
    let foreign = select.top.is_some()
        || select.exclude.is_some()
        || !select.lateral_views.is_empty()
        || select.prewhere.is_some()
        || !select.connect_by.is_empty()
        || !select.cluster_by.is_empty()
        || !select.distribute_by.is_empty()
        || !select.sort_by.is_empty()
        || select.qualify.is_some()
        || select.value_table_mode.is_some()
        || select.select_modifiers.is_some();
    if foreign {
        return Err(Error::unsupported("this clause of SELECT"));
    }
    Ok(())
}

/// The index of the select item at a place, which counts from 1.
fn place(digits: &str, count: usize, clause: &str, at: Option<u32>) -> Result<usize> {
    let number: i32 = digits.trim_start_matches('-').parse().map_err(|_| no_place(clause, at))?;
    match usize::try_from(number) {
        Ok(place) if (1..=count).contains(&place) && !digits.starts_with('-') => Ok(place - 1),
        _ => {
            let message = format!("{clause} position {digits} is not in select list");
            Err(Error::new(SqlState::INVALID_COLUMN_REFERENCE, message).at(at))
        }
    }
}

fn no_place(clause: &str, at: Option<u32>) -> Error {
    Error::new(SqlState::SYNTAX_ERROR, format!("non-integer constant in {clause}")).at(at)
}
