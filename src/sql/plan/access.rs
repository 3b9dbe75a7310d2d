//! Access paths: which conditions become stretches of a key, and which orders a key serves.

use super::SortKey;
use super::node::{Access, Bound, KeyPart, KeyRange};
use crate::expr::{CastMethod, CompareOp, Expr, Volatility};
use crate::table::Model;
use crate::types::{SqlType, TypeCategory, Value};

/// How a scan finds its rows, and what of its condition is left to judge.
pub(super) struct Path {
    pub(super) access: Access,
    /// The conditions that the access path has taken care of.
    pub(super) taken: Vec<Expr>,
    /// The others.
    pub(super) left: Vec<Expr>,
}

/// The parts of a condition that must all hold.
pub(super) fn conjuncts(predicate: Option<Expr>) -> Vec<Expr> {
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
pub(super) fn conjunction(mut parts: Vec<Expr>) -> Option<Expr> {
    match parts.len() {
        0 => None,
        1 => parts.pop(),
        _ => Some(Expr::And(parts)),
    }
}

/// Chooses the access path for conditions over a relation's columns.
pub(super) fn choose(model: &Model, conditions: Vec<Expr>) -> Path {
    let key = by_key(model, &conditions);
    let whole = match &key {
        Some((range, _)) => range.equal.len() == model.key_columns().len(),
        None => false,
    };
    if !whole && let Some((access, used)) = by_unique(model, &conditions) {
        return path(access, &used, conditions);
    }
    match key {
        Some((range, used)) => path(Access::Key(range), &used, conditions),
        None => Path { access: Access::Full, taken: Vec::new(), left: conditions },
    }
}

fn path(access: Access, used: &[usize], conditions: Vec<Expr>) -> Path {
    let (mut taken, mut left) = (Vec::new(), Vec::new());
    for (at, condition) in conditions.into_iter().enumerate() {
        if used.contains(&at) { taken.push(condition) } else { left.push(condition) }
    }
    Path { access, taken, left }
}

fn by_key(model: &Model, conditions: &[Expr]) -> Option<(KeyRange, Vec<usize>)> {
    let mut range = KeyRange::default();
    let mut used = Vec::new();
    for (column, order) in model.key_columns() {
        let equal = conditions
            .iter()
            .enumerate()
            .find_map(|(at, condition)| Some((at, equal_part(condition, *column, order.ty)?)));
        if let Some((at, part)) = equal {
            range.equal.push(part);
            used.push(at);
            continue;
        }
        if *column == 0 && model.relation().topic().is_some_and(|topic| topic.partitions == 1) {
            range.equal.push(KeyPart::One(Expr::literal(Value::Int(0), order.ty)));
            continue;
        }
        for (at, condition) in conditions.iter().enumerate() {
            let Some((op, value)) = comparison(condition, *column, order.ty) else { continue };
            let bound = |inclusive| Bound { value: value.clone(), inclusive };
            match op {
                CompareOp::Less => range.upper.push(bound(false)),
                CompareOp::LessEqual => range.upper.push(bound(true)),
                CompareOp::Greater => range.lower.push(bound(false)),
                CompareOp::GreaterEqual => range.lower.push(bound(true)),
                CompareOp::Equal | CompareOp::NotEqual => continue,
            }
            used.push(at);
        }
        break;
    }
    let narrows = !range.equal.is_empty() || !used.is_empty();
    narrows.then_some((range, used))
}

fn by_unique(model: &Model, conditions: &[Expr]) -> Option<(Access, Vec<usize>)> {
    model.uniques().iter().enumerate().find_map(|(at, unique)| {
        let mut values = Vec::with_capacity(unique.columns.len());
        let mut used = Vec::with_capacity(unique.columns.len());
        for &column in &unique.columns {
            let ty = model.relation().columns[column].ty;
            let (place, value) = conditions.iter().enumerate().find_map(|(place, condition)| {
                match comparison(condition, column, ty)? {
                    (CompareOp::Equal, value) => Some((place, value.clone())),
                    _ => None,
                }
            })?;
            values.push(value);
            used.push(place);
        }
        Some((Access::Unique(at, values), used))
    })
}

/// `column = value`, or `column IN (values)`.
fn equal_part(condition: &Expr, column: usize, ty: SqlType) -> Option<KeyPart> {
    if let Some((CompareOp::Equal, value)) = comparison(condition, column, ty) {
        return Some(KeyPart::One(value.clone()));
    }
    match condition {
        Expr::InList { input, list, negated: false }
            if is_column(input, column) && list.iter().all(|value| is_fixed(value) && comparable(ty, value.ty())) =>
        {
            Some(KeyPart::Any(list.clone()))
        }
        _ => None,
    }
}

/// A comparison of a column with a value that is the same for all rows, the column on the left.
fn comparison(condition: &Expr, column: usize, ty: SqlType) -> Option<(CompareOp, &Expr)> {
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

/// Whether an expression is a column as it is stored.
pub(super) fn is_column(expr: &Expr, column: usize) -> bool {
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

/// Whether rows along the key come in an order: forward (false), backward (true), or not at all.
pub(super) fn serves(model: &Model, access: &Access, order: &[SortKey]) -> Option<bool> {
    let equal: &[KeyPart] = match access {
        Access::Full => &[],
        Access::Key(range) => &range.equal,
        // One row at most: any order.
        Access::Unique(..) => return Some(false),
    };
    if model.key_columns().is_empty() {
        return None;
    }
    let fixed = |at: usize| matches!(equal.get(at), Some(KeyPart::One(_)));
    let mut wanted = order.iter();
    let mut backward = None;
    for (at, (column, _)) in model.key_columns().iter().enumerate() {
        if fixed(at) {
            continue;
        }
        // A column with one value may stand anywhere in the order.
        let next = wanted.find(|key| {
            !model.key_columns().iter().enumerate().any(|(at, (other, _))| fixed(at) && is_column(&key.expr, *other))
        });
        let Some(key) = next else { return Some(backward.unwrap_or(false)) };
        if !is_column(&key.expr, *column) || backward.is_some_and(|backward| backward != key.descending) {
            return None;
        }
        backward = Some(key.descending);
    }
    // All of the key is used: what follows in the order decides nothing more.
    Some(backward.unwrap_or(false))
}
