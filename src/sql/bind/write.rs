//! INSERT, UPDATE and DELETE.

use super::Binder;
use super::ident::{fold, name_parts};
use super::names::{Clause, Names};
use super::relation::Found;
use super::scope::{ColumnKind, Scope};
use super::stored::{checks, default_of};
use crate::catalog::{Privilege, Relation, RelationKind};
use crate::error::{Error, Result, SqlState};
use crate::expr::Expr;
use crate::sql::plan::{Command, Conflict, Logical, ResultColumn, Source};
use crate::types::{SqlType, Value};
use sqlparser::ast::{
    self, AssignmentTarget, ConflictTarget, FromTable, ObjectName, OnConflictAction, OnInsert, SetExpr, Spanned,
    TableAlias, TableObject, TableWithJoins,
};
use std::sync::Arc;

/// A bound statement that writes: its tree, and the columns of RETURNING.
pub(crate) type BoundWrite = (Logical, Option<Vec<ResultColumn>>);

/// RETURNING: its expressions and its columns.
type Returning = (Option<Vec<Expr>>, Option<Vec<ResultColumn>>);

/// The relation that is written, with its names.
struct Target {
    relation: Arc<Relation>,
    found: Found,
    source: Source,
    scope: Scope,
}

impl Target {
    fn alias(&self) -> String {
        self.scope.tables[0].alias.clone()
    }
}

