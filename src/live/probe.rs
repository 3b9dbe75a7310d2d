//! What of a live query's condition finds it: one column whose value must be one of some, or lie in a stretch.
//!
//! Values are compared in the form that keys have, whose order is that of the values. A row that a probe does not find
//! cannot satisfy the condition; one that it finds is judged by all of it.

use crate::encoding::key::{KeyColumn, encode_column};
use crate::expr::condition::{comparison, conjuncts, listed};
use crate::expr::{CompareOp, Expr};
use crate::table::Model;
use crate::types::{SqlType, Value};

/// A value in the form of a key.
pub(super) type Point = Box<[u8]>;

/// One way to find a live query by a row.
#[derive(Debug, PartialEq)]
pub(super) enum Probe {
    /// The column has one of these values.
    Points { column: usize, points: Vec<Point> },
    /// The column's value is not before `lower`, and before `upper` where there is one.
    Stretch { column: usize, lower: Point, upper: Option<Point> },
}

/// The form of a column's value. All integers have one, so that a value beyond the column's type keeps its place. None
/// for NULL, which satisfies no comparison, and for types that have no form.
pub(super) fn point(value: &Value, ty: SqlType) -> Option<Point> {
    if value.is_null() {
        return None;
    }
    let ty = if ty.is_integer() { SqlType::INT8 } else { ty };
    let mut out = Vec::with_capacity(16);
    encode_column(&mut out, value, &KeyColumn::ascending(ty)).ok()?;
    Some(out.into_boxed_slice())
}

/// The first point after one.
fn after(point: Point) -> Point {
    let mut next = point.into_vec();
    next.push(0);
    next.into_boxed_slice()
}

/// All probes of a condition in which values are constants already; none where each row must be judged.
pub(super) fn probes(model: &Model, filter: Option<&Expr>) -> Vec<Probe> {
    let columns = &model.relation().columns;
    let mut out: Vec<Probe> = Vec::new();
    for condition in conjuncts(filter.cloned()) {
        for at in condition.columns_used().into_iter().filter(|&at| at < columns.len()) {
            let Some(found) = probe(&condition, at, columns[at].ty) else { continue };
            let Probe::Stretch { column, lower, upper } = found else {
                out.push(found);
                continue;
            };
            let mut stretches = out.iter_mut().filter_map(|probe| match probe {
                Probe::Stretch { column: of, lower, upper } if *of == column => Some((lower, upper)),
                _ => None,
            });
            match stretches.next() {
                Some((low, high)) => narrow(low, high, lower, upper),
                None => out.push(Probe::Stretch { column, lower, upper }),
            }
        }
    }
    out
}

/// Leaves what two stretches share.
fn narrow(low: &mut Point, high: &mut Option<Point>, lower: Point, upper: Option<Point>) {
    if *low < lower {
        *low = lower;
    }
    if upper.is_some() && (high.is_none() || *high > upper) {
        *high = upper;
    }
}

fn probe(condition: &Expr, column: usize, ty: SqlType) -> Option<Probe> {
    let constant = |expr: &Expr| match expr {
        Expr::Literal { value, .. } => Some(value.clone()),
        _ => None,
    };
    if let Some(list) = listed(condition, column, ty) {
        let values = list.iter().map(constant).collect::<Option<Vec<Value>>>()?;
        let points = values.iter().filter(|value| !value.is_null()).map(|value| point(value, ty));
        let mut points = points.collect::<Option<Vec<Point>>>()?;
        points.sort_unstable();
        points.dedup();
        return Some(Probe::Points { column, points });
    }
    let (op, value) = comparison(condition, column, ty)?;
    let value = constant(value)?;
    if value.is_null() {
        // nothing satisfies it
        return Some(Probe::Points { column, points: Vec::new() });
    }
    let value = point(&value, ty)?;
    let stretch = |lower, upper| Some(Probe::Stretch { column, lower, upper });
    match op {
        CompareOp::Equal => Some(Probe::Points { column, points: vec![value] }),
        CompareOp::Less => stretch(Point::default(), Some(value)),
        CompareOp::LessEqual => stretch(Point::default(), Some(after(value))),
        CompareOp::Greater => stretch(after(value), None),
        CompareOp::GreaterEqual => stretch(value, None),
        CompareOp::NotEqual => None,
    }
}
