//! What a condition says about single columns: the parts that must all hold, comparisons with values that are the same for
//! all rows. Access paths are chosen by it, and live queries found.

use super::{CastMethod, CompareOp, Expr, Volatility};
use crate::types::{SqlType, TypeCategory};

/// The parts of a condition that must all hold.
pub fn conjuncts(predicate: Option<Expr>) -> Vec<Expr> {
    let mut out = Vec::new();
    let mut open: Vec<Expr> = predicate.into_iter().collect();
    while let Some(expr) = open.pop() {
        match expr {
            Expr::And(parts) => open.extend(parts.into_iter().rev()),
            other => out.push(other),
        }
    }
    out
}

/// One condition of several, none for none.
pub fn conjunction(mut parts: Vec<Expr>) -> Option<Expr> {
    match parts.len() {
        0 => None,
        1 => parts.pop(),
        _ => Some(Expr::And(parts)),
    }
}

/// A comparison of a column with a value that is the same for all rows, the column on the left.
pub fn comparison(condition: &Expr, column: usize, ty: SqlType) -> Option<(CompareOp, &Expr)> {
    let (op, left, right) = condition.as_comparison()?;
    let (op, value) = if is_column(left, column) {
        (op, right)
    } else if is_column(right, column) {
        (op.commuted(), left)
    } else {
        return None;
    };
    (is_fixed(value) && comparable(ty, value.ty())).then_some((op, value))
}

/// The values of `column IN (values)`, each the same for all rows.
pub fn listed(condition: &Expr, column: usize, ty: SqlType) -> Option<&[Expr]> {
    match condition {
        Expr::InList { input, list, negated: false }
            if is_column(input, column) && list.iter().all(|value| is_fixed(value) && comparable(ty, value.ty())) =>
        {
            Some(list)
        }
        _ => None,
    }
}

/// Whether an expression is a column as it is stored.
pub fn is_column(expr: &Expr, column: usize) -> bool {
    match expr {
        Expr::Column { index, .. } => *index == column,
        // varchar to text: the same value.
        Expr::Cast { input, method: CastMethod::Relabel, ty, .. } => ty.modifier < 0 && is_column(input, column),
        _ => false,
    }
}

/// Whether an expression has one value for the whole statement.
fn is_fixed(expr: &Expr) -> bool {
    expr.columns_used().is_empty() && expr.volatility() != Volatility::Volatile
}

/// Whether a value of one type can stand in the key of a column of another.
fn comparable(column: SqlType, value: SqlType) -> bool {
    let string = |ty: SqlType| ty.category() == TypeCategory::String;
    column.same(value) || column.is_integer() && value.is_integer() || string(column) && string(value)
}