impl Binder<'_> {
    fn target(&mut self, name: &ObjectName, alias: Option<&TableAlias>, command: Command) -> Result<Target> {
        let found = self.find_relation(name)?;
        let privilege = match command {
            Command::Insert => Privilege::Insert,
            Command::Update => Privilege::Update,
            _ => Privilege::Delete,
        };
        if let Found::Stored(_) = &found {
            self.require(&found, privilege)?;
        }
        let (relation, source, scope) = self.target_of(&found, alias, command)?;
        Ok(Target { relation, found, source, scope })
    }

    /// What a relation is to a statement that writes it, if it may be written.
    pub(crate) fn target_of(
        &mut self,
        found: &Found,
        alias: Option<&TableAlias>,
        command: Command,
    ) -> Result<(Arc<Relation>, Source, Scope)> {
        let Found::Stored(relation) = found else {
            let message = format!("permission denied: \"{}\" is a system catalog", found.name());
            return Err(Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message));
        };
        if matches!(relation.kind, RelationKind::Topic(_)) {
            return Err(Error::unsupported(format!("{} of a topic", command.name()))
                .hint("Messages come from the tables that are the topic's sources."));
        }
        if relation.sequence().is_some() {
            let message = format!("cannot change sequence \"{}\"", relation.name);
            return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message));
        }
        if command == Command::Update && relation.is_volatile() {
            return Err(Error::unsupported("UPDATE of a STREAM table").hint("Delete the row and insert a new one."));
        }
        let (source, scope) = self.named(found, alias)?;
        Ok((relation.clone(), source, scope))
    }

    /// INSERT
    pub(crate) fn insert(&mut self, insert: &ast::Insert) -> Result<BoundWrite> {
        refuse_insert_clauses(insert)?;
        let TableObject::TableName(name) = &insert.table else {
            return Err(Error::unsupported("INSERT into something else than a table"));
        };
        let alias = match &insert.table_alias {
            Some(alias) if !alias.explicit => {
                return Err(Error::syntax_near(&alias.alias.value).at(self.at(alias.alias.span)));
            }
            alias => alias.as_ref().map(|alias| TableAlias {
                explicit: true,
                name: alias.alias.clone(),
                columns: Vec::new(),
                at: None,
            }),
        };
        let target = self.target(name, alias.as_ref(), Command::Insert)?;
        let columns = self.insert_columns(&insert.columns, &target)?;
        let input = match insert.source.as_deref() {
            None => self.insert_defaults(&target)?,
            Some(query) => match query.body.as_ref() {
                SetExpr::Values(values) if query.order_by.is_none() && query.limit_clause.is_none() => {
                    let rows: Vec<&[ast::Expr]> = values.rows.iter().map(|row| row.content.as_slice()).collect();
                    self.insert_values(&rows, insert, &columns, &target)?
                }
                _ => self.insert_query(query, insert, &columns, &target)?,
            },
        };
        let conflict = self.conflict(insert.on.as_ref(), &target)?;
        let checks = checks(self, &target.relation)?;
        let (returning, results) = self.returning(insert.returning.as_deref(), &target)?;
        let alias = target.alias();
        let tree =
            Logical::Insert { input: Box::new(input), source: target.source, alias, conflict, checks, returning };
        Ok((tree, results))
    }

    /// The positions that an INSERT's column list names; all columns without one.
    fn insert_columns(&mut self, list: &[ObjectName], target: &Target) -> Result<Vec<usize>> {
        if list.is_empty() {
            return Ok(target.relation.live_columns().map(|(at, _)| at).collect());
        }
        let mut columns = Vec::with_capacity(list.len());
        for name in list {
            let at = self.at(name.span());
            let column = self.target_column(name, target, at)?;
            if columns.contains(&column) {
                let name = &target.relation.columns[column].name;
                let message = format!("column \"{name}\" specified more than once");
                return Err(Error::new(SqlState::DUPLICATE_COLUMN, message).at(at));
            }
            columns.push(column);
        }
        Ok(columns)
    }

    fn target_column(&self, name: &ObjectName, target: &Target, at: Option<u32>) -> Result<usize> {
        let parts = name_parts(name)?;
        let column = &parts[0];
        let columns = &target.scope.tables[0].columns;
        match columns.iter().find(|known| known.kind != ColumnKind::Dropped && known.name == *column) {
            Some(known) if known.kind == ColumnKind::System => {
                let message = format!("cannot assign to system column \"{column}\"");
                Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message).at(at))
            }
            Some(known) if parts.len() > 1 => {
                let message = format!(
                    "cannot assign to field \"{}\" of column \"{column}\" because its type {} is not a composite type",
                    parts[1],
                    known.ty.display_name()
                );
                Err(Error::new(SqlState::DATATYPE_MISMATCH, message).at(at))
            }
            Some(known) => Ok(known.attnum as usize - 1),
            None => {
                let message = format!("column \"{column}\" of relation \"{}\" does not exist", target.relation.name);
                Err(Error::new(SqlState::UNDEFINED_COLUMN, message).at(at))
            }
        }
    }

    fn insert_defaults(&mut self, target: &Target) -> Result<Logical> {
        let row = self.complete(Vec::new(), &target.relation)?;
        Ok(Logical::Values { types: row.iter().map(Expr::ty).collect(), rows: vec![row] })
    }

    fn insert_values(
        &mut self,
        rows: &[&[ast::Expr]],
        insert: &ast::Insert,
        columns: &[usize],
        target: &Target,
    ) -> Result<Logical> {
        let scope = Scope { tables: Vec::new(), unreachable: target.scope.tables.clone() };
        let mut names = Names::new(&scope, Clause::Values);
        let width = rows.first().map_or(0, |row| row.len());
        let mut out = Vec::with_capacity(rows.len());
        for row in rows {
            if row.len() != width {
                let at = row.first().and_then(|expr| self.at(expr.span()));
                let message = "VALUES lists must all be the same length";
                return Err(Error::new(SqlState::SYNTAX_ERROR, message).at(at));
            }
            self.refuse_row(row, insert)?;
            let mut values = Vec::with_capacity(row.len());
            for ast in *row {
                values.push(if is_default(ast) { None } else { Some(self.expr(ast, &mut names)?) });
            }
            let at = row.get(columns.len()).and_then(|expr| self.at(expr.span()));
            self.check_width(width, at, insert, columns)?;
            let mut given = Vec::with_capacity(columns.len());
            for ((ast, value), &column) in row.iter().zip(values).zip(columns) {
                let to = &target.relation.columns[column];
                let expr = match value {
                    None => default_of(self, &target.relation, column)?,
                    Some(value) => self.assign_column(value, &to.name, to.ty, self.at(ast.span()))?,
                };
                given.push((column, expr));
            }
            out.push(self.complete(given, &target.relation)?);
        }
        let types = target.relation.columns.iter().map(|column| column.ty).collect();
        Ok(Logical::Values { rows: out, types })
    }

    fn insert_query(
        &mut self,
        query: &ast::Query,
        insert: &ast::Insert,
        columns: &[usize],
        target: &Target,
    ) -> Result<Logical> {
        if let SetExpr::Select(select) = query.body.as_ref()
            && let [ast::SelectItem::UnnamedExpr(only)] = select.projection.as_slice()
        {
            self.refuse_row(std::slice::from_ref(only), insert)?;
        }
        self.unreachable = target.scope.tables.clone();
        let bound = self.query(query, true)?;
        self.unreachable.clear();
        let extra = bound.places.get(columns.len()).copied().flatten();
        self.check_width(bound.columns.len(), extra, insert, columns)?;
        let mut given = Vec::with_capacity(columns.len());
        for (index, &column) in columns.iter().enumerate().take(bound.columns.len()) {
            let to = &target.relation.columns[column];
            let at = bound.places.get(index).copied().flatten();
            // A constant that has no type yet is read as the column's.
            let constant = match bound.columns[index].ty.same(SqlType::UNKNOWN) {
                true => constant_of(&bound.tree, index),
                false => None,
            };
            let expr = constant.unwrap_or_else(|| Expr::column(index, bound.columns[index].ty));
            given.push((column, self.assign_column(expr, &to.name, to.ty, at)?));
        }
        let exprs = self.complete(given, &target.relation)?;
        Ok(Logical::Project { input: Box::new(bound.tree), exprs })
    }

    /// 42601 unless there are as many values as columns; without a column list fewer will do.
    fn check_width(&self, width: usize, at: Option<u32>, insert: &ast::Insert, columns: &[usize]) -> Result<()> {
        if width > columns.len() {
            let message = "INSERT has more expressions than target columns";
            return Err(Error::new(SqlState::SYNTAX_ERROR, message).at(at));
        }
        if let Some(extra) = insert.columns.get(width) {
            let message = "INSERT has more target columns than expressions";
            return Err(Error::new(SqlState::SYNTAX_ERROR, message).at(self.at(extra.span())));
        }
        Ok(())
    }

    /// 42601 for one row of values where its parts were meant.
    fn refuse_row(&self, values: &[ast::Expr], insert: &ast::Insert) -> Result<()> {
        let parts = if let [only] = values { row_of(only).map_or(0, |parts| parts.len()) } else { 0 };
        let (true, Some(extra)) = (parts == insert.columns.len(), insert.columns.get(1)) else { return Ok(()) };
        let message = "INSERT has more target columns than expressions";
        let hint = "The insertion source is a row expression containing the same number of columns expected by the \
                    INSERT. Did you accidentally use extra parentheses?";
        Err(Error::new(SqlState::SYNTAX_ERROR, message).hint(hint).at(self.at(extra.span())))
    }

    /// A whole row of the relation: what is given, and defaults.
    fn complete(&mut self, given: Vec<(usize, Expr)>, relation: &Arc<Relation>) -> Result<Vec<Expr>> {
        let mut row: Vec<Option<Expr>> = vec![None; relation.columns.len()];
        for (column, expr) in given {
            row[column] = Some(expr);
        }
        let mut whole = Vec::with_capacity(row.len());
        for (column, expr) in row.into_iter().enumerate() {
            whole.push(match expr {
                Some(expr) => expr,
                None => default_of(self, relation, column)?,
            });
        }
        Ok(whole)
    }

    fn conflict(&self, on: Option<&OnInsert>, target: &Target) -> Result<Conflict> {
        let on = match on {
            None => return Ok(Conflict::Fail),
            Some(OnInsert::OnConflict(on)) => on,
            Some(_) => return Err(Error::unsupported("ON DUPLICATE KEY UPDATE").hint("Use ON CONFLICT DO NOTHING.")),
        };
        if let OnConflictAction::DoUpdate(_) = on.action {
            return Err(Error::unsupported("ON CONFLICT DO UPDATE").hint("Use ON CONFLICT DO NOTHING and UPDATE."));
        }
        let relation = &target.relation;
        match &on.conflict_target {
            None => Ok(Conflict::SkipAny),
            Some(ConflictTarget::Columns { columns, predicate: None }) => {
                let mut wanted = Vec::with_capacity(columns.len());
                for column in columns {
                    // PostgreSQL points at the list.
                    let at = super::position::opening(self.cx.text, self.at(column.span));
                    let index = target.scope.resolve(&fold(column), at)?;
                    wanted.push(index);
                }
                wanted.sort_unstable();
                let same = |columns: &[usize]| {
                    let mut columns = columns.to_vec();
                    columns.sort_unstable();
                    columns == wanted
                };
                if relation.primary_key.as_ref().is_some_and(|key| same(&key.columns)) {
                    return Ok(Conflict::SkipPrimary);
                }
                let constraints = relation.uniques.iter().map(|unique| (true, unique.columns.clone()));
                let indexes = relation
                    .indexes
                    .iter()
                    .map(|index| (index.unique, index.columns.iter().map(|of| of.column).collect::<Vec<_>>()));
                let mut keys = constraints.chain(indexes);
                let found = keys.position(|(unique, columns)| unique && same(&columns));
                found.map(Conflict::SkipUnique).ok_or_else(|| {
                    let message = "there is no unique or exclusion constraint matching the ON CONFLICT specification";
                    Error::new(SqlState::INVALID_COLUMN_REFERENCE, message)
                })
            }
            Some(ConflictTarget::Columns { .. }) => Err(Error::unsupported("ON CONFLICT with a predicate")),
            Some(ConflictTarget::OnConstraint(name)) => {
                let name = name_parts(name)?.pop().unwrap_or_default();
                if relation.primary_key.as_ref().is_some_and(|key| key.name == name) {
                    return Ok(Conflict::SkipPrimary);
                }
                let found = relation.uniques.iter().position(|unique| unique.name == name);
                found.map(Conflict::SkipUnique).ok_or_else(|| {
                    let message = format!("constraint \"{name}\" for table \"{}\" does not exist", relation.name);
                    Error::new(SqlState::UNDEFINED_OBJECT, message)
                })
            }
        }
    }

    /// UPDATE
    pub(crate) fn update(&mut self, update: &ast::Update) -> Result<BoundWrite> {
        if update.from.is_some() || update.or.is_some() || !update.order_by.is_empty() || update.limit.is_some() {
            return Err(Error::unsupported("this clause of UPDATE"));
        }
        let (name, alias) = self.one_table(std::slice::from_ref(&update.table))?;
        let target = self.target(name, alias, Command::Update)?;
        let scope = target.scope.clone();
        // In PostgreSQL's order: conditions, RETURNING, the values, and only then the columns that they are for.
        let mut names = Names::new(&scope, Clause::Where);
        let predicate = update.selection.as_ref().map(|ast| self.condition(ast, &mut names)).transpose()?;
        let (returning, results) = self.returning(update.returning.as_deref(), &target)?;
        names.clause = Clause::Set;
        let assignments = self.assignments(&update.assignments)?;
        let mut values = Vec::with_capacity(assignments.len());
        for (_, value) in &assignments {
            values.push(if is_default(value) { None } else { Some(self.expr(value, &mut names)?) });
        }
        let mut set: Vec<(usize, Expr)> = Vec::with_capacity(assignments.len());
        for ((name, value), bound) in assignments.into_iter().zip(values) {
            let at = self.at(name.span());
            let column = self.target_column(name, &target, at)?;
            let to = &target.relation.columns[column];
            if set.iter().any(|(other, _)| *other == column) {
                let message = format!("multiple assignments to same column \"{}\"", to.name);
                return Err(Error::new(SqlState::SYNTAX_ERROR, message));
            }
            let value_at = self.at(value.span());
            let expr = match bound {
                None => default_of(self, &target.relation, column)?,
                Some(expr) => self.assign_column(expr, &to.name, to.ty, value_at)?,
            };
            set.push((column, expr));
        }
        if names.reads {
            self.require(&target.found, Privilege::Select)?;
        }
        let checks = checks(self, &target.relation)?;
        let alias = target.alias();
        let tree = Logical::Update { source: target.source, alias, predicate, set, checks, returning };
        Ok((tree, results))
    }

    /// Each column that SET names with its value; those of `(a, b) = (1, 2)` one by one.
    fn assignments<'u>(&self, assignments: &'u [ast::Assignment]) -> Result<Vec<(&'u ObjectName, &'u ast::Expr)>> {
        let mut single = Vec::with_capacity(assignments.len());
        for assignment in assignments {
            let names = match &assignment.target {
                AssignmentTarget::ColumnName(name) => {
                    single.push((name, &assignment.value));
                    continue;
                }
                AssignmentTarget::Tuple(names) => names,
            };
            let at = self.at(assignment.value.span());
            let values = row_of(&assignment.value).ok_or_else(|| match &assignment.value {
                ast::Expr::Subquery(_) => Error::unsupported("a sub-select in an expression").at(at),
                _ => {
                    let message = "source for a multiple-column UPDATE item must be a sub-SELECT or ROW() expression";
                    Error::new(SqlState::FEATURE_NOT_SUPPORTED, message).at(at)
                }
            })?;
            if values.len() != names.len() {
                let message = "number of columns does not match number of values";
                let at = match &assignment.value {
                    ast::Expr::Tuple(_) => super::position::opening(self.cx.text, at),
                    _ => at,
                };
                return Err(Error::new(SqlState::SYNTAX_ERROR, message).at(at));
            }
            single.extend(names.iter().zip(values));
        }
        Ok(single)
    }

    /// DELETE
    pub(crate) fn delete(&mut self, delete: &ast::Delete) -> Result<BoundWrite> {
        let foreign = !delete.tables.is_empty()
            || delete.using.is_some()
            || !delete.order_by.is_empty()
            || delete.limit.is_some();
        if foreign {
            return Err(Error::unsupported("this clause of DELETE"));
        }
        let FromTable::WithFromKeyword(from) = &delete.from else { return Err(Error::syntax_near("DELETE")) };
        let (name, alias) = self.one_table(from)?;
        let target = self.target(name, alias, Command::Delete)?;
        let scope = target.scope.clone();
        let mut names = Names::new(&scope, Clause::Where);
        let predicate = delete.selection.as_ref().map(|ast| self.condition(ast, &mut names)).transpose()?;
        if names.reads {
            self.require(&target.found, Privilege::Select)?;
        }
        let (returning, results) = self.returning(delete.returning.as_deref(), &target)?;
        let alias = target.alias();
        Ok((Logical::Delete { source: target.source, alias, predicate, returning }, results))
    }

    fn one_table<'t>(&self, from: &'t [TableWithJoins]) -> Result<(&'t ObjectName, Option<&'t TableAlias>)> {
        match from {
            [one] if one.joins.is_empty() => self.plain_table(&one.relation),
            _ => Err(Error::unsupported("a join")),
        }
    }

    fn returning(&mut self, list: Option<&[ast::SelectItem]>, target: &Target) -> Result<Returning> {
        let Some(list) = list else { return Ok((None, None)) };
        let mut names = Names::new(&target.scope, Clause::Returning);
        let mut items = self.items(list, &mut names)?;
        self.settle_unknown(&mut items)?;
        if names.reads {
            self.require(&target.found, Privilege::Select)?;
        }
        let (exprs, columns) = items.into_iter().map(|item| (item.expr, item.column)).unzip();
        Ok((Some(exprs), Some(columns)))
    }
}

