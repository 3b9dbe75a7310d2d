//! Grouping: expressions over rows become expressions over groups and aggregates.

use super::names::AGGREGATE_BASE;
use super::scope::Scope;
use crate::error::{Error, Result, SqlState};
use crate::expr::Expr;

/// An expression's form, equal for expressions that are the same.
pub(crate) fn form(expr: &Expr) -> String {
    format!("{expr:?}")
}

/// Rewrites an expression over the grouped rows to one over the groups: their expressions, then the aggregates. 42803
/// for a column that is in neither.
pub(crate) fn place(expr: &mut Expr, groups: &[Expr], scope: &Scope) -> Result<()> {
    let forms: Vec<String> = groups.iter().map(form).collect();
    // Marked first and moved afterwards: a column that stands for a group must not be taken for one of the rows.
    const PLACED: usize = AGGREGATE_BASE * 2;
    mark(expr, &forms, PLACED);
    let mut ungrouped = None;
    expr.visit_mut(&mut |part| {
        if let Expr::Column { index, at, .. } = part {
            match *index {
                placed if placed >= PLACED => *index = placed - PLACED,
                aggregate if aggregate >= AGGREGATE_BASE => *index = groups.len() + aggregate - AGGREGATE_BASE,
                column => ungrouped = ungrouped.or(Some((column, *at))),
            }
        }
    });
    match ungrouped.and_then(|(column, at)| Some((scope.column(column)?, at))) {
        None => Ok(()),
        Some(((table, column), at)) => {
            let message = format!(
                "column \"{}.{}\" must appear in the GROUP BY clause or be used in an aggregate function",
                table.alias, column.name
            );
            Err(Error::new(SqlState::GROUPING_ERROR, message).at(at.0))
        }
    }
}

/// Adds the columns that a whole primary key among the groups determines: they may be named without being grouped by.
pub(crate) fn add_dependent<'e>(groups: &mut Vec<Expr>, scope: &Scope, named: impl Iterator<Item = &'e Expr>) {
    let grouped = |groups: &[Expr], wanted: usize| {
        groups.iter().any(|group| matches!(group, Expr::Column { index, .. } if *index == wanted))
    };
    let whole: Vec<bool> = scope
        .tables
        .iter()
        .map(|table| !table.key.is_empty() && table.key.iter().all(|column| grouped(groups, table.offset + column)))
        .collect();
    if !whole.contains(&true) {
        return;
    }
    for index in named.flat_map(Expr::columns_used).filter(|index| *index < AGGREGATE_BASE) {
        let table = scope.tables.iter().position(|table| table.holds(index));
        if let (Some((_, column)), Some(table)) = (scope.column(index), table)
            && whole[table]
            && !grouped(groups, index)
        {
            groups.push(Expr::column(index, column.ty));
        }
    }
}

fn mark(expr: &mut Expr, forms: &[String], placed: usize) {
    // The whole before its parts: a part of a group's expression may be a group too.
    let own = form(expr);
    if let Some(group) = forms.iter().position(|other| *other == own) {
        *expr = Expr::column(placed + group, expr.ty());
        return;
    }
    for child in children(expr) {
        mark(child, forms, placed);
    }
}

/// The expressions directly within one.
fn children(expr: &mut Expr) -> Vec<&mut Expr> {
    match expr {
        Expr::Literal { .. } | Expr::Column { .. } | Expr::Param { .. } | Expr::CaseOperand { .. } => Vec::new(),
        Expr::Call { args, .. } | Expr::Coalesce { args, .. } | Expr::Extreme { args, .. } => args.iter_mut().collect(),
        Expr::And(parts) | Expr::Or(parts) => parts.iter_mut().collect(),
        Expr::Cast { input, .. } | Expr::Not(input) | Expr::IsNull { input, .. } => vec![input],
        Expr::NullIf { equal, .. } => vec![equal],
        Expr::Distinct { left, right, .. } => vec![left, right],
        Expr::InList { input, list, .. } => std::iter::once(&mut **input).chain(list).collect(),
        Expr::Case { operand, whens, otherwise, .. } => {
            let parts = whens.iter_mut().flat_map(|(condition, result)| [condition, result]);
            operand.as_deref_mut().into_iter().chain(parts).chain(otherwise.as_deref_mut()).collect()
        }
    }
}