/// The constant or parameter that a query has as a column, the same for each row.
fn constant_of(tree: &Logical, index: usize) -> Option<Expr> {
    match tree {
        Logical::Project { input, exprs } => match &exprs[index] {
            constant @ (Expr::Literal { .. } | Expr::Param { .. }) => Some(constant.clone()),
            Expr::Column { index, .. } => constant_of(input, *index),
            _ => None,
        },
        Logical::Sort { input, .. } | Logical::Limit { input, .. } => constant_of(input, index),
        _ => None,
    }
}

/// The values of `(1, 2)` or `ROW(1, 2)`.
fn row_of(ast: &ast::Expr) -> Option<Vec<&ast::Expr>> {
    match ast {
        ast::Expr::Tuple(values) => Some(values.iter().collect()),
        ast::Expr::Function(call) if call.name.to_string().eq_ignore_ascii_case("row") => match &call.args {
            ast::FunctionArguments::List(list) => list.args.iter().map(plain_argument).collect(),
            _ => None,
        },
        _ => None,
    }
}

fn plain_argument(arg: &ast::FunctionArg) -> Option<&ast::Expr> {
    match arg {
        ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    }
}

/// The keyword DEFAULT where a value may stand.
fn is_default(ast: &ast::Expr) -> bool {
    match ast {
        ast::Expr::Nested(inner) => is_default(inner),
        ast::Expr::Identifier(ident) => is_default_word(ident),
        _ => false,
    }
}

/// Whether an identifier is the reserved word.
pub(crate) fn is_default_word(ident: &ast::Ident) -> bool {
    ident.quote_style.is_none() && fold(ident) == "default"
}

/// NULL of a type.
pub(crate) fn null(ty: SqlType) -> Expr {
    Expr::literal(Value::Null, ty)
}

fn refuse_insert_clauses(insert: &ast::Insert) -> Result<()> {
    let foreign = insert.or.is_some()
        || insert.ignore
        || insert.by_name
        || insert.overwrite
        || !insert.assignments.is_empty()
        || insert.partitioned.is_some()
        || !insert.after_columns.is_empty()
        || insert.overriding.is_some()
        || insert.output.is_some()
        || insert.has_table_keyword
        || insert.replace_into;
    if foreign { Err(Error::unsupported("this clause of INSERT")) } else { Ok(()) }
}
